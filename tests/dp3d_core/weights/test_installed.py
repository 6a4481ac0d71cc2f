"""Imports are complete or absent, and loaded weights equal the imported ones."""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
from contextlib import contextmanager
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from safetensors.torch import load_file, save_file

from dp3d_core.checkpoints import importer, streaming
from dp3d_core.checkpoints.importer import import_weights
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.pipelines.loading import load_pipeline
from dp3d_core.pipelines.schedule import HalfDDIMScheduler
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.storage.locks import try_lock
from dp3d_core.weights.installed import (
    SOURCES,
    find_weights,
    require_weights,
    verify_weights,
    weights_folder,
)
from tests.support.diffusion import official_state, tiny_config, tiny_networks, tiny_prompt

CALLS = {"progress": no_progress, "cancel": never_cancel}
VARIANT = Variant.DIFFPORTRAIT360


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model_state-340000.th"
    torch.save(official_state(VARIANT), path)
    return path


def do_import(file, **options):
    return import_weights(file, config=tiny_config(VARIANT), **{**CALLS, **options})


def left_over():
    return sorted(p.name for p in weights_folder().iterdir() if not p.name.endswith(".lock"))


def test_loaded_weights_equal_the_imported_ones(file):
    imported = do_import(file)
    assert imported.config == tiny_config(VARIANT)
    assert imported.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert verify_weights(VARIANT, **CALLS) == imported
    pipeline = load_pipeline(VARIANT)
    assert isinstance(pipeline.scheduler, HalfDDIMScheduler)
    assert pipeline.config.window == 4
    for name, net in tiny_networks(VARIANT).named().items():
        loaded = getattr(pipeline, name).state_dict()
        for key, value in net.state_dict().items():
            assert torch.equal(loaded[key], value), (name, key)
    assert torch.equal(pipeline.empty_prompt.embedding, tiny_prompt(VARIANT).embedding)
    assert left_over() == [VARIANT]


def test_half_precision(file):
    whole = sum(p.stat().st_size for p in do_import(file).folder.rglob("*.safetensors"))
    half = sum(p.stat().st_size for p in do_import(file, half=True).folder.rglob("*.safetensors"))
    assert half < 0.6 * whole
    assert load_pipeline(VARIANT, torch.float16).unet.dtype == torch.float16


def test_a_changed_file_is_refused(file):
    imported = do_import(file)
    weights = next(imported.folder.glob("unet/*.safetensors"))
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


def test_a_changed_marker_is_refused(file):
    (do_import(file).folder / "weights.json").write_text("{}")
    with pytest.raises(Dp3dError) as caught:
        find_weights(VARIANT)
    assert caught.value.code == "weights.damaged"


@contextmanager
def files_no_larger_than(size):
    """Writing beyond a file size fails as on a full disk."""
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
def test_a_failed_write_keeps_the_old_weights(file):
    first = do_import(file)
    with files_no_larger_than(200_000), pytest.raises(Dp3dError) as caught:
        do_import(file, half=True)
    assert caught.value.code == "output.not_writable"
    assert left_over() == [VARIANT]
    assert verify_weights(VARIANT, **CALLS) == first


