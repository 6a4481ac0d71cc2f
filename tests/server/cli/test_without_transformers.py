"""Without transformers, all commands except the import of weights run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")  # the weights are imported with it

import torch

from dp3d_core.checkpoints.importer import import_weights
from dp3d_core.models.config import Variant
from dp3d_core.progress import never_cancel, no_progress
from tests.conftest import shared_path
from tests.support.diffusion import official_state, tiny_config, write_older_import

VARIANT = Variant.DIFFPORTRAIT3D
HIDE = """
from importlib.machinery import PathFinder

NAMES = ("transformers", "tokenizers")
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more: None if name.partition(".")[0] in NAMES else find(name, *more)
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dp3d folder with weights that were imported with transformers."""
    folder = tmp_path_factory.mktemp("home")
    file = folder / "model_state-540000-001.th"
    torch.save(official_state(VARIANT), file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_HOME", str(folder))
        import_weights(file, config=tiny_config(VARIANT), progress=no_progress, cancel=never_cancel)
    return folder


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that hides transformers from every interpreter."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "sitecustomize.py").write_text(HIDE)
    return folder


def dp3d(hidden: Path, home: Path, *arguments: str) -> dict:
    """JSON answer of a command."""
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path, "DP3D_HOME": str(home)},
    )
    return json.loads(done.stdout)


def generate(hidden: Path, home: Path, photo: Path, out: Path) -> dict:
    options = ("size=64", "steps=2", "start=noise")
    return dp3d(
        *(hidden, home, "generate", str(photo), "--out", str(out), "--views", "2", "--size", "64"),
        *("--engine", VARIANT, *(word for value in options for word in ("--option", value))),
    )


def test_transformers_is_hidden(hidden):
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    line = "import diffusers, sys; print('transformers' in sys.modules); import transformers"
    done = subprocess.run(
        [sys.executable, "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip() == "False"
    assert "ModuleNotFoundError" in done.stderr


def test_views_are_generated(tmp_path, photo, hidden, home):
    answer = generate(hidden, home, photo, tmp_path / "views")
    assert answer["ok"], answer
    assert len(list((tmp_path / "views" / "frames").glob("*.png"))) == 2
    meta = json.loads((tmp_path / "views" / "meta.json").read_text())
    assert "diffusers" in meta["versions"]
    assert "transformers" not in meta["versions"]


@pytest.mark.parametrize(
    "command",
    [
        "models verify",
        "models list",
        "bench denoise --channels 32 --context 24 --latent 16 --views 2 --repeats 1",
    ],
)
def test_commands_that_do_not_need_transformers(hidden, home, command):
    answer = dp3d(hidden, home, *command.split())
    assert answer["ok"], answer


def test_parity_is_verified_but_for_the_text_encoder(hidden, home):
    prefix = shared_path("golden/dp360_backhead_tiny_a.json").with_suffix("")
    answer = dp3d(hidden, home, "verify-parity", str(prefix))
    assert answer["result"]["good"], answer
    rows = answer["result"]["sets"][str(prefix)]["tensors"]
    left_out = [name for name, row in rows.items() if row["reason"] == "needs transformers"]
    assert set(left_out) == {"in.input_ids_text", "text.context_empty", "text.context_text"}
    assert rows["in.input_ids"]["error"] == 0
    assert any(row["error"] is not None for name, row in rows.items() if ".eps_cond_text" in name)


def test_the_import_is_refused(hidden, home):
    answer = dp3d(hidden, home, "models", "import", str(home / "model_state-540000-001.th"))
    assert answer["error"]["code"] == "engine.packages_missing"
    assert "transformers" in answer["error"]["problem"]
    assert "torch" not in answer["error"]["problem"]
    assert "dp3d[diffusion]" in answer["error"]["remedy"]


def test_weights_of_an_older_import_are_refused_with_both_remedies(
    tmp_path, photo, hidden, monkeypatch
):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    write_older_import(tmp_path / "weights" / VARIANT)
    error = generate(hidden, tmp_path, photo, tmp_path / "views")["error"]
    assert error["code"] == "engine.packages_missing"
    assert "transformers" in error["problem"]
    assert "'dp3d models import'" in error["remedy"]
    assert "dp3d[diffusion]" in error["remedy"]
    assert not (tmp_path / "views").exists()
