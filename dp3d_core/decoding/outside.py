"""Decodes pictures from outside in a process that can be ended.

A decoder may crash, take all memory or never come back; none of these reaches the caller.  The
process is kept for the next picture (its start takes 0.2 s) and ends when it is not needed for a
minute, or with its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import dp3d_core
from dp3d_core.decoding.limits import check_file_bytes
from dp3d_core.decoding.picture import DecodedPicture, Wanted
from dp3d_core.decoding.wire import receive, send
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.progress import CancelCheck, never_cancel

DEADLINE_S = 30.0
"""Seconds that decoding one picture may take; the largest accepted ones take about two."""
_POLL_S = 0.1
_TRIES = 2
_SIGKILL = 9  # Windows has no name for it
_MOST_PICTURES = 200
"""Pictures after which a process is replaced, whatever its decoders have left behind."""


def decode_outside(
    data: bytes,
    wanted: Wanted | None = None,
    *,
    cancel: CancelCheck = never_cancel,
    deadline_s: float = DEADLINE_S,
) -> DecodedPicture:
    """Decode a picture file of any kind, whoever made it.

    Args:
        data: the whole file; its kind is recognised by its bytes.
        wanted: what the picture is needed for; None: a portrait's 4096 pixels, upright, sRGB.
        cancel: polled ten times a second.
        deadline_s: seconds after which decoding is given up.

    Raises:
        Dp3dError: ``portrait.unreadable``, ``portrait.too_small``, ``portrait.too_large``,
            ``portrait.too_slow``, ``portrait.package_missing``, ``portrait.decoder_failed``,
            ``job.cancelled``.

    """
    check_file_bytes(len(data))
    request = {"wanted": asdict(wanted or Wanted()), "deadline_s": deadline_s}
    for _ in range(_TRIES):
        decoder = _take()
        try:
            head, pixels = decoder.ask(request, data, cancel, deadline_s)
            picture = _picture(head, pixels)
        except _DecoderKilledError:
            decoder.end()
            continue
        except BaseException:
            decoder.end()
            raise
        _give_back(decoder)
        if isinstance(picture, Dp3dError):
            raise picture
        return picture
    raise Dp3dError(
        "portrait.decoder_failed",
        f"The process that decodes pictures was killed {_TRIES} times, often because memory ran "
        "out.",
        "Close other programs and try again.",
    )


def _picture(head: dict[str, Any], pixels: bytes) -> DecodedPicture | Dp3dError:
    if "error" in head:
        return Dp3dError.from_dict(head["error"])
    width, height = head["size"]
    planes = np.frombuffer(pixels, np.uint8)
    colours = height * width * 3
    alpha = planes[colours:].reshape(height, width).copy() if head["alpha"] else None
    rgb = planes[:colours].reshape(height, width, 3).copy()
    palette = head["palette"] and bytes.fromhex(head["palette"])
    scale, notes = float(head["scale"]), list(head["notes"])
    return DecodedPicture(rgb, alpha, scale, notes, head["white"], palette)


class _DecoderKilledError(Exception):
    """Somebody killed the process, which says nothing about the picture."""


class _Decoder:
    """One decoding process."""

    def __init__(self) -> None:
        self.pictures = 0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dp3d_core.decoding.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise Dp3dError(
                "portrait.decoder_failed",
                f"The process that decodes pictures cannot be started ({error.strerror}).",
                "Close other programs, and check that Python is still installed where it was.",
            ) from error

    @property
    def process_id(self) -> int:
        """Of the operating system."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked once more."""
        return self._process.poll() is None and self.pictures < _MOST_PICTURES

    def ask(
        self, request: dict[str, Any], data: bytes, cancel: CancelCheck, deadline_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to a request; afterwards the process is unusable if anything is raised."""
        self.pictures += 1
        answers: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        threading.Thread(target=self._talk, args=(request, data, answers), daemon=True).start()
        deadline = time.monotonic() + deadline_s
        while True:
            if cancel():
                raise Cancelled("Reading the picture")
            try:
                answer = answers.get(timeout=_POLL_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise _too_slow(deadline_s) from None
                continue
            if answer is None:
                raise self._died()
            return answer

    def _talk(
        self,
        request: dict[str, Any],
        data: bytes,
        answers: queue.Queue[tuple[dict[str, Any], bytes] | None],
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, request, data)
            answers.put(receive(self._process.stdout))
        except (OSError, EOFError, ValueError):
            answers.put(None)

    def _died(self) -> Dp3dError:
        """The error for a decoder that ended before it answered.

        Raises:
            _DecoderKilledError: it was killed.

        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.returncode
        if code == -_SIGKILL:
            raise _DecoderKilledError
        if code == 1 and self.pictures == 1:  # it could not even begin
            return Dp3dError(
                "portrait.decoder_failed",
                "The process that decodes pictures does not run.",
                "Run 'dp3d doctor': it names what is missing in this installation.",
            )
        return Dp3dError(
            "portrait.unreadable",
            "The image is damaged: its decoder broke down over it.",
            "Save it as PNG or JPEG with another program and try again.",
            f"exit code {code}",
        )

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()


def _environment() -> dict[str, str]:
    """Of the child: our packages from where they are here, one thread, one heap."""
    package = str(Path(dp3d_core.__file__).resolve().parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **os.environ,
        **threads,
        "MALLOC_ARENA_MAX": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _too_slow(deadline_s: float) -> Dp3dError:
    return Dp3dError(
        "portrait.too_slow",
        f"The picture was not decoded within {deadline_s:.0f} seconds.",
        "Save it as PNG or JPEG with another program, at most 25 megapixels, and try again.",
    )


_idle: list[_Decoder] = []
"""Processes that wait for a picture."""
_idle_lock = threading.Lock()


def idle_decoders() -> list[_Decoder]:
    """The processes that wait for a picture."""
    with _idle_lock:
        return list(_idle)


def end_idle_decoders() -> None:
    """End all processes that wait for a picture."""
    with _idle_lock:
        waiting, _idle[:] = list(_idle), []
    for decoder in waiting:
        decoder.end()


atexit.register(end_idle_decoders)
if hasattr(os, "register_at_fork"):  # a decoder belongs to one process
    os.register_at_fork(after_in_child=_idle.clear)


def _take() -> _Decoder:
    while True:
        with _idle_lock:
            decoder = _idle.pop() if _idle else None
        if decoder is None:
            return _Decoder()
        if decoder.is_usable:
            return decoder
        decoder.end()


def _give_back(decoder: _Decoder) -> None:
    with _idle_lock:
        if not _idle and decoder.is_usable:
            _idle.append(decoder)
            return
    decoder.end()
