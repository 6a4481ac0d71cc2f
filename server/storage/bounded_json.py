"""JSON of a client, bounded before it is parsed: depth, number of values, lengths, numbers.

The counts are taken from the bytes, so that a body costs next to nothing until it is known to be
small enough.  What passes can be stored, read and written again by every part of the server.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 16
"""Levels of lists and objects in a body."""
MAX_CONTAINERS = 100_000
"""Lists and objects: 4096 cameras of a Blender path have 65,537."""
MAX_VALUES = 400_000
"""Commas: 4096 cameras of a Blender path have about 250,000."""
MAX_STRINGS = 100_000
"""Texts, names of members among them."""
MAX_TEXT = 4096
"""Characters of one text."""
MAX_INTEGER = 2**53
"""Largest whole number, the one up to which every JSON reader agrees."""

# A text that is not closed reaches to the end, and nothing is tried twice: linear in the body.
_LEVELS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


def parse_bounded(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        ValueError: it is no JSON, or more of it than the limits of this module; duplicate
            members, numbers that are not finite and half surrogate pairs are refused, too.

    """
    _check_counts(body)
    _check_depth(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    data = json.loads(
        text,
        object_pairs_hook=_members,
        parse_float=_finite,
        parse_int=_integer,
        parse_constant=_no_number,
    )
    for value in _texts(data):
        _check_text(value)
    return data


def _check_counts(body: bytes) -> None:
    for signs, limit, what in (
        (b"[{", MAX_CONTAINERS, "lists and objects"),
        (b",", MAX_VALUES, "values"),
    ):
        if sum(body.count(sign) for sign in (signs[i : i + 1] for i in range(len(signs)))) > limit:
            raise ValueError(f"it has more than {limit} {what}")
    if body.count(b'"') > 2 * MAX_STRINGS:
        raise ValueError(f"it has more than {MAX_STRINGS} texts")


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _LEVELS.finditer(body):
        if match[1]:
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        elif match[2]:
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _integer(text: str) -> int:
    # The length first: the time to read a number of a million digits grows with its square.
    if len(text) > 17 or abs(number := int(text)) > MAX_INTEGER:
        raise ValueError(f"a whole number is beyond {MAX_INTEGER}")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _texts(data: Any) -> Iterator[str]:
    """Every text of a parsed value, names of members included."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.extend(item for item in value if not isinstance(item, float | int))
        elif isinstance(value, dict):
            yield from value
            waiting.extend(item for item in value.values() if not isinstance(item, float | int))


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text is longer than {MAX_TEXT} characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half a surrogate pair") from error
    if "\0" in text:
        raise ValueError("a text holds a zero character")
