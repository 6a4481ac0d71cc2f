"""Shared fixtures: reference data beside the checkout, and where the other environments are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.support.shape_checks  # noqa: F401  (first: it checks the modules imported below)

# isort: split
from dp3d_core.cameras.trajectories import capture_sphere
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.photos_benchmark import Shot, photograph_person
from dp3d_core.progress import Progress, never_cancel
from dp3d_core.storage.paths import models_folder
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.field.fit import Fit, fit_views
from nerf_export.process.environment import nerf_python
from tests.support.marks import pytest_runtest_setup  # noqa: F401  (a hook)
from tests.support.photos import encode
from tests.support.scene import write_views

# most tests have a home of their own; what a user installs once, they share
os.environ.setdefault("DP3D_MODELS", str(models_folder()))

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


LONG = (
    "tests/addon/test_closure.py",
    "tests/addon/test_further_photos.py",
    "tests/addon/test_playback.py",
    "tests/addon/test_results.py",
    "tests/dp3d_core/evaluation/test_preview_benchmark.py",
    "tests/dp3d_core/evaluation/test_published_frames.py",
    "tests/dp3d_core/pipelines/test_references.py",
    "tests/nerf_export/field/test_interruption.py",
    "tests/server/cli/test_bench.py",
    "tests/server/cli/test_generate.py",
    "tests/server/jobs/test_survival.py",
    "tests/server/reports/test_fit_report.py",
    "tests/server/web/test_views_job.py",
    "tests/server/worker/test_render.py",
)
"""Files that take long for their number of tests and would be the last ones of a run."""
TOGETHER = (
    ("tests/dp3d_core/rigged/",),
    (
        "tests/dp3d_core/pipelines/test_engine.py",
        "tests/dp3d_core/pipelines/test_references.py",
        "tests/dp3d_core/pipelines/test_user_pictures.py",
    ),
    (
        "tests/addon/test_similarity.py",
        "tests/nerf_export/field/test_fit.py",
        "tests/nerf_export/field/test_ns_commands.py",
        "tests/nerf_export/mesh/test_textured_mesh.py",
        "tests/server/reports/test_fit_report.py",
        "tests/server/worker/test_render.py",
    ),
)
"""Beginnings of the paths of tests that one process runs, as they share what takes long to make."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, so that no process waits for another at the end."""
    long = {REPOSITORY / path for path in LONG}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Distribute files, and those that belong together as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path: str = super()._split_scope(nodeid)
            return next((group[0] for group in TOGETHER if path.startswith(group)), path)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def shared_path(relative: str) -> Path:
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"reference data ../shared/{relative} is absent")
    return path


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Reader of a JSON file of golden values; skips where the reference data is absent."""
    return lambda name: json.loads(shared_path(f"golden/{name}").read_text())


@pytest.fixture(scope="session")
def person_shots() -> list[Shot]:
    """A synthetic person from the front, one side, behind and the other side."""
    return photograph_person(3)[2]


@pytest.fixture(scope="session")
def person_pngs(person_shots: list[Shot]) -> list[bytes]:
    """The files of ``person_shots``."""
    return [encode(shot.image) for shot in person_shots]


@pytest.fixture(scope="session")
def heads_of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the fitted heads that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "heads"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def share_heads(home: Path, heads: Path) -> Path:
    """Let a dp3d folder take fitted heads from a shared folder: a fit takes seconds.

    Args:
        home: for ``DP3D_HOME``; it is created.
        heads: of :func:`heads_of_run`.

    Returns:
        The dp3d folder.

    """
    home.mkdir(parents=True, exist_ok=True)
    try:
        (home / "heads").symlink_to(heads, target_is_directory=True)
    except OSError:
        if os.name != "nt":  # Windows gives few users the right
            raise
    return home


@pytest.fixture(scope="session")
def official_outputs() -> Path:
    """Folder of the official model's published frames; skips where it is absent."""
    return shared_path("data/diffportrait3d_outputs")


@pytest.fixture(scope="session")
def nerf_environment() -> Path:
    """The NeRF interpreter.  In CI its absence is a failure, elsewhere a skip."""
    try:
        return nerf_python()
    except Dp3dError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error.problem} {error.remedy}")


@pytest.fixture(scope="session")
def head_views(tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    """18 views of the ellipsoid head, 96 px."""
    cameras = capture_sphere(18, (-20.0, 5.0, 35.0), 96)
    return write_views(tmp_path_factory.mktemp("views"), cameras)


@pytest.fixture(scope="session")
def fit_events() -> list[Progress]:
    return []


@pytest.fixture(scope="session")
def tiny_fit(
    nerf_environment: Path,
    head_views: ViewSet,
    fit_events: list[Progress],
    tmp_path_factory: pytest.TempPathFactory,
) -> Fit:
    return fit_views(
        head_views.root,
        tmp_path_factory.mktemp("fit"),
        preset="tiny",
        progress=fit_events.append,
        cancel=never_cancel,
    )
