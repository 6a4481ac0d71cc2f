"""Neckline: the line below the chin where skin ends and clothes begin.

Read from the photo where neck and shoulders are visible, mirrored else, an even collar where
neither side is; or the even collar that the user chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from dp3d_core.arrays import Array, Array32, Indices, Mask, smoothstep
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import unit
from dp3d_core.meshes.raycast import Hits
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.choices import AUTO, Choice
from dp3d_core.preview.photo.face_colours import FaceColours
from dp3d_core.preview.photo.parsing import Kind, Parsing
from dp3d_core.preview.texture.cheapest_path import cheapest_path
from dp3d_core.preview.texture.panorama import AXIS, Panorama, remap
from dp3d_core.preview.texture.tones import lab, skin_in_other_light

_GRID = Panorama(192, 384)
"""Grid on which the neckline is found."""
_CHIN = -72.0
"""Height above which there are no clothes, millimetres."""
_DEFAULT_COLLAR = -128.0
"""Drop of a collar without evidence, millimetres."""
_SLOPE = 18.0
"""Rise towards the back of the even collar that is fitted to the photo, millimetres."""
_SIDEWAYS = (12.0, 95.0)
"""Longitudes between which the expected collar rises onto the shoulders, degrees."""
_NAPE = 52.0
"""Rise of the expected collar at the back, millimetres."""
_UNSEEN_RISE = 0.5
"""Factor on that rise without visible cloth, for a neckline without a notch."""
_BARE = -400.0
"""Drop of the collar of bare shoulders, millimetres."""
_HIGHEST = -84.0
"""Drop of the highest expected collar, millimetres."""
COLLARS = {"none": _BARE, "low": -152.0, "crew": -120.0, "high": -92.0}
"""Drop (:func:`_drop`) of the collars that may be chosen, in front, where it equals the height."""
_HEM = 20.0
"""Height of the lowest part of the bust that is checked for cloth, millimetres."""
_MIN_HEM_TEXELS = 200
"""Least number of visible texels there from which the check is made."""
_MIN_HEM_CLOTH = 0.22
"""Mean probability of cloth there below which the bust ends above its clothes."""
_PRIOR_COST = 0.03
"""Cost of the distance from the expected collar, texels per millimetre."""
_SYMMETRY = 0.35
"""Share of the mirrored column in the cost of a column."""
_STEP_COST = 1.6
"""Cost of a step of the line between columns, texels per millimetre."""
_SMOOTHING = 7.0
"""Blur of the line, columns."""
_UNSEEN = 0.4
"""Confidence below which no collar is visible at all."""
_OUTER = 85.0
"""Distance from the plane of symmetry beyond which shoulders are outer ones, millimetres."""
_MIN_CLOTH = 0.38
"""Fraction of the visible outer shoulders that is cloth below which shoulders are bare; skin in
another light resembles cloth."""
_NECK_RADIUS = 58.0
"""Radius of the neck, millimetres."""
_SIDE_DROP = 0.5
"""Drop per distance beside the neck."""
_SEAM = 3.0
"""Half the width of the seam between skin and cloth, millimetres."""
_LIFT = 0.004
"""Offset of ray origins from the surface, head units."""
_LEVELS = np.arange(-76.0, -200.0, -4.0)
"""Drops among which the even collar is searched, millimetres."""


@dataclass(frozen=True, eq=False)
class Clothes:
    """Clothes on neck and bust.

    Attributes:
        line: (columns,) float32, drop (:func:`_drop`) at which clothes begin, millimetres; columns
            of the panorama, from the back over -x, the face and +x.
        visible: whether the photo shows clothes.
        observed: the photo's collar, one of :data:`COLLARS`, with its confidence.

    """

    line: Array32
    visible: bool
    observed: Choice

    @classmethod
    def of(
        cls,
        bare: BareHead,
        portrait: Portrait,
        parsing: Parsing | None,
        choice: str = AUTO,
        further: Sequence[tuple[Portrait, Parsing]] = (),
    ) -> Clothes:
        """Find the neckline.

        Args:
            bare: the head without hair.
            portrait: the photo, with its pose.
            parsing: classes of its pixels; None if the photo was not parsed.
            choice: one of :data:`COLLARS`, which gives an even collar, or ``auto``.
            further: further photos, each with its parsing; they move the line alone.

        """
        shape = _GRID.rows, _GRID.columns
        hits = bare.caster.cast(*_GRID.inward_rays())
        height = np.full(_GRID.rows * _GRID.columns, -300.0)
        height[hits.ray] = hits.points[:, 1] / MM
        drop = np.full(len(height), -300.0)
        drop[hits.ray] = _drop(hits.points)
        x_mm, angle, cloth_probability, weight = (np.zeros(len(height)) for _ in range(4))
        x_mm[hits.ray] = hits.points[:, 0] / MM
        angle[hits.ray] = np.arctan2(hits.points[:, 0], hits.points[:, 2])
        slope = _SLOPE * (1 - np.cos(angle)) / 2
        rise = _NAPE * smoothstep(np.abs(np.degrees(angle)), *_SIDEWAYS)
        if parsing is not None:
            cloth_probability[hits.ray], weight[hits.ray] = _observe_cloth(
                hits, bare, portrait, parsing
            )
        region = np.full(len(height), -1)
        region[hits.ray] = bare.region_of(hits)
        possible = (height < _CHIN) & np.isin(region, (Region.NECK, Region.TORSO))
        weight *= possible
        visible = weight > 0.5
        collar, cloth_visible, confidence = _fit_collar(
            drop[visible] - slope[visible],
            cloth_probability[visible],
            (region[visible] == Region.TORSO) & (np.abs(x_mm[visible]) > _OUTER),
        )
        observed = _nearest_collar(collar, confidence)
        collar = COLLARS.get(choice, collar)
        end = float(bare.mesh.vertices[:, 1].min()) / MM
        hem = visible & (height < end + _HEM)
        if (
            choice == AUTO
            and hem.sum() > _MIN_HEM_TEXELS
            and cloth_probability[hem].mean() < _MIN_HEM_CLOTH
        ):
            collar = (
                _BARE  # else a strip of cloth would remain on a bust that ends above its clothes
            )
        if not cloth_visible:
            rise = rise * _UNSEEN_RISE
        expected = np.minimum(collar + rise, _HIGHEST).reshape(shape)
        levels = drop.reshape(shape)
        if further:
            observations = [(cloth_probability, weight)]
            for photo in further:
                own, own_weight = np.zeros(len(height)), np.zeros(len(height))
                own[hits.ray], own_weight[hits.ray] = _observe_cloth(hits, bare, *photo)
                observations.append((own, own_weight * possible))
            cloth_probability, weight = _combined(observations)
        direct_weight, cloth = weight.reshape(shape), cloth_probability.reshape(shape)
        mirrored_weight = np.minimum(direct_weight[:, ::-1], 1 - direct_weight)
        if choice != AUTO:  # a chosen collar overrides the photo
            direct_weight, mirrored_weight = np.zeros(shape), np.zeros(shape)
        line = _fit_line(
            cloth * direct_weight + cloth[:, ::-1] * mirrored_weight,
            direct_weight + mirrored_weight,
            levels,
            expected,
        )
        return cls(np.asarray(line, np.float32), cloth_visible, observed)

    def cover(self, points: Array) -> Array:
        """(n,) coverage of points (n, 3) by clothes, 0 to 1."""
        return np.asarray(smoothstep(self.depth(points), -_SEAM, _SEAM) * self.below_chin(points))

    def depth(self, points: Array) -> Array:
        """(n,) distance of points (n, 3) below the neckline, millimetres; negative above it."""
        column, _ = _GRID.project(points)
        around = np.concatenate([self.line[-1:], self.line, self.line[:1]]).astype(np.float64)
        return np.asarray(np.interp(column + 1, np.arange(len(around)), around) - _drop(points))

    def below_chin(self, points: Array) -> Mask:
        """(n,) whether points (n, 3) lie below the chin, where clothes are possible."""
        return np.asarray(points[:, 1] < _CHIN * MM)


def _drop(points: Array) -> Array:
    """(n,) drop of points (n, 3), millimetres: their height, minus a part of their distance
    beside the neck.

    The top of a shoulder is nearly level, yet a collar crosses it from the neck to the arm.
    """
    beside = np.hypot(points[:, 0], points[:, 2] - AXIS[2]) / MM - _NECK_RADIUS
    return np.asarray(points[:, 1] / MM - _SIDE_DROP * np.maximum(beside, 0))


def _observe_cloth(
    hits: Hits, bare: BareHead, portrait: Portrait, parsing: Parsing
) -> tuple[Array, Array]:
    """Probability of cloth rather than skin (k,) at hits on the bare head, and its weight (k,)."""
    camera = portrait.camera
    to_camera = unit(camera.position - hits.points)
    facing = np.einsum("ni,ni->n", to_camera, hits.normals)
    tone = FaceColours.of(portrait, bare, parsing.valid).tone
    uv, _ = camera.project(hits.points)
    inside = portrait.shows(uv, 2)
    unoccluded = ~bare.caster.blocked(hits.points + _LIFT * hits.normals, to_camera)
    probabilities = parsing.at(uv, camera.width)
    skin_or_cloth = probabilities[:, Kind.SKIN] + probabilities[:, Kind.CLOTH]
    weight = (
        smoothstep(facing, 0.1, 0.35) * inside * unoccluded * smoothstep(skin_or_cloth, 0.4, 0.8)
    )
    cloth = probabilities[:, Kind.CLOTH] / np.maximum(skin_or_cloth, 1e-3)
    if tone is not None:
        x, y = uv.astype(np.float32).T - np.float32(0.5)
        image = np.asarray(portrait.image, np.float32) / np.float32(255)
        colours = remap(image, x, y, cv2.INTER_LINEAR)
        cloth = cloth * (1 - skin_in_other_light(lab(colours), tone))
    return cloth, weight


def _combined(observations: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Observations, each a probability (n,) and its weight (n,), as one.

    The probability is the mean by squared weights, the weight the largest one.
    """
    probabilities, weights = (np.stack(values) for values in zip(*observations, strict=True))
    squares = weights**2
    mean = (probabilities * squares).sum(0) / np.maximum(squares.sum(0), 1e-9)
    return np.asarray(mean), np.asarray(weights.max(0))


