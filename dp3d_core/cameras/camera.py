"""The pinhole camera in head space, and conversions between coordinate conventions.  numpy only.

Spaces (``docs/coordinates.md`` has the pictures):

====  ==================================================================================
W     Blender world: right-handed, Z up
H     head space: Y up, face towards +Z, head centre at the origin, canonical camera at
      distance 2.7 with focal length 4.2647 image widths (EG3D / PanoHead)
N     nerfstudio's world in our files: H rotated to Z up
M     mesh files (glTF): Y up; H with one metre per head unit
====  ==================================================================================

Camera axes: ``opencv`` is x right, y down, z forward (EG3D labels, our files); ``opengl`` is
x right, y up, looking along -z (Blender, nerfstudio).

Pixels: u to the right, v down, the image covers [0, width] x [0, height]; the centre of the
first pixel is (0.5, 0.5).  K is in these pixels, so a centred principal point is (w/2, h/2).

Inside the project a camera is always a :class:`Camera`: H, OpenCV axes, pixels.  The functions of
this module convert all other conventions on input and output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dp3d_core.arrays import Array, Float
from dp3d_core.errors import Dp3dError

Pose = Float[Array, "4 4"]  # a rigid transform, such as camera-to-world
Intrinsics = Float[Array, "3 3"]  # K of a pinhole camera

CANONICAL_RADIUS = 2.7
"""Distance of the canonical camera from the head centre, head units (EG3D)."""
CANONICAL_FOCAL = 4.2647
"""Focal length of the canonical camera, image widths (EG3D; fov 13.37 deg)."""

EG3D_SCALE = 0.82
"""Head units per EG3D unit: heads are 1 / 0.82 times larger in EG3D and DiffPortrait3D.  Fitted to
the published DiffPortrait3D frames at their cameras, one value for all portraits."""
EG3D_ORIGIN: Array = np.array([0.0, -0.011, 0.18])
"""EG3D's origin in head space, head units: near the plane of the face.  Fitted to the published
DiffPortrait3D frames at their cameras, one value for all portraits."""
EG3D_TILT_DEG = 4.5
"""Rotation about +X from EG3D's axes to head space, degrees: EG3D's heads look up slightly.  Fitted
to the published DiffPortrait3D frames at their cameras, one value for all portraits."""

_RIGID_TOLERANCE = 1e-5
"""Largest deviation of a camera's rotation and last row from a rigid transform."""
_ROUNDED = 2e-3
"""Largest rounding error of matrices that another tool wrote with three decimals."""
_CORRECT = "Correct this camera, or take its frame out of the file."
"""Remedy for an unusable camera of a file."""
_LARGEST = 1e9
"""Largest coordinate of a camera, head units or pixels; float32 has no useful precision beyond."""
_FOCAL_LENGTHS = (1e-4, 1e6)
"""Smallest and largest focal length over the longer side: 179.99 degrees to 0.2 arc seconds."""
_OFF_CENTRE = 1e4
"""Largest coordinate of a principal point over the longer side of the picture."""


class CameraAxes(StrEnum):
    """Axes of a camera frame."""

    OPENCV = "opencv"
    OPENGL = "opengl"


class WorldFrame(StrEnum):
    """World frames of poses: ``HEAD`` is H (and M), ``Z_UP`` is N."""

    HEAD = "head"
    Z_UP = "z-up"


