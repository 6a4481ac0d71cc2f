"""Inconsistent views of a synthetic head, perturbed like those of a diffusion model.

The frames published with DiffPortrait3D deviate from their cameras by about 1 % of their width,
and the face varies among them.  These views deviate as much, with known ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dp3d_core.arrays import Array, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import Subject
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter

_TURN_DEG = 1.2
"""Standard deviation of a view's rotation about each axis, chosen to match the published frames."""
_WARP = 0.005
"""Standard deviation of the warp of a pixel, frame widths."""
_WARP_SIGMA = 0.085
"""Correlation length of the warp, frame widths."""
_EXPOSURE = 0.05
"""Standard deviation of the log brightness of a frame."""


def write_perturbed_views(
    subject: Subject,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> ViewSet:
    """Write views that are each slightly rotated, warped, and brighter or darker.

    Args:
        subject: the subject; its seed also determines the perturbations.
        cameras: unperturbed cameras, which the view set records, head space.
        out: folder of the view set.
        progress: stage ``views``.
        cancel: polled between views.

    """
    rng = np.random.default_rng(subject.seed)
    meta = ViewMeta(engine="drawn", seed=subject.seed, approximate_poses=True)
    writer = ViewSetWriter(out, cameras, meta)
    missing = writer.missing()
    if not missing:
        return writer.finish()
    head = SyntheticHead(subject)
    stage = Stage("views", len(cameras), progress, cancel, f"Subject {subject.seed}")
    for i, camera in enumerate(cameras):
        rotation = np.eye(4)
        rotation[:3, :3] = Rotation.from_rotvec(
            np.radians(_TURN_DEG) * rng.normal(size=3)
        ).as_matrix()
        positions = np.indices((camera.height, camera.width)) + _shifts(camera, rng)
        exposure = np.exp(_EXPOSURE * rng.normal())
        if i in missing:
            view = head.render(replace(camera, c2w=rotation @ camera.c2w))
            rgb = np.stack([_warped(view.rgb[..., k], positions) for k in range(3)], -1)
            alpha = _warped(view.rgba[..., 3], positions)
            writer.write(i, _to_uint8(rgb * exposure), _to_uint8(alpha))
        stage.advance()
    return writer.finish()


def _shifts(camera: Camera, rng: np.random.Generator) -> Array:
    """(2, h, w) smooth random offsets of rows and columns, pixels."""
    rough = rng.normal(size=(2, camera.height, camera.width))
    smooth = np.stack([ndimage.gaussian_filter(part, _WARP_SIGMA * camera.width) for part in rough])
    shifts: Array = smooth * _WARP * camera.width / smooth.std()
    return shifts


def _warped(channel: Pixels, positions: Array) -> Array:
    """(h, w) bilinear samples of a channel at positions (2, h, w)."""
    values: Array = ndimage.map_coordinates(
        channel.astype(np.float64), positions, order=1, mode="nearest"
    )
    return values


def _to_uint8(values: Array) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)
