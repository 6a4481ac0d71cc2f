"""WebM and MP4 videos, encoded by OpenCV's FFmpeg (ADR 0021).

:mod:`dp3d_core.viewsets.video_limits` checks a video's path, frame rate and sizes beforehand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.viewsets.video_limits import video_codec, video_not_writable


def save_video(path: Path, frames: Iterable[Pixels], fps: float = 24.0) -> None:
    """Write a WebM (VP9) or MP4 (MPEG-4) video atomically.

    Args:
        path: ends in ``.webm``, which browsers and Blender play, or ``.mp4`` for older players.
        frames: (h, w, 3) uint8 of one size; an odd last row or column is cut off.
        fps: frames per second.

    Raises:
        Dp3dError: ``video.bad_option`` for another ending, ``output.not_writable``.

    """
    codec = video_codec(path)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise video_not_writable(path) from error
    try:
        count = _encode(temporary, codec, frames, fps)
        if count is None or count != _readable_frames(temporary):
            raise video_not_writable(path)
        if count > 0:
            _move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, codec: str, frames: Iterable[Pixels], fps: float) -> int | None:
    """Write frames to a file and return their number, None where the file cannot be opened.

    OpenCV does not report failed writes, such as on a full disk.
    """
    writer: cv2.VideoWriter | None = None
    count = 0
    try:
        for frame in frames:
            height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
            if writer is None:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                with _stderr_off():
                    writer = cv2.VideoWriter(str(path), fourcc, fps, (width, height))
                if not writer.isOpened():
                    return None
            writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    return count


def _readable_frames(path: Path) -> int:
    """Number of frames that can be read from a video, 0 without a file."""
    if not path.exists():
        return 0
    with _stderr_off():
        reader, count = cv2.VideoCapture(str(path)), 0
        try:
            while reader.grab():
                count += 1
        finally:
            reader.release()
    return count


def _move_into_place(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:  # a folder, or on Windows a video that a player holds open
        raise video_not_writable(path) from error


@contextmanager
def _stderr_off() -> Iterator[None]:
    """Discard standard error, where OpenCV's FFmpeg reports that WebM has no codec tags."""
    sys.stderr.flush()
    saved_stderr = os.dup(2)
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, 2)
        yield
    finally:
        os.dup2(saved_stderr, 2)
        os.close(saved_stderr)
        os.close(null_device)