AXES_FLIP: Array = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenCV camera axes to OpenGL camera axes and back, multiplied from the right."""

Z_UP_FROM_HEAD: Array = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
"""H (Y up, face +Z) to a Z-up world (face -Y): (x, y, z) -> (x, -z, y).  Blender's
glTF importer applies this rotation to meshes, so an imported mesh file is in N."""

HEAD_FROM_Z_UP: Array = Z_UP_FROM_HEAD.T.copy()
"""Inverse of :data:`Z_UP_FROM_HEAD`."""


def invert_rigid(c2w: ArrayLike) -> Pose:
    """Inverse of a rigid (4, 4) transform by transposition."""
    m = np.asarray(c2w, np.float64)
    out = np.eye(4)
    out[:3, :3] = m[:3, :3].T
    out[:3, 3] = -m[:3, :3].T @ m[:3, 3]
    return out


def convert_pose(
    c2w: ArrayLike,
    *,
    axes: tuple[CameraAxes, CameraAxes] = (CameraAxes.OPENCV, CameraAxes.OPENCV),
    world: tuple[WorldFrame, WorldFrame] = (WorldFrame.HEAD, WorldFrame.HEAD),
) -> Float[Array, "... 4 4"]:
    """Camera-to-world poses from one convention to another.

    Args:
        c2w: (..., 4, 4) camera-to-world.
        axes: (from, to) camera axes.
        world: (from, to) world frames.

    Returns:
        (..., 4, 4) float64 poses in the new convention.

    """
    pose = np.array(c2w, np.float64)
    if axes[0] != axes[1]:
        pose = pose @ AXES_FLIP
    if world[0] != world[1]:
        rotation = Z_UP_FROM_HEAD if world[1] is WorldFrame.Z_UP else HEAD_FROM_Z_UP
        pose = rotation @ pose
    return pose


class UnusableCamera(ValueError):
    """A lens or pose that cannot be used.

    Args:
        why: half a sentence, the exception's text.
        remedy: one sentence on what to do.

    """

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera in head space.

    Attributes:
        c2w: (4, 4) float64, rigid, OpenCV axes, head units.
        K: (3, 3) float64, pixels, no skew.
        width, height: image size in pixels.

    """

    c2w: Array
    K: Array
    width: int
    height: int

    def __post_init__(self) -> None:
        c2w, K = np.array(self.c2w, np.float64), np.array(self.K, np.float64)
        if c2w.shape != (4, 4) or K.shape != (3, 3):
            raise _invalid(f"expected a 4x4 pose and a 3x3 K, got {c2w.shape} and {K.shape}")
        if not (np.isfinite(c2w).all() and np.isfinite(K).all()):
            raise _invalid("the pose or K holds a number that is not finite")
        rotation = c2w[:3, :3]
        if (
            np.abs(rotation @ rotation.T - np.eye(3)).max() > _RIGID_TOLERANCE
            or np.linalg.det(rotation) < 0
            or np.abs(c2w[3] - [0, 0, 0, 1]).max() > _RIGID_TOLERANCE
        ):
            raise _invalid("the pose is not a rotation and a translation")
        if max(np.abs(c2w).max(), np.abs(K).max()) > _LARGEST:
            raise _invalid(f"a number is larger than {_LARGEST:.0e}")
        if self.width < 1 or self.height < 1:
            raise _invalid(f"the image size is {self.width} x {self.height}")
        if K[0, 0] <= 0 or K[1, 1] <= 0 or np.abs(K[[0, 1, 2, 2], [1, 0, 0, 1]]).max() > 1e-9:
            raise _invalid("K must have positive focal lengths and no skew")
        _check_lens(K, self.width, self.height)
        c2w.setflags(write=False)
        K.setflags(write=False)
        object.__setattr__(self, "c2w", c2w)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))

    @property
    def position(self) -> Float[Array, " 3"]:
        """(3,) camera centre, head units."""
        return self.c2w[:3, 3]

    def project(self, points: ArrayLike) -> tuple[Float[Array, "n 2"], Float[Array, " n"]]:
        """Pixel positions and depths of points.

        Args:
            points: (n, 3) head space, head units.

        Returns:
            (n, 2) pixels and (n,) depth along the optical axis in head units; pixels of
            points at or behind the camera (depth <= 0) are NaN.

        """
        flat = np.atleast_2d(np.asarray(points, np.float64))
        local = (flat - self.position) @ self.c2w[:3, :3]
        depth = local[:, 2]
        positive_depth = np.where(depth > 0, depth, np.nan)
        uv = local[:, :2] / positive_depth[:, None] * self.K[[0, 1], [0, 1]] + self.K[:2, 2]
        return uv, depth

    def directions(self, uv: ArrayLike) -> Float[Array, "... 3"]:
        """Unit ray directions through pixels.

        Args:
            uv: (..., 2) pixel positions.

        Returns:
            (..., 3) unit vectors in head space; the origin of every ray is :attr:`position`.

        """
        uv = np.asarray(uv, np.float64)
        local = np.concatenate(
            [(uv - self.K[:2, 2]) / self.K[[0, 1], [0, 1]], np.ones((*uv.shape[:-1], 1))], -1
        )
        world = local @ self.c2w[:3, :3].T
        # einsum: several times faster than a norm over an axis of three
        world /= np.sqrt(np.einsum("...i,...i->...", world, world))[..., None]
        return world

    def pixel_centres(self) -> Float[Array, "{self.height} {self.width} 2"]:
        """(height, width, 2) pixel positions of all pixel centres."""
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        return np.stack([u, v], -1)

    def resized(self, width: int, height: int) -> Camera:
        """The camera with its image scaled to another size."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return Camera(self.c2w, scale @ self.K, width, height)

    @property
    def yaw_pitch_deg(self) -> tuple[float, float]:
        """Direction from the head centre to the camera: yaw towards +x and pitch up, degrees."""
        x, y, z = self.position / max(float(np.linalg.norm(self.position)), 1e-12)
        return math.degrees(math.atan2(x, z)), math.degrees(math.asin(np.clip(y, -1, 1)))

    def to_label25(self) -> Float[Array, " 25"]:
        """(25,) EG3D / PanoHead label: c2w row-major, then K divided by the image size."""
        size = np.diag([1 / self.width, 1 / self.height, 1.0])
        return np.concatenate([self.c2w.ravel(), (size @ self.K).ravel()])

    @classmethod
    def from_label25(cls, label: ArrayLike, width: int = 512, height: int = 512) -> Camera:
        """Inverse of :meth:`to_label25`.

        Labels in files have six decimals, so the rotation is replaced by the nearest exact one if
        it deviates by at most 1e-4; larger deviations raise ``camera.invalid``.
        """
        flat = np.asarray(label, np.float64).ravel()
        if flat.shape != (25,):
            raise _invalid(f"a camera label has 25 numbers, this one has {flat.size}")
        size = np.diag([float(width), float(height), 1.0])
        c2w = nearest_rigid(flat[:16].reshape(4, 4))
        return cls(c2w, size @ flat[16:].reshape(3, 3), width, height)

    def to_dict(self) -> dict[str, Any]:
        """The camera as JSON types; :mod:`dp3d_core.cameras.files` writes files of cameras."""
        return {
            "c2w": self.c2w.tolist(),
            "K": self.K.tolist(),
            "width": self.width,
            "height": self.height,
        }


def _check_lens(K: Intrinsics, width: int, height: int) -> None:
    """Raise ``camera.invalid`` for a focal length or principal point out of range."""
    side = max(width, height)
    for axis, focal, centre in (("x", K[0, 0], K[0, 2]), ("y", K[1, 1], K[1, 2])):
        if not _FOCAL_LENGTHS[0] <= focal / side <= _FOCAL_LENGTHS[1]:
            raise _invalid(f"f{axis} is {focal:.3g} pixels, of {width} x {height}")
        if abs(centre) > _OFF_CENTRE * side:
            raise _invalid(f"c{axis} is {centre:.3g} pixels, of {width} x {height}")


def camera_from_eg3d(camera: Camera) -> Camera:
    """A camera of EG3D's head space (also DiffPortrait3D's) in head space.

    K does not change.  With R the rotation by ``EG3D_TILT_DEG`` about +X, position x becomes
    ``EG3D_SCALE * R x + EG3D_ORIGIN``, so the head fills the picture as in EG3D's space.
    """
    rotation = _eg3d_rotation()
    pose = np.array(camera.c2w)
    pose[:3, :3] = rotation @ pose[:3, :3]
    pose[:3, 3] = EG3D_SCALE * rotation @ pose[:3, 3] + EG3D_ORIGIN
    return Camera(pose, camera.K, camera.width, camera.height)


def camera_to_eg3d(camera: Camera) -> Camera:
    """Inverse of :func:`camera_from_eg3d`."""
    rotation = _eg3d_rotation()
    pose = np.array(camera.c2w)
    pose[:3, :3] = rotation.T @ pose[:3, :3]
    pose[:3, 3] = rotation.T @ (pose[:3, 3] - EG3D_ORIGIN) / EG3D_SCALE
    return Camera(pose, camera.K, camera.width, camera.height)


def _eg3d_rotation() -> Float[Array, "3 3"]:
    cosine, sine = np.cos(np.radians(EG3D_TILT_DEG)), np.sin(np.radians(EG3D_TILT_DEG))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _invalid(why: str) -> Dp3dError:
    return Dp3dError(
        "camera.invalid",
        f"A camera cannot be used: {why}.",
        "Give a rigid camera-to-world matrix and a pinhole K in pixels.",
    )


def nearest_rigid(c2w: ArrayLike, tolerance: float = 1e-4) -> Pose:
    """(4, 4) pose with its rotation replaced by the nearest exact rotation.

    A rotation that is exact to 1e-12 does not change.  One that deviates by more than
    ``tolerance`` (scale or shear) raises ``camera.invalid``.
    """
    pose = np.array(c2w, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise _invalid("the pose is not a finite 4x4 matrix")
    rotation = pose[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > tolerance:
        raise _invalid(f"the pose is {error:.1e} away from a rotation")
    if error > 1e-12:
        u, _, vt = np.linalg.svd(rotation)
        pose[:3, :3] = u @ vt
    return pose


def rigid_and_scale(matrix: Any) -> tuple[Pose, float]:
    """Rigid (4, 4) pose and uniform scale of a camera-to-world matrix.

    The scale of a camera object affects neither its rays nor its position, so the position is kept.

    Args:
        matrix: camera-to-world as other tools write it: 4x4 or 3x4, nested or flat.

    Raises:
        UnusableCamera: for a matrix that is not finite, mirrored, sheared or not affine.

    """
    try:
        pose = np.array(matrix, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableCamera("its pose is no matrix of numbers", _CORRECT) from error
    if pose.size in (12, 16) and pose.ndim in (1, 2) and pose.shape != (4, 3):
        pose = pose.reshape(-1, 4)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1.0]])
    if pose.shape != (4, 4):
        raise UnusableCamera("its pose is no matrix of 4 x 4 or 3 x 4 numbers", _CORRECT)
    if not np.isfinite(pose).all():
        raise UnusableCamera("its pose holds a number that is not finite", _CORRECT)
    if np.abs(pose).max() > _LARGEST:
        raise UnusableCamera(f"its pose holds a number larger than {_LARGEST:.0e}", _CORRECT)
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > _ROUNDED:
        raise UnusableCamera("its pose is not affine: the last row is not 0 0 0 1", _CORRECT)
    volume = float(np.linalg.det(pose[:3, :3]))
    scale = float(np.cbrt(abs(volume)))
    if scale < 1e-9:
        raise UnusableCamera("its pose has no rotation", _CORRECT)
    rotation = pose[:3, :3] / scale
    deviation = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if deviation > _ROUNDED:
        raise UnusableCamera(
            f"its pose is sheared or unevenly scaled ({deviation:.1e} off a rotation)", _CORRECT
        )
    if volume < 0:
        raise UnusableCamera(
            "its pose is mirrored, as left-handed axes are",
            "Export the cameras with right-handed axes: x right, y up, z towards the viewer.",
        )
    if deviation > 1e-12:
        u, _, vt = np.linalg.svd(rotation)
        rotation = u @ vt
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = rotation, pose[:3, 3]
    return rigid, scale


# -- intrinsics ----------------------------------------------------------------------------


def canonical_intrinsics(width: int, height: int | None = None) -> Intrinsics:
    """(3, 3) K of the canonical head camera: 4.2647 image widths, centred."""
    height = height or width
    focal = CANONICAL_FOCAL * width
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def intrinsics_from_projection(projection: ArrayLike, width: int, height: int) -> Intrinsics:
    """K from an OpenGL projection matrix, as Blender's ``calc_matrix_camera`` returns it.

    The matrix contains sensor fit, lens shift, aspect ratio, pixel aspect and render percentage;
    ``width`` and ``height`` are the rendered pixels.

    Raises:
        Dp3dError: ``camera.not_perspective`` for an orthographic matrix.

    """
    p = np.asarray(projection, np.float64)
    if p.shape != (4, 4) or not np.isfinite(p).all():
        raise _invalid("the projection is not a finite 4x4 matrix")
    if abs(p[3, 2] + 1) > 1e-6 or abs(p[3, 3]) > 1e-6:
        raise Dp3dError(
            "camera.not_perspective",
            "The camera is orthographic or panoramic.",
            "Set the camera's lens type to Perspective.",
        )
    return np.array(
        [
            [p[0, 0] * width / 2, 0, (1 - p[0, 2]) * width / 2],
            [0, p[1, 1] * height / 2, (1 + p[1, 2]) * height / 2],
            [0, 0, 1.0],
        ]
    )


# -- Blender -------------------------------------------------------------------------------


def split_anchor(anchor_world: ArrayLike) -> tuple[Pose, float]:
    """A head anchor's matrix as a rigid transform and one scale.

    Args:
        anchor_world: (4, 4) ``matrix_world`` of the anchor empty (H to W).

    Returns:
        (4, 4) rigid part, and the uniform scale in W units per head unit.

    Raises:
        Dp3dError: ``camera.anchor_not_uniform`` if the anchor is mirrored, sheared or scaled
            unevenly, as such a frame has no pinhole cameras.

    """
    m = np.array(anchor_world, np.float64)
    if m.shape != (4, 4) or not np.isfinite(m).all():
        raise _invalid("the head anchor is not a finite 4x4 matrix")
    linear = m[:3, :3]
    det = float(np.linalg.det(linear))
    scale = math.copysign(abs(det) ** (1 / 3), det)
    # 1e-4: Blender stores float32 matrices, and a parent chain multiplies their rounding.
    if scale <= 0 or np.abs(linear @ linear.T / scale**2 - np.eye(3)).max() > 1e-4:
        raise Dp3dError(
            "camera.anchor_not_uniform",
            "The head anchor is mirrored, sheared or scaled unevenly.",
            "Give it the same positive scale on all axes, and its parents too (Ctrl-A, Scale).",
        )
    u, _, vt = np.linalg.svd(linear)
    rigid = m.copy()
    rigid[:3, :3] = u @ vt
    return rigid, scale


def head_pose_from_blender(camera_world: ArrayLike, anchor_world: ArrayLike) -> Pose:
    """(4, 4) OpenCV camera-to-head pose of a Blender camera relative to a head anchor.

    The scale of the camera object is ignored, as Blender does.
    """
    anchor, scale = split_anchor(anchor_world)
    camera = np.array(camera_world, np.float64)
    if camera.shape != (4, 4) or not np.isfinite(camera).all():
        raise _invalid("the camera is not a finite 4x4 matrix")
    u, singular, vt = np.linalg.svd(camera[:3, :3])
    if singular.min() < 1e-9 or np.linalg.det(camera[:3, :3]) < 0:
        raise _invalid("the Blender camera is mirrored or scaled to nothing")
    camera[:3, :3] = u @ vt
    pose = invert_rigid(anchor) @ camera
    pose[:3, 3] /= scale
    return convert_pose(pose, axes=(CameraAxes.OPENGL, CameraAxes.OPENCV))
