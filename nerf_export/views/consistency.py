"""Checks that cameras and frames belong together, before and after a fit.

A radiance field can be fitted to any input.  Impossible input is refused here: empty masks, cameras
in one place or inside the head.  Doubtful input gets a warning: a small range of view angles,
silhouettes that contradict each other, held-out views that the finished field does not predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dp3d_core.arrays import Indices, Mask, Pixels
from dp3d_core.cameras.camera import Z_UP_FROM_HEAD, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Stage
from nerf_export.shape.hull import Hull, camera_spread
from nerf_export.views.dataset import Look

_COMPARED_SIDE = 64
"""Longer side of the frames in which silhouettes are compared, pixels."""
_RAY_SAMPLES = 128
"""Points along a ray at which the hull is sampled."""
_LEAST_FILLED = 0.85
"""Part of a silhouette that the visual hull of all views must fill, or a warning is given."""
_LEAST_PSNR = 16.0
"""Foreground PSNR of held-out views, dB, below which a warning is given."""
_LEAST_SPREAD_DEG = 2.0
"""Largest angle between two cameras, degrees, below which a capture is refused."""
_SMALL_SPREAD_DEG = 30.0
"""Largest angle between two cameras, degrees, below which a warning is given."""
_LISTED_VIEWS = 6
"""Views that a message lists by number."""

NO_MASKS = (
    "The views have no masks, so head and background could not be told apart: "
    "expect a rough shape, and add masks for a good one."
)
"""Warning for views without masks."""


@dataclass(frozen=True)
class Agreement:
    """How well the silhouettes agree with their visual hull.

    Attributes:
        filled: of each view, the part of its silhouette that the visual hull fills, 0 to 1; NaN
            for a view without a silhouette.
        beyond: of each view, (h, w) pixels of a small frame inside the silhouette and more than a
            pixel outside the projected hull; None: no such pixels.

    """

    filled: tuple[float, ...]
    beyond: tuple[Mask | None, ...]

    @property
    def mean(self) -> float:
        """Mean of ``filled`` over the views that have a silhouette; NaN if none has."""
        return float(np.nanmean(self.filled)) if np.isfinite(self.filled).any() else float("nan")

    def warnings(self, numbers: Sequence[int]) -> list[str]:
        """Warnings about silhouettes that contradict each other.

        Args:
            numbers: of the views, in the order of ``filled``, as the warnings name them.

        """
        poor = [
            number
            for number, part in zip(numbers, self.filled, strict=True)
            if part < _LEAST_FILLED
        ]
        if not poor:
            return []
        if len(poor) > len(self.filled) / 3:
            return [
                f"The silhouettes of {len(poor)} of {len(self.filled)} views contradict each "
                f"other (one shape fills {self.mean:.0%} of them): check that the cameras belong "
                "to these frames."
            ]
        return [
            f"The silhouettes of {listed(poor)} contradict the other views: check these frames "
            "and cameras."
        ]


def check_frames(looks: Sequence[Look]) -> list[str]:
    """Refuse frames without content, and warn of frames of one colour.

    Args:
        looks: one for each training picture.

    Returns:
        Warnings.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    if all(look.empty for look in looks):
        raise _invalid("every mask is empty", "Check that the masks are white where the head is.")
    if not all(look.plain for look in looks):
        return []
    if all(look.full for look in looks):
        raise _invalid(
            "its frames are of one colour each and have no masks",
            "Check how the frames were written, or generate the views again.",
        )
    return ["The frames are of one colour each: the shape is that of the silhouettes alone."]


