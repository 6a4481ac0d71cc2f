"""Placement: the fitted head on the photo, its hair and its outline those of the photo.

The alignment (``dp3d_core.alignment``, ``landmark_fit``) has found pose and proportions from
features; here neck and shoulders take the matte's width, the photo is parsed (``parsing``), hair
grows where it is seen (``hair``), and the outline is brought onto the matte's (``outline``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dp3d_core.heads.anatomy import MM
from dp3d_core.heads.model import piece
from dp3d_core.heads.shape import HIGH, LOW, NAMES, coefficients
from dp3d_core.mesh import Mesh
from dp3d_core.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.hair import grow_hair, is_bald, plain_hair, under_hair
from dp3d_core.preview.outline import SNAP_STEPS, fit_outline, snap_outline
from dp3d_core.preview.parsing import Parsing, parse_photo
from dp3d_core.preview.parts import Part
from dp3d_core.progress import StepCallback, no_step

Array = NDArray[np.float64]

_BASE: tuple[tuple[str, str, str | None], ...] = (
    ("Building face and skull", "skin", None),
    ("Building teeth", "teeth", None),
    ("Building the tongue", "tongue", None),
    ("Building the clothes", "clothes", "crew"),
)
"""What is built first: a message, name and kind of the piece."""
_BODY = ("jaw_width", "neck_width", "neck_length", "shoulder_width", "shoulder_slope")

_SNAP_REACH = 0.05
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
    shape = {k: v for k, v in portrait.report.shape.items() if abs(v) > 0.02}
    # the parts of the base head are built once in a process
    for message, name, kind in _BASE:
        on_step(message)
        piece(name, kind)
    if not _has_outline(portrait):
        on_step("Building the head")
        bare = BareHead.of(shape)
        return PlacedHead(_joined(bare.mesh, plain_hair(bare.caster, int(Part.HAIR))), bare, None)
    on_step("Fitting neck and shoulders")
    body = neck_and_shoulders(portrait, shape)
    bare = BareHead.of(shape | body)
    view = portrait.camera, portrait.matte, portrait.inside
    on_step("Telling skin, hair and clothes apart")
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    on_step("Building the hair")
    if is_bald(parsing):
        mesh = fit_outline(bare.mesh, *view)
        mesh = snap_outline(mesh, *view, on_step)
    else:
        bare = bare.moved(fit_outline(bare.mesh, *view, most=1.0))
        hair = grow_hair(portrait, parsing, bare.caster, int(Part.HAIR))
        mesh = _joined(under_hair(hair, bare.mesh), hair.mesh)
        mesh = snap_outline(mesh, *view, on_step, _SNAP_REACH)
    own = mesh.vertices[: len(bare.mesh.vertices)]
    return PlacedHead(mesh, bare.moved(bare.mesh.with_vertices(own)), parsing)


def _joined(first: Mesh, second: Mesh) -> Mesh:
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
    if not _has_outline(portrait):
        return len(_BASE) + 1
    return len(_BASE) + 3 + SNAP_STEPS


def _has_outline(portrait: Portrait) -> bool:
    """Whether the matte is that of the photo."""
    return portrait.report.matte_source != "template"


def neck_and_shoulders(portrait: Portrait, shape: dict[str, float]) -> dict[str, float]:
    """Shape parameters that bring jaw, neck and shoulders to the matte's width, row by row."""
    pieces = [piece("skin"), piece("clothes", "crew")]
    values = coefficients(shape)
    vertices = np.concatenate([p.shaped(values) for p in pieces])
    lower = (vertices[:, 1] < -15) & ((np.abs(vertices[:, 0]) < 68) | (vertices[:, 1] < -60))
    index = [NAMES.index(name) for name in _BODY]
    moves = np.concatenate([p.basis[index] for p in pieces], 1)[:, lower].astype(float)
    vertices = vertices[lower]
    camera = portrait.camera
    size = camera.height
    matte = (portrait.matte > 127) & portrait.inside
    first = int(camera.project([[0.0, -28 * MM, 0.0]])[0][0][1])
    shoulders = camera.project([[0.0, -140 * MM, 0.0]])[0][0][1]
    rows = np.arange(max(first, 0), size - 4, 6)
    # a row counts on a side where the photo goes on beyond the matte
    wanted = np.full((2, len(rows)), np.nan)
    for i, row in enumerate(rows):
        columns, known = np.flatnonzero(matte[row]), np.flatnonzero(portrait.inside[row])
        if columns.size:
            if columns[0] > known[0] + 3:
                wanted[0, i] = columns[0]
            if columns[-1] < known[-1] - 3:
                wanted[1, i] = columns[-1]
    if np.isfinite(wanted).sum() < 6:
        return {}
    pixel = camera.K[0, 0] / float(np.linalg.norm(camera.position)) * MM
    low, high = LOW[index], HIGH[index]

    def residuals(theta: Array) -> Array:
        uv, _ = camera.project((vertices + np.tensordot(theta, moves, 1)) * MM)
        at = np.rint((uv[:, 1] - rows[0]) / 6).astype(int)
        seen = (at >= 0) & (at < len(rows))
        left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
        np.minimum.at(left, at[seen], uv[seen, 0])
        np.maximum.at(right, at[seen], uv[seen, 0])
        away = np.stack([left, right]) - wanted
        away = np.where(np.isfinite(away), away / pixel / 12, 0)
        # beside jaw and neck there may be hair: too narrow is hardly wrong there
        away *= np.where((away * [[1], [-1]] > 0) & (rows < shoulders), 0.15, 1.0)
        return np.concatenate([away.ravel(), 0.35 * theta])

    def jacobian(theta: Array) -> Array:
        step = 0.1  # small ones are lost between vertices
        sides = [
            residuals(theta + step * unit) - residuals(theta - step * unit)
            for unit in np.eye(len(theta))
        ]
        return np.stack(sides, -1) / (2 * step)

    found = least_squares(
        residuals, np.zeros(len(index)), jacobian, (low, high), loss="soft_l1", max_nfev=15
    )
    return {n: round(float(v), 4) for n, v in zip(_BODY, found.x, strict=True)}
