"""Hair, headwear and clothes of a fitted head, carried by the nearest skin.

Hair and headwear are the fitted shell (``preview.hair``), a grid of quads around the head; clothes
are the bust below its neckline, lifted off the skin.  Each vertex takes the moves and the bones of
the skin near it, the less the farther away it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import sparse

from dp3d_core.arrays import Array, Indices, Indices32, Mask, smoothstep
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import unit, vertex_normals
from dp3d_core.preview.clothing.brims import AROUND, RINGS
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.parts import Part
from dp3d_core.preview.texture.panorama import wrap
from dp3d_core.rigged.fringe import BEFORE_EARS_MM, lowered_fringe
from dp3d_core.rigged.keys import LEAST, HeadKeys
from dp3d_core.rigged.layout import FACE, TORSO, cloth_layout
from dp3d_core.rigged.neutral import NeutralHead, neighbour_weights
from dp3d_core.rigged.parts import part_faces
from dp3d_core.rigged.rig import BONES, PHOTO_EXPRESSION, Detail, Faces, Key, Levels, RiggedPart
from dp3d_core.rigged.shell import Shell, likeness_to_hair
from dp3d_core.rigged.skinning import skinning_weights
from dp3d_core.rigged.topology import part_topology

_CARRIED = (40.0, 8.0)
"""Distances from the skin between which worn things begin to move with it, millimetres."""
_COLLAR_MM = 5.0
"""Distance above the neckline up to which clothes have a mesh, millimetres; alpha ends before."""
_HAIRNESS_SIGMA = 2.0
"""Blur of the likeness to hair, texels of the grid."""
_LOW_MM = (20.0, 8.0)
"""Heights over the skull between which hair at the forehead begins to have its normals, mm."""
_LEAST_HAIR = 50
"""Least number of vertices of the shell from which the light on hair is taken."""
_FRINGE_MM = (45.0, 25.0)
"""Distances from the shell between which skin may show a fringe, millimetres."""
_CLOTH_MM = 1.6
"""Distance of clothes from the skin, millimetres."""
_STEPS: dict[Detail, int] = {"full": 1, "half": 2, "quarter": 4}
"""Rows and columns of the hair's grid from one vertex to the next."""
_BRIM_STEPS: dict[Detail, int] = {"full": 1, "half": 2, "quarter": 4}
"""Vertices along a brim's rings from one to the next."""


@dataclass(frozen=True, eq=False)
class Carrier:
    """The skin that carries what is worn, with the photo's expression on.

    Attributes:
        skin: (n, 3) fitted skin, head units.
        skull: (n, 3) skin of the model, which is not drawn in below the hair, head units.
        offsets: blend shape to offsets (n, 3) of the skin.
        weights: (n, bones) its skinning weights.

    """

    skin: Array
    skull: Array
    offsets: Mapping[str, Array]
    weights: Array

    @classmethod
    def of(cls, neutral: NeutralHead, keys: HeadKeys) -> Carrier:
        """The carrier of a neutral head and its blend shapes."""
        skin = keys.vertices["skin"]
        offsets = {key: parts["skin"] for key, parts in keys.offsets.items() if "skin" in parts}
        if PHOTO_EXPRESSION in offsets:
            skin = skin + offsets[PHOTO_EXPRESSION]
        skull = np.asarray(part_topology("skin").refine @ neutral.controls)
        return cls(skin, skull, offsets, skinning_weights("skin"))

    def carried(self, vertices: Array) -> tuple[Array, dict[str, Key], Array]:
        """Neutral vertices, keys and bone weights of worn vertices (k, 3) on the fitted head."""
        near = neighbour_weights(self.skin / MM, vertices / MM)
        distance = np.linalg.norm(vertices - near @ self.skin, axis=1) / MM
        follows = smoothstep(distance, *_CARRIED)
        carry = sparse.diags(follows) @ near
        moves = {key: np.asarray(carry @ offsets) for key, offsets in self.offsets.items()}
        neutral = vertices - moves.get(PHOTO_EXPRESSION, np.zeros_like(vertices))
        bones = list(BONES)
        weights = np.asarray(near @ self.weights)
        jaw, head = bones.index("jaw"), bones.index("head")
        weights[:, head] += weights[:, jaw] * (1 - follows)
        weights[:, jaw] *= follows
        keys = {key: Key.of(move, LEAST) for key, move in moves.items()}
        return neutral, {key: own for key, own in keys.items() if len(own.moved)}, weights


def worn_parts(
    head: PreviewHead, neutral: NeutralHead, keys: HeadKeys, shell: Shell | None
) -> list[RiggedPart]:
    """Meshes of hair, headwear, brim and clothes, as far as the head has them.

    Args:
        head: the fitted head.
        neutral: its neutral shape.
        keys: its blend shapes.
        shell: its hair and headwear; None without any.

    """
    carrier = Carrier.of(neutral, keys)
    parts = [] if shell is None else shell_parts(head, carrier, shell)
    if len(head.mesh.vertices) > len(bust().rest) + SHELL:
        parts.append(_brim(head, carrier))
    clothes = clothes_part(head, neutral, keys, carrier)
    return parts if clothes is None else [*parts, clothes]


