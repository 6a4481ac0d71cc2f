"""A generation with a photo from behind reproduces the original's samples with two references.

The golden pictures go the whole way of the engine: photos with cameras, folders of condition and
start images, imported weights.  Only the random draws are replaced, as in the golden run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from PIL import Image
from safetensors.torch import load_file

from dp3d_core.cameras.framing import network_camera
from dp3d_core.cameras.trajectories import canonical_camera, full_orbit
from dp3d_core.checkpoints.importer import import_weights
from dp3d_core.checkpoints.official import read_checkpoint, recognise
from dp3d_core.checkpoints.parity import TOLERANCE
from dp3d_core.models.config import Variant, config_of_official
from dp3d_core.pipelines import multi_view
from dp3d_core.pipelines.generation import Generation, GenerationRequest
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.pipelines.user_pictures import UserPictures
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Reference
from dp3d_core.preview.further.photos import PhotoUse
from dp3d_core.progress import never_cancel, no_progress
from tests.conftest import shared_path
from tests.support.photos import encode

SIZE = 128
"""Width and height of the golden pictures, pixels."""


@pytest.fixture(scope="module")
def tensors():
    return load_file(shared_path("golden/dp360_tiny_a.tensors.safetensors"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The golden weights of the views and of the back view, imported as users do."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_HOME", str(folder))
        for name in ("dp360_tiny_a", "dp360_backhead_tiny_a"):
            file = shared_path(f"golden/{name}.weights.safetensors")
            data = json.loads(shared_path(f"golden/{name}.json").read_text())
            variant = recognise(read_checkpoint(file))
            config = config_of_official(variant, data["official_config"], data["views"])
            import_weights(file, config=config, progress=no_progress, cancel=never_cancel)
    return folder


def pixels_of(tensor):
    """(h, w, 3) uint8 of (3, h, w)."""
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())


def photo_of(tensor, yaw_deg):
    """A photo in the networks' framing, so that it reaches them pixel by pixel."""
    pixels = pixels_of(tensor)
    photo = load_portrait(encode(pixels))
    camera = network_camera(canonical_camera(yaw_deg, 0, SIZE), SIZE)
    whole = np.full((SIZE, SIZE), 255, np.uint8)
    return replace(photo, image=pixels, matte=whole, inside=whole > 0, camera=camera)


class Placed(PhotoUse):
    """A photo that is in the networks' framing already."""

    def portrait(self, reference, head):
        return reference.portrait


def folder_of(folder, tensor):
    folder.mkdir()
    for index, picture in enumerate(tensor):
        Image.fromarray(pixels_of(picture)).save(folder / f"{index:03d}.png")
    return folder


@pytest.mark.parametrize("half", [False, True])
def test_two_photos_give_the_golden_views(tmp_path, monkeypatch, home, tensors, half):
    monkeypatch.setenv("DP3D_HOME", str(home))
    front = photo_of(tensors["in.ref_image_u8"][0], 0)
    behind = photo_of(tensors["in.back_image_u8"][0], 180)
    use = Placed("back", behind.sha256, "back", behind.report.crop, behind.camera, used=True)
    monkeypatch.setattr(Generation, "photos", (use,))
    monkeypatch.setattr(Generation, "head", SimpleNamespace(caster=None))
    front = replace(front, references=(Reference(behind, "back", use.name),))
    pictures = UserPictures(
        folder_of(tmp_path / "conditions", tensors["in.pose_images_u8"]),
        folder_of(tmp_path / "start", tensors["in.proxy_images_u8"]),
    )
    draws = iter([tensors["in.q_noise"], *tensors["in.ddim_noises"]])
    monkeypatch.setattr(multi_view, "_draw_noise", lambda *_: next(draws))
    latents, loaded = [], []
    real = MultiViewPipeline.__call__

    def call(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        latents.append(output.latents)
        return output

    monkeypatch.setattr(MultiViewPipeline, "__call__", call)
    request = GenerationRequest(
        (Variant.DIFFPORTRAIT360, Variant.BACK_VIEW),
        False,
        front,
        tuple(full_orbit(8, size=SIZE)),
        DiffusionOptions(size=SIZE, steps=5, half_schedule=half, dtype="float32", device="cpu"),
        pictures,
        seed=0,
    )
    run = Generation(request, tmp_path, lambda event: loaded.append(event.message), never_cancel)
    frames = run.frames()
    assert [frame.shape for frame in frames] == 8 * [(SIZE, SIZE, 3)]
    assert "diffportrait360 loaded" in loaded
    assert "diffportrait360-back loaded" not in loaded
    golden = tensors[("fp16sched." if half else "") + "ddim5_eta05.final"]
    [final] = latents
    assert float((final - golden).abs().max() / golden.abs().max()) < TOLERANCE
