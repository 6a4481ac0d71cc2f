"""A portrait without face models and without access to the package index."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from tests.server.cli.conftest import result
from tests.server.conftest import ServerProcess, small_views


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Variables of an installation without models and without a package index."""
    return {"DP3D_MODELS": str(tmp_path / "models"), "PIP_NO_INDEX": "1"}


@pytest.mark.parametrize("command", ["generate", "bench front"])
def test_the_command_line_says_what_is_missing(dp3d, photo, tmp_path, offline, command):
    words = command.split()
    words += [str(photo), "--out", str(tmp_path / "views")] if command == "generate" else []
    words += ["--photos", str(photo)] if command != "generate" else []
    done = dp3d(*words, "--json", **offline)
    error = result(done)["error"]
    assert (error["code"], done.returncode) == ("portrait.model_missing", 4)
    assert "dp3d setup models --source" in error["remedy"]
    assert '"models"' in done.stderr  # the stage of the download
    assert not (tmp_path / "views").exists()


def test_a_wrong_path_is_reported_before_any_download(dp3d, tmp_path, offline):
    done = dp3d(
        *("generate", tmp_path / "none.jpg", "--out", tmp_path / "views", "--json"), **offline
    )
    assert result(done)["error"]["code"] == "portrait.not_found"
    assert '"models"' not in done.stderr


def test_a_job_of_the_server_fails_with_the_code(photo, tmp_path, offline, monkeypatch):
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    server = ServerProcess(tmp_path).start()
    with server.client() as client:
        job = client.create_job("views", **small_views(client.put_file(photo)))
        with pytest.raises(Dp3dError) as caught:
            client.wait(job["id"])
        assert caught.value.code == "portrait.model_missing"
        assert "dp3d setup models" in caught.value.remedy
    server.stop()