def test_too_little_space_is_refused_before_writing(file, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(importer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Dp3dError) as caught:
        do_import(file)
    assert caught.value.code == "storage.full"
    assert "GB" in caught.value.problem
    assert left_over() == []


@pytest.mark.parametrize("after", ["hash", "import"])
def test_cancel(file, after):
    stages = []

    def progress(event):
        stages.append(event.stage)

    with pytest.raises(Cancelled):
        do_import(file, progress=progress, cancel=lambda: after in stages)
    assert find_weights(VARIANT) is None
    if after == "import":
        assert left_over() == []


def test_cancel_is_answered_while_packages_load(file, monkeypatch):
    """The imports take until the end of the test."""
    ended = threading.Event()
    monkeypatch.setattr(importer, "_read", lambda *_: ended.wait(60))
    monkeypatch.setattr(importer, "_POLL_S", 0.01)
    events = []
    with pytest.raises(Cancelled):
        do_import(file, progress=events.append, cancel=lambda: len(events) > 3)
    ended.set()
    assert all("Reading" in event.message for event in events)


def test_an_exception_in_the_thread_is_raised(file, monkeypatch):
    def fail(*_):
        raise TimeoutError("of a network's disk")

    monkeypatch.setattr(importer, "_read", fail)
    with pytest.raises(TimeoutError):
        do_import(file)


def test_cancel_within_a_network(file, monkeypatch):
    monkeypatch.setattr(importer, "_STEP", 1 << 10)
    events = []
    with pytest.raises(Cancelled):
        do_import(file, progress=events.append, cancel=lambda: "unet:" in events[-1].message)
    assert 0 < events[-1].step < events[-1].of / 2
    assert left_over() == []


def test_progress_goes_by_bytes(file, monkeypatch):
    monkeypatch.setattr(importer, "_STEP", 1 << 10)
    events = []
    imported = do_import(file, progress=events.append)
    events = [event for event in events if event.stage == "import"]
    size = sum(p.stat().st_size for p in imported.folder.rglob("*.safetensors"))
    assert events[-1].step == events[-1].of
    assert abs(events[-1].of * 1024 - size) < 0.25 * size  # the rest are lists of names
    steps = [b.step - a.step for a, b in pairwise(events)]
    assert max(steps) < 0.05 * events[-1].of


def test_files_are_those_that_the_libraries_write(file, tmp_path):
    """Names, types, values and configurations equal those of ``save_pretrained``."""
    imported = do_import(file)
    components = {**tiny_networks(VARIANT).named(), "empty_prompt": tiny_prompt(VARIANT)}
    for name, net in components.items():
        net.save_pretrained(tmp_path / name)
        (theirs,) = (tmp_path / name).glob("*.safetensors")
        ours = imported.folder / name / theirs.name
        first, second = load_file(ours), load_file(theirs)
        assert list(first) == list(second)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert (ours.parent / "config.json").read_text() == (
            tmp_path / name / "config.json"
        ).read_text()


def test_the_source_is_mapped_anew_as_it_is_read(file, monkeypatch):
    monkeypatch.setattr(streaming, "_MAPPED", file.stat().st_size // 4)
    readings = []
    read = streaming.read_checkpoint
    monkeypatch.setattr(
        streaming, "read_checkpoint", lambda path: readings.append(path) or read(path)
    )
    imported = do_import(file)
    assert 3 < len(readings) < 8
    pipeline = load_pipeline(VARIANT)
    for name, net in tiny_networks(VARIANT).named().items():
        loaded = getattr(pipeline, name).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())
    assert verify_weights(VARIANT, **CALLS) == imported


@pytest.mark.parametrize("kind", ["old torch", "safetensors"])
def test_other_containers(file, tmp_path, kind):
    state = torch.load(file)
    path = tmp_path / "weights.bin"
    if kind == "old torch":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        save_file(state, path)
    do_import(path)
    assert torch.equal(
        load_pipeline(VARIANT).vae.state_dict()["quant_conv.bias"],
        tiny_networks(VARIANT).vae.state_dict()["quant_conv.bias"],
    )


def test_weights_that_are_not_finite_are_refused(file, tmp_path):
    state = torch.load(file)
    name = "control_model.input_blocks.0.0.weight"
    state[name][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "weights.th")
    before = do_import(file)
    with pytest.raises(Dp3dError) as caught:
        do_import(tmp_path / "weights.th")
    assert caught.value.code == "weights.mismatch"
    assert name in caught.value.problem
    assert left_over() == [VARIANT]
    assert verify_weights(VARIANT, **CALLS) == before


def test_an_import_beside_another_is_refused(file):
    lock = try_lock(weights_folder() / f".{VARIANT}.lock")
    assert lock is not None
    with pytest.raises(Dp3dError) as caught:
        do_import(file)
    assert caught.value.code == "output.in_use"
    lock.release()
    do_import(file)


def test_an_interrupted_exchange_is_recovered(file):
    imported = do_import(file)
    imported.folder.rename(imported.folder.with_name(f".{VARIANT}.old"))
    assert find_weights(VARIANT).files == imported.files
    assert verify_weights(VARIANT, **CALLS).files == imported.files
    again = do_import(file, half=True)
    assert again.folder.name == VARIANT
    assert left_over() == [VARIANT]


def test_sources_have_the_published_sizes_and_commit():
    """As on DiffPortrait360's page on the hub."""
    sizes = {variant: source.gigabytes for variant, source in SOURCES.items()}
    assert sizes[Variant.DIFFPORTRAIT360] == 10.8
    assert sizes[Variant.BACK_VIEW] == 9.15
    for source in SOURCES.values():
        assert source.revision == ("474069d" if source.repository else None)


@pytest.mark.parametrize("variant", list(Variant))
def test_missing_weights_name_the_command_to_install_them(variant):
    with pytest.raises(Dp3dError) as caught:
        require_weights(variant)
    assert caught.value.code == "weights.missing"
    assert "dp3d models" in caught.value.remedy


def test_a_file_with_another_hash_is_refused(file):
    with pytest.raises(Dp3dError) as caught:
        do_import(file, expected_sha256="0" * 64)
    assert caught.value.code == "weights.damaged"
    assert find_weights(VARIANT) is None
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    imported = do_import(file, expected_sha256=sha256, revision="a" * 40)
    assert imported.source_revision == "a" * 40
