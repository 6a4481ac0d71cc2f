"""The diffusion engines end to end with real networks of a few kilobytes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dp3d_core.alignment import Turn
from dp3d_core.cameras import Camera
from dp3d_core.checkpoints.store import import_weights
from dp3d_core.engines import get_engine, list_engines
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.heads.synth import SyntheticHead, random_subject
from dp3d_core.models.config import Variant
from dp3d_core.pipelines.engine import is_closed
from dp3d_core.portrait import load_portrait
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.trajectories import canonical_camera, capture_sphere, frontal_arc, full_orbit
from tests.support.diffusion import official_state, tiny_config, tiny_networks

SMALL = {"size": 64, "steps": 2}


@pytest.fixture(scope="module")
def portrait():
    view = SyntheticHead(random_subject(5)).render(canonical_camera(0, 0, 256))
    buffer = io.BytesIO()
    Image.fromarray(view.rgba).save(buffer, "PNG")
    return load_portrait(buffer.getvalue(), turn=Turn(0.0))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """All three checkpoints, imported at a tiny size."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_HOME", str(folder))
        for variant in Variant:
            config = tiny_config(variant)
            file = folder / f"{variant}.th"
            torch.save(official_state(tiny_networks(variant), config), file)
            import_weights(file, config=config, progress=no_progress, cancel=never_cancel)
    return folder


@pytest.fixture
def installed(home, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(home))


def generate(name, portrait, cameras, out, options=SMALL, **more):
    calls = {"progress": no_progress, "cancel": never_cancel, "seed": 3, **more}
    return get_engine(name).generate(portrait, cameras, options, out=out, **calls)


@pytest.mark.parametrize("name", ["diffportrait3d", "diffportrait360"])
@pytest.mark.usefixtures("installed")
def test_views_for_any_cameras(tmp_path, portrait, name):
    """Another size, aspect, shift and lens for each."""
    shifted = canonical_camera(20, 5, 64)
    matrix = np.array(shifted.K)
    matrix[0, 2] += 9
    cameras = [canonical_camera(0, 0, 80), Camera(shifted.c2w, matrix, 64, 48)]
    events = []
    views = generate(name, portrait, cameras, tmp_path / "v", progress=events.append)
    assert [views.frame(i).shape for i in range(2)] == [(80, 80, 3), (48, 64, 3)]
    assert all(views.mask(i) is not None for i in range(2))
    assert views.meta.engine == name
    assert views.meta.weights_sha256 == views.meta.parameters["weights"][name]
    stages = {event.stage for event in events}
    assert {"conditions", "load", "denoise", "views"} <= stages
    assert ("back view" in stages) == (name == "diffportrait360")
    steps = [(e.step, e.of) for e in events if e.stage == "denoise"]
    assert steps == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.usefixtures("installed")
def test_the_same_seed_gives_the_same_views(tmp_path, portrait):
    cameras = frontal_arc(3, size=64)
    made = [
        generate("diffportrait3d", portrait, cameras, tmp_path / str(i), seed=seed)
        for i, seed in enumerate((3, 3, 4))
    ]
    frames = [np.stack([views.frame(i) for i in range(3)]).astype(int) for views in made]
    assert np.abs(frames[0] - frames[1]).max() <= 1
    assert np.abs(frames[0] - frames[2]).mean() > 1


@pytest.mark.usefixtures("installed")
def test_a_picture_shows_what_is_coming(tmp_path, portrait):
    sizes = []

    def progress(event):
        if name := event.values.get("latent_preview"):
            with Image.open(tmp_path / "v" / name) as picture:
                sizes.append(picture.size)

    options = {**SMALL, "steps": 5}
    cameras = frontal_arc(1, size=64)
    generate("diffportrait3d", portrait, cameras, tmp_path / "v", options, progress=progress)
    assert sizes == [(64, 64)] * 4
    assert not list((tmp_path / "v").glob("denoising*"))


