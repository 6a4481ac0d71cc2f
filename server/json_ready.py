"""Converts dataclasses, enums, paths and numpy values to what ``json.dumps`` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any


def json_ready(value: Any) -> Any:
    """JSON-ready copy of a value.

    Dataclasses become objects, enums their values, sets and tuples lists, numpy arrays nested
    lists, objects with ``to_dict`` its result, and anything unknown its ``str``.  Infinite
    numbers and NaN become None.  A path becomes its last name: clients must not learn the
    folders of this machine.
    """
    if value is None or isinstance(value, bool | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return json_ready(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.name
    if hasattr(value, "to_dict"):
        return json_ready(value.to_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_ready(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_ready(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return json_ready(value.tolist())
    return str(value)
