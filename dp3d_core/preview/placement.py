"""Placement: the fitted head on the photo, its hair and its outline those of the photo.

``portraits.pose`` has found pose and shape from landmarks; here neck and shoulders take the
matte's width, the photo is parsed (``parsing``), hair grows where it is seen (``hair``), and the
outline is brought onto the matte's (``outline``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.mesh import Mesh
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.hair import grow_hair, is_bald, plain_hair, under_hair
from dp3d_core.preview.outline import SNAP_STEPS, fit_outline, snap_outline
from dp3d_core.preview.parsing import Parsing, parse_photo
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shoulders import neck_and_shoulders
from dp3d_core.progress import StepCallback, no_step

_SNAP_REACH = 0.08
"""Reach of the outline's correction where hair already follows it, parts of the picture."""


@dataclass(frozen=True, eq=False)
class PlacedHead:
    """A head on its photo.

    Attributes:
        mesh: head space; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        bare: the head without hair; its vertices are the first of ``mesh``.
        parsing: of the photo; None where the photo's outline is unknown.

    """

    mesh: Mesh
    bare: BareHead
    parsing: Parsing | None


def place_head(portrait: Portrait, on_step: StepCallback = no_step) -> PlacedHead:
    """The head in head space, its outline fitted to the portrait's matte.

    Args:
        portrait: with its alignment.
        on_step: called :func:`placement_steps` times.

    """
    on_step("Building face and skull")
    shape = portrait.report.shape
    # what lies between open lips has an unknown depth: on a cavity it would be torn apart in the
    # next view, so the jaw stays closed and the open mouth is painted on it
    expression = {k: v for k, v in expression_of(shape).items() if k != "jawOpen"}
    bare = BareHead.of(components_of(shape), expression)
    if not _has_outline(portrait):
        on_step("Building the hair")
        return PlacedHead(joined(bare.mesh, plain_hair(bare.caster, int(Part.HAIR))), bare, None)
    on_step("Fitting neck and shoulders")
    bare = bare.moved(neck_and_shoulders(portrait, bare.mesh.vertices))
    view = portrait.camera, portrait.matte, portrait.inside
    on_step("Telling skin, hair and clothes apart")
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    on_step("Building the hair")
    if is_bald(parsing):
        mesh = fit_outline(bare.mesh, *view)
        mesh = snap_outline(mesh, *view, on_step)
    else:
        bare = bare.moved(fit_outline(bare.mesh, *view, most=1.0).vertices)
        hair = grow_hair(portrait, parsing, bare.caster, int(Part.HAIR))
        mesh = joined(under_hair(hair, bare.mesh), hair.mesh)
        mesh = snap_outline(mesh, *view, on_step, _SNAP_REACH)
    own = mesh.vertices[: len(bare.mesh.vertices)]
    return PlacedHead(mesh, bare.moved(own), parsing)


def joined(first: Mesh, second: Mesh) -> Mesh:
    """Two meshes as one; the first one's vertices come first."""
    faces = np.concatenate([first.faces, second.faces + len(first.vertices)])
    return Mesh(
        np.concatenate([first.vertices, second.vertices]),
        faces.astype(np.int32),
        np.concatenate([first.normals, second.normals]),
        np.concatenate([first.parts, second.parts]),
    )


def placement_steps(portrait: Portrait) -> int:
    """Steps of :func:`place_head`."""
    return 4 + SNAP_STEPS if _has_outline(portrait) else 2


def _has_outline(portrait: Portrait) -> bool:
    """Whether the matte is that of the photo."""
    return portrait.report.matte_source != "template"
