"""Where skin ends and clothes begin below the chin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.mesh import unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.choices import AUTO, Choice
from dp3d_core.preview.face_colours import FaceColours
from dp3d_core.preview.panorama import AXIS, Panorama, remap
from dp3d_core.preview.parsing import Kind, Parsing
from dp3d_core.preview.tones import lab, skin_in_other_light
from dp3d_core.raycast import Hits
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_GRID = Panorama(192, 384)
_CHIN = -72.0
"""Height, millimetres, above which no clothes are looked for."""
_COLLAR = -128.0
"""Drop of a collar that nothing is known of, millimetres."""
_SLOPE = 18.0
"""Millimetres by which a collar that is seen rises towards the back."""
_SIDEWAYS = (12.0, 95.0)
"""Longitudes between which one that is not seen rises: it lies on the shoulders."""
_NAPE = 52.0
"""How much higher a collar lies behind, millimetres."""
_ROUND = 0.5
"""Part of that for a collar of which nothing is seen: a neckline without a notch."""
_BARE = -400.0
"""Drop of the collar of bare shoulders, millimetres."""
_HIGHEST = -84.0
"""Highest collar that is not seen, millimetres."""
COLLARS = {"none": _BARE, "low": -152.0, "crew": -120.0, "high": -92.0}
"""Drop in front, which is the height there, millimetres, of the collars that may be chosen."""
_HEM, _LEAST_HEM, _NO_HEM = 20.0, 200, 0.22
"""Millimetres of a bust above its end, texels there of which fewer say nothing, and their chance of
cloth below which a bust ends above its clothes."""
_PULL = 0.03
"""Weight of the expected drop of a column's collar, texels a millimetre."""
_EVEN, _BEND = 0.35, 1.6
"""Share of the other side in what a column decides, and texels that a step of the line costs, each
millimetre."""
_ROUNDED = 7.0
"""Columns over which the line is rounded."""
_UNSEEN = 0.4
"""Confidence below which no collar is seen at all."""
_OUTER = 85.0
"""Millimetres from the middle from which on shoulders are the outer ones."""
_SOME_CLOTH = 0.38
"""Part of the seen outer shoulders that looks like cloth, below which shoulders are bare: skin in
another light looks like cloth, too."""
_NECK, _SPREAD = 58.0, 0.5
"""Radius of a neck, and millimetres that a place beside it counts lower, each millimetre."""
_SOFT = 3.0
"""Half the width of the seam between skin and cloth, millimetres."""
_LIFT = 0.004
"""Head units above the surface where rays begin."""
_LEVELS = np.arange(-76.0, -200.0, -4.0)


