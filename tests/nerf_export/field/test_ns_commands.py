"""What nerfstudio itself makes of our method: its own commands, as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.field.fit import Fit
from nerf_export.folders.writing import export_views

ROOT = Path(__file__).resolve().parents[3]
# Our NeRF environment lacks packages that nerfstudio imports and never uses; users have them.
MENDED = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("compat", sys.argv.pop(1))
compat = module_from_spec(spec)
spec.loader.exec_module(compat)
compat.apply()
if sys.argv[1] == "train":
    from nerfstudio.scripts.train import entrypoint
    del sys.argv[1]
    entrypoint()
else:
    from pathlib import Path
    from nerfstudio.utils.eval_utils import eval_setup
    from nerf_export.child.scores import score_held_out
    class Silent:
        def progress(self, event): pass
    pipeline = eval_setup(Path(sys.argv[2]))[1]
    print("psnr", score_held_out(pipeline, Silent())[0]["foreground_psnr"])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which pip has installed dp3d, to be imported beside nerfstudio."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("dp3d_core", "nerf_export", "server", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--target", str(target), str(source)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return target


def nerfstudio(python: Path, installed: Path, folder: Path, *arguments: str) -> str:
    completed = subprocess.run(
        [
            *(str(python), "-c", MENDED, str(ROOT / "nerf_export/child/compat.py")),
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-3000:] + completed.stderr[-3000:]
    return completed.stdout


@pytest.mark.nerf
def test_ns_train_knows_the_method_and_its_run_opens_again(
    nerf_environment: Path, installed: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    export_views(
        head_views, tmp_path / "data", "nerfstudio", progress=no_progress, cancel=never_cancel
    )
    nerfstudio(
        *(nerf_environment, installed, tmp_path, "train", "dp3d-head-draft"),
        *("--output-dir", "runs", "--max-num-iterations", "100", "--steps-per-save", "60"),
        *("dp3d-head-data", "--data", "data", "--grid", "40"),
    )
    (config,) = (tmp_path / "runs").rglob("config.yml")
    output = nerfstudio(nerf_environment, installed, tmp_path, "evaluate", str(config))
    assert float(output.split("psnr")[-1]) > 18


@pytest.mark.nerf
def test_nerfstudio_evaluates_our_fit_to_an_equal_score(
    nerf_environment: Path, installed: Path, tiny_fit: Fit, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "server.cli.main", "export", str(tiny_fit.root)),
        *("--to", "nerfstudio-run", "--out", str(tmp_path / "run"), "--json"),
    ]
    completed = subprocess.run(
        command,
        env={**os.environ, "DP3D_NERF_PYTHON": str(nerf_environment)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    config = json.loads(completed.stdout)["result"]["config"]
    output = nerfstudio(nerf_environment, installed, tmp_path, "evaluate", str(config))
    expected = tiny_fit.scores["foreground_psnr"]
    np.testing.assert_allclose(float(output.split("psnr")[-1]), expected, atol=0.05)
