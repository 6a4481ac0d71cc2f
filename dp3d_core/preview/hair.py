"""Hair and headwear from a photo: a thickness over the panorama around the bare head.

One family holds what a choice among sculpted styles does not: where hair grows or hangs is a
mask, how far it stands off is a thickness.  The photo's outline fixes the thickness where rays
graze the hair; between and behind it is the smoothest one (thin plate).  What the photo does not
show is taken from the mirrored side, then from a usual hairline and the length that is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, grey_opening, minimum_filter

from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.ears import free_ears
from dp3d_core.preview.hair_length import TURNED_DEG, is_bald, length_by_column
from dp3d_core.preview.hair_marks import (
    GRID,
    Marks,
    Outline,
    above_ears,
    corrected,
    free_sides,
    hair_outline,
    tangents,
    without_ears,
)
from dp3d_core.preview.hair_thickness import (
    FLAT_MM,
    USUAL_HAIR_MM,
    at_most,
    rising,
    smoothest,
    usual_thickness,
)
from dp3d_core.preview.hairstyle import HANGS, HairStyle, usual_mask
from dp3d_core.preview.panorama import AXIS, CYLINDER_HEIGHT, Panorama, wrap
from dp3d_core.preview.parsing import Kind, Parsing
from dp3d_core.preview.strands import strand_noise
from dp3d_core.raycast import RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_UNDER, _UNDER_HAIR = 4.0, (0.6, 0.9)
"""Millimetres by which the bare head stays below its hair, and mask between which it does."""
_SINK = 5.0
"""Millimetres that the surface lies under the skin where there is no hair."""
_EDGE = (0.30, 0.62)
"""Of the mask: below the first there is no hair, above the second it has its full thickness."""
_FRONT_DEG = 80.0
"""Longitude up to which hair ends above the face."""
_LOCK, _BUNCH = (1.6, 9.0), (4.0, 16.0)
"""Size of locks and of bunches of them, texels of GRID across and down."""
_RELIEF, _SHORT_MM, _DEEPEST, _TURNED_AWAY = 0.07, 6.0, 1.7, (0.0, 0.3)
"""Relief of locks, parts of the thickness beyond so many millimetres, and at most; cosine away from
the photo's camera between which it begins."""
_MOST_MOVE, _EVEN_MOVE = 9.0, 1.5
"""Millimetres by which the last fit of the outline moves hair, and texels over which it does so
evenly."""
_BESIDE_EARS = 9
"""Texels around free ears, twice as many to the sides, in which it moves no hair."""
_GRAZING, _ASIDE = 0.35, (4.0, 14.0)
"""Cosine by which the far half must face a camera more than the near one to be believed, in full
from the second of two yaws on, degrees."""
_NOTCH = 7
"""Texels of GRID across a notch in the edge of hair that is none."""
_SPIRE, _SPIRE_MM, _UPPER = (22, 44), 12.0, (0.5, 0.8)
"""Texels of GRID down and across within which what stands out is no volume of hair, millimetres
that it may, and part of the dome's rows from the crown above which that is so."""
_OTHER_SIDE, _OTHER_SIDE_MM = 1.3, 8.0
"""How much thicker than the other a side of the hair may be, relative and millimetres."""
_FOREHEAD, _STANDS = (44.0, 26.0), 0.4
"""Longitudes between which the forehead ends, and thickness of the hair's front above it, parts of
the usual one."""
_BESIDE_FACE, _TAB, _TAB_ROWS = 64.0, 9.0, 3.0
"""Longitude from which on hair is beside the face, columns over which its lower edge is even, and
rows by which it may go below that."""
_WITHIN, _SHOULDER_FRONT, _SHOULDER_BACK = (12.0, 24.0), (46.0, 60.0), (140.0, 122.0)
"""Millimetres within a shoulder between which hair ends, and longitudes of the shoulders."""
_RAGGED_MM = 3.0
"""Millimetres by which locks of hair that hangs differ in length."""
_FLARE = 0.4
"""Greatest slope outwards of hair that hangs."""
_LEAST = 2.0
"""Least thickness, millimetres."""


