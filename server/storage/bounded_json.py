"""Parses JSON from clients within bounds: depth, number of values, lengths, sizes of numbers.

The counts are taken from the bytes before parsing, so that an oversized body costs little.  An
accepted value can be stored, read and written by every part of the server.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 16
"""Most levels of nested lists and objects."""
MAX_CONTAINERS = 100_000
"""Most lists and objects; 4096 cameras of a Blender path have 65,537."""
MAX_VALUES = 400_000
"""Most commas; 4096 cameras of a Blender path have about 250,000."""
MAX_STRINGS = 100_000
"""Most strings, names of members included."""
MAX_TEXT = 4096
"""Most characters of one string."""
MAX_INTEGER = 2**53
"""Largest absolute value of an integer: beyond it, JSON readers round differently."""

_TEXTS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)
"""Strings, opening brackets and closing brackets.

Matching takes linear time: an unclosed string reaches to the end, and "++" never backtracks."""


def parse_bounded(body: bytes) -> Any:
    """Parse the JSON value of a body.

    Raises:
        ValueError: the body is not JSON or exceeds a limit of this module, or has a duplicate
            member, a number that is not finite, or half a surrogate pair.

    """
    _check_counts(body)
    _check_depth(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    data = json.loads(
        text,
        object_pairs_hook=_unique_members,
        parse_float=_finite,
        parse_int=_bounded_integer,
        parse_constant=_refuse_constant,
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
    for match in _TEXTS_AND_BRACKETS.finditer(body):
        if match[1]:
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        elif match[2]:
            depth -= 1


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _bounded_integer(text: str) -> int:
    # Check the length first: parsing a number takes time quadratic in its digits.
    if len(text) > 17 or abs(number := int(text)) > MAX_INTEGER:
        raise ValueError(f"a whole number is beyond {MAX_INTEGER}")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _texts(data: Any) -> Iterator[str]:
    """Every string of a parsed value, names of members included."""
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            stack.extend(item for item in value if not isinstance(item, float | int))
        elif isinstance(value, dict):
            yield from value
            stack.extend(item for item in value.values() if not isinstance(item, float | int))


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
