"""Further photos of a person as references of the diffusion engines, and the back view."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

import numpy as np

from dp3d_core.cameras.framing import network_camera, reframe
from dp3d_core.cameras.trajectories import canonical_camera, frontal_arc, full_orbit
from dp3d_core.engines.registry import get_engine
from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.generation import Generation, GenerationRequest
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.pipelines.photos import on_background
from dp3d_core.pipelines.user_pictures import UserPictures
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Reference
from dp3d_core.portraits.pose import HeadAngles
from dp3d_core.preview.further.photos import PhotoUse
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import condition_image
from tests.dp3d_core.pipelines.conftest import SMALL, generate
from tests.support.photos import encode

pytestmark = pytest.mark.usefixtures("installed", "unpainted")


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
def photos(subject):
    """Photos of the portrait's person from yaws in degrees, with these poses."""

    def at(yaw_deg):
        view = subject.render(canonical_camera(yaw_deg, 0, 256))
        angles = HeadAngles(float(yaw_deg), 0.0, 0.0)
        return load_portrait(encode(view.rgba), crop=(0.0, 0.0, 256.0), angles=angles)

    return {yaw: at(yaw) for yaw in (-60, 30, 60, 175)}


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


def test_more_photos_than_references_are_named(tmp_path, person, calls):
    cameras = [canonical_camera(0, 0, 64)]
    views = generate("diffportrait360", person(60, 30, -60), cameras, tmp_path / "v")
    assert [len(call["references"]) for call in calls] == [1, 4]
    used = {photo["name"]: photo["used"] for photo in views.meta.photos}
    assert used == {"60.png": True, "30.png": False, "-60.png": True}
    [warning] = views.meta.warnings
    assert warning.startswith("30.png is left out: the engine takes 4 pictures of a person")


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