@dataclass(frozen=True, eq=False)
class Clothes:
    """Cover of neck and bust.

    Attributes:
        line: (columns,) float32, how low clothes begin at each longitude, from the back over -x,
            the face and +x: the drop (:func:`_drop`), millimetres.
        seen: whether the photo shows clothes.
        shown: the collar that the photo shows, one of :data:`COLLARS`.

    """

    line: NDArray[np.float32]
    seen: bool
    shown: Choice

    @classmethod
    def of(
        cls, bare: BareHead, portrait: Portrait, parsing: Parsing | None, choice: str = AUTO
    ) -> Clothes:
        """Clothes of a portrait: seen, else of the mirrored side, else up to an even collar.

        Args:
            bare: the head without hair.
            portrait: with a pose.
            parsing: of the portrait.
            choice: one of :data:`COLLARS`, which is even, or ``auto``.

        """
        shape = _GRID.rows, _GRID.columns
        hits = bare.caster.cast(*_GRID.inward())
        height = np.full(_GRID.rows * _GRID.columns, -300.0)
        height[hits.ray] = hits.points[:, 1] / MM
        drop = np.full(len(height), -300.0)
        drop[hits.ray] = _drop(hits.points)
        aside, angle, chance, trust = (np.zeros(len(height)) for _ in range(4))
        aside[hits.ray] = hits.points[:, 0] / MM
        angle[hits.ray] = np.arctan2(hits.points[:, 0], hits.points[:, 2])
        slope = _SLOPE * (1 - np.cos(angle)) / 2
        rise = _NAPE * ramp(np.abs(np.degrees(angle)), *_SIDEWAYS)
        if parsing is not None:
            chance[hits.ray], trust[hits.ray] = _look(hits, bare, portrait, parsing)
        region = np.full(len(height), -1)
        region[hits.ray] = bare.region_of(hits)
        trust *= (height < _CHIN) & np.isin(region, (Region.NECK, Region.TORSO))
        shown = trust > 0.5
        collar, seen, sure = _collar(
            drop[shown] - slope[shown],
            chance[shown],
            (region[shown] == Region.TORSO) & (np.abs(aside[shown]) > _OUTER),
        )
        judged = _judged(collar, sure)
        collar = COLLARS.get(choice, collar)
        end = float(bare.mesh.vertices[:, 1].min()) / MM
        hem = shown & (height < end + _HEM)
        if choice == AUTO and hem.sum() > _LEAST_HEM and chance[hem].mean() < _NO_HEM:
            collar = _BARE  # of a bust that ends above its clothes a strip would be left behind
        if not seen:
            rise = rise * _ROUND
        usual = np.minimum(collar + rise, _HIGHEST).reshape(shape)
        levels = drop.reshape(shape)
        direct, cloth = trust.reshape(shape), chance.reshape(shape)
        mirrored = np.minimum(direct[:, ::-1], 1 - direct)
        if choice != AUTO:  # whatever the photo shows
            direct, mirrored = np.zeros(shape), np.zeros(shape)
        line = _cuts(cloth * direct + cloth[:, ::-1] * mirrored, direct + mirrored, levels, usual)
        return cls(np.asarray(line, np.float32), seen, judged)

    def cover(self, points: Array) -> Array:
        """(n,) chance of cloth at points below the chin."""
        return np.asarray(ramp(self.depth(points), -_SOFT, _SOFT) * self.below_chin(points))

    def depth(self, points: Array) -> Array:
        """(n,) millimetres by which points lie lower than the line where clothes begin."""
        column, _ = _GRID.place(points)
        around = np.concatenate([self.line[-1:], self.line, self.line[:1]]).astype(np.float64)
        return np.asarray(np.interp(column + 1, np.arange(len(around)), around) - _drop(points))

    def below_chin(self, points: Array) -> NDArray[np.bool_]:
        """(n,) whether clothes may lie at points."""
        return np.asarray(points[:, 1] < _CHIN * MM)


def _drop(points: Array) -> Array:
    """(n,) how low points lie on the body, millimetres: their height, less beside the neck.

    The top of a shoulder is nearly level, a collar crosses it from the neck to the arm.
    """
    beside = np.hypot(points[:, 0], points[:, 2] - AXIS[2]) / MM - _NECK
    return np.asarray(points[:, 1] / MM - _SPREAD * np.maximum(beside, 0))


def _look(hits: Hits, bare: BareHead, portrait: Portrait, parsing: Parsing) -> tuple[Array, Array]:
    """Chance of cloth rather than skin (k,) at hits on the bare head, and its trust (k,)."""
    camera = portrait.camera
    towards = unit(camera.position - hits.points)
    facing = np.einsum("ni,ni->n", towards, hits.normals)
    tone = FaceColours.of(portrait, bare, parsing.known).tone
    uv, _ = camera.project(hits.points)
    inside = portrait.shows(uv, 2)
    clear = ~bare.caster.blocked(hits.points + _LIFT * hits.normals, towards)
    kinds = parsing.at(uv, camera.width)
    either = kinds[:, Kind.SKIN] + kinds[:, Kind.CLOTH]
    trust = ramp(facing, 0.1, 0.35) * inside * clear * ramp(either, 0.4, 0.8)
    cloth = kinds[:, Kind.CLOTH] / np.maximum(either, 1e-3)
    if tone is not None:
        x, y = uv.astype(np.float32).T - np.float32(0.5)
        picture = np.asarray(portrait.image, np.float32) / np.float32(255)
        colours = remap(picture, x, y, cv2.INTER_LINEAR)
        cloth = cloth * (1 - skin_in_other_light(lab(colours), tone))
    return cloth, trust


