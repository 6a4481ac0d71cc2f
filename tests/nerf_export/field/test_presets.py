"""Presets: their JSON, and the model settings that they are the only source of."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from nerf_export.field.presets import PRESETS, Preset

MODEL = Path(__file__).resolve().parents[3] / "nerf_export/child/model.py"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    preset = PRESETS[name]
    assert Preset.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


def test_keys_of_json_are_those_of_earlier_fits() -> None:
    data = PRESETS["tiny"].to_dict()
    assert [data[key] for key in ("width_start", "width_end", "spread_until")] == [0.3, 0.15, 0.9]
    assert not {"softness_start", "softness_end", "gradient_smoothing_until"} & data.keys()
    preset = Preset.from_dict({**data, "width_start": 0.5, "width_end": 0.4, "spread_until": 0.1})
    assert (preset.softness_start, preset.softness_end) == (0.5, 0.4)
    assert preset.gradient_smoothing_until == 0.1


def test_defaults_of_the_model_are_those_of_a_preset() -> None:
    """Read from the source: the tests' interpreter has no nerfstudio."""
    config = next(
        node
        for node in ast.parse(MODEL.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "HeadModelConfig"
    )
    defaults = {
        ast.unparse(node.target): ast.unparse(node.value)
        for node in config.body
        if isinstance(node, ast.AnnAssign) and node.value is not None
    }
    for name in PRESETS["tiny"].model_settings():
        assert defaults[name] == f"_DEFAULTS.{name}"
