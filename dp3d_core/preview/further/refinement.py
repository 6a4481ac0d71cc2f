"""Poses refined against a head: silhouette and colours, with the estimate as prior.

Points on the head's rim are moved onto the photo's outline and points on its surface onto pixels of
their colour, as in iterated closest points (Chen and Medioni 1992) and direct alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.landmark_map import POSE
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import unit
from dp3d_core.portraits.crop import CROP_FOCAL
from dp3d_core.portraits.pose import posed_camera
from dp3d_core.preview.further.head_model import (
    CHIN,
    LIGHTNESS,
    OTHER_LIGHT,
    PHOTO_SIDE,
    HeadModel,
    PhotoTarget,
    inside_mask,
    sampled,
)
from dp3d_core.preview.parts import Part

_RIM_SCALE = 1.6
"""Distance of a rim from the photo's outline that counts as one, pixels."""
_HAIR_RIM = 0.4
"""Weight of rims of hair, whose shape is a guess where no photo has shown it."""
_MOST_OFF = 3.0
"""Greatest cost of a point of the rim: a brim that the head lacks is far off everywhere."""
_COLOUR_SCALE = 14.0
"""Lab distance that counts as one."""
_COLOUR_WEIGHT = 0.5
"""Weight of all colours relative to all rims."""
_PRIOR_DEG = np.array([2.5, 2.0, 1.5])
"""Standard deviations of yaw, pitch and roll about the learned estimate."""
_STEPS = np.array([0.01, 0.01, 0.01, 0.005, 0.002, 0.002, 0.5, 0.5, 0.5])
"""Steps of finite differences: angles (radians), log of the scale, shifts (image widths), hair
(millimetres)."""
_HAIR_MOVES = 3
"""Number of parameters of the hair (:func:`_hair_moves`)."""
_PRIOR_HAIR_MM = np.array([8.0, 14.0, 10.0])
"""Standard deviations of these parameters, millimetres."""
_PRIOR_WEIGHT = 1.0
"""Weight of the priors relative to the photo.  With less, the guessed hair turns the head: 5.1
degrees off in the median instead of 4.4 (30 profiles and backs)."""
_PRIOR_SCALE = 0.04
"""Standard deviation of the log of the scale about its start."""
_PRIOR_SHIFT = 0.02
"""Standard deviation of the head's position about its start, image widths."""


def refined(model: HeadModel, target: PhotoTarget, theta: Array, rounds: int) -> Array:
    """Refine a pose: points of rim and surface are fixed in each round, then the pose is fitted.

    Hair is moved outwards as well (``_HAIR_MOVES``), or its unknown volume would turn the head.
    """
    values = np.concatenate([theta, np.zeros(_HAIR_MOVES)])
    for _ in range(rounds):
        points = _Correspondences.of(model, target, values)
        if points is None:
            return theta

        def residuals(values: Array, points: _Correspondences = points) -> Array:
            return np.concatenate([points.residuals(values), _priors(values, theta)])

        values = _minimised(residuals, values)
    return values[:POSE]


def _priors(values: Array, start: Array) -> Array:
    """Residuals of the priors of pose and hair."""
    yaw = (values[0] - start[0] + np.pi) % (2 * np.pi) - np.pi
    angles = np.degrees([yaw, values[1] - start[1], values[2] - start[2]]) / _PRIOR_DEG
    scale = (values[3:4] - start[3]) / _PRIOR_SCALE
    shift = (values[4:POSE] - start[4:]) / _PRIOR_SHIFT
    return _PRIOR_WEIGHT * np.concatenate([angles, scale, shift, values[POSE:] / _PRIOR_HAIR_MM])