def _fit_line(cloth: Array, visible: Array, levels: Array, expected: Array) -> Array:
    """(columns,) drop that best separates skin above from cloth below, smooth over columns.

    Args:
        cloth: (r, c) weight of the evidence for cloth.
        visible: (r, c) weight of all evidence, for cloth or skin.
        levels: (r, c) drop of the texels, millimetres.
        expected: (r, c) drop of the expected collar, millimetres.

    """
    drops = np.arange(-64.0, -250.0, -3.0)
    costs = np.empty((len(drops), cloth.shape[1]))
    column_expected = expected.mean(0)
    for i, drop in enumerate(drops):
        is_below = levels < drop
        costs[i] = np.where(is_below, visible - cloth, cloth).sum(0)
        costs[i] += _PRIOR_COST * np.minimum(np.abs(drop - column_expected), 60)
    # costs are shared with neighbouring columns and, as most clothes are symmetric, mirrored ones
    costs = gaussian_filter1d(costs, 2.0, axis=1, mode="wrap")
    costs = (1 - _SYMMETRY) * costs + _SYMMETRY * costs[:, ::-1]
    line = drops[_cheapest_loop(costs, _STEP_COST * (drops[0] - drops))]
    line = np.where(column_expected < drops[-1], column_expected, line)
    return np.asarray(gaussian_filter1d(line, _SMOOTHING, mode="wrap"))


