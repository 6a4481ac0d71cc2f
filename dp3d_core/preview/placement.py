"""Placement: the fitted head on the photo, its hair and its outline those of the photo.

``portraits.pose`` has found pose and shape from landmarks; here neck and shoulders take the
matte's width, the photo is parsed (``parsing``), hair grows where it is seen (``hair``), and the
outline is brought onto the matte's (``outline``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.beard import BeardEvidence, lifted
from dp3d_core.preview.brims import brimmed
from dp3d_core.preview.choices import ALL_AUTO, AUTO, Choice, HeadChoices
from dp3d_core.preview.disagreement import disagreement, parts_seen, without
from dp3d_core.preview.ears import even_ears
from dp3d_core.preview.face_colours import FaceColours, bare_scalp, fringe
from dp3d_core.preview.hair import grow_hair, plain_hair, under_hair, with_calm_hair
from dp3d_core.preview.hair_length import TURNED_DEG, is_bald, seen_hair, without_low_hair
from dp3d_core.preview.hair_marks import Outline, hair_outline
from dp3d_core.preview.hair_thickness import USUAL_HAIR_MM
from dp3d_core.preview.hairstyle import HANGING, SHORN, STYLES, HairStyle
from dp3d_core.preview.headwear import Headwear, seen_headwear
from dp3d_core.preview.outline import SNAP_STEPS, fit_outline, snap_outline
from dp3d_core.preview.parsing import Kind, Parsing, parse_photo
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shoulders import even_bust, neck_and_shoulders
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.smoothstep import ramp

_SNAP_REACH = 0.08
"""Reach of the outline's correction where hair already follows it, parts of the picture."""


_HELD, _BARE_HELD = (-112.0, -72.0), (-126.0, -84.0)
"""Heights, millimetres, between which the skin of a neck goes over into that of a head, which keeps
its shape under hair; of a neck that is seen bare, which has no ledges as a collar has."""
_CLOSE_CROP = USUAL_HAIR_MM
"""Usual thickness of hair, millimetres, up to which a scalp of the skin's colour is bare; where its
outline is not seen it counts as so thick."""
_CHEST, _NECK_END, _HIGHEST_CUT, _LOWEST_SHOWN, _FACING = 60.0, -130.0, -168.0, 0.03, 0.2
"""Half the width of the chest, its upper end, the highest end of a bust, millimetres; part of what
is shown of the body below which it ends; cosine from which on a place faces the camera."""
_DOUBT = 15
"""Pixels around what is no evidence in which an outline is none either."""


@dataclass(frozen=True, eq=False)
class PlacedHead:
    """A head on its photo.

    Attributes:
        mesh: head space; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        bare: the head without hair; its vertices are the first of ``mesh``.
        parsing: of the photo; None where the photo's outline is unknown.
        choices: that were made for it.
        seen: hair, hat and beard that the photo shows.
        hair_mm: usual thickness of its hair, millimetres.
        ignored: (PARSING_SIDE, PARSING_SIDE) bool, pixels of beard and fringe chosen away.

    """

    mesh: Mesh
    bare: BareHead
    parsing: Parsing | None
    choices: HeadChoices
    seen: Mapping[str, Choice]
    hair_mm: float
    ignored: NDArray[np.bool_] | None = None


