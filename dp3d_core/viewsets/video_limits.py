"""Checks of a video's path, frame rate and sizes before its frames are rendered.

Without OpenCV, because the web process checks requests with it.  :mod:`dp3d_core.viewsets.video`
writes videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FPS, VIDEO_FORMATS
from dp3d_core.storage.files import check_output_path

_CODECS = {"webm": "VP90", "mp4": "mp4v"}
"""FourCC of the codec for each file name extension."""


def check_video(path: Path, fps: float, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse a video that :func:`dp3d_core.viewsets.video.save_video` could not write.

    Args:
        path: of the video.
        fps: frames per second.
        sizes: width and height of each frame, pixels.

    Raises:
        Dp3dError: ``video.bad_option``, ``output.not_writable``.

    """
    video_codec(path)
    check_output_path(path)
    if path.is_dir():
        raise video_not_writable(path)
    check_frames(fps, sizes)


def check_frames(fps: float, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse a frame rate out of range or frames of several sizes, see :func:`check_video`.

    Raises:
        Dp3dError: ``video.bad_option``.

    """
    if len(set(sizes)) > 1:
        raise Dp3dError(
            "video.bad_option",
            "Frames of different sizes are no video.",
            "Leave the video out, or give cameras of one size.",
        )
    if not FPS.holds(fps):
        raise Dp3dError(
            "video.bad_option",
            f"A video cannot have {fps:g} frames a second.",
            f"Give {FPS}.",
        )


def video_codec(path: Path) -> str:
    """FourCC of the codec for a file name's extension; raises ``video.bad_option``."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in _CODECS:
        raise Dp3dError(
            "video.bad_option",
            f"A video cannot be written as {path.suffix or path.name!r}.",
            f"Give it the ending {' or '.join(f'.{name}' for name in VIDEO_FORMATS)}.",
        )
    return _CODECS[ending]


def video_not_writable(path: Path) -> Dp3dError:
    """Error for a video that cannot be written."""
    return Dp3dError(
        "output.not_writable",
        f"The video {path.name} cannot be written.",
        "Check rights and free space, and that nothing plays it; the other ending may work.",
    )
