"""Camera paths in head space, their presets, and the cameras of a request.

Every path is a list of :class:`~dp3d_core.cameras.camera.Camera`; yaw is positive towards +x,
pitch is positive upwards.  numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dp3d_core.arrays import Array, Float
from dp3d_core.cameras.camera import (
    CANONICAL_FOCAL,
    CANONICAL_RADIUS,
    Camera,
    Pose,
    canonical_intrinsics,
)
from dp3d_core.cameras.files import camera_file_error, cameras_from_dict
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import (
    CAMERA_PRESETS,
    DEFAULT_SIDE,
    DEFAULT_VIEWS,
    PATH_SIDE,
    PATH_VIEWS,
    PRESET_PITCH_DEG,
    PRESET_SIDE,
    PRESET_VIEWS,
    Range,
)

WHOLE_HEAD_FOCAL = 3.0
"""Focal length that shows a head with hair, hat and shoulders, image widths: 0.45 head units to
each side of the centre.  The canonical lens of the published models shows 0.32 and cuts high hair
off."""

CAPTURE_PITCHES_DEG = (-15.0, 5.0, 30.0)
"""Pitches of a capture's rings, degrees: chin and crown are seen as well as the sides."""

_CLOSED = 1.1
"""Largest gap between the ends of a closed path, as a multiple of its steps."""
_LEVEL = 0.05
"""Difference in pitch between the ends of a closed path that is always allowed, radians."""


def look_at(position: ArrayLike, target: ArrayLike = (0.0, 0.0, 0.0)) -> Pose:
    """(4, 4) OpenCV pose at ``position`` looking at ``target``, no roll about +Y.

    Straight above or below, where up is undefined, the image's up is -Z or +Z, the limit of a
    camera that rises in front of the face.
    """
    eye, aim = np.asarray(position, np.float64), np.asarray(target, np.float64)
    forward = aim - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    if np.linalg.norm(right) < 1e-9:
        right = np.array([1.0, 0, 0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = eye
    return pose


def orbit_pose(yaw_deg: float, pitch_deg: float = 0.0, radius: float = CANONICAL_RADIUS) -> Pose:
    """(4, 4) pose on a sphere about the head centre; yaw moves to +x, pitch moves up."""
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    return look_at(
        radius
        * np.array(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
        )
    )


def canonical_camera(
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size: int = 512,
    radius: float = CANONICAL_RADIUS,
    focal: float = CANONICAL_FOCAL,
) -> Camera:
    """Canonical head camera (square image) at an angle; ``focal`` in image widths."""
    K = canonical_intrinsics(size)
    K[[0, 1], [0, 1]] = focal * size
    return Camera(orbit_pose(yaw_deg, pitch_deg, radius), K, size, size)


def rolled(camera: Camera, roll_deg: float) -> Camera:
    """The camera turned about its optical axis by ``roll_deg``, degrees."""
    roll = np.radians(roll_deg)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return Camera(camera.c2w @ matrix, camera.K, camera.width, camera.height)


def rotation_error_deg(pose: Array, true_pose: Array) -> float:
    """Angle between the rotations of two poses (4, 4), degrees."""
    relative = true_pose[:3, :3].T @ pose[:3, :3]
    return float(np.degrees(np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1))))


def yaw_pitch_roll_deg(camera: Camera) -> tuple[float, float, float]:
    """Angles of a camera about the head, degrees; roll is that of the head in the image."""
    yaw, pitch = camera.yaw_pitch_deg
    upright = orbit_pose(yaw, pitch)
    in_upright = upright[:3, :3].T @ camera.c2w[:3, :3]
    return yaw, pitch, float(np.degrees(np.arctan2(in_upright[1, 0], in_upright[0, 0])))


def full_orbit(
    views: int = 32, pitch_deg: float = 0.0, size: int = 512, focal: float = CANONICAL_FOCAL
) -> list[Camera]:
    """Closed orbit: ``views`` cameras at equal steps in yaw, the first in front of the face."""
    return [canonical_camera(360.0 * i / views, pitch_deg, size, focal=focal) for i in range(views)]


def frontal_arc(
    views: int = 16, max_yaw_deg: float = 60.0, pitch_deg: float = 0.0, size: int = 512
) -> list[Camera]:
    """Arc in front of the face from -max_yaw to +max_yaw, both ends included."""
    yaws = np.linspace(-max_yaw_deg, max_yaw_deg, views) if views > 1 else [0.0]
    return [canonical_camera(float(yaw), pitch_deg, size) for yaw in yaws]