def place_head(
    portrait: Portrait, on_step: StepCallback = no_step, choices: HeadChoices = ALL_AUTO
) -> PlacedHead:
    """The head in head space, its outline fitted to the portrait's matte.

    Args:
        portrait: with its alignment.
        on_step: called :func:`placement_steps` times.
        choices: overrule what the photo shows.

    """
    on_step("Building face and skull")
    shape = portrait.report.shape
    bare = BareHead.of(components_of(shape), expression_of(shape))
    if not _has_outline(portrait):
        on_step("Building the hair")
        return _unseen_head(bare, choices)
    on_step("Fitting neck and shoulders")
    bare = bare.moved(neck_and_shoulders(portrait, bare.mesh.vertices))
    on_step("Telling skin, hair and clothes apart")
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    on_step("Building the hair")
    bald = is_bald(parsing) if choices.hair == AUTO else choices.hair == "bald"
    if choices.hair != AUTO:
        parsing = without_low_hair(portrait, parsing)
    hair = headwear = None
    if not bald or choices.hat == "worn":
        drawn = bare.moved(
            fit_outline(bare.mesh, portrait.camera, portrait.matte, portrait.inside, 1.0).vertices
        )
        outline = hair_outline(portrait, parsing)
        grow = partial(
            grow_hair,
            portrait,
            parsing,
            drawn.caster,
            int(Part.HAIR),
            style=_style(choices, bald),
        )
        hair = grow(outline=outline)
        thin = choices.hair == choices.hat == AUTO and hair.usual <= _CLOSE_CROP * MM
        if thin and bare_scalp(FaceColours.of(portrait, drawn, parsing.known)):
            hair = None
    if hair is None:
        view = _outline_view(portrait, parsing, bare.mesh, choices)
        mesh = fit_outline(bare.mesh, *view)
        mesh = snap_outline(mesh, *view, on_step)
    else:
        bare = drawn
        headwear = Headwear.of(portrait, parsing, hair)
        brim = None
        if choices.hat != "none":
            headwear, brim = brimmed(portrait, parsing, outline, hair, headwear)
        worn = choices.hat == "worn" or (choices.hat == AUTO and headwear.likely)
        if brim is not None:
            beside = ~brim.edge
            hair = grow(outline=Outline(outline.uv[beside], outline.normal[beside]))
            headwear = headwear.of_shell(hair.mesh)
        mesh = joined(under_hair(hair, bare.mesh), _marked(hair.mesh, headwear, worn))
        if brim is not None:
            mesh = joined(mesh, brim.mesh(hair, headwear))
        view = _outline_view(portrait, parsing, mesh, choices)
        # what stands out beside a head with hair is hair, not its cheeks
        height = bare.mesh.vertices[:, 1] / MM
        uv, _ = portrait.camera.project(bare.mesh.vertices)
        skin = parsing.at(uv, portrait.camera.width)[:, Kind.SKIN]
        held = np.maximum(ramp(height, *_HELD), skin * ramp(height, *_BARE_HELD))
        # hair that is moved little would let a scalp through that is moved far
        held = np.maximum(held, hair.over(bare.mesh.vertices))
        held *= ~((bare.region == Region.EAR) & hair.leaves_free(bare.mesh.vertices))
        snapped = snap_outline(mesh, *view, on_step, _SNAP_REACH, held)
        # a brim is no spike
        calm = snapped if worn or headwear.possible else with_calm_hair(mesh, snapped, hair)
        count = len(bare.mesh.vertices)
        vertices = calm.vertices.copy()
        own = even_ears(mesh.vertices[:count], vertices[:count])
        if abs(portrait.report.yaw_deg) < TURNED_DEG:
            own = even_bust(mesh.vertices[:count], own)
        vertices[:count] = own
        mesh = calm.with_vertices(vertices)
    face = FaceColours.of(portrait, bare, parsing.known)
    beard = BeardEvidence.of(face)
    seen = {
        "hair": seen_hair(portrait, parsing, hair),
        "hat": seen_headwear(portrait, parsing, headwear),
        "beard": beard.choice(),
    }
    changed = choices.beard not in (AUTO, seen["beard"].choice)
    if changed and choices.beard != "none":
        mesh = lifted(mesh, choices.beard)
    # what is chosen below the chin is shown whole
    chosen = choices.clothes != AUTO or choices.hair in HANGING
    mesh = _level(mesh, BUST_CUT_MM if chosen else _photo_end(portrait, bare.mesh))
    own = mesh.vertices[: len(bare.mesh.vertices)]
    ignored = beard.dark & (changed and choices.beard != "full")
    if choices.hair in SHORN:
        ignored = ignored | fringe(face)
    thickness = 0.0 if hair is None else hair.usual / MM
    return PlacedHead(mesh, bare.moved(own), parsing, choices, seen, thickness, ignored)


