"""Views of a known head that contradict each other the way a network's do.

The frames published with DiffPortrait3D lie beside their cameras by about a hundredth of their
width, and a face in one is not quite the face in another.  Here the truth is known as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dp3d_core.cameras import Camera
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import Subject
from dp3d_core.viewset import ViewMeta, ViewSet, ViewSetWriter

_TURN_DEG = 1.2
"""Standard deviation of a view's turn about each axis: faces then lie as far off as published."""
_WARP, _WARP_WIDTH = 0.005, 0.085
"""Standard deviation of a pixel's shift, and how far the shift is the same, frame widths."""
_EXPOSURE = 0.05
"""Standard deviation of the logarithm of a frame's brightness."""


def write_drawn_views(
    subject: Subject,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> ViewSet:
    """Write views that are each a little turned, warped and too bright or too dark.

    Args:
        subject: who; the seed of it all.
        cameras: that the view set names, head space.
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
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(np.radians(_TURN_DEG) * rng.normal(size=3)).as_matrix()
        places = np.indices((camera.height, camera.width)) + _shifts(camera, rng)
        exposure = np.exp(_EXPOSURE * rng.normal())
        if i in missing:
            view = head.render(replace(camera, c2w=turn @ camera.c2w))
            rgb = np.stack([_warped(view.rgb[..., k], places) for k in range(3)], -1)
            alpha = _warped(view.rgba[..., 3], places)
            writer.write(i, _byte(rgb * exposure), _byte(alpha))
        stage.advance()
    return writer.finish()


def _shifts(camera: Camera, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, h, w) smooth shifts, pixels."""
    rough = rng.normal(size=(2, camera.height, camera.width))
    smooth = np.stack([ndimage.gaussian_filter(part, _WARP_WIDTH * camera.width) for part in rough])
    shifts: NDArray[np.float64] = smooth * _WARP * camera.width / smooth.std()
    return shifts


def _warped(channel: NDArray[np.uint8], places: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = ndimage.map_coordinates(
        channel.astype(np.float64), places, order=1, mode="nearest"
    )
    return values


def _byte(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(values).clip(0, 255).astype(np.uint8)
