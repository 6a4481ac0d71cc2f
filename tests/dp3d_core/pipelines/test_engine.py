"""The diffusion engines end to end with real networks of a few kilobytes."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

import numpy as np
from PIL import Image

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.framing import shown_by
from dp3d_core.cameras.trajectories import (
    cameras_from_request,
    canonical_camera,
    capture_sphere,
    frontal_arc,
    full_orbit,
)
from dp3d_core.engines.registry import cameras_for, get_engine, list_engines, with_pictures
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.pipelines.windows import plan_windows
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import HeadAngles
from tests.dp3d_core.pipelines.conftest import SMALL, generate
from tests.support.photos import encode, pictures


@pytest.mark.parametrize("name", ["diffportrait3d", "diffportrait360"])
@pytest.mark.usefixtures("installed")
def test_views_for_any_cameras(tmp_path, portrait, name):
    """Each camera has its own size, aspect and lens shift."""
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


@pytest.mark.usefixtures("installed", "unpainted")
def test_the_same_seed_gives_the_same_views(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    made = [
        generate("diffportrait3d", portrait, cameras, tmp_path / str(i), seed=seed)
        for i, seed in enumerate((3, 3, 4))
    ]
    frames = [np.stack([views.frame(i) for i in range(2)]).astype(int) for views in made]
    assert np.abs(frames[0] - frames[1]).max() <= 1
    assert np.abs(frames[0] - frames[2]).mean() > 1


@pytest.mark.usefixtures("installed", "unpainted")
def test_previews_of_the_denoising_are_written(tmp_path, portrait):
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


@pytest.mark.usefixtures("installed", "unpainted")
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
    options = {**SMALL, "start": "preview"}
    with_start = generate("diffportrait3d", portrait, cameras, tmp_path / "a", options)
    without = [generate("diffportrait3d", portrait, cameras, tmp_path / n) for n in "bc"]
    np.testing.assert_array_equal(without[0].frame(0), without[1].frame(0))
    assert (with_start.frame(0) != without[0].frame(0)).any(-1).mean() > 0.03


@pytest.mark.usefixtures("installed", "unpainted")
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
            {**SMALL, "steps": 8},
            progress=progress,
            cancel=lambda: len(steps) > 3,
        )
    assert len(steps) == 4
    assert not list((tmp_path / "v").glob("frames/*.png"))
    again = generate(
        "diffportrait3d", portrait, frontal_arc(2, size=64), tmp_path / "v", {**SMALL, "steps": 8}
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
        {"max_vram_gb": float("nan")},
        {"max_vram_gb": float("inf")},
        {"dtype": "int8"},
        {"guidance_from": 0.8, "guidance_to": 0.2},
        {"device": "toaster"},
        {"unknown": 1},
    ],
)
@pytest.mark.usefixtures("installed")
def test_bad_options_are_refused(tmp_path, portrait, options):
    with pytest.raises(Dp3dError) as caught:
        generate("diffportrait3d", portrait, frontal_arc(1, size=64), tmp_path / "v", options)
    assert caught.value.code == "engine.bad_option"
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.usefixtures("installed")
def test_too_little_memory_is_refused_before_networks_are_loaded(tmp_path, portrait):
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


def test_engines_without_weights_name_the_remedy(tmp_path, portrait, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    infos = {info.name: info for info in list_engines()}
    for name, remedy in (
        ("diffportrait3d", "dp3d models import"),
        ("diffportrait360", "dp3d models install diffportrait360-back"),
    ):
        assert not infos[name].available
        assert remedy in infos[name].problem
        with pytest.raises(Dp3dError) as caught:
            generate(name, portrait, frontal_arc(1, size=64), tmp_path / "v")
        assert caught.value.code == "weights.missing"
        assert not (tmp_path / "v").exists()


def test_engines_with_weights_are_available(installed):
    assert all(info.available for info in list_engines())
    json.dumps([info.options for info in list_engines()])


@pytest.mark.usefixtures("installed")
def test_pixels_outside_the_networks_framing_are_not_valid(tmp_path, portrait):
    """A lens wider than the networks' has pixels that they cannot fill."""
    wide = canonical_camera(0, 0, 64, focal=2.0)
    behind = canonical_camera(170, 0, 64)
    views = generate("diffportrait3d", portrait, [wide, behind], tmp_path / "v")
    valid = views.valid_mask(0)
    assert 0.1 < valid.mean() < 0.4
    assert valid[32, 32]
    assert not views.mask(0)[~valid].any()
    shares, aside = views.meta.warnings
    assert "% of these frames" in shares
    assert aside.startswith("1 of 2 cameras")
    own = canonical_camera(0, 0, 64)
    full = generate("diffportrait360", portrait, [own], tmp_path / "w")
    assert full.valid_mask(0) is None
    assert not full.meta.warnings


