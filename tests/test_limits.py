"""Tables that are keyed by a choice have all its values, and no other."""

from __future__ import annotations

import math

import pytest

from dp3d_core import limits
from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.engines.registry import engine_names
from dp3d_core.limits import Range
from dp3d_core.viewsets.video_limits import _CODECS
from nerf_export.field.presets import PRESETS
from nerf_export.folders.writing import FORMATS
from server.settings import (
    DEFAULT_PORT,
    GIBIBYTE,
    KEPT_JOBS,
    PORT,
    QUEUED_JOBS,
    QUOTA_GIB,
    Limits,
)
from tests.conftest import LONG, REPOSITORY, TOGETHER


def test_tables_have_every_choice() -> None:
    assert tuple(PRESETS) == limits.FIT_PRESETS
    assert tuple(_CODECS) == limits.VIDEO_FORMATS
    assert (*FORMATS, "nerfstudio-run") == limits.EXPORT_FORMATS
    assert limits.DEFAULT_ENGINE in engine_names()
    for preset in limits.CAMERA_PRESETS:
        assert len(cameras_from_request({"preset": preset, "views": 2, "size": 16})) == 2


def test_defaults_are_among_the_choices_and_within_the_ranges() -> None:
    assert limits.DEFAULT_FIT_PRESET in limits.FIT_PRESETS
    for value, within in (
        (limits.DEFAULT_VIEWS, limits.PRESET_VIEWS),
        (limits.DEFAULT_VIEWS, limits.FIT_VIEWS),
        (limits.DEFAULT_SIDE, limits.PRESET_SIDE),
        (limits.DEFAULT_FACES, limits.MESH_FACES),
        (limits.DEFAULT_TEXTURE_SIDE, limits.TEXTURE_SIDE),
        (limits.DEFAULT_FPS, limits.FPS),
        (Limits.stored / GIBIBYTE, QUOTA_GIB),
        (Limits.queued_jobs, QUEUED_JOBS),
        (Limits.kept_jobs, KEPT_JOBS),
        (DEFAULT_PORT, PORT),
    ):
        assert within.holds(value)
    assert limits.DEFAULT_HEAD_TEXTURE_SIDE in limits.HEAD_TEXTURE_SIDES


def test_tables_of_tests_name_files() -> None:
    tests = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("tests/**/*.py")}
    assert tests.issuperset(LONG)
    for beginning in (beginning for group in TOGETHER for beginning in group):
        assert any(path.startswith(beginning) for path in tests), beginning


@pytest.mark.parametrize(
    ("value", "inside"),
    [(1, True), (3, True), (0, False), (4, False), (math.nan, False), (math.inf, False)],
)
def test_a_range_holds_both_its_ends(value: float, inside: bool) -> None:
    assert Range(1, 3).holds(value) is inside
    assert str(Range(1, 3)) == "1 to 3"