def diffportrait3d_ellipse(views: int = 16, size: int = 512) -> list[Camera]:
    """DiffPortrait3D's sample path: yaw = 32 sin(2 pi k / n), pitch = -20.8 cos(2 pi k / n) deg.

    It starts below the face and moves towards +x.  Signs and amplitudes were recovered by structure
    from motion from the authors' published frames.
    """
    return [
        canonical_camera(
            32.0 * math.sin(2 * math.pi * k / views),
            -20.8 * math.cos(2 * math.pi * k / views),
            size,
        )
        for k in range(views)
    ]


def elevation_sweep(
    views: int = 16,
    yaw_deg: float = 0.0,
    pitch_range_deg: tuple[float, float] = (-30.0, 60.0),
    size: int = 512,
    focal: float = CANONICAL_FOCAL,
) -> list[Camera]:
    """Cameras at one yaw, from the lower to the upper pitch, both ends included."""
    low, high = pitch_range_deg
    pitches = np.linspace(low, high, views) if views > 1 else [(low + high) / 2]
    return [canonical_camera(yaw_deg, float(pitch), size, focal=focal) for pitch in pitches]


def capture_sphere(
    views: int = 32,
    pitches_deg: Sequence[float] = CAPTURE_PITCHES_DEG,
    size: int = 512,
    focal: float = WHOLE_HEAD_FOCAL,
) -> list[Camera]:
    """Closed rings at several pitches, with equal numbers of views and staggered yaws.

    A mesh needs views of crown and chin.  The lens (``focal`` in image widths) is wider than the
    canonical one, so that hats and shoulders are inside the frame.
    """
    rings = len(pitches_deg)
    cameras = []
    for r, pitch in enumerate(pitches_deg):
        count = views // rings + (1 if r < views % rings else 0)
        for i in range(count):
            yaw = 360.0 * (i + r / rings) / count
            cameras.append(canonical_camera(yaw, pitch, size, focal=focal))
    return cameras


def panohead_pose(h: float, v: float, radius: float = CANONICAL_RADIUS) -> Pose:
    """PanoHead's look-at sampler: azimuth ``h``, uniform-sphere parameter ``v`` (radians).

    y = radius (1 - 2 v / pi); h = v = pi/2 is the front, larger h moves to +x.
    """
    v = min(max(v, 1e-5), math.pi - 1e-5)
    phi = math.acos(1 - 2 * v / math.pi)
    return look_at(
        radius
        * np.array([-math.sin(phi) * math.cos(h), math.cos(phi), math.sin(phi) * math.sin(h)])
    )


def panohead_orbit(views: int = 32, size: int = 512) -> list[Camera]:
    """Orbit of DiffPortrait360's published condition images, which takes 3.14 for pi."""
    return [
        Camera(
            panohead_pose(3.14 / 2 + 2 * 3.14 * i / views, 3.14 / 2),
            canonical_intrinsics(size),
            size,
            size,
        )
        for i in range(views)
    ]


def is_closed(cameras: Sequence[Camera]) -> bool:
    """Whether the last camera is next to the first, as on an orbit."""
    return _closes(*_positions_and_pitches(cameras))