@pytest.mark.parametrize("name", ["diffportrait3d", "diffportrait360"])
def test_cameras_of_presets_have_the_networks_lens(name):
    engine = get_engine(name)
    request = {"preset": "capture", "views": 9, "size": 64}
    ours, plain = cameras_for(engine, request), cameras_from_request(request)
    for camera, other in zip(ours, plain, strict=True):
        assert camera.position == pytest.approx(other.position, abs=1e-9)
        assert shown_by(engine.own_lens(camera), camera).all()
    assert cameras_for(get_engine("preview"), request)[0].K[0, 0] == plain[0].K[0, 0]
    document = cameras_to_dict(plain)  # a person's own cameras stay as they are
    assert cameras_for(engine, document)[0].K[0, 0] == plain[0].K[0, 0]


@pytest.mark.usefixtures("installed", "unpainted")
def test_options_reach_the_pipeline(tmp_path, portrait, calls):
    options = {
        **SMALL,
        "sampler": "official",
        "guidance": 4.5,
        "guidance_from": 0.2,
        "guidance_to": 0.9,
        "overlap": 1,
    }
    generate("diffportrait3d", portrait, full_orbit(6, size=64), tmp_path / "v", options)
    [call] = calls
    assert len(call["references"]) == 1
    assert call["guidance_scale"] == 4.5
    assert call["guidance_interval"] == (0.2, 0.9)
    assert call["eta"] == 0.5
    assert call["num_inference_steps"] == 2
    assert list(call["windows"]) == plan_windows(6, 4, overlap=1, closed=True)
    assert call["start"] is None
    assert float(call["references"].abs().max()) <= 1


@pytest.mark.usefixtures("installed", "unpainted")
def test_each_ring_has_windows_of_its_own(tmp_path, portrait, calls):
    generate("diffportrait3d", portrait, capture_sphere(15, size=64), tmp_path / "v")
    [call] = calls
    rings = [set(range(5 * r, 5 * r + 5)) for r in range(3)]
    for window in call["windows"]:
        assert any(set(window.views) <= ring for ring in rings)


@pytest.mark.usefixtures("installed", "unpainted")
def test_the_background_colour_is_recorded(tmp_path, subject):
    """A fit takes the background out of half covered pixels: it must be the right one."""
    view = subject.render(canonical_camera(0, 0, 256)).rgba
    part = view[..., 3:] / 255
    blue = np.rint(view[..., :3] * part + np.array([20, 60, 180]) * (1 - part)).astype(np.uint8)
    photo = load_portrait(encode(blue), angles=HeadAngles(0.0))
    wide = [canonical_camera(0, 0, 64, focal=2.0)]
    views = generate("diffportrait3d", photo, wide, tmp_path / "v")
    assert tuple(views.frame(0)[0, 0]) == views.meta.background
    assert views.meta.background != (255, 255, 255)


@pytest.mark.usefixtures("installed", "unpainted")
def test_a_refused_run_makes_no_folder(tmp_path, portrait):
    cameras, out = frontal_arc(2, size=64), tmp_path / "v"
    few = pictures(tmp_path / "few", 1)
    for wrong in (
        lambda: generate("diffportrait3d", portrait, cameras, out, {**SMALL, "device": "toaster"}),
        lambda: generate("diffportrait3d", portrait, cameras, out, {**SMALL, "max_vram_gb": 0.1}),
        lambda: generate(with_pictures("diffportrait3d", few), portrait, cameras, out),
        lambda: generate("diffportrait3d", portrait, [], out),
    ):
        with pytest.raises(Dp3dError):
            wrong()
        assert not out.exists()
    generate("diffportrait3d", portrait, cameras, out)
    # a run resumes with another memory limit
    again = generate("diffportrait3d", portrait, cameras, out, {**SMALL, "max_vram_gb": 40.0})
    assert len(again) == 2


@pytest.mark.usefixtures("installed", "unpainted")
def test_edges_of_windows_are_recorded(tmp_path, portrait):
    views = generate("diffportrait3d", portrait, full_orbit(9, size=64), tmp_path / "v")
    edges = views.meta.parameters["window_edges"]
    assert len(edges) == 3  # windows of 4 that share one, around 9 views
    assert all((i + 1) % 9 == j for i, j in edges)
    blocks = {**SMALL, "windows": "blocks"}
    views = generate("diffportrait3d", portrait, frontal_arc(6, size=64), tmp_path / "b", blocks)
    assert views.meta.parameters["window_edges"] == [[3, 4]]
