"""Size of a radiance field: the numbers that rebuild the module its weights belong to.

Without torch: the file of weights is checked against them before anybody takes memory for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dp3d_core.storage.json_fields import Fields, is_number

MAX_CORNERS = 1 << 24
"""Corners of the distance grid: a cube of 256."""
MAX_VALUES = 1 << 28
"""Values of all colour grids together: 1 GB, three times what the largest preset has."""
_MAX_SIDE, _MAX_WIDTH, _MAX_LEVELS, _MAX_CHANNELS = 1024, 1024, 8, 32
_HARMONICS = 9
_BYTES = {"F32": 4, "BOOL": 1}
_MAX_HEADER = 100_000
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Data type (``F32``, ``BOOL``) and shape by name."""


@dataclass(frozen=True)
class FieldSize:
    """Numbers that rebuild the module the weights of a field belong to."""

    corners: tuple[int, int, int]
    low: tuple[float, float, float]
    """Lowest corner, world N, head units."""
    cell: float
    """Distance of neighbouring corners, head units."""
    colour_levels: tuple[tuple[float, int], ...]
    """(part of ``corners``, channels) of each level of the colour grid."""
    hidden: int
    """Width of the colour network."""
    backdrop: bool = False
    """Whether the views have no masks, so that what is behind the head is learned too."""
    gloss: int = 0
    """Width of the network for what changes with the view; 0 for none."""
    contrast: bool = False
    """Whether the colour network also gives the local contrast."""

    @classmethod
    def from_dict(cls, data: Any) -> FieldSize:
        """From JSON; raises ``ValueError`` for numbers that no field has."""
        fields = Fields(data, "field_size")
        corners = fields.listed("corners", 3)
        if len(corners) != 3 or not all(_is_whole(n, 2, _MAX_SIDE) for n in corners):
            raise ValueError(f"corners in field_size is not 3 whole numbers from 2 to {_MAX_SIDE}")
        if math.prod(corners) > MAX_CORNERS:
            raise ValueError(f"its field has {math.prod(corners)} corners, more than {MAX_CORNERS}")
        low = fields.numbers("low", 3, -1e9, 1e9)
        size = cls(
            corners=(corners[0], corners[1], corners[2]),
            low=(low[0], low[1], low[2]),
            cell=fields.number("cell", 1e-9, 1e9),
            colour_levels=colour_levels(fields.listed("colour_levels", _MAX_LEVELS)),
            hidden=fields.whole("hidden", 1, _MAX_WIDTH),
            backdrop=fields.flag("backdrop", False),
            gloss=fields.whole("gloss", 0, _MAX_WIDTH, 0),
            contrast=fields.flag("contrast", False),
        )
        values = sum(
            math.prod(size.level_corners(i)) * channels
            for i, (_, channels) in enumerate(size.colour_levels)
        )
        if values > MAX_VALUES:
            raise ValueError(f"the colours of its field have {values} values")
        return size

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def level_corners(self, level: int) -> tuple[int, int, int]:
        """Corners of a level of the colour grid."""
        nx, ny, nz = (self._part(n, self.colour_levels[level][0]) for n in self.corners)
        return nx, ny, nz

    @property
    def normal_corners(self) -> tuple[int, int, int]:
        """Corners of the grid of normals that gloss is mirrored at."""
        nx, ny, nz = (self._part(n, 0.5) for n in self.corners)  # finer: would follow a highlight
        return nx, ny, nz

    @staticmethod
    def _part(count: int, part: float) -> int:
        return max(4, round(count * part))

    def tensors(self) -> Tensors:
        """The weights of a field of this size."""
        channels = sum(count for _, count in self.colour_levels)
        wanted: Tensors = {
            "low": ("F32", (3,)),
            "extent": ("F32", (3,)),
            "width": ("F32", ()),
            "reachable": ("BOOL", (math.prod(self.corners), 1)),
            "distance_grid.table": ("F32", (math.prod(self.corners), 1)),
        }
        for i, (_, count) in enumerate(self.colour_levels):
            rows = math.prod(self.level_corners(i))
            wanted[f"colour_grids.{i}.table"] = ("F32", (rows, count))
        hidden = self.hidden
        wanted |= _layers("colour_net", [channels, hidden, hidden, 3 + self.contrast])
        if self.gloss:
            wanted |= _layers("gloss_net", [channels + _HARMONICS + 1, self.gloss, 3])
            wanted["normal_grid.table"] = ("F32", (math.prod(self.normal_corners), 3))
        if self.backdrop:
            wanted |= _layers("backdrop_net", [_HARMONICS, 32, 3])
        return wanted


def colour_levels(values: Sequence[Any]) -> tuple[tuple[float, int], ...]:
    """(part, channels) of each level, of a parsed list; raises ``ValueError``."""
    for level in values:
        if (
            not isinstance(level, list | tuple)
            or len(level) != 2
            or not is_number(level[0])
            or not 0 < level[0] <= 1
            or not _is_whole(level[1], 1, _MAX_CHANNELS)
        ):
            raise ValueError("colour_levels is not a list of parts and channels")
    return tuple((float(part), int(channels)) for part, channels in values)


def check_field_file(path: Path, size: FieldSize) -> None:
    """Compare the header of a ``field.safetensors`` with the size of its field.

    Only the header is read (see the format of safetensors: length, JSON, values).

    Raises:
        OSError: it cannot be read.
        ValueError: half a sentence on what is wrong.

    """
    mismatch = ValueError("field.safetensors does not match fit.json")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MAX_HEADER:
            raise ValueError("field.safetensors is damaged")
        try:
            header = json.loads(file.read(length).decode("utf-8"))
            header.pop("__metadata__", None)
            tensors = {
                name: (entry["dtype"], tuple(entry["shape"]), _offsets(entry["data_offsets"]))
                for name, entry in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("field.safetensors is damaged") from error
    wanted = size.tensors()
    if {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()} != wanted:
        raise mismatch
    place = 0
    for begin, end in sorted(offsets for _, _, offsets in tensors.values()):
        if begin != place:
            raise mismatch
        place = end
    for dtype, shape, (begin, end) in tensors.values():
        if end - begin != _BYTES[dtype] * math.prod(shape):
            raise mismatch
    if path.stat().st_size != 8 + length + place:
        raise ValueError("field.safetensors is cut off, or longer than it says")


def _offsets(values: Sequence[Any]) -> tuple[int, int]:
    begin, end = values
    if not _is_whole(begin, 0, 1 << 40) or not _is_whole(end, 0, 1 << 40):
        raise ValueError("offsets")
    return begin, end


def _layers(name: str, widths: Sequence[int]) -> Tensors:
    """Linear layers of a sequence with an activation between any two."""
    tensors: Tensors = {}
    for i, (before, after) in enumerate(pairwise(widths)):
        tensors[f"{name}.{2 * i}.weight"] = ("F32", (after, before))
        tensors[f"{name}.{2 * i}.bias"] = ("F32", (after,))
    return tensors


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
