"""The process that decodes pictures: ``python -m dp3d_core.decoding.child``.

It reads requests from standard input and answers on standard output with the messages of
:mod:`dp3d_core.decoding.wire`.  It ends when its input closes, which includes the death of its
parent, and by itself when a picture takes longer than its deadline.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dp3d_core.decoding.limits import DECODER_MEMORY_BYTES
from dp3d_core.decoding.picture import DecodedPicture, Wanted, decode_picture
from dp3d_core.decoding.wire import receive, send
from dp3d_core.errors import Dp3dError

IDLE_S = 60.0
"""Seconds without a request after which the process ends."""
_GRACE_S = 5.0
"""Seconds after the parent's deadline at which the process ends itself."""


def main() -> int:
    """Answer requests until the input closes."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders' prints must not mix with the messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    limit_memory()
    while True:
        # a watchdog thread in C, which needs neither this thread nor the interpreter lock
        faulthandler.dump_traceback_later(IDLE_S, exit=True, file=_NullFile.file)
        try:
            head, data = receive(requests)
        except (EOFError, ValueError):
            return 0
        faulthandler.dump_traceback_later(
            float(head["deadline_s"]) + _GRACE_S, exit=True, file=_NullFile.file
        )
        try:
            _answer(replies, decode_picture(data, Wanted(**head["wanted"])))
        except Dp3dError as error:
            send(replies, {"error": error.to_dict()})


@dataclass
class _NullFile:
    file = Path(os.devnull).open("wb")  # noqa: SIM115


def _answer(replies: IO[bytes], picture: DecodedPicture) -> None:
    head: dict[str, Any] = {
        "size": picture.rgb.shape[1::-1],
        "alpha": picture.alpha is not None,
        "scale": picture.scale,
        "notes": picture.notes,
        "palette": None if picture.palette is None else picture.palette.hex(),
        "white": picture.white,
    }
    arrays = [picture.rgb] if picture.alpha is None else [picture.rgb, picture.alpha]
    send(replies, head, *(np.ascontiguousarray(array).data.cast("B") for array in arrays))


def limit_memory() -> None:
    """Limit this process's memory to what accepted pictures need, where the system can (Linux)."""
    try:
        import resource
    except ImportError:  # Windows has only the limits by header
        return
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    if sys.platform == "linux":
        limits["RLIMIT_DATA"] = _data_bytes() + DECODER_MEMORY_BYTES
    for name, value in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            kind = getattr(resource, name)
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _data_bytes() -> int:
    """Bytes in use that count towards RLIMIT_DATA."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 200_000_000


if __name__ == "__main__":
    sys.exit(main())