def check_cameras(cameras: Sequence[Camera], hull: Hull) -> list[str]:
    """Refuse cameras inside the head or in one place, and warn of a small range of view angles.

    Args:
        cameras: of the views, head space.
        hull: visual hull of these views.

    Returns:
        Warnings.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    positions = np.array([camera.position for camera in cameras]) @ Z_UP_FROM_HEAD[:3, :3].T
    inside = np.flatnonzero(hull.at(positions) < 0)
    if len(inside):
        raise _invalid(
            f"the camera of {listed(inside)} stands inside the head",
            "Move it out, or leave out the view.",
        )
    spread = camera_spread(cameras, hull.middle)
    if spread < _LEAST_SPREAD_DEG:
        raise _invalid(
            "all its cameras look from one place, which shows no depth",
            "Give views from several sides; 32 around the head are a good number.",
        )
    if spread < _SMALL_SPREAD_DEG:
        return [
            f"All cameras look from within {spread:.0f} degrees: the depth of the shape is "
            "uncertain, and what they do not see is a guess."
        ]
    return []


def compare_silhouettes(
    cameras: Sequence[Camera],
    masks: Sequence[Pixels],
    valid: Sequence[Mask | None],
    hull: Hull,
    stage: Stage | None = None,
) -> Agreement:
    """Compare each silhouette with the visual hull of all views.

    Args:
        cameras: of the views, head space.
        masks: (h, w) uint8 alpha of each view.
        valid: (h, w) valid mask of each view; None: all pixels are valid.
        hull: visual hull of the views.
        stage: advanced once for each view.

    """
    filled: list[float] = []
    beyond: list[Mask | None] = []
    for camera, mask, view_valid in zip(cameras, masks, valid, strict=True):
        inside, on_hull = _silhouette_and_hull(camera, mask, view_valid, hull)
        filled.append(float(on_hull[inside].mean()) if inside.any() else float("nan"))
        outside_hull = inside & ~ndimage.binary_dilation(on_hull, np.ones((3, 3), bool))
        beyond.append(outside_hull if outside_hull.any() else None)
        if stage is not None:
            stage.advance()
    return Agreement(tuple(filled), tuple(beyond))


def score_warnings(scores: Mapping[str, float], has_masks: bool) -> list[str]:
    """Warnings about the scores of held-out views."""
    if not scores["held_out_views"]:
        return ["No held-out view shows the head: how good the fit is, nobody has measured."]
    foreground_psnr = scores["foreground_psnr"]
    if foreground_psnr >= _LEAST_PSNR:
        return []
    return [
        f"The field does not show its held-out views ({foreground_psnr:.1f} dB): "
        + (
            "the views contradict each other, or cameras and frames do not belong together."
            if has_masks
            else "without masks, and perhaps with other cameras' frames, there is little to go by."
        )
    ]


def _silhouette_and_hull(
    camera: Camera, mask: Pixels, valid: Mask | None, hull: Hull
) -> tuple[Mask, Mask]:
    """(h, w) pixels of a small frame inside the silhouette, and those whose rays hit the hull."""
    scale = min(1.0, _COMPARED_SIDE / max(mask.shape))
    small = camera.resized(
        max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    )
    column, row = (small.pixel_centres() / scale).astype(int).reshape(-1, 2).T
    column, row = column.clip(0, mask.shape[1] - 1), row.clip(0, mask.shape[0] - 1)
    inside = mask[row, column] >= 128
    if valid is not None:
        inside &= valid[row, column]
    rays = (small.directions(small.pixel_centres()).reshape(-1, 3) @ Z_UP_FROM_HEAD[:3, :3].T)[
        inside
    ]
    origin = Z_UP_FROM_HEAD[:3, :3] @ camera.position
    reach = float(np.linalg.norm(hull.high - hull.low)) / 2
    middle = float(np.linalg.norm(hull.middle - origin))
    along = np.linspace(max(0.0, middle - reach), middle + reach, _RAY_SAMPLES)
    hits = np.zeros(len(rays), bool)
    half_step = (along[1] - along[0]) / 2
    for distance in along:
        # half a step of tolerance, as thin parts may lie between two samples
        hits |= hull.at(origin + distance * rays) < half_step
    filled = inside.copy()
    filled[inside] = hits
    shape = (small.height, small.width)
    return inside.reshape(shape), filled.reshape(shape)


def listed(views: Sequence[int] | Indices) -> str:
    """Numbers of views for a message: the first six, and how many more there are."""
    numbers = [str(int(i)) for i in views]
    if len(numbers) == 1:
        return f"view {numbers[0]}"
    rest = f" and {len(numbers) - _LISTED_VIEWS} more" if len(numbers) > _LISTED_VIEWS else ""
    return f"views {', '.join(numbers[:_LISTED_VIEWS])}{rest}"


def _invalid(why: str, remedy: str) -> Dp3dError:
    return Dp3dError("viewset.invalid", f"The view set cannot be used: {why}.", remedy)
