"""Whether cameras and frames belong together, before and after a fit.

A radiance field can be fitted to anything, so what cannot work is refused here, and what looks
wrong is said: cameras that show one side only, cameras inside the head, silhouettes that
contradict each other, frames without a picture, views that the finished field cannot predict.
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

_SIDE = 64
"""Longer side of the frames in which silhouettes are compared, pixels."""
_STEPS = 128
"""Places along a ray at which the hull is asked for."""
_POOR = 0.85
"""Part of a silhouette that the common shape should fill."""
_BLURRED = 16.0
"""Foreground PSNR, dB, of held-out views below which a fit does not show its views."""
_LEAST_SPREAD_DEG, _SMALL_SPREAD_DEG = 2.0, 30.0
_NAMED = 6
"""Views that a message lists."""

NO_MASKS = (
    "The views have no masks, so head and background could not be told apart: "
    "expect a rough shape, and add masks for a good one."
)


@dataclass(frozen=True)
class Agreement:
    """How well the silhouettes fit one common shape.

    Attributes:
        filled: of each view, the part of its silhouette that the visual hull fills, 0 to 1; nan
            where there is none.
        beyond: of each view, (h, w) pixels of a small frame where the silhouette goes on and the
            hull, by more than a pixel, does not; None: nowhere.

    """

    filled: tuple[float, ...]
    beyond: tuple[Mask | None, ...]

    @property
    def mean(self) -> float:
        """Mean of all views that have a silhouette."""
        return float(np.nanmean(self.filled)) if np.isfinite(self.filled).any() else float("nan")

    def warnings(self, names: Sequence[int]) -> list[str]:
        """What to tell; ``names`` are the views' numbers."""
        poor = [n for n, part in zip(names, self.filled, strict=True) if part < _POOR]
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
    """Refuse frames that show nothing, and say it when they are all of one colour.

    Args:
        looks: of the training pictures.

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
    """Refuse cameras that see no shape: all in one place, or inside the head.

    Args:
        cameras: of the views, head space.
        hull: of these views.

    Returns:
        Warnings.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    places = np.array([c.position for c in cameras]) @ Z_UP_FROM_HEAD[:3, :3].T
    inside = np.flatnonzero(hull.at(places) < 0)
    if len(inside):
        raise _invalid(
            f"the camera of {listed(inside)} stands inside the head",
            "Move it out, or leave the view away.",
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
    known: Sequence[Mask | None],
    hull: Hull,
    stage: Stage | None = None,
) -> Agreement:
    """How much of each silhouette the hull of all fills; ``stage`` is advanced for each."""
    filled: list[float] = []
    beyond: list[Mask | None] = []
    for camera, mask, part in zip(cameras, masks, known, strict=True):
        inside, hit = _compared(camera, mask, part, hull)
        filled.append(float(hit[inside].mean()) if inside.any() else float("nan"))
        missed = inside & ~ndimage.binary_dilation(hit, np.ones((3, 3), bool))
        beyond.append(missed if missed.any() else None)
        if stage is not None:
            stage.advance()
    return Agreement(tuple(filled), tuple(beyond))


def score_warnings(scores: Mapping[str, float], has_masks: bool) -> list[str]:
    """What to tell about the scores of views that the fit has not seen."""
    if not scores["held_out_views"]:
        return ["No held-out view shows the head: how good the fit is, nobody has measured."]
    foreground_psnr = scores["foreground_psnr"]
    if foreground_psnr >= _BLURRED:
        return []
    return [
        f"The field does not show its held-out views ({foreground_psnr:.1f} dB): "
        + (
            "the views contradict each other, or cameras and frames do not belong together."
            if has_masks
            else "without masks, and perhaps with other cameras' frames, there is little to go by."
        )
    ]


def _compared(camera: Camera, mask: Pixels, known: Mask | None, hull: Hull) -> tuple[Mask, Mask]:
    """(h, w) pixels of a small frame inside the silhouette, and those of them on the hull."""
    scale = min(1.0, _SIDE / max(mask.shape))
    small = camera.resized(
        max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    )
    column, row = (small.pixel_centres() / scale).astype(int).reshape(-1, 2).T
    column, row = column.clip(0, mask.shape[1] - 1), row.clip(0, mask.shape[0] - 1)
    inside = mask[row, column] >= 128
    if known is not None:
        inside &= known[row, column]
    rays = (small.directions(small.pixel_centres()).reshape(-1, 3) @ Z_UP_FROM_HEAD[:3, :3].T)[
        inside
    ]
    origin = Z_UP_FROM_HEAD[:3, :3] @ camera.position
    reach = float(np.linalg.norm(hull.high - hull.low)) / 2
    middle = float(np.linalg.norm(hull.middle - origin))
    along = np.linspace(max(0.0, middle - reach), middle + reach, _STEPS)
    hit = np.zeros(len(rays), bool)
    half_step = (along[1] - along[0]) / 2
    for t in along:
        # thin parts may lie between two steps
        hit |= hull.at(origin + t * rays) < half_step
    filled = inside.copy()
    filled[inside] = hit
    shape = (small.height, small.width)
    return inside.reshape(shape), filled.reshape(shape)


def listed(views: Sequence[int] | Indices) -> str:
    """Numbers of views for a message: the first ones, and how many more."""
    numbers = [str(int(i)) for i in views]
    if len(numbers) == 1:
        return f"view {numbers[0]}"
    rest = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"views {', '.join(numbers[:_NAMED])}{rest}"


def _invalid(why: str, remedy: str) -> Dp3dError:
    return Dp3dError("viewset.invalid", f"The view set cannot be used: {why}.", remedy)
