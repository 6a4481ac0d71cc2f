"""What a video may be, checked before its frames are made.  Standard library only.

``dp3d_core.pictures`` writes it; the web process checks requests with this module, without OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp3d_core.errors import Dp3dError

FPS_RANGE = (0.1, 240.0)
"""Frames a second."""
_CODECS = {".webm": "VP90", ".mp4": "mp4v"}


def check_video(path: Path, fps: float, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse a video that :func:`dp3d_core.pictures.save_video` could not write.

    Args:
        path: where it is to be written.
        fps: frames a second.
        sizes: width and height of each frame, pixels.

    Raises:
        Dp3dError: ``engine.bad_option``, ``output.not_writable``.

    """
    video_codec(path)
    if path.is_dir():
        raise video_not_writable(path)
    check_frames(fps, sizes)


def check_frames(fps: float, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse frames that are no video (arguments as of :func:`check_video`).

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    if len(set(sizes)) > 1:
        raise Dp3dError(
            "engine.bad_option",
            "Frames of different sizes are no video.",
            "Leave the video out, or give cameras of one size.",
        )
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise Dp3dError(
            "engine.bad_option",
            f"A video cannot have {fps:g} frames a second.",
            f"Give {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}.",
        )


def video_codec(path: Path) -> str:
    """Four-letter name of the codec for the ending of a file; raises ``engine.bad_option``."""
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        raise Dp3dError(
            "engine.bad_option",
            f"A video cannot be written as {path.suffix or path.name!r}.",
            "Give it the ending .webm or .mp4.",
        )
    return codec


def video_not_writable(path: Path) -> Dp3dError:
    """The error for a video that the system does not take."""
    return Dp3dError(
        "output.not_writable",
        f"The video {path.name} cannot be written.",
        "Check rights and free space, and that nothing plays it; the other ending may work.",
    )
