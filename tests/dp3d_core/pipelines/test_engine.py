"""The diffusion engines end to end with real networks of a few kilobytes."""

from __future__ import annotations

import inspect
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

import numpy as np
from PIL import Image

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_dict
from dp3d_core.cameras.framing import network_camera, reframe, shown_by
from dp3d_core.cameras.trajectories import (
    cameras_from_request,
    canonical_camera,
    capture_sphere,
    diffportrait3d_ellipse,
    frontal_arc,
    full_orbit,
)
from dp3d_core.checkpoints.importer import import_weights
from dp3d_core.engines.registry import cameras_for, get_engine, list_engines, with_pictures
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.models.config import Variant
from dp3d_core.pipelines.generation import Generation, GenerationRequest
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.pipelines.photos import on_background
from dp3d_core.pipelines.user_pictures import UserPictures, read_user_pictures
from dp3d_core.pipelines.windows import plan_windows
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Reference
from dp3d_core.portraits.pose import HeadAngles
from dp3d_core.preview.further.photos import PhotoUse
from dp3d_core.preview.shape.placement import place_head
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import SyntheticHead, condition_image
from dp3d_core.synthetic.subjects import random_subject
from tests.support.diffusion import official_state, tiny_config

SMALL = {"size": 64, "steps": 2, "start": "noise"}
"""The preview head takes seconds to fit; tests of start images ask for it."""


@pytest.fixture(scope="module")
def portrait():
    view = SyntheticHead(random_subject(5)).render(canonical_camera(0, 0, 256))
    buffer = io.BytesIO()
    Image.fromarray(view.rgba).save(buffer, "PNG")
    return load_portrait(buffer.getvalue(), angles=HeadAngles(0.0))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """All three checkpoints, imported at a tiny size."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_HOME", str(folder))
        for variant in Variant:
            config = tiny_config(variant)
            file = folder / f"{variant}.th"
            torch.save(official_state(variant), file)
            import_weights(file, config=config, progress=no_progress, cancel=never_cancel)
    return folder


@pytest.fixture
def installed(home, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(home))


def generate(engine, portrait, cameras, out, options=SMALL, **overrides):
    """Generate views with an engine or the engine of a name, seed 3."""
    calls = {"progress": no_progress, "cancel": never_cancel, "seed": 3, **overrides}
    engine = get_engine(engine) if isinstance(engine, str) else engine
    return engine.generate(portrait, cameras, options, out=out, **calls)


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
    options = {**SMALL, "start": "preview"}
    with_start = generate("diffportrait3d", portrait, cameras, tmp_path / "a", options)
    without = [generate("diffportrait3d", portrait, cameras, tmp_path / n) for n in "bc"]
    np.testing.assert_array_equal(without[0].frame(0), without[1].frame(0))
    assert (with_start.frame(0) != without[0].frame(0)).any(-1).mean() > 0.03


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


@pytest.fixture
def calls(monkeypatch):
    """Arguments of the engine's calls of the pipeline."""
    seen = []
    real = MultiViewPipeline.__call__

    def spy(self, *args, **kwargs):
        seen.append(inspect.signature(real).bind(self, *args, **kwargs).arguments)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MultiViewPipeline, "__call__", spy)
    return seen


@pytest.mark.usefixtures("installed")
def test_options_reach_the_pipeline(tmp_path, portrait, calls):
    options = {
        **SMALL,
        "sampler": "official",
        "guidance": 4.5,
        "guidance_from": 0.2,
        "guidance_to": 0.9,
        "overlap": 1,
    }
    generate("diffportrait3d", portrait, full_orbit(9, size=64), tmp_path / "v", options)
    [call] = calls
    assert len(call["references"]) == 1
    assert call["guidance_scale"] == 4.5
    assert call["guidance_interval"] == (0.2, 0.9)
    assert call["eta"] == 0.5
    assert call["num_inference_steps"] == 2
    assert list(call["windows"]) == plan_windows(9, 4, overlap=1, closed=True)
    assert call["start"] is None
    assert float(call["references"].abs().max()) <= 1