# -- hair and headwear --


def shell_parts(head: PreviewHead, carrier: Carrier, shell: Shell) -> list[RiggedPart]:
    """Hair and headwear: one grid, with two meshes where a hat is worn over hair."""
    first = len(bust().rest)
    vertices = lowered_fringe(head, shell.height_mm)
    is_hat = head.mesh.parts[first : first + SHELL] == Part.HAT
    neutral, keys, weights = carrier.carried(vertices)
    parts = []
    for name, wanted in (("hair", ~is_hat), ("headwear", is_hat)):
        faces = _shell_faces(head, wanted)
        if len(faces["full"].quads):
            part = RiggedPart(name, name, neutral, _shell_uv(), faces, keys, weights)
            if name == "hair":
                part = replace(part, normals=_shell_normals(head, carrier, part, shell))
            parts.append(part)
    return parts


def _shell_normals(head: PreviewHead, carrier: Carrier, hair: RiggedPart, shell: Shell) -> Array:
    """(SHELL, 3) normals of the hair, those of the skull where it shows skin or ends.

    Beside the hairline the shell lies on the forehead with the photo's skin on it; in a scene's
    light its rim would be a step.  So would be the end of a fringe that is painted on below.
    """
    normals = vertex_normals(hair.vertices, hair.faces["full"].triangles()[0])
    normals[np.linalg.norm(normals, axis=1) < 0.5] = [0.0, 1.0, 0.0]
    skull = vertex_normals(carrier.skull, part_topology("skin").triangles())
    near = neighbour_weights(carrier.skull / MM, hair.vertices / MM)
    height = np.linalg.norm(hair.vertices - near @ carrier.skull, axis=1) / MM
    before = smoothstep(hair.vertices[:, 2] / MM, *BEFORE_EARS_MM)
    like_skull = np.maximum(
        1 - _vertex_hairness(head, shell), smoothstep(height, *_LOW_MM) * before
    )
    return unit(normals + (unit(near @ skull) - normals) * like_skull[:, None])


def _vertex_hairness(head: PreviewHead, shell: Shell) -> Array:
    """(SHELL,) 0 where the shell has the colour of skin, 1 where it has that of hair."""
    hairness = np.where(_existing(head), likeness_to_hair(head, shell.delit), 1.0)
    grid = wrap(hairness[:-1].reshape(GRID.rows, GRID.columns).astype(np.float32), 8)
    hairness[:-1] = cv2.GaussianBlur(grid, (0, 0), _HAIRNESS_SIGMA)[:, 8:-8].ravel()
    return hairness


def light_off_hair(head: PreviewHead, skin: Array, shell: Shell | None) -> tuple[Array, Array]:
    """Factors that take the photo's light out of the hair nearest to skin, and how near it is.

    The lower part of a fringe is painted on the forehead, where light is taken out as from skin.

    Args:
        head: the fitted head.
        skin: (n, 3) skin with the photo's expression, head units.
        shell: the head's hair and headwear; None without any, and all is far from hair.

    Returns:
        (n, 3) factors, and (n,) 1 beside hair, 0 far from it.

    """
    if shell is None:
        return np.ones_like(skin), np.zeros(len(skin))
    first = len(bust().rest)
    own = _existing(head) & (head.mesh.parts[first : first + SHELL] == Part.HAIR)
    own &= likeness_to_hair(head, shell.delit) > 0.5
    if own.sum() < _LEAST_HAIR:
        return np.ones_like(skin), np.zeros(len(skin))
    places = head.mesh.vertices[first : first + SHELL][own]
    near = neighbour_weights(places / MM, skin / MM)
    factors = np.clip(shell.delit[own] / np.maximum(shell.photographed[own], 0.03), 0.3, 3.0)
    distance = np.linalg.norm(near @ places - skin, axis=1) / MM
    return np.asarray(near @ factors), smoothstep(distance, *_FRINGE_MM)


def _shell_faces(head: PreviewHead, wanted: Mask) -> dict[Detail, Faces]:
    """Faces of the shell whose first corner is wanted, by level of detail."""
    exists = _existing(head)
    faces: dict[Detail, Faces] = {}
    for detail, step in _STEPS.items():
        quads, uv = _grid_quads(step)
        kept = wanted[quads[:, 0]] & exists[quads].all(1)
        faces[detail] = Faces(quads[kept], uv[kept])
    return faces


def _existing(head: PreviewHead) -> Mask:
    """(SHELL,) vertices of the shell that triangles use."""
    first = len(bust().rest)
    corners = head.mesh.faces[head.mesh.faces[:, 0] >= first].ravel() - first
    exists = np.zeros(SHELL, bool)
    exists[corners[corners < SHELL]] = True
    return exists


