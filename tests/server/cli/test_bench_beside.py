"""The engine of another commit: a clone of a project with a tiny engine, in both layouts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.preview_benchmark import GREY
from server.cli.bench.beside import OtherCommit

CAMERAS = """
class Camera:
    def __init__(self, c2w, K, width, height):
        self.c2w, self.K, self.width, self.height = c2w, K, width, height
"""
LOADER = """
import numpy as np
from types import SimpleNamespace
from CAMERAS import Camera

def load_portrait(source):
    assert isinstance(source, bytes)
    print("what an engine prints")
    if source == b"bad":
        raise ValueError("no such photo")
    return SimpleNamespace(camera=Camera(np.eye(4), np.eye(3), 640, 640))
"""
ENGINE = """
import numpy as np
from types import SimpleNamespace

class PreviewHead:
    def __init__(self, portrait):
        self.mesh = SimpleNamespace(vertices=np.eye(3), faces=np.array([[0, 1, 2]], np.int32))

    def render(self, camera):
        shape = (camera.height, camera.width, 3)
        return SimpleNamespace(composite=lambda rgb: np.full(shape, rgb, np.uint8))
"""


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


LAYOUTS = {
    "before rooms": ("portrait.py", "cameras.py", "preview/engine.py"),
    "with portraits": ("portraits/load.py", "cameras.py", "preview/engine.py"),
    "now": ("portraits/load.py", "cameras/camera.py", "preview/head.py"),
}


@pytest.fixture(params=LAYOUTS)
def clone(request, tmp_path: Path) -> Path:
    """A repository whose last commit has no engine, but the commit before has one."""
    folder = tmp_path / "clone"
    core = folder / "dp3d_core"
    loader, cameras, engine = LAYOUTS[request.param]
    module = f"dp3d_core.{cameras.removesuffix('.py').replace('/', '.')}"
    files = {loader: LOADER.replace("CAMERAS", module), cameras: CAMERAS, engine: ENGINE}
    for name, content in files.items():
        path = core / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        (path.parent / "__init__.py").touch()
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "config", "user.name", "somebody")
    git(folder, "config", "user.email", "somebody@example.org")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "An engine")
    git(folder, "rm", "--quiet", "-r", "dp3d_core/preview")
    git(folder, "commit", "--quiet", "--message", "No engine")
    return folder


def test_an_engine_of_another_commit_answers(clone):
    cameras = [canonical_camera(yaw, 0, 32) for yaw in (0.0, 90.0)]
    with OtherCommit("HEAD~1", clone) as engine:
        answer = engine(b"photo", cameras)
        again = engine(b"photo", cameras[:1])
        assert "dp3d-beside" in git(clone, "worktree", "list")
    assert engine.subject == "An engine"
    assert len(engine.commit) == 40
    np.testing.assert_array_equal(answer.c2w, np.eye(4))
    assert [view.shape for view in answer.views] == [(32, 32, 3)] * 2
    assert (answer.views[1] == GREY).all()
    assert answer.vertices.shape == (3, 3)
    assert answer.seconds >= 0
    assert len(again.views) == 1
    assert "dp3d-beside" not in git(clone, "worktree", "list")


def test_a_failing_engine_reports_its_error(clone):
    with OtherCommit("HEAD~1", clone) as engine, pytest.raises(Dp3dError) as error:
        engine(b"bad", [])
    assert error.value.code == "bench.engine_failed"
    assert "no such photo" in error.value.detail
    with pytest.raises(Dp3dError) as error, OtherCommit("HEAD", clone) as engine:
        engine(b"photo", [])
    assert error.value.code == "bench.engine_failed"
    assert "dp3d-beside" not in git(clone, "worktree", "list")


@pytest.mark.parametrize("commit", ["0000000", "no-such-branch", "--all", "HEAD:dp3d_core"])
def test_an_unknown_commit_is_refused(clone, commit):
    with pytest.raises(Dp3dError) as error:
        OtherCommit(commit, clone)
    assert error.value.code == "bench.no_commit"
    assert commit in error.value.problem


def test_an_installation_without_a_clone_is_refused(tmp_path):
    with pytest.raises(Dp3dError) as error:
        OtherCommit("HEAD", tmp_path)
    assert error.value.code == "bench.no_commit"
    assert "Clone" in error.value.remedy
