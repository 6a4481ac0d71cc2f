"""Videos for people: WebM and MP4 files, encoded by OpenCV's FFmpeg (ADR 0021).

What a video may be is checked beforehand by :mod:`dp3d_core.viewsets.video_limits`.
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
    """Write a WebM (VP9) or MP4 (MPEG-4) atomically, by the ending of its name.

    Args:
        path: ``.webm`` plays in browsers and Blender, ``.mp4`` in older players, too.
        frames: (h, w, 3) uint8 of one size; an odd row or column is left out.
        fps: frames a second.

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
        if count is None or count != _frames_in(temporary):
            raise video_not_writable(path)
        if count > 0:
            _put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, codec: str, frames: Iterable[Pixels], fps: float) -> int | None:
    """Write frames to a file; their number, None where the file cannot be opened.

    OpenCV reports no failed write, of a full disk for instance.
    """
    writer: cv2.VideoWriter | None = None
    count = 0
    try:
        for frame in frames:
            height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
            if writer is None:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                with _silenced():
                    writer = cv2.VideoWriter(str(path), fourcc, fps, (width, height))
                if not writer.isOpened():
                    return None
            writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    return count


def _frames_in(path: Path) -> int:
    """Frames of a video that can be read, 0 without a file."""
    if not path.exists():
        return 0
    with _silenced():
        reader, count = cv2.VideoCapture(str(path)), 0
        try:
            while reader.grab():
                count += 1
        finally:
            reader.release()
    return count


def _put(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:  # a folder, or on Windows a video that is being watched
        raise video_not_writable(path) from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing on standard error: OpenCV's FFmpeg remarks there that WebM has no codec tags."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