def _grid_quads(step: int) -> tuple[Indices32, Indices32]:
    """Quads of the hair's grid with every ``step``-th row and column, and their uv indices."""
    rows = np.unique(np.append(np.arange(0, GRID.rows, step), GRID.rows - 1))
    columns = np.arange(0, GRID.columns, step)
    upper, left = (v.ravel() for v in np.meshgrid(rows[:-1], columns, indexing="ij"))
    lower = np.repeat(rows[1:], len(columns))
    right = left + step

    def vertex(row: Indices, column: Indices) -> Indices:
        return row * GRID.columns + column % GRID.columns

    def coordinate(row: Indices, column: Indices) -> Indices:
        return row * (GRID.columns + 1) + column

    quads, uv = [], []
    corners = ((upper, left), (lower, left), (lower, right), (upper, right))
    quads.append(np.stack([vertex(*corner) for corner in corners], -1))
    uv.append(np.stack([coordinate(*corner) for corner in corners], -1))
    zero = np.zeros_like(columns)
    crown = np.full_like(columns, GRID.rows * GRID.columns)
    start, end = vertex(zero, columns), vertex(zero, columns + step)
    quads.append(np.stack([crown, start, end, end], -1))
    top = GRID.rows * (GRID.columns + 1) + columns
    uv.append(np.stack([top, columns, columns + step, columns + step], -1))
    return np.concatenate(quads).astype(np.int32), np.concatenate(uv).astype(np.int32)


def _shell_uv() -> Array:
    """Texture coordinates of the grid, with a column more than vertices, then of the crown."""
    row, column = np.mgrid[0 : GRID.rows, 0 : GRID.columns + 1]
    across = (column.ravel() + 0.5) / (GRID.columns + 1)
    up = 1 - (row.ravel() + 0.75) / (GRID.rows + 0.5)
    crown = (np.arange(GRID.columns) + 1.0) / (GRID.columns + 1)
    top = np.full(GRID.columns, 1 - 0.25 / (GRID.rows + 0.5))
    return np.stack([np.append(across, crown), np.append(up, top)], -1)


def _brim(head: PreviewHead, carrier: Carrier) -> RiggedPart:
    """The brim of a hat."""
    first = len(bust().rest) + SHELL
    vertices = head.mesh.vertices[first:]
    neutral, keys, weights = carrier.carried(vertices)
    faces: dict[Detail, Faces] = {}
    for detail, step in _BRIM_STEPS.items():
        rings, around = np.arange(RINGS), np.arange(0, AROUND, step)
        if step > 1:  # the edge in the middle stays
            rings = np.arange(0, RINGS, step)
        ring, at = (v.ravel() for v in np.meshgrid(rings[:-1], around, indexing="ij"))
        following = np.repeat(rings[1:], len(around))
        # the diagonal is that of the fitted brim's triangles
        corners = ((following, at), (following, at + step), (ring, at + step), (ring, at))
        quads = np.stack([r * AROUND + a % AROUND for r, a in corners], -1)
        uv = np.stack([r * (AROUND + 1) + a for r, a in corners], -1)
        faces[detail] = Faces(quads.astype(np.int32), uv.astype(np.int32))
    ring, at = (v.ravel() for v in np.mgrid[0:RINGS, 0 : AROUND + 1])
    uv = np.stack([at / AROUND, ring / (RINGS - 1)], -1)
    return RiggedPart("brim", "brim", neutral, uv, faces, keys, weights)


# -- clothes --


def clothes_part(
    head: PreviewHead, neutral: NeutralHead, keys: HeadKeys, carrier: Carrier
) -> RiggedPart | None:
    """Clothes: the bust below the neckline, lifted off the skin; None if it is bare."""
    topology = part_topology("skin")
    clothes = head.appearance.clothes
    depth = clothes.depth(carrier.skin)
    covered = (depth > -_COLLAR_MM) & clothes.below_chin(carrier.skin)
    if not (depth[covered] > 0).any():
        return None
    faces = part_faces(topology, neutral)
    island = np.full(len(carrier.skin), -1)
    for piece in (FACE, TORSO):
        island[topology.quads[topology.island == piece]] = piece
    covered &= island >= 0

    def level(detail: Detail) -> Faces:
        of_skin = faces[detail]
        rows = covered[of_skin.quads].any(1) & (island[of_skin.quads] >= 0).all(1)
        return Faces(of_skin.quads[rows], of_skin.quad_uv[rows])

    normals = vertex_normals(carrier.skin, topology.triangles())
    lifted = keys.vertices["skin"] + normals * (_CLOTH_MM * MM)
    lifted[:, 1] = np.maximum(lifted[:, 1], carrier.skin[:, 1].min())
    return RiggedPart(
        "clothes",
        "clothes",
        lifted,
        cloth_layout(),
        Levels(level),
        keys.keys("skin"),
        carrier.weights,
    )
