"""Fit hair and headwear to a photo: a mask and a thickness over the panorama around the bare head.

Unlike a library of sculpted styles, this family fits any hair: the mask says where it grows or
hangs, the thickness how far it stands off.  The silhouette fixes the thickness where rays graze
the hair, a thin plate continues it.  Unseen parts are mirrored, or follow a default hairline and
the visible length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, grey_opening, minimum_filter

from dp3d_core.arrays import Array, Mask, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.hair.ears import free_ears
from dp3d_core.preview.hair.length import TURNED_DEG, is_bald, length_by_column
from dp3d_core.preview.hair.mask import EDGE, hair_mask
from dp3d_core.preview.hair.outline_marks import (
    GRID,
    HairView,
    Marks,
    Outline,
    above_ears,
    corrected,
    free_sides,
    hair_outline,
    joined,
    tangents,
    without_ears,
)
from dp3d_core.preview.hair.styles import HANGS, HairStyle, default_mask
from dp3d_core.preview.hair.thickness import (
    DEFAULT_HAIR_MM,
    FLAT_MM,
    fit_thickness,
    rising_limit,
    soft_minimum,
    typical_thickness,
)
from dp3d_core.preview.photo.parsing import Parsing
from dp3d_core.preview.texture.panorama import AXIS, CYLINDER_HEIGHT, Panorama, wrap
from dp3d_core.preview.texture.strands import strand_noise

_UNDER = 4.0
"""Depth of the bare head below the hair that covers it, millimetres."""
_UNDER_HAIR = (0.6, 0.9)
"""Mask values between which the bare head is drawn in below the hair."""
_SINK = 5.0
"""Depth of the shell below the skin where there is no hair, millimetres."""
_FRONT_DEG = 80.0
"""Longitude up to which the edge of hair is a hairline, degrees."""
_LOCK = (1.6, 9.0)
"""Size of locks, texels of GRID across and down."""
_BUNCH = (4.0, 16.0)
"""Size of bunches of locks, texels of GRID across and down."""
_RELIEF = 0.07
"""Relief of locks relative to the thickness beyond ``_SHORT_MM``."""
_SHORT_MM = 6.0
"""Thickness up to which hair has no relief, millimetres."""
_MAX_RELIEF_MM = 1.7
"""Greatest relief of locks, millimetres."""
_TURNED_AWAY = (0.0, 0.3)
"""Cosines away from the photo's camera between which relief begins."""
_MAX_MOVE_MM = 9.0
"""Greatest move of hair by the final fit of the outline, millimetres."""
_MOVE_SIGMA = 1.5
"""Blur of these moves, texels."""
_BESIDE_EARS = 9
"""Texels around uncovered ears, twice as many sideways, in which hair is not moved."""
_SPIRE = (22, 44)
"""Size below which a bump of the upper hair is no volume, texels of GRID down and across."""
_SPIRE_MM = 12.0
"""Greatest height of such a bump, millimetres."""
_UPPER = (0.5, 0.8)
"""Distances from the crown, in dome heights, between which the limit on bumps ends."""
_OTHER_SIDE = 1.3
"""Greatest thickness of one side relative to the other."""
_OTHER_SIDE_MM = 8.0
"""Margin added to the greatest thickness of a side, millimetres."""
_FOREHEAD = (44.0, 26.0)
"""Longitudes between which the forehead ends, degrees."""
_ASIDE_DEG = 40.0
"""Absolute yaw above which a photo shows the outline of the hair behind, degrees."""
_FOREHEAD_ROWS = (0.3, 1.0)
"""Distances from the crown, in dome heights, between which an outline is that above the
forehead."""
_MIN_FOREHEAD_MARKS = 30
"""Least number of radii there with which a photo shows that outline; a profile has about 100."""
_FRONT_THICKNESS = 0.4
"""Thickness of hair at the hairline above the forehead, relative to the typical one."""
_WITHIN = (12.0, 24.0)
"""Depths inside a shoulder between which hanging hair ends, millimetres."""
_SHOULDER_FRONT = (46.0, 60.0)
"""Longitudes between which shoulders begin in front, degrees."""
_SHOULDER_BACK = (140.0, 122.0)
"""Longitudes between which shoulders end at the back, degrees."""
_RAGGED_MM = 3.0
"""Standard deviation of the length among locks of hanging hair, millimetres."""
_FLARE = 0.4
"""Greatest outward slope of hanging hair."""
_MIN_MM = 2.0
"""Least thickness, millimetres."""