@dataclass(frozen=True, eq=False)
class _Correspondences:
    """Points of a head that are compared with a photo, from the pose in which they are visible.

    Attributes:
        target: the photo.
        rim: (k, 3) points of the silhouette.
        rim_moves: (k, _HAIR_MOVES, 3) their moves by the parameters of the hair, per millimetre.
        rim_weight: (k,) their weights, whose squares sum to 1.
        surface: (m, 3) points inside the silhouette.
        surface_moves: (m, _HAIR_MOVES, 3) their moves by the parameters of the hair.
        colours: (m, 3) their colours, shifted to the photo's light.
        weight: (m,) their weights.

    """

    target: PhotoTarget
    rim: Array
    rim_moves: Array
    rim_weight: Array
    surface: Array
    surface_moves: Array
    colours: Array
    weight: Array

    @classmethod
    def of(cls, model: HeadModel, target: PhotoTarget, values: Array) -> _Correspondences | None:
        """Choose points in a pose; None if the head is hardly visible there."""
        camera = posed_camera(values, PHOTO_SIDE, CROP_FOCAL)
        hits = model.caster.seen(camera)
        height = hits.points[:, 1]
        if (height > CHIN).sum() < 30:
            return None
        shown = np.zeros((PHOTO_SIDE, PHOTO_SIDE), np.uint8)
        shown.ravel()[hits.ray] = 1
        inner = cv2.erode(shown, np.ones((3, 3), np.uint8)).ravel()[hits.ray] > 0
        on_rim = ~inner & (height > CHIN)
        grid = (hits.ray % 3 == 0) & ((hits.ray // PHOTO_SIDE) % 3 == 0)
        inside = inner & grid & (height > 1.5 * CHIN)
        corner = model.mesh.faces[hits.face, 0]
        is_hair = model.mesh.parts[corner] != Part.SKIN
        moves = _hair_moves(hits.points) * is_hair[:, None, None]
        rim_weight = np.where(is_hair[on_rim], _HAIR_RIM, 1.0)
        corners, weights = model.mesh.faces[hits.face[inside]], hits.weights[inside]
        colours = np.einsum("kc,kcx->kx", weights, model.colours[corners])
        weight = np.einsum("kc,kc->k", weights, model.weight[corners])
        surface = hits.points[inside]
        shift = _light_shift(target, camera, surface, colours, weight)
        return cls(
            target,
            hits.points[on_rim],
            moves[on_rim],
            rim_weight / np.sqrt((rim_weight**2).sum()),
            surface,
            moves[inside],
            colours + shift,
            weight / np.sqrt(max(len(surface), 1)),
        )

    def residuals(self, values: Array) -> Array:
        """(k + m,) weighted residuals of rims and colours in a pose, with moved hair."""
        camera = posed_camera(values, PHOTO_SIDE, CROP_FOCAL)
        hair = values[POSE:]
        uv, _ = camera.project(self.rim + np.einsum("kpx,p->kx", self.rim_moves, hair))
        off_rim = (sampled(self.target.distance, uv)[:, 0] - 0.5) * inside_mask(
            self.target.valid, uv
        )
        rims = np.clip(off_rim / _RIM_SCALE, -_MOST_OFF, _MOST_OFF) * self.rim_weight
        uv, _ = camera.project(self.surface + np.einsum("kpx,p->kx", self.surface_moves, hair))
        difference = sampled(self.target.colours, uv) - self.colours
        distance = np.linalg.norm(difference, axis=1) * inside_mask(self.target.valid, uv)
        tints = np.minimum(distance / _COLOUR_SCALE, 4) * self.weight
        return np.concatenate([rims, _COLOUR_WEIGHT * tints])


def _hair_moves(points: Array) -> Array:
    """(n, _HAIR_MOVES, 3) moves per millimetre: outwards everywhere, behind, and above."""
    outward = unit(points - np.array([0.0, 20.0, 0.0]) * MM)
    share = np.stack(
        [np.ones(len(points)), np.maximum(-outward[:, 2], 0), np.maximum(outward[:, 1], 0)], -1
    )
    return np.asarray(share[..., None] * outward[:, None] * MM)


def _minimised(residuals: Callable[[Array], Array], theta: Array) -> Array:
    """Pose with least squares of the residuals near ``theta``, by finite differences."""

    def jacobian(values: Array) -> Array:
        base = residuals(values)
        columns = []
        for index, step in enumerate(_STEPS):
            moved = values.copy()
            moved[index] += step
            columns.append((residuals(moved) - base) / step)
        return np.stack(columns, -1)

    return np.asarray(least_squares(residuals, theta, jacobian, x_scale=10 * _STEPS, max_nfev=8).x)


def _light_shift(
    target: PhotoTarget, camera: Camera, points: Array, colours: Array, weight: Array
) -> Array:
    """(3,) Lab shift of the photo's colours against the head's, limited."""
    if not len(points):
        return np.zeros(3)
    difference = sampled(target.colours, camera.project(points)[0]) - colours
    shown = weight > 0.9 if (weight > 0.9).sum() > 40 else np.ones(len(weight), bool)
    limit = OTHER_LIGHT * [LIGHTNESS, 1, 1]
    return np.clip(np.median(difference[shown], axis=0), -limit, limit)
