"""The user's folders on each platform."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dp3d_core.storage.paths import dp3d_home


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in ("DP3D_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


def test_the_variable_decides(monkeypatch, tmp_path):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "here"))
    assert dp3d_home() == tmp_path / "here"


def test_a_relative_variable_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DP3D_HOME", "here")
    assert dp3d_home() == tmp_path / "here"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", ".local/share/dp3d"),
        ("darwin", "Library/Application Support/dp3d"),
        ("win32", "AppData/Local/dp3d"),
    ],
)
def test_each_platform_has_its_folder(monkeypatch, tmp_path, platform, expected):
    monkeypatch.setattr(sys, "platform", platform)
    assert dp3d_home() == tmp_path / expected


def test_xdg_is_honoured_only_when_absolute(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert dp3d_home() == tmp_path / "data" / "dp3d"
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert dp3d_home() == tmp_path / ".local/share/dp3d"