@dataclass(frozen=True, eq=False)
class Hair:
    """Hair of one head.

    Attributes:
        mask: (GRID.rows, GRID.columns) mask of hair, 0 to 1.
        radius: (GRID.rows, GRID.columns) radius of the outer surface, head units.
        mesh: the shell; it runs below the skin where there is no hair.
        typical: typical thickness, head units.
        ears: (GRID.rows, GRID.columns) 1 on uncovered ears.

    """

    mask: Array
    radius: Array
    mesh: Mesh
    typical: float
    ears: Array

    def coverage(self, points: Array) -> Array:
        """(n,) coverage of points (n, 3) by hair, 0 to 1."""
        return smoothstep(GRID.look_up(self.mask.astype(np.float32), points)[:, 0], *EDGE)

    def beside_free_ear(self, points: Array) -> Mask:
        """(n,) whether points (n, 3) lie on the side of an uncovered ear."""
        left, right = free_sides(self.ears)
        return np.asarray(np.where(points[:, 0] < 0, left, right))


def grow_hair(
    portrait: Portrait,
    parsing: Parsing,
    bald: RayCaster,
    part: int,
    rounds: int = 3,
    style: HairStyle | None = None,
    outline: Outline | None = None,
    further: Sequence[HairView] = (),
) -> Hair:
    """Fit hair to the photo, with its own or a chosen style.

    Args:
        portrait: the photo, with pose and matte.
        parsing: classes of its pixels.
        bald: the head without hair.
        part: value of the shell's vertices in ``mesh.parts``.
        rounds: rounds of fitting mask and outline in turn.
        style: overrides length and thickness; None takes the photo's.
        outline: silhouette of the hair; None finds it (``outline_marks.hair_outline``).
        further: further photos, where ``style`` is None.

    """
    skin = _skin_radius(bald, GRID)
    others = [(view.portrait, view.parsing) for view in further]
    length = length_by_column(parsing, portrait, GRID.columns, others)
    outline = hair_outline(portrait, parsing) if outline is None else outline
    if style is not None:
        outline = above_ears(portrait, outline)
        length = np.full(GRID.columns, style.hangs_to * MM)
    length = _with_ragged_ends(length)
    hanging = length < HANGS * MM
    base = _envelope(skin, GRID, hanging)
    mask = default_mask(GRID, length)
    hangs = hanging[[GRID.columns // 4, 3 * GRID.columns // 4]]
    ears = np.zeros(mask.shape)
    if style is None or not hangs.any():
        ears = free_ears(portrait, parsing, bald, hangs, base, GRID)
        if not hangs.any():
            outline = without_ears(portrait, outline, skin, ears)
    if style is not None:
        further, others = (), []
    elif not hangs.any():
        further = [
            replace(view, outline=without_ears(view.portrait, view.outline, skin, ears))
            for view in further
        ]
    views = [(portrait, outline), *((view.portrait, view.outline) for view in further)]
    marks = joined([tangents(*view) for view in views])
    radius, typical = base, DEFAULT_HAIR_MM * MM
    front_shown = any(_shows_front(view) for view in further)
    behind_shown = any(_shows_behind(view.portrait) for view in further)
    for round_index in range(rounds):
        typical = typical_thickness(marks, base)
        constraints = _with_hairline(marks, mask, base, length, typical, front_shown)
        thickness = fit_thickness(constraints, base, mask, typical, hanging, behind_shown)
        if abs(portrait.report.yaw_deg) < TURNED_DEG:
            thickness = _even_sides(thickness)
        thickness = _without_spires(thickness)
        thickness = soft_minimum(thickness, rising_limit(mask, hanging))
        if style is not None:
            thickness = style.with_bun(np.minimum(thickness, style.max_thickness * MM), GRID)
        free = _without_wings(base + thickness)
        radius = np.maximum(free, skin + _MIN_MM * MM)
        if style is None or not is_bald(parsing):  # a bald head has no hairline to keep
            mask = hair_mask([(portrait, parsing), *others], radius, length, bald)
        if style is not None:
            mask = style.trimmed(mask, GRID) * (1 - _on_shoulders(free, skin))
        mask = mask * (1 - ears)
        surface = _surface(radius, skin, mask)
        if round_index + 1 < rounds and any(len(outline) for _, outline in views):
            shell = _shell(surface, mask, part)
            marks = joined([corrected(*view, shell, surface) for view in views if len(view[1])])
    radius = radius + _locks(portrait, radius, typical)
    return Hair(mask, radius, _shell(_surface(radius, skin, mask), mask, part), typical, ears)


def _shows_behind(portrait: Portrait) -> bool:
    """Whether a photo is taken so far from the side that it shows the outline behind."""
    return bool(abs(portrait.camera.yaw_pitch_deg[0]) > _ASIDE_DEG)


def _shows_front(view: HairView) -> bool:
    """Whether the outline of the hair in a photo reaches from the crown to the forehead."""
    marks = tangents(view.portrait, view.outline)
    angle = GRID.longitude_deg()[marks.column.astype(int) % GRID.columns]
    above, below = _FOREHEAD_ROWS
    distance = marks.row / GRID.dome_rows
    in_front = (angle < _FOREHEAD[0]) & (distance > above) & (distance < below)
    return bool(in_front.sum() >= _MIN_FOREHEAD_MARKS)


def _with_ragged_ends(length: Array) -> Array:
    """(GRID.columns,) heights of the ends of hair, head units, varied by lock where it hangs."""
    rng = np.random.default_rng(11)
    shape = 1, GRID.columns
    locks = strand_noise(shape, (1.2, 0.1), rng) + strand_noise(shape, (4.0, 0.1), rng)
    shorter = np.maximum(_RAGGED_MM * locks[0], -_RAGGED_MM) * MM
    return np.where(length < HANGS * MM, np.minimum(length + shorter, HANGS * MM - 1e-6), length)


def _even_sides(thickness: Array) -> Array:
    """(GRID) thickness with each side limited by the other.

    A side that stands out is more often background inside the matte than a plait.
    """
    other = np.clip(thickness[:, ::-1], 0, None)
    limited = np.minimum(thickness, _OTHER_SIDE * other + _OTHER_SIDE_MM * MM)
    soft = cv2.GaussianBlur(wrap(limited, 8), (0, 0), 1.5)[:, 8:-8]
    return np.where(limited < thickness, soft, thickness)


def _without_spires(thickness: Array) -> Array:
    """(GRID) thickness with narrow bumps limited.

    A horn is a feather, a neighbour or a wall inside the matte; volume of hair is broad.
    """
    height, width = _SPIRE
    margin = 2 * width
    broad = grey_opening(wrap(thickness, margin), size=(height, width))[:, margin:-margin]
    # locks beside the face may stand out
    upper = 1 - smoothstep(np.arange(GRID.rows) / GRID.dome_rows, *_UPPER)[:, None]
    excess = np.maximum(thickness - broad - _SPIRE_MM * MM, 0) * upper
    soft = cv2.GaussianBlur(wrap(thickness - excess, 8), (0, 0), 1.5)[:, 8:-8]
    return np.where(excess > 0, soft, thickness)


def _on_shoulders(free: Array, skin: Array) -> Array:
    """(GRID) 1 where hanging hair would lie inside a shoulder and therefore ends on top of it.

    Args:
        free: (GRID) radius of the hair without collision, head units.
        skin: (GRID) radius of the bare head, head units.

    """
    angle = GRID.longitude_deg()
    beside = smoothstep(angle, *_SHOULDER_FRONT) * smoothstep(angle, *_SHOULDER_BACK)
    return np.asarray(smoothstep((skin - free) / MM, *_WITHIN) * beside)


def _without_wings(radius: Array) -> Array:
    """(GRID) radius of hair with the outward slope of its hanging part limited.

    Whatever stands out farther beside the shoulders is a dress or a shadow.
    """
    step = CYLINDER_HEIGHT / (GRID.rows - GRID.dome_rows)
    calm = radius.copy()
    for row in range(GRID.dome_rows + 1, GRID.rows):
        calm[row] = np.minimum(calm[row], calm[row - 1] + _FLARE * step)
    return calm


def _locks(portrait: Portrait, radius: Array, typical: float) -> Array:
    """(GRID) relief of locks, head units, where the surface faces away from the photo's camera."""
    rng = np.random.default_rng(7)
    shape = radius.shape
    relief = strand_noise(shape, _LOCK, rng) + strand_noise(shape, _BUNCH, rng)
    _, outward = GRID.rays()
    points = GRID.rays()[0] + outward * radius.reshape(-1, 1)
    facing = np.einsum("ni,ni->n", unit(portrait.camera.position - points), outward)
    hidden = smoothstep(-facing, *_TURNED_AWAY).reshape(shape)
    # no relief at the crown, where columns converge
    hidden *= smoothstep(np.arange(GRID.rows, dtype=float) / GRID.dome_rows, 0.1, 0.35)[:, None]
    depth = min(_RELIEF * max(typical - _SHORT_MM * MM, 0.0), _MAX_RELIEF_MM * MM)
    return np.asarray(relief * depth * hidden, np.float64)


def plain_hair(bald: RayCaster, part: int, style: HairStyle | None = None) -> Mesh:
    """Shell of hair without evidence from a photo: of a style, else short."""
    skin = _skin_radius(bald, GRID)
    length = np.full(GRID.columns, 0.0 if style is None else style.hangs_to * MM)
    mask = default_mask(GRID, length)
    base = _envelope(skin, GRID, length < HANGS * MM)
    no_marks = Marks(*(np.zeros(0) for _ in range(3)))
    typical = (
        DEFAULT_HAIR_MM * MM if style is None else min(DEFAULT_HAIR_MM, style.max_thickness) * MM
    )
    constraints = _with_hairline(no_marks, mask, base, length, typical)
    hangs = length < HANGS * MM
    thickness = soft_minimum(
        fit_thickness(constraints, base, mask, typical, hangs), rising_limit(mask, hangs)
    )
    radius = base + (thickness if style is None else style.with_bun(thickness, GRID))
    return _shell(_surface(np.maximum(radius, skin + _MIN_MM * MM), skin, mask), mask, part)


def _skin_radius(bald: RayCaster, grid: Panorama) -> Array:
    """(rows, columns) radius of the bare head's outermost surface with ears, head units."""
    hits = bald.cast(*grid.inward_rays())
    radius = np.full(grid.rows * grid.columns, 0.1)
    radius[hits.ray] = grid.radius(hits.points)
    return radius.reshape(grid.rows, grid.columns)


def _envelope(skin: Array, grid: Panorama, hangs: Mask) -> Array:
    """(rows, columns) radius of hair without thickness, head units.

    Skull and neck without ears.  Where hair hangs (``hangs``, (columns,) bool), a mantle falls
    from the widest rows of the skull and approaches the neck.
    """
    window = max(3, grid.columns // 14) | 1
    skull = grey_opening(wrap(skin, window), size=(window, window))[:, window:-window]
    skull = np.asarray(cv2.GaussianBlur(wrap(skull, 9), (0, 0), 2), np.float64)
    skull = np.asarray(skull[:, 9:-9])
    origin, outward = grid.rays()
    horizontal = np.hypot(*(outward[:, [0, 2]] * skull.reshape(-1, 1)).T).reshape(skull.shape)
    height = (origin + outward * skull.reshape(-1, 1))[:, 1].reshape(skull.shape)
    mantle = horizontal.copy()
    for row in range(1, grid.rows):
        fall = np.maximum(height[row - 1] - height[row], 0)
        mantle[row] = np.maximum(horizontal[row], mantle[row - 1] - 0.22 * fall)
    lower = np.arange(grid.rows)[:, None] >= grid.dome_rows
    hanging = gaussian_filter1d(hangs.astype(float), grid.columns / 60, mode="wrap")
    # the mantle starts smoothly below the dome
    onset = smoothstep(np.arange(grid.rows, dtype=float) - grid.dome_rows, 0, grid.rows / 12)[
        :, None
    ]
    return np.asarray(skull + (np.maximum(skull, mantle) - skull) * hanging * lower * onset)


def _with_hairline(
    marks: Marks,
    mask: Array,
    base: Array,
    length: Array,
    typical: float,
    front_shown: bool = False,
) -> Marks:
    """Add radii along the edge of hair to those of the outline.

    Hair is flat at the hairline and, unless it hangs, at its lower edge.  Above the forehead it
    starts with part of its thickness, or it would rise in a straight slope to the crown.

    Args:
        marks: radii of the outline.
        mask: (GRID) mask of hair, 0 to 1.
        base: (GRID) radius of hair without thickness, head units.
        length: (GRID.columns,) height of the ends of hair, head units.
        typical: typical thickness, head units.
        front_shown: whether the outline above the forehead is among the marks.

    """
    grown = (mask > 0.5).astype(np.uint8)
    rim = (grown > 0) & (cv2.erode(grown, np.ones((5, 5), np.uint8)) == 0)
    angle = GRID.longitude_deg()
    short = length >= HANGS * MM
    rim &= ((angle < _FRONT_DEG) | short)[None]
    rim[GRID.dome_rows + 8 :, ~short] = False
    rim[0] = False
    if front_shown:
        rim[: GRID.dome_rows, angle < _FRONT_DEG] = False
    row, column = np.nonzero(rim)
    front = smoothstep(angle, *_FOREHEAD)[column] * (row < GRID.dome_rows)
    flat = base[row, column] + np.maximum(FLAT_MM * MM, _FRONT_THICKNESS * typical * front)
    return Marks(
        np.concatenate([marks.column, column.astype(float)]),
        np.concatenate([marks.row, row.astype(float)]),
        np.concatenate([marks.radius, flat]),
    )


def _surface(radius: Array, skin: Array, mask: Array) -> Array:
    """(GRID) radius of the shell, head units: of the hair, below the skin where there is none."""
    inner = minimum_filter(wrap(skin, 2), 5)[:, 2:-2] - _SINK * MM
    weight = smoothstep(mask, *EDGE)
    return np.asarray(inner + (radius - inner) * weight)


def _shell(surface: Array, mask: Array, part: int) -> Mesh:
    """Mesh of the hair's surface (GRID), without the triangles below the skin."""
    origin, outward = GRID.rays()
    vertices = origin + outward * surface.reshape(-1, 1)
    index = np.arange(surface.size, dtype=np.int32).reshape(surface.shape)
    right = np.roll(index, -1, 1)
    a, b, c, d = index[:-1], right[:-1], right[1:], index[1:]
    crown = AXIS + np.array([0, float(surface[0].mean()), 0])
    cap = np.stack([np.full(GRID.columns, len(vertices), np.int32), index[0], right[0]], -1)
    faces = np.concatenate(
        [np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3), cap]
    )
    vertices = np.concatenate([vertices, crown[None]])
    grows = np.append(mask.ravel(), mask[0].mean()) > EDGE[0]
    faces = faces[grows[faces].any(1)]
    return Mesh.of(vertices, faces, np.full(len(vertices), part, np.uint8))


def draw_in_under_hair(hair: Hair, bare: Mesh) -> Mesh:
    """Draw the bare head in where hair covers it, so that it does not show through."""
    cover = smoothstep(
        GRID.look_up(hair.mask.astype(np.float32), bare.vertices)[:, 0], *_UNDER_HAIR
    )
    radius = GRID.look_up(hair.radius.astype(np.float32), bare.vertices)[:, 0]
    own = GRID.radius(bare.vertices)
    depth = _UNDER * MM * cover
    goal = np.where(own > radius - depth, radius - depth, own)
    factor = 1 + (goal / np.maximum(own, 1e-6) - 1) * cover
    offset = bare.vertices - AXIS
    low = offset[:, 1] < 0
    scaled = offset * factor[:, None]
    scaled[low, 1] = offset[low, 1]
    return bare.with_vertices(AXIS + scaled)


def limit_hair_moves(before: Mesh, after: Mesh, hair: Hair) -> Mesh:
    """Limit and smooth the moves of hair by the final fit of the outline.

    Hair already has the photo's outline; large moves would pull spikes out of its ends.

    Args:
        before: the head with hair, whose last vertices are the hair's.
        after: the head after the fit of the outline.
        hair: the hair; it is not moved beside uncovered ears, and moves the scalp below it.

    """
    n = GRID.rows * GRID.columns
    first = len(before.vertices) - n - 1
    moves = (after.vertices - before.vertices)[first:-1]
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    moves *= np.minimum(1, _MAX_MOVE_MM * MM / np.maximum(length, 1e-9))
    beside = cv2.dilate(wrap(hair.ears, 32), np.ones((_BESIDE_EARS, 2 * _BESIDE_EARS), np.uint8))
    movable = 1 - cv2.GaussianBlur(beside, (0, 0), 3.0)[:, 32:-32]
    field = wrap(moves.reshape(GRID.rows, GRID.columns, 3) * movable[..., None], 8)
    smooth_moves = np.asarray(cv2.GaussianBlur(field, (0, 0), _MOVE_SIGMA), np.float64)[:, 8:-8]
    vertices = after.vertices.copy()
    vertices[first:-1] = before.vertices[first:-1] + smooth_moves.reshape(-1, 3)
    bare = before.vertices[:first]
    vertices[:first] += (
        GRID.look_up(smooth_moves.astype(np.float32), bare) * hair.coverage(bare)[:, None]
    )
    return after.with_vertices(vertices)