@pytest.mark.usefixtures("installed")
def test_the_back_view_is_the_second_reference(tmp_path, portrait, calls):
    generate("diffportrait360", portrait, full_orbit(4, size=64), tmp_path / "v")
    back, views = calls
    assert [len(call["references"]) for call in calls] == [1, 2]
    assert torch.equal(back["references"][0], views["references"][0])
    assert not torch.equal(views["references"][0], views["references"][1])
    behind = condition_image(canonical_camera(180.0, 0.0, 64))
    condition = ((back["conditions"][0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    assert np.array_equal(condition, behind)
    assert (back["eta"], back["guidance_scale"]) == (0.5, 3.0)


@pytest.fixture(scope="module")
def photos():
    """Photos of the portrait's person from yaws in degrees, with these poses."""

    def at(yaw_deg):
        view = SyntheticHead(random_subject(5)).render(canonical_camera(yaw_deg, 0, 256))
        buffer = io.BytesIO()
        Image.fromarray(view.rgba).save(buffer, "PNG")
        angles = HeadAngles(float(yaw_deg), 0.0, 0.0)
        return load_portrait(buffer.getvalue(), crop=(0.0, 0.0, 256.0), angles=angles)

    return {yaw: at(yaw) for yaw in (-60, 30, 60, 175)}


@pytest.fixture(scope="module")
def caster(portrait):
    """Ray caster of the portrait's head without colours."""
    return RayCaster(place_head(portrait).mesh)


@pytest.fixture
def unpainted(caster, monkeypatch):
    """That caster, as all that a generation has of its head: painting one takes seconds."""
    monkeypatch.setattr(Generation, "head", SimpleNamespace(caster=caster))
    return caster


@pytest.fixture
def person(portrait, photos, monkeypatch):
    """Maker of the portrait with further photos from yaws in degrees, which are all used."""

    def make(*yaws):
        references = (Reference(photos[yaw], "auto", f"{yaw}.png") for yaw in yaws)
        return replace(portrait, references=tuple(references))

    photos_of = property(lambda run: tuple(map(placed, run.portrait.references)))
    monkeypatch.setattr(Generation, "photos", photos_of)
    return make


def placed(reference):
    photo = reference.portrait
    crop, camera = photo.report.crop, photo.camera
    return PhotoUse(reference.name, photo.sha256, reference.side, crop, camera, used=True)


def tensor_of(photo, eg3d=False):
    """The picture that the networks get of a photo."""
    picture = reframe(photo.image, photo.camera, network_camera(photo.camera, 64, eg3d))
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1


def tensors_of(person, caster, order, eg3d=False):
    """The pictures that the networks get of the portrait and of further photos, by their names."""
    named = {reference.name: reference for reference in person.references}
    references = [named[f"{yaw}.png"] for yaw in order]
    photos = [placed(reference).portrait(reference, caster) for reference in references]
    shown = [on_background(photo, person.background_colour()) for photo in photos]
    return [tensor_of(photo, eg3d) for photo in (person, *shown)]


def denoise(name, portrait, cameras, out, events=None):
    """The networks' frames of a generation, without their outlines, which take a fitted head."""
    engine = get_engine(name)
    options = DiffusionOptions(**SMALL)
    request = GenerationRequest(
        engine.needs, engine.eg3d, portrait, tuple(cameras), options, UserPictures(), seed=3
    )
    out.mkdir()
    progress = no_progress if events is None else events.append
    return Generation(request, out, progress, never_cancel).frames()


@pytest.mark.parametrize("name", ["diffportrait3d", "diffportrait360"])
@pytest.mark.usefixtures("installed")
def test_photos_are_references_in_the_networks_framing(tmp_path, person, unpainted, calls, name):
    several = person(60, -60)
    denoise(name, several, frontal_arc(2, size=64), tmp_path / "v")
    *_, call = calls
    expected = tensors_of(several, unpainted, (60, -60), eg3d=name == "diffportrait3d")
    if name == "diffportrait360":
        assert len(calls) == 2, "without a photo from behind the back view is generated"
        assert torch.equal(calls[0]["references"], expected[0][None])
        expected.insert(1, call["references"][1])
    assert torch.equal(call["references"], torch.stack(expected))


@pytest.mark.usefixtures("installed")
def test_a_photo_from_behind_replaces_the_generated_back_view(tmp_path, person, unpainted, calls):
    several, events, cameras = person(60, 175), [], full_orbit(4, size=64)
    frames = denoise("diffportrait360", several, cameras, tmp_path / "v", events)
    [call] = calls
    assert torch.equal(call["references"], torch.stack(tensors_of(several, unpainted, (175, 60))))
    assert "back view" not in {event.stage for event in events}
    loaded = [event.message for event in events if event.stage == "load"]
    assert "diffportrait360 loaded" in loaded
    assert not any("diffportrait360-back" in message for message in loaded)
    generated = denoise("diffportrait360", person(60), cameras, tmp_path / "w")
    assert len(calls) == 3
    assert (frames[2] != generated[2]).any()


@pytest.mark.usefixtures("installed")
def test_more_photos_than_references_are_named(tmp_path, person, calls):
    cameras = [canonical_camera(0, 0, 64)]
    views = generate("diffportrait360", person(60, 30, -60), cameras, tmp_path / "v")
    assert [len(call["references"]) for call in calls] == [1, 4]
    used = {photo["name"]: photo["used"] for photo in views.meta.photos}
    assert used == {"60.png": True, "30.png": False, "-60.png": True}
    [warning] = views.meta.warnings
    assert warning.startswith("30.png is left out: The engine takes 4 pictures of a person")


@pytest.mark.usefixtures("installed")
def test_a_run_resumes_with_its_photos_only(tmp_path, person, calls):
    cameras = frontal_arc(2, size=64)
    views = generate("diffportrait3d", person(60, -60), cameras, tmp_path / "v")
    hashes = [photo["sha256"] for photo in views.meta.parameters["references"]]
    assert len(set(hashes)) == 2
    again = generate("diffportrait3d", person(-60, 60), cameras, tmp_path / "v")
    assert len(calls) == 1, "all frames were there"
    assert again.meta == views.meta
    for other in (person(60), person(), person(60, 30)):
        with pytest.raises(Dp3dError) as caught:
            generate("diffportrait3d", other, cameras, tmp_path / "v")
        assert caught.value.code == "viewset.mismatch"
    sided = person(60, -60)
    left = replace(sided.references[0], side="left")
    with pytest.raises(Dp3dError) as caught:
        generate(
            "diffportrait3d",
            replace(sided, references=(left, sided.references[1])),
            cameras,
            tmp_path / "v",
        )
    assert caught.value.code == "viewset.mismatch"


@pytest.mark.usefixtures("installed")
def test_a_users_condition_image_from_behind_serves_the_back_view(tmp_path, portrait, calls):
    folder = pictures(tmp_path / "c", 4)  # the third camera is behind
    engine = with_pictures("diffportrait360", folder)
    generate(engine, portrait, full_orbit(4, size=64), tmp_path / "v")
    back, views = calls
    assert torch.equal(back["conditions"][0], views["conditions"][2])


@pytest.mark.usefixtures("installed")
def test_each_ring_has_windows_of_its_own(tmp_path, portrait, calls):
    generate("diffportrait3d", portrait, capture_sphere(15, size=64), tmp_path / "v")
    [call] = calls
    rings = [set(range(5 * r, 5 * r + 5)) for r in range(3)]
    for window in call["windows"]:
        assert any(set(window.views) <= ring for ring in rings)


@pytest.mark.usefixtures("installed")
def test_the_background_colour_is_recorded(tmp_path):
    """A fit takes the background out of half covered pixels: it must be the right one."""
    view = SyntheticHead(random_subject(5)).render(canonical_camera(0, 0, 256)).rgba
    part = view[..., 3:] / 255
    blue = np.rint(view[..., :3] * part + np.array([20, 60, 180]) * (1 - part)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blue).save(buffer, "PNG")
    photo = load_portrait(buffer.getvalue(), angles=HeadAngles(0.0))
    wide = [canonical_camera(0, 0, 64, focal=2.0)]
    views = generate("diffportrait3d", photo, wide, tmp_path / "v")
    assert tuple(views.frame(0)[0, 0]) == views.meta.background
    assert views.meta.background != (255, 255, 255)


@pytest.mark.usefixtures("installed")
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


@pytest.mark.usefixtures("installed")
def test_pictures_are_taken_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (64, 64), (20 * i, 0, 0)).save(folder / f"view{i}.png")
    (folder / "._view0.png").write_bytes(b"of another system")
    read = read_user_pictures(folder, "condition images", 12, 64)
    assert [int(picture[0, 0, 0]) for picture in read] == [20 * i for i in range(12)]


@pytest.mark.usefixtures("installed")
def test_edges_of_windows_are_recorded(tmp_path, portrait):
    views = generate("diffportrait3d", portrait, full_orbit(9, size=64), tmp_path / "v")
    edges = views.meta.parameters["window_edges"]
    assert len(edges) == 3  # windows of 4 that share one, around 9 views
    assert all((i + 1) % 9 == j for i, j in edges)
    blocks = {**SMALL, "windows": "blocks"}
    views = generate("diffportrait3d", portrait, frontal_arc(6, size=64), tmp_path / "b", blocks)
    assert views.meta.parameters["window_edges"] == [[3, 4]]


def pictures(folder, count, size=64, colour=90):
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (size, size), (colour, 10 * i, 40)).save(folder / f"{i:03d}.png")
    return folder


@pytest.mark.usefixtures("installed")
def test_condition_and_start_images_from_folders(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    plain = generate("diffportrait3d", portrait, cameras, tmp_path / "plain")
    made = []
    for name, folders in {
        "conditions": (pictures(tmp_path / "c", 2, 96), None),
        "start": (None, pictures(tmp_path / "s", 2)),
    }.items():
        engine = with_pictures("diffportrait3d", *folders)
        views = generate(engine, portrait, cameras, tmp_path / name)
        made.append(views)
        assert not np.array_equal(views.frame(0), plain.frame(0))
    assert "condition_images" in made[0].meta.parameters
    assert "start_images" in made[1].meta.parameters
    # other pictures are another view set
    Image.new("RGB", (64, 64)).save(tmp_path / "s/001.png")
    with pytest.raises(Dp3dError) as caught:
        generate(engine, portrait, cameras, tmp_path / "start")
    assert caught.value.code == "viewset.mismatch"


@pytest.mark.parametrize("wrong", ["absent", "empty", "few", "oblong", "text"])
@pytest.mark.usefixtures("installed")
def test_bad_folders_of_pictures_are_refused(tmp_path, portrait, wrong):
    folder = tmp_path / "c"
    if wrong != "absent":
        pictures(folder, {"empty": 0, "few": 1}.get(wrong, 2))
    if wrong == "oblong":
        Image.new("RGB", (64, 48)).save(folder / "001.png")
    if wrong == "text":
        (folder / "001.png").write_text("no picture")
    engine = with_pictures("diffportrait3d", folder)
    with pytest.raises(Dp3dError) as caught:
        generate(engine, portrait, frontal_arc(2, size=64), tmp_path / "v")
    assert caught.value.code == "engine.bad_input"
    assert not list((tmp_path / "v").rglob("*.png"))
    with pytest.raises(Dp3dError) as caught:
        with_pictures("preview", folder)
    assert caught.value.code == "engine.bad_option"


@pytest.mark.usefixtures("installed")
def test_the_official_pictures(tmp_path, portrait, official_outputs):
    """The authors' 16 condition and start images, at the cameras of their path."""
    engine = with_pictures(
        "diffportrait3d", official_outputs / "condition", official_outputs / "0000028/start"
    )
    views = generate(engine, portrait, diffportrait3d_ellipse(16, size=64), tmp_path / "v")
    assert len(views) == 16
    assert not any("off the face" in warning for warning in views.meta.warnings)
