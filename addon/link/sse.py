# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-sent events: bytes of a stream in, events out.  No bpy, no network here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    name: str
    data: str


def parse(lines: Iterable[bytes]) -> Iterator[Event | None]:
    """Events of a stream given line by line; None for each comment (a sign of life).

    Follows the event stream format of the HTML standard: data lines are joined, an event ends
    with an empty line, one that the end of the stream cuts off is dropped.
    """
    last_id, name = "", ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(last_id, name or "message", "\n".join(data))
            name, data = "", []
            continue
        if line.startswith(":"):
            yield None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
