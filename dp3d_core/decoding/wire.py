"""Messages to and from the decoding process: lengths, a JSON head, then bytes."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">IQ")
"""Lengths of head and body at the start of a message."""
_MAX_HEAD, _MAX_BODY = 1 << 20, 1 << 31
"""Largest head and body of a message, bytes."""


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
        EOFError: the stream has ended.
        ValueError: the bytes are not a message.

    """
    lengths = _read_exactly(stream, _LENGTHS.size)
    head, body = _LENGTHS.unpack(lengths)
    if head > _MAX_HEAD or body > _MAX_BODY:
        raise ValueError(f"a message of {head} and {body} bytes")
    content = json.loads(_read_exactly(stream, head))
    if not isinstance(content, dict):
        raise ValueError("a message without a head")
    return content, _read_exactly(stream, body)


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
