"""Typed and bounded reading of JSON from untrusted sources.

Standard library only.  Every failure is a ``ValueError`` with half a sentence for the user.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dp3d_core.storage.files import read_limited

MAX_DEPTH = 24
"""Largest number of nested objects and lists."""
_MAX_TEXT = 4000
"""Largest length of a text, characters."""
_REQUIRED: Any = object()
"""Default of a member that must be present."""


def read_bounded_json(path: Path, most_bytes: int) -> Any:
    """Parsed JSON of a file of limited size and depth; raises ``OSError``, ``ValueError``."""
    data = read_limited(path, most_bytes)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not a text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from None
    check_depth(content, path.name)
    return content


def check_depth(content: Any, name: str, max_depth: int = MAX_DEPTH) -> None:
    """Raise ``ValueError`` for JSON that is nested more than ``max_depth`` levels deep."""
    level = [content]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"{name} is nested too deeply")


class Fields:
    """Typed access to the members of a JSON object.

    An absent member gives ``default``; without a default it is an error.  A member of another type
    or out of range raises ``ValueError``.

    Args:
        data: parsed JSON.
        name: of the object in messages.

    """

    def __init__(self, data: Any, name: str) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{name} is no object")
        self._data, self._name = data, name

    def __contains__(self, key: str) -> bool:
        return self._data.get(key) is not None

    def _wrong_type(self, key: str, expected: str) -> ValueError:
        return ValueError(f"{key} in {self._name} is not {expected}")

    def _get(self, key: str, default: Any) -> Any:
        if key in self._data:
            return self._data[key]
        if default is _REQUIRED:
            raise ValueError(f"{self._name} lacks {key}")
        return default

    def whole(self, key: str, low: int, high: int, default: int = _REQUIRED) -> int:
        """An integer from ``low`` to ``high``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong_type(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float, default: float = _REQUIRED) -> float:
        """A finite number from ``low`` to ``high``."""
        value = self._get(key, default)
        if not is_number(value) or not low <= value <= high:
            raise self._wrong_type(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        """A boolean."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong_type(key, "true or false")
        return value

    def text(self, key: str, default: str = _REQUIRED, most: int = _MAX_TEXT) -> str:
        """A string of at most ``most`` characters."""
        value = self._get(key, default)
        if not isinstance(value, str) or len(value) > most:
            raise self._wrong_type(key, f"a text of at most {most} letters")
        return value

    def sha256(self, key: str) -> str:
        """A hash: 64 hexadecimal digits."""
        value = self.text(key, most=64)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise self._wrong_type(key, "a SHA-256 hash")
        return value

    def listed(self, key: str, most: int, default: list[Any] = _REQUIRED) -> list[Any]:
        """A list of at most ``most`` entries."""
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or len(value) > most:
            raise self._wrong_type(key, f"a list of at most {most} entries")
        return list(value)

    def texts(self, key: str, most: int) -> list[str]:
        """A list of strings; empty if absent."""
        values = self.listed(key, most, [])
        if any(not isinstance(value, str) or len(value) > _MAX_TEXT for value in values):
            raise self._wrong_type(key, "a list of texts")
        return values

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """``count`` finite numbers from ``low`` to ``high``."""
        return numbers(self.listed(key, count), count, low, high, f"{key} in {self._name}")

    def object(self, key: str) -> dict[str, Any]:
        """An object; empty if absent."""
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self._wrong_type(key, "an object")
        return value


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def numbers(values: Any, count: int, low: float, high: float, name: str) -> tuple[float, ...]:
    """``count`` finite numbers from ``low`` to ``high`` from a parsed list."""
    if (
        not isinstance(values, list | tuple)
        or len(values) != count
        or not all(is_number(value) and low <= value <= high for value in values)
    ):
        raise ValueError(f"{name} is not {count} numbers from {low:g} to {high:g}")
    return tuple(float(value) for value in values)
