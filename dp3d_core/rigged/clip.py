"""A take on a rigged head as an animated GIF, drawn by ``sheet``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dp3d_core.errors import Dp3dError
from dp3d_core.rigged.rig import Detail, RiggedHead
from dp3d_core.rigged.sheet import head_camera, look
from dp3d_core.rigged.take import Take
from dp3d_core.viewsets.sheets import save_gif

CLIP_FPS = 12.5
"""Frames per second: GIFs count hundredths of a second, and browsers slow down below two."""
CLIP_SIDE = 288
"""Side of a clip, pixels."""
CLIP_SECONDS = 20.0
"""Longest part of a take that is drawn, seconds."""
_TARGET, _WIDTH = (0.0, 0.005, 0.05), 0.76
"""Point in the middle of the picture and its width, head units."""


def check_clip_path(path: Path) -> None:
    """Refuse another ending than .gif; raises ``video.bad_option``."""
    if path.suffix.lower() != ".gif":
        raise Dp3dError(
            "video.bad_option",
            f"A clip cannot be written as {path.suffix or path.name!r}.",
            "Give it the ending .gif.",
        )


def frame_count(take: Take) -> int:
    """Number of frames of a clip."""
    return int(min(take.duration, CLIP_SECONDS) * CLIP_FPS) + 1


def write_clip(
    head: RiggedHead,
    take: Take,
    path: Path,
    *,
    side: int = CLIP_SIDE,
    yaw_deg: float = 8.0,
    detail: Detail = "half",
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Draw the first :data:`CLIP_SECONDS` of a take and write a GIF that repeats.

    Args:
        head: the head.
        take: the take; the key of the photo's expression stays 0.
        path: of the GIF.
        side: width and height, pixels.
        yaw_deg: direction from which the camera looks, degrees around the head, 0 in front.
        detail: level of detail that is drawn.
        on_frame: called before each of the :func:`frame_count` frames.

    Raises:
        Dp3dError: ``output.not_writable``, ``storage.full``.

    """
    camera = head_camera(yaw_deg, 2.0, side, _TARGET, _WIDTH)
    frames = []
    for time in np.arange(frame_count(take)) / CLIP_FPS:
        on_frame()
        pose = take.pose(float(time))
        frames.append(look(head, pose.weights, camera, detail=detail, turn=pose.turn))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_gif(path, frames, fps=CLIP_FPS, dither=False)