def _cuts(cloth: Array, told: Array, levels: Array, usual: Array) -> Array:
    """(columns,) drop where clothes begin: below it all is cloth, above it nothing.

    Args:
        cloth: (r, c) weight of what is seen as cloth.
        told: (r, c) weight of what is seen at all.
        levels: (r, c) their drop, millimetres.
        usual: (r, c) drop of the collar that is expected.

    """
    drops = np.arange(-64.0, -250.0, -3.0)
    costs = np.empty((len(drops), cloth.shape[1]))
    middle = usual.mean(0)
    for i, drop in enumerate(drops):
        below = levels < drop
        costs[i] = np.where(below, told - cloth, cloth).sum(0)
        costs[i] += _PULL * np.minimum(np.abs(drop - middle), 60)
    # neighbouring columns decide together, and most clothes are even
    costs = gaussian_filter1d(costs, 2.0, axis=1, mode="wrap")
    costs = (1 - _EVEN) * costs + _EVEN * costs[:, ::-1]
    line = drops[_smoothest(costs, _BEND * np.abs(drops[:, None] - drops))]
    line = np.where(middle < drops[-1], middle, line)
    return np.asarray(gaussian_filter1d(line, _ROUNDED, mode="wrap"))


def _smoothest(costs: Array, bend: Array) -> NDArray[np.int64]:
    """(columns,) row of the path around that costs least (dynamic programming).

    Args:
        costs: (rows, columns) of the places.
        bend: (rows, rows) cost of a step from one row to another.

    """
    pad = costs.shape[1] // 4
    around = np.concatenate([costs[:, -pad:], costs, costs[:, :pad]], axis=1)
    total = around[:, 0]
    came = np.zeros(around.shape, np.int64)
    for column in range(1, around.shape[1]):
        reached = total + bend
        came[:, column] = reached.argmin(1)
        total = reached.min(1) + around[:, column]
    path = np.empty(around.shape[1], np.int64)
    path[-1] = int(total.argmin())
    for column in range(around.shape[1] - 1, 0, -1):
        path[column - 1] = came[path[column], column]
    return path[pad:-pad]


def _judged(collar: float, sure: float) -> Choice:
    """The name of a collar with a drop, millimetres, with its confidence."""
    name = min(COLLARS, key=lambda known: abs(COLLARS[known] - collar))
    reason = "The photo ends above the collar." if sure < _UNSEEN else ""
    return Choice(name, sure, reason=reason)


def _collar(drop: Array, cloth: Array, shoulder: NDArray[np.bool_]) -> tuple[float, bool, float]:
    """Drop of an even collar that agrees best with what is seen, whether one is seen, how surely.

    Args:
        drop: (n,) of :func:`_drop`, millimetres, of places that are seen.
        cloth: (n,) chance of cloth there.
        shoulder: (n,) whether they lie on the outer half of the shoulders.

    """
    if len(drop) < 60:
        return _COLLAR, False, 0.5 * _UNSEEN
    # a bare neck and a bare chest are no bare shoulders
    dressed = float((cloth[shoulder] > 0.6).mean()) if shoulder.sum() > 80 else 1.0
    if dressed < _SOME_CLOTH:
        return _BARE, False, 0.9 - 1.4 * dressed
    errors = [np.abs(cloth - (drop < level)).mean() for level in _LEVELS]
    seen = bool(cloth.sum() > 30)
    if not seen:  # they begin where the photo ends
        return min(COLLARS["crew"], float(drop.min())), False, 0.5 * _UNSEEN
    sure = float(np.clip(0.95 - 2 * min(errors), _UNSEEN, 0.9)) if seen else 0.5 * _UNSEEN
    return float(_LEVELS[int(np.argmin(errors))]), seen, sure