def _positions_and_pitches(
    cameras: Sequence[Camera],
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """(n, 3) positions and (n,) pitches, radians."""
    positions = np.array([camera.position for camera in cameras]).reshape(-1, 3)
    distance = np.linalg.norm(positions, axis=1).clip(1e-12)
    return positions, np.arcsin((positions[:, 1] / distance).clip(-1, 1))


def _closes(positions: Float[Array, "n 3"], pitches: Float[Array, " n"]) -> bool:
    if len(positions) < 4:
        return False
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    gap = float(np.linalg.norm(positions[-1] - positions[0]))
    if gap > _CLOSED * max(float(np.median(steps)), steps[0], steps[-1]):
        return False
    # stacked rings do not close: the last ring ends at another pitch
    rise = max(_LEVEL, float(np.median(np.abs(np.diff(pitches)))))
    if abs(pitches[-1] - pitches[0]) > rise:
        return False
    return len(np.unique(positions.round(6), axis=0)) > 3


def closed_rings(cameras: Sequence[Camera]) -> list[range]:
    """Closed rings of a path that consists of rings only, such as a capture.

    Returns:
        Ranges of indices that cover the path, one per ring.  Any other path gives one range, even
        if it contains a loop.

    """
    positions, pitches = _positions_and_pitches(cameras)
    count, start = len(cameras), 0
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    rings: list[range] = []
    while start < count:
        # candidates: indices where the path comes back close to its start
        gaps = np.linalg.norm(positions[start:] - positions[start], axis=1)
        longest = np.maximum.accumulate(np.append(steps[start:], 0.0))
        candidate_ends = np.flatnonzero(gaps[3:] <= _CLOSED * longest[2:-1]) + start + 4
        end = next(
            (int(e) for e in candidate_ends if _closes(positions[start:e], pitches[start:e])), 0
        )
        if not end:
            return [range(count)]
        # the path may repeat its first camera at the end
        if end + 1 == count and np.allclose(positions[end], positions[start], atol=1e-6):
            end += 1
        rings.append(range(start, end))
        start = end
    return rings


def neighbours(cameras: Sequence[Camera]) -> list[tuple[int, int]]:
    """Index pairs of consecutive cameras, and of the last and first camera of each ring."""
    pairs: list[tuple[int, int]] = []
    for ring in closed_rings(cameras):
        pairs += [(i, i + 1) for i in ring[:-1]]
        if len(ring) > 1 and is_closed(cameras[ring.start : ring.stop]):
            pairs.append((ring[-1], ring[0]))
    return pairs


# -- requests ------------------------------------------------------------------------------

_PRESET_FIELDS: dict[str, tuple[int | float, Range[int]]] = {
    "views": (DEFAULT_VIEWS, PRESET_VIEWS),
    "size": (DEFAULT_SIDE, PRESET_SIDE),
    "pitch_deg": (0.0, PRESET_PITCH_DEG),
}
"""Default and range of each field of a preset."""


def cameras_from_request(data: Any) -> list[Camera]:
    """Cameras of a request: a camera document, a path of the add-on, or a preset.

    Args:
        data: a document for :func:`cameras_from_dict`, or ``{"preset": name, "views": number,
            "size": pixels, "pitch_deg": degrees}`` within the limits of
            :mod:`dp3d_core.limits`.  ``pitch_deg`` tilts ``orbit`` and ``arc``; the other
            presets have fixed pitches.  ``arc`` and ``ellipse`` have the canonical lens of the
            published models, the others :data:`WHOLE_HEAD_FOCAL`.

    Raises:
        Dp3dError: ``camera.invalid`` for a number out of its range, ``camera.file_invalid``
            and others of :func:`cameras_from_dict`.

    """
    if isinstance(data, dict) and "preset" in data:
        return _cameras_from_preset(data)
    try:
        cameras = cameras_from_dict(data)
    except OverflowError as error:  # an infinite image size
        raise camera_file_error(f"a number is not finite ({error})") from error
    if len(cameras) > PATH_VIEWS.high:
        raise _out_of_range(f"the path has {len(cameras)} cameras", str(PATH_VIEWS))
    for i, camera in enumerate(cameras):
        if not (PATH_SIDE.holds(camera.width) and PATH_SIDE.holds(camera.height)):
            raise _out_of_range(
                f"camera {i} has an image of {camera.width} x {camera.height} pixels",
                f"{PATH_SIDE} pixels per side",
            )
    return cameras


def _cameras_from_preset(data: dict[str, Any]) -> list[Camera]:
    preset = data["preset"]
    if preset not in CAMERA_PRESETS:
        raise _out_of_range(f"there is no preset {preset!r}", f"one of {', '.join(CAMERA_PRESETS)}")
    unknown = sorted(set(data) - {"preset", *_PRESET_FIELDS})
    if unknown:
        raise _out_of_range(f"a preset has no field {unknown[0]!r}", ", ".join(_PRESET_FIELDS))
    values: dict[str, Any] = {}
    for name, (default, limits) in _PRESET_FIELDS.items():
        value = data.get(name, default)
        kinds = (int, float) if isinstance(default, float) else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not limits.holds(value):
            raise _out_of_range(f"{name} is {value!r}", f"a number from {limits}")
        values[name] = value
    views, size, pitch = values["views"], values["size"], float(values["pitch_deg"])
    if preset == "orbit":
        return full_orbit(views, pitch, size, WHOLE_HEAD_FOCAL)
    if preset == "capture":
        return capture_sphere(views, CAPTURE_PITCHES_DEG, size)
    if preset == "arc":
        return frontal_arc(views, pitch_deg=pitch, size=size)
    if preset == "ellipse":
        return diffportrait3d_ellipse(views, size)
    return elevation_sweep(views, size=size, focal=WHOLE_HEAD_FOCAL)


def _out_of_range(why: str, wanted: str) -> Dp3dError:
    return Dp3dError(
        "camera.invalid", f"The cameras cannot be used: {why}.", f"Possible: {wanted}."
    )
