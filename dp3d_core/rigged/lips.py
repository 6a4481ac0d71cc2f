"""Lips that meet on the neutral face, and part as far as the photo shows.

A fit leaves the lips of some people a millimetre or two apart: a film closes the mouth of the
fitted bust, and the teeth behind it are not there to be seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices, smoothstep
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import yaw_pitch_roll_deg
from dp3d_core.heads.bust import bust
from dp3d_core.heads.face_mesh import INNER_LIPS
from dp3d_core.heads.people import expression_offsets
from dp3d_core.heads.space import MM
from dp3d_core.rigged.topology import part_topology, skin_twins

_REACH_MM = 11.0
"""Distance from the line between the lips up to which skin moves with it, millimetres."""
_WHOLE_LIP_MM = 6.0
"""Distance from the rim up to which a lip that parts moves as a whole, millimetres: teeth that a
smile shows are covered at rest by the skin above the lip, which stretches, not by a taller lip."""
_MOST_REACH_MM = 20.0
"""Distance from the rim at which the nose and the chin begin, millimetres."""
_LEAST_GAP_MM = -0.3
"""Distance of the lips on the closed mouth, millimetres; negative: they are pressed together."""
_REACH_PER_MOVE = 2.0
"""Least reach relative to the largest move, so that the skin before it does not fold."""
_MOST_TURNED_DEG = 25.0
"""Yaw from which landmarks of the lips are not trusted."""
_MOST_ROLL_DEG = 15.0
"""Roll from which gaps along columns of pixels are too large by more than 4 percent."""
_LEAST_SCALE = 0.4
"""Least number of pixels per millimetre at the mouth for its landmarks to be used."""
_COLUMNS = 41
"""Number of columns of a mouth at which its lips are compared."""
_LEAST_PARTING_MM = 3.0
"""Distance of the lips in the photo from which they are parted, millimetres."""
LEAST_SMILE_MM = 1.5
"""Least distance of lips between which teeth are seen, millimetres."""
_MOST_PARTING_MM = 40.0
"""Greatest distance of the lips that is believed, millimetres."""
_PARTED_MM = (0.5, 2.5)
"""Distances of the lips between which they begin to follow the photo, millimetres."""
_MOST_MOVE_MM = 12.0
"""Greatest move of a lip, millimetres."""
_NEIGHBOURS = 5
"""Lip vertices from which a vertex takes its move."""


def closing(skin: Array) -> Array:
    """(n, 3) offsets that close the lips of a neutral face with skin (n, 3), head units."""
    upper, lower = lip_rims()
    offsets = np.zeros_like(skin)
    for own, other, sign in ((upper, lower, 1.0), (lower, upper, -1.0)):
        order = np.argsort(skin[other, 0])
        facing = np.interp(skin[own, 0], skin[other, 0][order], skin[other, 1][order])
        apart = np.maximum(sign * (skin[own, 1] - facing) - _LEAST_GAP_MM * MM, 0)
        offsets[own, 1] = -sign * apart / 2
    return _spread(skin, offsets[:, 1].copy(), _REACH_MM)


def parting(skin: Array, camera: Camera, edges: Array, shows_teeth: bool = False) -> Array | None:
    """(n, 3) offsets that bring the inner edges of the lips to where a photo shows them.

    A fit closes the mouth of a smile that shows teeth, and leaves them on the upper lip.

    Args:
        skin: (n, 3) fitted skin, head units.
        camera: of the photo.
        edges: (2, k, 2) inner edges of the upper and of the lower lip, pixels, columns ascending.
        shows_teeth: whether teeth are seen between them, so that a narrow gap is one.

    Returns:
        None if the photo shows a closed mouth, or shows it from the side, rolled or small.

    """
    if not shows_lips(camera):
        return None
    upper, lower = lip_rims()
    down_per_mm = pixels_per_mm(camera, skin[np.concatenate([upper, lower])].mean(0))
    if down_per_mm < _LEAST_SCALE:
        return None
    columns = np.linspace(edges[:, 0, 0].mean(), edges[:, -1, 0].mean(), _COLUMNS)
    height = [np.interp(columns, edge[:, 0], edge[:, 1]) for edge in edges]
    gap = (height[1] - height[0]) / down_per_mm
    least = LEAST_SMILE_MM if shows_teeth else _LEAST_PARTING_MM
    if not least < gap.max() < _MOST_PARTING_MM:
        return None
    lift = np.zeros(len(skin))
    # the corners stay, or cheeks would move by the errors of landmarks
    share = smoothstep(gap, *_PARTED_MM)
    for own, target in ((upper, height[0]), (lower, height[1])):
        at, _ = camera.project(skin[own])
        rise = (at[:, 1] - np.interp(at[:, 0], columns, target)) / down_per_mm
        inside = np.interp(at[:, 0], columns, share, left=0, right=0)
        lift[own] = np.clip(rise, -_MOST_MOVE_MM, _MOST_MOVE_MM) * inside * MM
    fade = max(_REACH_MM, _REACH_PER_MOVE * float(np.abs(lift).max()) / MM)
    return _spread(skin, lift, fade, float(np.clip(_MOST_REACH_MM - fade, 0, _WHOLE_LIP_MM)))


def pixels_per_mm(camera: Camera, point: Array) -> float:
    """Rows of a photo per millimetre upwards at a point (3,), head units."""
    pixels, _ = camera.project(point + np.array([[0, 0, 0], [0, MM, 0]]))
    return float(pixels[0, 1] - pixels[1, 1])


def shows_lips(camera: Camera) -> bool:
    """Whether a photo shows the lips from before and upright: gaps are measured along columns."""
    yaw, _, roll = yaw_pitch_roll_deg(camera)
    return abs(yaw) < _MOST_TURNED_DEG and abs(roll) < _MOST_ROLL_DEG


def inner_lips(landmarks: Array) -> Array:
    """(2, 11, 2) inner edges of the upper and of the lower lip, from landmarks (468, 2).

    From the person's right corner of the mouth to the left.
    """
    return np.asarray(landmarks[np.array(INNER_LIPS)])


def _spread(skin: Array, lift: Array, fade_mm: float, whole_mm: float = 0.0) -> Array:
    """(n, 3) offsets upwards by ``lift`` (n,) of the lips' rims, continued into skin and mouth.

    Args:
        skin: (n, 3) skin, head units.
        lift: (n,) moves of the rims upwards, head units.
        fade_mm: distance over which the move fades, millimetres.
        whole_mm: distance from the rim up to which skin moves as the rim does, millimetres.

    """
    upper, lower = lip_rims()
    offsets = np.zeros_like(skin)
    jaw = _follows_jaw()
    for own, members in ((upper, jaw <= 0.5), (lower, jaw > 0.5)):
        tree = cKDTree(skin[own])
        near = np.flatnonzero(members)
        distance, nearest = tree.query(skin[near], k=_NEIGHBOURS)
        distance, nearest = np.asarray(distance), np.asarray(nearest)
        weights = 1 / np.maximum(distance, 0.5 * MM) ** 2
        taken = (weights * lift[own][nearest]).sum(1) / weights.sum(1)
        offsets[near, 1] = taken * smoothstep(distance[:, 0] / MM, whole_mm + fade_mm, whole_mm)
    return offsets


@lru_cache(maxsize=1)
def _follows_jaw() -> Array:
    """(n,) how far ``jawOpen`` moves skin vertices down, relative to the lower lip."""
    moves = -np.asarray(part_topology("skin").refine @ expression_offsets({"jawOpen": 1.0}))[:, 1]
    return np.asarray(moves / np.quantile(moves, 0.995))


@lru_cache(maxsize=1)
def lip_rims() -> tuple[Indices, Indices]:
    """Skin vertices of the upper and of the lower lip, where they meet."""
    rim = np.flatnonzero(np.isin(skin_twins(), bust().lips))
    jaw = _follows_jaw()[rim]
    return rim[jaw <= 0.5], rim[jaw > 0.5]
