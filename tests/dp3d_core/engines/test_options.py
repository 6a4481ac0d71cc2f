"""Options of the engines accept and refuse the values that their descriptions state."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dp3d_core.engines.options import option_summary
from dp3d_core.engines.registry import engine_names, get_engine, list_engines
from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.preview.engine import PreviewOptions

OPTIONS = [
    pytest.param(info.name, option, id=f"{info.name}-{option['name']}")
    for info in list_engines()
    for option in info.options
]
KINDS = {"preview": PreviewOptions}


def check(engine: str, **values: Any) -> None:
    """Check options as the engine does, without its packages and weights."""
    from dp3d_core.engines.options import parse_options

    parse_options(KINDS.get(engine, DiffusionOptions), values)


@pytest.mark.parametrize(("engine", "option"), OPTIONS)
class TestEveryOption:
    def test_is_described(self, engine, option):
        assert list(option) == [
            *("name", "type", "default", "description"),
            *("choices", "minimum", "maximum", "step"),
        ]
        assert len(option["description"]) > 15
        assert option["description"][0].isupper()
        assert option["description"].endswith((".", "..."))
        assert option["type"] in {"str", "int", "float", "bool"}
        assert json.loads(json.dumps(option)) == option

    def test_takes_its_default_and_its_ends(self, engine, option):
        values = [option["default"], *(option["choices"] or ())]
        values += [v for v in (option["minimum"], option["maximum"]) if v is not None]
        for value in values:
            exact = int(value) if option["type"] == "int" else value
            assert exact == value
            check(engine, **{option["name"]: exact})

    def test_refuses_what_lies_outside(self, engine, option):
        outside: list[Any] = []
        if option["choices"] is not None:
            outside.append("something else")
        whole = option["type"] == "int"
        for end, sign in ((option["minimum"], -1), (option["maximum"], 1)):
            if end is not None:
                outside.append(end + sign if whole else end + sign * 0.01)
        if option["step"] is not None:
            outside.append(option["minimum"] + 1)
        if option["type"] == "float":
            outside += [math.nan, math.inf, -math.inf]
        outside.append([1])
        for value in outside:
            with pytest.raises(Dp3dError) as caught:
                check(engine, **{option["name"]: value})
            assert caught.value.code == "engine.bad_option", value
            assert option["name"] in caught.value.problem


def test_choices_are_those_of_the_networks():
    pytest.importorskip("diffusers")
    from dp3d_core.pipelines.multi_view import SIZE_STEP
    from dp3d_core.pipelines.samplers import SAMPLERS

    options = {o["name"]: o for o in get_engine("diffportrait3d").info().options}
    assert options["sampler"]["choices"] == list(SAMPLERS)
    assert options["size"]["step"] == options["size"]["minimum"] == SIZE_STEP


def test_a_summary_for_a_line():
    options = {o["name"]: o for o in get_engine("diffportrait3d").info().options}
    assert option_summary(options["size"]) == "64 to 2048, multiples of 64"
    assert option_summary(options["max_vram_gb"]) == "0 or more"
    assert option_summary(options["windows"]) == "overlap, blocks"
    assert option_summary(options["device"]) == ""


def test_what_keeps_an_engine_from_running_is_an_error_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    for name in engine_names():
        info = get_engine(name).info()
        assert info.available == (info.error is None) == (info.problem is None)
        if info.error is not None:
            assert info.problem == f"{info.error['problem']} {info.error['remedy']}"
            with pytest.raises(Dp3dError) as caught:
                get_engine(name).check({})
            assert caught.value.to_dict() == info.error
