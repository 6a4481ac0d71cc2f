"""Messages between a process and the one that decodes pictures for it: JSON heads, then bytes."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">IQ")
_MAX_HEAD, _MAX_BODY = 1 << 20, 1 << 31


def send(stream: IO[bytes], head: dict[str, Any], *bodies: bytes | memoryview) -> None:
    """Write a message and flush it."""
    text = json.dumps(head).encode()
    stream.write(_LENGTHS.pack(len(text), sum(len(body) for body in bodies)) + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Raises:
        EOFError: the other side has gone.
        ValueError: what came is no message.

    """
    lengths = _exactly(stream, _LENGTHS.size)
    head, body = _LENGTHS.unpack(lengths)
    if head > _MAX_HEAD or body > _MAX_BODY:
        raise ValueError(f"a message of {head} and {body} bytes")
    content = json.loads(_exactly(stream, head))
    if not isinstance(content, dict):
        raise ValueError("a message without a head")
    return content, _exactly(stream, body)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