def _unseen_head(bare: BareHead, choices: HeadChoices) -> PlacedHead:
    """The head where the photo's outline is unknown: what is not chosen is usual."""
    unknown = "The head could not be separated from its background."
    usual = {"hair": "short", "hat": "none", "beard": "none"}
    seen = {name: Choice(choice, 0.2, reason=unknown) for name, choice in usual.items()}
    worn = choices.hat == "worn"
    mesh = bare.mesh
    if choices.hair != "bald" or worn:
        part = Part.HAT if worn else Part.HAIR
        mesh = joined(mesh, plain_hair(bare.caster, int(part), _style(choices, bald=False)))
    if choices.beard not in (AUTO, "none"):
        mesh = lifted(mesh, choices.beard)
    mesh = _level(mesh)
    bare = bare.moved(mesh.vertices[: len(bare.mesh.vertices)])
    return PlacedHead(mesh, bare, None, choices, seen, USUAL_HAIR_MM)


def _photo_end(portrait: Portrait, bare: Mesh) -> float:
    """Height, millimetres, down to which the photo shows the chest of a bare head.

    The bust's cut where the photo ends higher than a bust can.
    """
    camera = portrait.camera
    x, y, _ = (bare.vertices / MM).T
    towards = unit(camera.position - bare.vertices)
    body = (y < _NECK_END) & (y > BUST_CUT_MM)
    body &= np.einsum("ni,ni->n", towards, bare.normals) > _FACING
    uv, _ = camera.project(bare.vertices[body])
    # what lies below the crop the photo may show all the same
    shown = portrait.reaches(uv)
    chest = np.abs(x[body]) < _CHEST
    if not shown.any() or shown[chest].all():
        return BUST_CUT_MM
    # shoulders lie behind the chest, so that the photo shows them farther down
    end = float(np.quantile(y[body][shown], _LOWEST_SHOWN))
    # of a chest that is hardly seen a strip would be left
    return end if end < _HIGHEST_CUT else BUST_CUT_MM


def _level(mesh: Mesh, end: float = BUST_CUT_MM) -> Mesh:
    """A head that ends in a plane again, wherever its shoulders went.

    Args:
        mesh: the head.
        end: height of the plane, millimetres; the bust's cut or above.

    """
    vertices = mesh.vertices.copy()
    bust().level(vertices)
    if end > BUST_CUT_MM:
        _cut(vertices, mesh.faces, end * MM)
    # what was pressed flat is no surface
    low = vertices[:, 1] <= end * MM + 1e-9
    faces = mesh.faces[~low[mesh.faces].all(1)]
    return Mesh.of(vertices, faces, mesh.parts)


def _cut(vertices: NDArray[np.float64], faces: NDArray[np.int32], height: float) -> None:
    """Draw vertices (n, 3) below a height up along their edges until they meet its plane."""
    low = vertices[:, 1] < height
    edges = np.concatenate([faces[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    below, above = edges[low[edges[:, 0]] & ~low[edges[:, 1]]].T
    start, goal = vertices[below], vertices[above]
    share = (height - start[:, 1]) / np.maximum(goal[:, 1] - start[:, 1], 1e-9)
    met = start + (goal - start) * share[:, None]
    count = np.bincount(below, minlength=len(vertices))
    for axis in (0, 2):
        total = np.bincount(below, met[:, axis], len(vertices))
        vertices[count > 0, axis] = (total / np.maximum(count, 1))[count > 0]
    vertices[low, 1] = height


def _style(choices: HeadChoices, bald: bool) -> HairStyle | None:
    """The style that is chosen, None where the photo decides; a hat covers a bald head closely."""
    return STYLES["short"] if bald else STYLES.get(choices.hair)


def _marked(shell: Mesh, headwear: Headwear, worn: bool) -> Mesh:
    """The shell over the skull, its headwear marked as such if there is any."""
    if not worn:
        return shell
    return replace(shell, parts=np.where(headwear.cloth, Part.HAT, Part.HAIR).astype(np.uint8))


def _outline_view(
    portrait: Portrait, parsing: Parsing, mesh: Mesh, choices: HeadChoices
) -> tuple[Camera, NDArray[np.uint8], NDArray[np.bool_]]:
    """Camera, matte, and where the matte's outline is that of a head (see ``outline``).

    Where hair or clothes are chosen and the photo shows others, its outline is no evidence.
    """
    inside = portrait.inside
    if choices.covering or choices.clothes == "none":
        parts = parts_seen(mesh, portrait.camera)
        inside = without(portrait, disagreement(parsing, parts, choices), _DOUBT).inside
    return portrait.camera, portrait.matte, inside


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
