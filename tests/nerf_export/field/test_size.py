"""Sizes of fields: ranges, agreement with the module's weights, and checks of the weights' file."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest

from nerf_export.field.presets import PRESETS
from nerf_export.field.size import MAX_CORNERS, FieldSize, check_field_file
from tests.support.fits import SIZE, field_file

WRONG = {
    "corners": ["abc", [8, 9], [8, 9, 10, 11], [8, 9, 1], [8, 9, 2.5], [8, 9, True], [1000] * 3],
    "low": [None, [0, 0], [0, 0, math.nan], [0, 0, math.inf], [0, 0, "1"], [0, 0, 10**400]],
    "cell": [0, -1, math.nan, "0.1", None, [1]],
    "colour_levels": [[[0.5]], [[0, 2]], [[2, 2]], [[0.5, 1000]], [[1.0, 2]] * 9, "x", [5]],
    "hidden": [0, 2.0, 10**9, None],
    "gloss": [-1, 10**6, "3"],
    "contrast": [1, "yes"],
}


def test_a_size_survives_json():
    assert FieldSize.from_dict(json.loads(json.dumps(SIZE.to_dict()))) == SIZE


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_sizes_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=r"field|colour_levels"):
        FieldSize.from_dict({**SIZE.to_dict(), name: value})


def test_the_largest_preset_is_allowed():
    preset = max(PRESETS.values(), key=lambda p: p.grid)
    assert preset.grid**3 <= MAX_CORNERS
    FieldSize.from_dict(
        {
            "corners": [preset.grid] * 3,
            "low": [0, 0, 0],
            "cell": 0.01,
            "colour_levels": [list(level) for level in preset.colour_levels],
            "hidden": preset.hidden,
            "gloss": preset.gloss,
            "contrast": True,
        }
    )


@pytest.mark.parametrize("gloss", [0, 3])
@pytest.mark.parametrize("backdrop", [False, True])
def test_the_weights_are_those_of_the_module(gloss, backdrop):
    pytest.importorskip("torch", reason="the field is torch's")
    from nerf_export.child.field import HeadField

    size = FieldSize(SIZE.corners, SIZE.low, SIZE.cell, SIZE.colour_levels, 4, backdrop, gloss)
    state = HeadField(size).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: shape for name, (_, shape) in size.tensors().items()
    }


def test_a_matching_field_file_is_accepted(tmp_path: Path):
    path = tmp_path / "field.safetensors"
    path.write_bytes(field_file())
    check_field_file(path, SIZE)
    other_size = FieldSize.from_dict({**SIZE.to_dict(), "hidden": 5})
    with pytest.raises(ValueError, match="does not match"):
        check_field_file(path, other_size)


def lying(change: str) -> bytes:
    """A file whose header contradicts its contents."""
    data = field_file()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    entry = header["distance_grid.table"]
    if change == "offsets":
        entry["data_offsets"][1] += 4
    elif change == "dtype":
        entry["dtype"] = "F64"
    elif change == "words":
        entry["data_offsets"] = ["a", "b"]
    elif change == "overlap":
        entry["data_offsets"] = header["reachable"]["data_offsets"]
    elif change == "missing":
        del header["distance_grid.table"]
    elif change == "deep":
        return struct.pack("<Q", 50_000) + b"[" * 50_000 + data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"half",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"\x80\x04\x95" + bytes(100),  # a pickle
        field_file()[:-1],
        field_file() + b"\0",
        *(lying(how) for how in ("offsets", "dtype", "words", "overlap", "missing", "deep")),
    ],
    ids=lambda _: "",
)
def test_other_field_files_are_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "field.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"field\.safetensors"):
        check_field_file(path, SIZE)