@pytest.mark.usefixtures("installed")
def test_half_precision_and_part_guidance(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    whole = generate("diffportrait3d", portrait, cameras, tmp_path / "a")
    half = generate(
        "diffportrait3d", portrait, cameras, tmp_path / "b", {**SMALL, "dtype": "bfloat16"}
    )
    part = generate(
        "diffportrait3d", portrait, cameras, tmp_path / "c", {**SMALL, "guidance_to": 0.5}
    )
    near, far = (
        np.abs(whole.frame(0).astype(int) - other.frame(0)).mean() for other in (half, part)
    )
    assert 0 < near < 4
    assert far > 0


@pytest.mark.usefixtures("installed")
def test_start_images_matter(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    with_start = generate("diffportrait3d", portrait, cameras, tmp_path / "a")
    options = {**SMALL, "start": "noise"}
    without = generate("diffportrait3d", portrait, cameras, tmp_path / "b", options)
    assert np.abs(with_start.frame(0).astype(int) - without.frame(0)).mean() > 0.2


@pytest.mark.usefixtures("installed")
def test_cancel_within_a_step_leaves_no_frames(tmp_path, portrait):
    steps = []

    def progress(event):
        if event.stage == "denoise":
            steps.append(event.step)

    with pytest.raises(Cancelled):
        generate(
            "diffportrait3d",
            portrait,
            frontal_arc(2, size=64),
            tmp_path / "v",
            {**SMALL, "steps": 20},
            progress=progress,
            cancel=lambda: len(steps) > 3,
        )
    assert len(steps) == 4
    assert not list((tmp_path / "v").glob("frames/*.png"))
    again = generate(
        "diffportrait3d", portrait, frontal_arc(2, size=64), tmp_path / "v", {**SMALL, "steps": 20}
    )
    assert len(again) == 2


@pytest.mark.usefixtures("installed")
def test_finished_frames_are_kept(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    views = generate("diffportrait3d", portrait, cameras, tmp_path / "v")
    kept = views.frame_path(0).stat().st_mtime_ns
    views.frame_path(1).unlink()
    again = generate("diffportrait3d", portrait, cameras, tmp_path / "v")
    assert not again.missing()
    assert again.frame_path(0).stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "euler"},
        {"windows": "spiral"},
        {"start": "/etc/passwd"},
        {"size": 500},
        {"steps": -1},
        {"steps": 30},
        {"steps": 1000},
        {"guidance": 1000.0},
        {"overlap": 9},
        {"max_vram_gb": -1.0},
        {"dtype": "int8"},
        {"guidance_from": 0.8, "guidance_to": 0.2},
        {"device": "toaster"},
        {"unknown": 1},
    ],
)
@pytest.mark.usefixtures("installed")
def test_options_that_cannot_be(tmp_path, portrait, options):
    with pytest.raises(Dp3dError) as caught:
        generate("diffportrait3d", portrait, frontal_arc(1, size=64), tmp_path / "v", options)
    assert caught.value.code == "engine.bad_option"
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.usefixtures("installed")
def test_too_little_memory_is_told_before_anything_is_loaded(tmp_path, portrait):
    stages = []
    with pytest.raises(Dp3dError) as caught:
        generate(
            "diffportrait3d",
            portrait,
            frontal_arc(1, size=64),
            tmp_path / "v",
            {**SMALL, "max_vram_gb": 0.1},
            progress=lambda event: stages.append(event.stage),
        )
    assert caught.value.code == "engine.too_little_memory"
    assert "load" not in stages


def test_engines_without_weights_say_how_they_are_had(tmp_path, portrait, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    infos = {info.name: info for info in list_engines()}
    for name, told in (
        ("diffportrait3d", "dp3d models import"),
        ("diffportrait360", "dp3d models install diffportrait360-back"),
    ):
        assert not infos[name].available
        assert told in infos[name].problem
        with pytest.raises(Dp3dError) as caught:
            generate(name, portrait, frontal_arc(1, size=64), tmp_path / "v")
        assert caught.value.code == "weights.missing"
        assert not (tmp_path / "v").exists()


def test_engines_with_weights_are_available(installed):
    assert all(info.available for info in list_engines())
    json.dumps([info.options for info in list_engines()])


def test_paths_that_close():
    assert is_closed(full_orbit(12))
    assert is_closed(full_orbit(16, pitch_deg=20))
    first = full_orbit(12)
    assert is_closed([*first, first[0]])  # the last repeats the first
    for views in (9, 16, 24, 32, 48, 72):
        assert not is_closed(capture_sphere(views))  # rings above each other
    assert not is_closed(frontal_arc(8, 150))
    assert not is_closed(frontal_arc(12))
    assert not is_closed([canonical_camera(0)])
    assert not is_closed([canonical_camera(0)] * 6)
