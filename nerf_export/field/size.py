"""Size of a radiance field: the numbers from which the module of its weights is rebuilt.

Needs no torch.  The header of ``field.safetensors`` is checked against these numbers before
memory is taken for the weights.
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
"""Most corners of a distance grid: a cube of 256."""
MAX_VALUES = 1 << 28
"""Most values of all colour grids together: 1 GB, three times those of the largest preset."""
_MAX_SIDE = 1024
"""Most corners along one axis of the distance grid."""
_MAX_WIDTH = 1024
"""Largest width of the networks for colour and gloss."""
_MAX_LEVELS = 8
"""Most levels of the colour grid."""
_MAX_CHANNELS = 32
"""Most channels of one level of the colour grid."""
_HARMONICS = 9
"""Spherical harmonics of a direction that the networks read (degrees 0 to 2)."""
_BYTES = {"F32": 4, "BOOL": 1}
"""Bytes of a value by safetensors' name of its type."""
_MAX_HEADER = 100_000
"""Most bytes of a safetensors header."""
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Data type (``F32``, ``BOOL``) and shape of each tensor by its name."""


@dataclass(frozen=True)
class FieldSize:
    """Numbers from which the module of a field's weights is rebuilt."""

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
    """Whether a background is learned too, as for views without masks."""
    gloss: int = 0
    """Width of the network for view-dependent colour; 0 for none."""
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
        nx, ny, nz = (self._scaled_count(n, self.colour_levels[level][0]) for n in self.corners)
        return nx, ny, nz

    @property
    def normal_corners(self) -> tuple[int, int, int]:
        """Corners of the grid of normals that reflect view directions for gloss."""
        # half the resolution: finer normals would bend to follow a highlight
        nx, ny, nz = (self._scaled_count(n, 0.5) for n in self.corners)
        return nx, ny, nz

    @staticmethod
    def _scaled_count(count: int, part: float) -> int:
        return max(4, round(count * part))

    def tensors(self) -> Tensors:
        """Names, types and shapes of the weights of a field of this size."""
        channels = sum(count for _, count in self.colour_levels)
        expected: Tensors = {
            "low": ("F32", (3,)),
            "extent": ("F32", (3,)),
            "width": ("F32", ()),
            "reachable": ("BOOL", (math.prod(self.corners), 1)),
            "distance_grid.table": ("F32", (math.prod(self.corners), 1)),
        }
        for i, (_, count) in enumerate(self.colour_levels):
            rows = math.prod(self.level_corners(i))
            expected[f"colour_grids.{i}.table"] = ("F32", (rows, count))
        hidden = self.hidden
        expected |= _layers("colour_net", [channels, hidden, hidden, 3 + self.contrast])
        if self.gloss:
            expected |= _layers("gloss_net", [channels + _HARMONICS + 1, self.gloss, 3])
            expected["normal_grid.table"] = ("F32", (math.prod(self.normal_corners), 3))
        if self.backdrop:
            expected |= _layers("backdrop_net", [_HARMONICS, 32, 3])
        return expected


def colour_levels(values: Sequence[Any]) -> tuple[tuple[float, int], ...]:
    """(part, channels) of each level from a parsed list; raises ``ValueError``."""
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
        OSError: the file cannot be read.
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
    expected = size.tensors()
    if {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()} != expected:
        raise mismatch
    previous_end = 0
    for begin, end in sorted(offsets for _, _, offsets in tensors.values()):
        if begin != previous_end:
            raise mismatch
        previous_end = end
    for dtype, shape, (begin, end) in tensors.values():
        if end - begin != _BYTES[dtype] * math.prod(shape):
            raise mismatch
    if path.stat().st_size != 8 + length + previous_end:
        raise ValueError("field.safetensors is cut off, or longer than it says")


def _offsets(values: Sequence[Any]) -> tuple[int, int]:
    begin, end = values
    if not _is_whole(begin, 0, 1 << 40) or not _is_whole(end, 0, 1 << 40):
        raise ValueError("offsets")
    return begin, end


def _layers(name: str, widths: Sequence[int]) -> Tensors:
    """Tensors of linear layers of these widths, with an activation between any two layers."""
    tensors: Tensors = {}
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        tensors[f"{name}.{2 * i}.weight"] = ("F32", (outputs, inputs))
        tensors[f"{name}.{2 * i}.bias"] = ("F32", (outputs,))
    return tensors


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