@dataclass(frozen=True, eq=False)
class Hair:
    """Hair of one head.

    Attributes:
        mask: (GRID.rows, GRID.columns) 0 to 1.
        radius: (GRID.rows, GRID.columns) head units, of the outer surface.
        mesh: the shell; it runs below the skin where there is no hair.
        usual: thickness, head units, that most of it has.
        ears: (GRID.rows, GRID.columns) 1 on ears that it leaves free.

    """

    mask: Array
    radius: Array
    mesh: Mesh
    usual: float
    ears: Array

    def over(self, points: Array) -> Array:
        """(n,) how surely points lie under hair, 0 to 1."""
        return ramp(GRID.look_up(self.mask.astype(np.float32), points)[:, 0], *_EDGE)

    def leaves_free(self, points: Array) -> Mask:
        """(n,) whether points lie on the side of an ear that is free."""
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
) -> Hair:
    """Hair as the photo shows it, or of a style.

    Args:
        portrait: with pose and matte.
        parsing: of the portrait.
        bald: the head without hair.
        part: number of the shell's vertices in ``mesh.parts``.
        rounds: corrections of the outline.
        style: overrules length and thickness; None: those of the photo.
        outline: of the hair in the photo; None: all that ends before background or cloth.

    """
    skin = _skin_radius(bald, GRID)
    length = length_by_column(parsing, portrait, GRID.columns)
    outline = hair_outline(portrait, parsing) if outline is None else outline
    if style is not None:
        outline = above_ears(portrait, outline)
        length = np.full(GRID.columns, style.hangs_to * MM)
    length = _with_ragged_ends(length)
    base = _envelope(skin, GRID, length < HANGS * MM)
    mask = usual_mask(GRID, length)
    hangs = length[[GRID.columns // 4, 3 * GRID.columns // 4]] < HANGS * MM
    ears = np.zeros(mask.shape)
    if style is None or not hangs.any():
        ears = free_ears(portrait, parsing, bald, hangs, base, GRID)
        if not hangs.any():
            outline = without_ears(portrait, outline, skin, ears)
    marks = tangents(portrait, outline)
    radius, usual = base, USUAL_HAIR_MM * MM
    for number in range(rounds):
        usual = usual_thickness(marks, base)
        flat = _with_hairline(marks, mask, base, length, usual)
        thickness = smoothest(flat, base, mask, usual, length < HANGS * MM)
        if abs(portrait.report.yaw_deg) < TURNED_DEG:
            thickness = _even_sides(thickness)
        thickness = _without_spires(thickness)
        thickness = at_most(thickness, rising(mask, length < HANGS * MM))
        if style is not None:
            thickness = style.with_bun(np.minimum(thickness, style.most * MM), GRID)
        free = _without_wings(base + thickness)
        radius = np.maximum(free, skin + _LEAST * MM)
        if style is None or not is_bald(parsing):  # a bald head shows nothing of its hairline
            mask = _mask(portrait, parsing, radius, length, bald)
        if style is not None:
            mask = style.trimmed(mask, GRID) * (1 - _on_shoulders(free, skin))
        mask = mask * (1 - ears)
        surface = _surface(radius, skin, mask)
        if number + 1 < rounds and len(outline):
            marks = corrected(portrait, outline, _shell(surface, mask, part), surface)
    radius = radius + _locks(portrait, radius, usual)
    return Hair(mask, radius, _shell(_surface(radius, skin, mask), mask, part), usual, ears)


def _with_ragged_ends(length: Array) -> Array:
    """(GRID.columns,) height, head units, of the ends of hair that hangs: locks differ."""
    rng = np.random.default_rng(11)
    shape = 1, GRID.columns
    locks = strand_noise(shape, (1.2, 0.1), rng) + strand_noise(shape, (4.0, 0.1), rng)
    shorter = np.maximum(_RAGGED_MM * locks[0], -_RAGGED_MM) * MM
    return np.where(length < HANGS * MM, np.minimum(length + shorter, HANGS * MM - 1e-6), length)


def _even_sides(thickness: Array) -> Array:
    """(GRID) thickness no side of which stands out far beyond the other.

    What does is background that the matte took along, more often than a plait.
    """
    other = np.clip(thickness[:, ::-1], 0, None)
    even = np.minimum(thickness, _OTHER_SIDE * other + _OTHER_SIDE_MM * MM)
    soft = cv2.GaussianBlur(wrap(even, 8), (0, 0), 1.5)[:, 8:-8]
    return np.where(even < thickness, soft, thickness)


def _without_spires(thickness: Array) -> Array:
    """(GRID) thickness that rises little where it stands out over few texels alone.

    A horn is a feather, a neighbour or the wall that the matte took along; volume is broad.
    """
    high, wide = _SPIRE
    pad = 2 * wide
    broad = grey_opening(wrap(thickness, pad), size=(high, wide))[:, pad:-pad]
    # beside the face locks do stand out
    upper = 1 - ramp(np.arange(GRID.rows) / GRID.dome_rows, *_UPPER)[:, None]
    excess = np.maximum(thickness - broad - _SPIRE_MM * MM, 0) * upper
    soft = cv2.GaussianBlur(wrap(thickness - excess, 8), (0, 0), 1.5)[:, 8:-8]
    return np.where(excess > 0, soft, thickness)


def _on_shoulders(free: Array, skin: Array) -> Array:
    """(GRID) 1 where hair that hangs freely would lie within a shoulder: it ends on top of it.

    Args:
        free: (GRID) radius of the hair, head units.
        skin: (GRID) radius of the bare head.

    """
    angle = GRID.aside_deg()
    beside = ramp(angle, *_SHOULDER_FRONT) * ramp(angle, *_SHOULDER_BACK)
    return np.asarray(ramp((skin - free) / MM, *_WITHIN) * beside)


def _without_wings(radius: Array) -> Array:
    """(GRID) radius of hair that flares no more than hair does where it hangs.

    What stands out farther beside the shoulders is a dress or a shadow.
    """
    step = CYLINDER_HEIGHT / (GRID.rows - GRID.dome_rows)
    calm = radius.copy()
    for row in range(GRID.dome_rows + 1, GRID.rows):
        calm[row] = np.minimum(calm[row], calm[row - 1] + _FLARE * step)
    return calm


def _locks(portrait: Portrait, radius: Array, usual: float) -> Array:
    """(GRID) relief of locks, head units, where the photo does not show the hair's own outline."""
    rng = np.random.default_rng(7)
    shape = radius.shape
    relief = strand_noise(shape, _LOCK, rng) + strand_noise(shape, _BUNCH, rng)
    _, outward = GRID.rays()
    points = GRID.rays()[0] + outward * radius.reshape(-1, 1)
    facing = np.einsum("ni,ni->n", unit(portrait.camera.position - points), outward)
    unseen = ramp(-facing, *_TURNED_AWAY).reshape(shape)
    # columns draw together at the crown
    unseen *= ramp(np.arange(GRID.rows, dtype=float) / GRID.dome_rows, 0.1, 0.35)[:, None]
    depth = min(_RELIEF * max(usual - _SHORT_MM * MM, 0.0), _DEEPEST * MM)
    return np.asarray(relief * depth * unseen, np.float64)


def plain_hair(bald: RayCaster, part: int, style: HairStyle | None = None) -> Mesh:
    """The shell of hair, short unless a style says otherwise, of which no photo shows anything."""
    skin = _skin_radius(bald, GRID)
    length = np.full(GRID.columns, 0.0 if style is None else style.hangs_to * MM)
    mask = usual_mask(GRID, length)
    base = _envelope(skin, GRID, length < HANGS * MM)
    nothing = Marks(*(np.zeros(0) for _ in range(3)))
    usual = USUAL_HAIR_MM * MM if style is None else min(USUAL_HAIR_MM, style.most) * MM
    flat = _with_hairline(nothing, mask, base, length, usual)
    hangs = length < HANGS * MM
    thickness = at_most(smoothest(flat, base, mask, usual, hangs), rising(mask, hangs))
    radius = base + (thickness if style is None else style.with_bun(thickness, GRID))
    return _shell(_surface(np.maximum(radius, skin + _LEAST * MM), skin, mask), mask, part)


def _skin_radius(bald: RayCaster, grid: Panorama) -> Array:
    """(rows, columns) radius of the bare head's outermost surface, ears included."""
    hits = bald.cast(*grid.inward())
    radius = np.full(grid.rows * grid.columns, 0.1)
    radius[hits.ray] = grid.radius(hits.points)
    return radius.reshape(grid.rows, grid.columns)


def _envelope(skin: Array, grid: Panorama, hangs: Mask) -> Array:
    """(rows, columns) what hair of no thickness lies on.

    The skull and neck without ears; where hair hangs (``hangs``, (columns,)), below the skull's
    widest rows a mantle that falls from them and draws in towards the neck.
    """
    wide = max(3, grid.columns // 14) | 1
    skull = grey_opening(wrap(skin, wide), size=(wide, wide))[:, wide:-wide]
    skull = cv2.GaussianBlur(wrap(skull, 9), (0, 0), 2)
    skull = np.asarray(skull[:, 9:-9])
    origin, outward = grid.rays()
    level = np.hypot(*(outward[:, [0, 2]] * skull.reshape(-1, 1)).T).reshape(skull.shape)
    height = (origin + outward * skull.reshape(-1, 1))[:, 1].reshape(skull.shape)
    mantle = level.copy()
    for row in range(1, grid.rows):
        fall = np.maximum(height[row - 1] - height[row], 0)
        mantle[row] = np.maximum(level[row], mantle[row - 1] - 0.22 * fall)
    lower = np.arange(grid.rows)[:, None] >= grid.dome_rows
    falls = gaussian_filter1d(hangs.astype(float), grid.columns / 60, mode="wrap")
    # it begins at the widest place without a step
    begins = ramp(np.arange(grid.rows, dtype=float) - grid.dome_rows, 0, grid.rows / 12)[:, None]
    return np.asarray(skull + (np.maximum(skull, mantle) - skull) * falls * lower * begins)


def _with_hairline(marks: Marks, mask: Array, base: Array, length: Array, usual: float) -> Marks:
    """Marks with those of the hairline: hair lies flat where it begins.

    Above the forehead thick hair (``usual``, head units) stands up at once; else it would rise in
    a straight slope to the crown.

    And where it ends, unless it hangs (``length``, (columns,) as :func:`length_by_column`).
    """
    grown = (mask > 0.5).astype(np.uint8)
    rim = (grown > 0) & (cv2.erode(grown, np.ones((5, 5), np.uint8)) == 0)
    angle = GRID.aside_deg()
    short = length >= HANGS * MM
    rim &= ((angle < _FRONT_DEG) | short)[None]
    rim[GRID.dome_rows + 8 :, ~short] = False
    rim[0] = False
    row, column = np.nonzero(rim)
    front = ramp(angle, *_FOREHEAD)[column] * (row < GRID.dome_rows)
    flat = base[row, column] + np.maximum(FLAT_MM * MM, _STANDS * usual * front)
    return Marks(
        np.concatenate([marks.column, column.astype(float)]),
        np.concatenate([marks.row, row.astype(float)]),
        np.concatenate([marks.radius, flat]),
    )


def _mask(
    portrait: Portrait, parsing: Parsing, radius: Array, length: Array, bald: RayCaster
) -> Array:
    """(GRID) where hair is: seen, else mirrored, else usual."""
    origin, outward = GRID.rays()
    camera = portrait.camera
    points = origin + outward * radius.reshape(-1, 1)
    towards = unit(camera.position - points)
    facing = np.einsum("ni,ni->n", towards, outward)
    uv, _ = camera.project(points)
    chance = parsing.at(uv, camera.width)
    inside = portrait.shows(uv)
    blocked = bald.blocked(points + 0.004 * outward, towards)
    covered = chance[:, Kind.HAIR] / np.maximum(1 - chance[:, Kind.BACKGROUND], 0.15)
    covered = np.clip(covered, 0, 1)
    # what stands before the far cheek in the photo hangs behind it
    yaw = portrait.report.yaw_deg
    far = ramp(points[:, 0] * -np.sign(yaw), -8 * MM, 8 * MM)
    strict = _GRAZING * ramp(np.array(abs(yaw)), *_ASIDE)
    trust = ramp(facing - strict * far, 0.10, 0.35) * inside * ~blocked
    # background seen where the surface is says that it is too large there, not that it is bald
    trust *= 1 - ramp(chance[:, Kind.BACKGROUND], 0.5, 0.8)
    shape = GRID.rows, GRID.columns
    if abs(yaw) > TURNED_DEG:
        trust *= 1 - far
    covered, trust = covered.reshape(shape), trust.reshape(shape)
    usual = usual_mask(GRID, length)
    mirrored, mirrored_trust = covered[:, ::-1], trust[:, ::-1]
    level = (origin[:, 1] / MM).reshape(shape)
    angle = np.abs(np.degrees(np.arctan2(outward[:, 0], outward[:, 2]))).reshape(shape)
    # beside the neck hair hangs from the temples: no curtain before the cheeks; and without
    # hair that hangs a beard is all that may look like hair there
    low = ramp(level, -5, -25) * ramp(level, -165, -145)
    hangs = (length < HANGS * MM)[None]
    curtain = 1 - low * (1 - ramp(angle, 46, 60))
    sideburn = 1 - ramp(level, 14, 2) * (1 - ramp(angle, 70, 78))
    sideburn *= 1 - low * (1 - ramp(angle, 86, 94))
    front = np.where(hangs, curtain, sideburn)
    help_ = np.minimum(mirrored_trust, 1 - trust) * 0.95
    rest = np.maximum(1 - trust - help_, 0.0)
    mixed = covered * trust + mirrored * help_ + usual * rest
    mixed *= front
    # strands before the temple are no notches of the shell: their colours are the photo's anyway
    round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_NOTCH, _NOTCH))
    calm = cv2.morphologyEx(wrap(mixed, 16), cv2.MORPH_CLOSE, round_)
    calm = cv2.morphologyEx(calm, cv2.MORPH_OPEN, round_)
    soft = cv2.GaussianBlur(calm, (0, 0), 1.6)
    return _without_holes(_one_growth(_without_tabs(np.asarray(soft[:, 16:-16], np.float64))))


def _without_tabs(mask: Array) -> Array:
    """A mask whose lower edge beside and behind the face has no narrow tabs.

    A dark collar or the shade of the jaw beside hair looks like hair.
    """
    angle = GRID.aside_deg()
    beside = np.flatnonzero(angle > _BESIDE_FACE)
    rows = np.arange(GRID.rows)[:, None]
    grown = (mask > _EDGE[0]) | (rows < GRID.dome_rows // 2)
    # what lies below a gap is no hair
    ends = np.logical_and.accumulate(grown, axis=0).sum(0).astype(float)
    # from one temple over the back to the other
    order = beside[np.argsort((beside + GRID.columns // 2) % GRID.columns)]
    most = gaussian_filter1d(ends[order], _TAB, mode="nearest") + _TAB_ROWS
    trimmed = mask.copy()
    trimmed[:, order] *= 1 - ramp(rows - most, 0.0, 3.0)
    return trimmed


def _without_holes(mask: Array) -> Array:
    """A mask whose gaps all hang together with the face or with the neck below the hair."""
    columns = mask.shape[1]
    twice = np.concatenate([mask, mask], 1)
    count, pieces = cv2.connectedComponents((twice <= _EDGE[1]).astype(np.uint8), connectivity=4)
    front = pieces[:, [columns // 2, columns + columns // 2]]
    open_ = np.isin(np.arange(count), np.unique(np.concatenate([front.ravel(), pieces[-1]])))
    open_[0] = True
    hole = ~open_[pieces]
    hole = hole[:, :columns] | hole[:, columns:]
    return np.where(hole, 1.0, mask)


def _one_growth(mask: Array) -> Array:
    """A mask without what hangs together with nothing that grows on the upper skull."""
    columns = mask.shape[1]
    twice = np.concatenate([mask, mask], 1)
    count, pieces = cv2.connectedComponents((twice > _EDGE[0]).astype(np.uint8), connectivity=4)
    top = np.unique(pieces[: GRID.dome_rows * 2 // 3])
    lost = ~np.isin(np.arange(count), top)
    lost[0] = False
    alone = lost[pieces]
    alone = alone[:, :columns] & alone[:, columns:]
    return np.where(alone, 0.0, mask)


def _surface(radius: Array, skin: Array, mask: Array) -> Array:
    """(GRID) radius of the shell: that of the hair, and below the skin where there is none."""
    inner = minimum_filter(wrap(skin, 2), 5)[:, 2:-2] - _SINK * MM
    share = ramp(mask, *_EDGE)
    return np.asarray(inner + (radius - inner) * share)


def _shell(surface: Array, mask: Array, part: int) -> Mesh:
    """The hair's surface where there is hair, open where it runs below the skin."""
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
    grows = np.append(mask.ravel(), mask[0].mean()) > _EDGE[0]
    faces = faces[grows[faces].any(1)]
    return Mesh.of(vertices, faces, np.full(len(vertices), part, np.uint8))


def under_hair(hair: Hair, bare: Mesh) -> Mesh:
    """The bare head, drawn in a little where hair covers it, so that it never shows through."""
    cover = ramp(GRID.look_up(hair.mask.astype(np.float32), bare.vertices)[:, 0], *_UNDER_HAIR)
    radius = GRID.look_up(hair.radius.astype(np.float32), bare.vertices)[:, 0]
    own = GRID.radius(bare.vertices)
    depth = _UNDER * MM * cover
    goal = np.where(own > radius - depth, radius - depth, own)
    share = 1 + (goal / np.maximum(own, 1e-6) - 1) * cover
    away = bare.vertices - AXIS
    low = away[:, 1] < 0
    scaled = away * share[:, None]
    scaled[low, 1] = away[low, 1]
    return bare.with_vertices(AXIS + scaled)


def with_calm_hair(before: Mesh, after: Mesh, hair: Hair) -> Mesh:
    """A head whose hair, the last vertices, was moved a little and evenly.

    Its outline is the photo's already: what would draw it far pulls spikes out of its ends.

    Args:
        before: the head with hair.
        after: the head after its outline was brought onto the photo's.
        hair: what stands out at ears that it leaves free is no hair, and the scalp below it goes
            along with it.

    """
    n = GRID.rows * GRID.columns
    first = len(before.vertices) - n - 1
    moves = (after.vertices - before.vertices)[first:-1]
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    moves *= np.minimum(1, _MOST_MOVE * MM / np.maximum(length, 1e-9))
    beside = cv2.dilate(wrap(hair.ears, 32), np.ones((_BESIDE_EARS, 2 * _BESIDE_EARS), np.uint8))
    free = 1 - cv2.GaussianBlur(beside, (0, 0), 3.0)[:, 32:-32]
    field = wrap(moves.reshape(GRID.rows, GRID.columns, 3) * free[..., None], 8)
    even = np.asarray(cv2.GaussianBlur(field, (0, 0), _EVEN_MOVE), np.float64)[:, 8:-8]
    vertices = after.vertices.copy()
    vertices[first:-1] = before.vertices[first:-1] + even.reshape(-1, 3)
    bare = before.vertices[:first]
    vertices[:first] += GRID.look_up(even.astype(np.float32), bare) * hair.over(bare)[:, None]
    return after.with_vertices(vertices)
