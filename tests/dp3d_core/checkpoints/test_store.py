"""Weights on this machine: whole or not at all, and what is loaded is what was imported."""

from __future__ import annotations

import hashlib
import signal
import sys
from contextlib import contextmanager

import pytest
import torch

from dp3d_core.checkpoints import store
from dp3d_core.checkpoints.store import (
    find_weights,
    import_weights,
    load_pipeline,
    require_weights,
    verify_weights,
    weights_folder,
)
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.pipelines.schedule import HalfDDIMScheduler
from dp3d_core.progress import never_cancel, no_progress
from tests.support.diffusion import official_state, tiny_config, tiny_networks

CALLS = {"progress": no_progress, "cancel": never_cancel}
VARIANT = Variant.DIFFPORTRAIT360


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model_state-340000.th"
    torch.save(official_state(tiny_networks(VARIANT), tiny_config(VARIANT)), path)
    return path


def do_import(file, **more):
    return import_weights(file, config=tiny_config(VARIANT), **{**CALLS, **more})


def left_over():
    return sorted(p.name for p in weights_folder().iterdir() if not p.name.endswith(".lock"))


def test_what_is_loaded_is_what_was_imported(file):
    found = do_import(file)
    assert found.config == tiny_config(VARIANT)
    assert found.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert verify_weights(VARIANT, **CALLS) == found
    pipeline = load_pipeline(VARIANT)
    assert isinstance(pipeline.scheduler, HalfDDIMScheduler)
    assert pipeline.config.window == 4
    for name, net in tiny_networks(VARIANT).named().items():
        loaded = getattr(pipeline, name).state_dict()
        for key, value in net.state_dict().items():
            assert torch.equal(loaded[key], value), (name, key)
    assert left_over() == [VARIANT]


def test_half_precision(file):
    whole = sum(p.stat().st_size for p in do_import(file).folder.rglob("*.safetensors"))
    half = sum(p.stat().st_size for p in do_import(file, half=True).folder.rglob("*.safetensors"))
    assert half < 0.6 * whole
    assert load_pipeline(VARIANT, torch.float16).unet.dtype == torch.float16


def test_a_file_that_was_changed_is_found(file):
    found = do_import(file)
    weights = next(found.folder.glob("unet/*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(Dp3dError) as caught:
        verify_weights(VARIANT, **CALLS)
    assert caught.value.code == "weights.damaged"
    assert "unet/" in caught.value.problem
    weights.unlink()
    with pytest.raises(Dp3dError) as caught:
        load_pipeline(VARIANT)
    assert caught.value.code == "weights.damaged"


def test_a_marker_that_was_changed_is_found(file):
    (do_import(file).folder / "weights.json").write_text("{}")
    with pytest.raises(Dp3dError) as caught:
        find_weights(VARIANT)
    assert caught.value.code == "weights.damaged"


@contextmanager
def files_no_larger_than(size):
    """Writing fails as on a full disk."""
    import resource

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
def test_a_write_that_fails_leaves_what_was_there(file):
    first = do_import(file)
    with files_no_larger_than(200_000), pytest.raises(Dp3dError) as caught:
        do_import(file, half=True)
    assert caught.value.code == "output.not_writable"
    assert left_over() == [VARIANT]
    assert verify_weights(VARIANT, **CALLS) == first


def test_too_little_space_is_told_before_anything_is_written(file, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Dp3dError) as caught:
        do_import(file)
    assert caught.value.code == "output.not_writable"
    assert "GB" in caught.value.problem
    assert left_over() == []


@pytest.mark.parametrize("after", ["hash", "import"])
def test_cancel(file, after):
    seen = []

    def progress(event):
        seen.append(event.stage)

    with pytest.raises(Cancelled):
        do_import(file, progress=progress, cancel=lambda: after in seen)
    assert find_weights(VARIANT) is None


def test_an_import_beside_another_is_refused(file):
    lock = store.FileLock(weights_folder() / f".{VARIANT}.lock")
    assert lock.acquire()
    with pytest.raises(Dp3dError) as caught:
        do_import(file)
    assert caught.value.code == "output.in_use"
    lock.release()
    do_import(file)


def test_an_exchange_that_was_cut_off_loses_nothing(file):
    found = do_import(file)
    found.folder.rename(found.folder.with_name(f".{VARIANT}.old"))
    assert find_weights(VARIANT).files == found.files
    assert verify_weights(VARIANT, **CALLS).files == found.files
    again = do_import(file, half=True)
    assert again.folder.name == VARIANT
    assert left_over() == [VARIANT]


@pytest.mark.parametrize("variant", list(Variant))
def test_what_is_missing_says_how_it_is_had(variant):
    with pytest.raises(Dp3dError) as caught:
        require_weights(variant)
    assert caught.value.code == "weights.missing"
    assert "dp3d models" in caught.value.remedy


def test_a_file_with_another_hash_than_its_host_tells(file):
    with pytest.raises(Dp3dError) as caught:
        do_import(file, expected_sha256="0" * 64)
    assert caught.value.code == "weights.damaged"
    assert find_weights(VARIANT) is None
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    found = do_import(file, expected_sha256=sha256, revision="a" * 40)
    assert found.source_revision == "a" * 40