def _cheapest_loop(costs: Array, step_costs: Array) -> Indices:
    """(columns,) rows of the cheapest path around the columns.

    Args:
        costs: (rows, columns) cost of each row in each column.
        step_costs: (rows,) cost of a step by 0 to all rows between columns.

    """
    pad = costs.shape[1] // 4
    extended = np.concatenate([costs[:, -pad:], costs, costs[:, :pad]], axis=1)
    return cheapest_path(extended.T, step_costs)[pad:-pad]


def _nearest_collar(collar: float, confidence: float) -> Choice:
    """The choice nearest to a collar's drop, millimetres, with its confidence."""
    name = min(COLLARS, key=lambda option: abs(COLLARS[option] - collar))
    reason = "The photo ends above the collar." if confidence < _UNSEEN else ""
    return Choice(name, confidence, reason=reason)


def _fit_collar(drop: Array, cloth: Array, shoulder: Mask) -> tuple[float, bool, float]:
    """Fit an even collar to the visible points.

    Args:
        drop: (n,) drop (:func:`_drop`) of the visible points, millimetres.
        cloth: (n,) probability of cloth there.
        shoulder: (n,) bool, points on the outer shoulders.

    Returns:
        Drop of the collar, millimetres; whether cloth is visible; confidence, 0 to 1.

    """
    if len(drop) < 60:
        return _DEFAULT_COLLAR, False, 0.5 * _UNSEEN
    # a bare neck and chest do not imply bare shoulders
    dressed = float((cloth[shoulder] > 0.6).mean()) if shoulder.sum() > 80 else 1.0
    if dressed < _MIN_CLOTH:
        return _BARE, False, 0.9 - 1.4 * dressed
    errors = [np.abs(cloth - (drop < level)).mean() for level in _LEVELS]
    is_visible = bool(cloth.sum() > 30)
    if not is_visible:  # clothes may begin just below the photo
        return min(COLLARS["crew"], float(drop.min())), False, 0.5 * _UNSEEN
    confidence = (
        float(np.clip(0.95 - 2 * min(errors), _UNSEEN, 0.9)) if is_visible else 0.5 * _UNSEEN
    )
    return float(_LEVELS[int(np.argmin(errors))]), is_visible, confidence
