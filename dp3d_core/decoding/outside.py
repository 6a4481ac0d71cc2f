"""Decodes untrusted pictures in a child process.

A decoder may crash, exhaust memory or never return, and the caller gets an error.  The process is
reused for the next picture (starting one takes 0.2 s).  It ends after a minute without a picture,
or with its parent.
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
"""Deadline for decoding one picture, seconds; the largest accepted ones take about 2 s."""
_POLL_S = 0.1
"""Seconds between two polls of ``cancel``."""
_TRIES = 2
"""Attempts for a picture whose decoding process is killed from outside."""
_SIGKILL = 9  # Windows has no name for it
_MOST_PICTURES = 200
"""Pictures after which a process is replaced, in case decoders leak memory."""


def decode_outside(
    data: bytes,
    wanted: Wanted | None = None,
    *,
    cancel: CancelCheck = never_cancel,
    deadline_s: float = DEADLINE_S,
) -> DecodedPicture:
    """Decode an untrusted picture file of any supported format.

    Args:
        data: the file; its format is recognised by its content.
        wanted: requirements on the result; None: upright sRGB of at most 4096 pixels a side.
        cancel: polled ten times a second.
        deadline_s: seconds after which decoding is stopped.

    Raises:
        Dp3dError: ``portrait.unreadable``, ``portrait.too_small``, ``portrait.too_large``,
            ``portrait.too_slow``, ``portrait.package_missing``, ``portrait.decoder_failed``,
            ``job.cancelled``.

    """
    check_file_bytes(len(data))
    request = {"wanted": asdict(wanted or Wanted()), "deadline_s": deadline_s}
    for _ in range(_TRIES):
        decoder = _take_decoder()
        try:
            head, pixels = decoder.ask(request, data, cancel, deadline_s)
            picture = _picture(head, pixels)
        except _DecoderKilledError:
            decoder.end()
            continue
        except BaseException:
            decoder.end()
            raise
        _return_decoder(decoder)
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
    """The process was killed from outside, for instance by the out-of-memory killer."""


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
                env=_child_environment(),
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
        """Process id of the operating system."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and may decode another picture."""
        return self._process.poll() is None and self.pictures < _MOST_PICTURES

    def ask(
        self, request: dict[str, Any], data: bytes, cancel: CancelCheck, deadline_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to a request; after an exception the process must be ended."""
        self.pictures += 1
        answers: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        threading.Thread(target=self._exchange, args=(request, data, answers), daemon=True).start()
        deadline = time.monotonic() + deadline_s
        while True:
            if cancel():
                raise Cancelled("Reading the picture")
            try:
                answer = answers.get(timeout=_POLL_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise _too_slow_error(deadline_s) from None
                continue
            if answer is None:
                raise self._error_of_end()
            return answer

    def _exchange(
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

    def _error_of_end(self) -> Dp3dError:
        """Error for a process that ended before it answered.

        Raises:
            _DecoderKilledError: the process was killed.

        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.returncode
        if code == -_SIGKILL:
            raise _DecoderKilledError
        if code == 1 and self.pictures == 1:  # the process failed to start
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


def _child_environment() -> dict[str, str]:
    """Environment of the child: this installation's packages, one thread, one heap."""
    package = str(Path(dp3d_core.__file__).resolve().parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **os.environ,
        **threads,
        "MALLOC_ARENA_MAX": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _too_slow_error(deadline_s: float) -> Dp3dError:
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
if hasattr(os, "register_at_fork"):  # a forked process must not share decoders
    os.register_at_fork(after_in_child=_idle.clear)


def _take_decoder() -> _Decoder:
    while True:
        with _idle_lock:
            decoder = _idle.pop() if _idle else None
        if decoder is None:
            return _Decoder()
        if decoder.is_usable:
            return decoder
        decoder.end()


def _return_decoder(decoder: _Decoder) -> None:
    with _idle_lock:
        if not _idle and decoder.is_usable:
            _idle.append(decoder)
            return
    decoder.end()
