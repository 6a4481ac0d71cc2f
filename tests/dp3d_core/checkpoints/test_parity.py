"""Our networks reproduce the tensors of the original implementations."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from safetensors.torch import load_file, save_file

from dp3d_core.checkpoints.official import load_official, read_checkpoint, recognise
from dp3d_core.checkpoints.parity import verify_parity
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import config_of_official
from dp3d_core.models.prompt import EmptyPrompt
from dp3d_core.models.text_encoder import encode_empty_prompt
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.schedule import official_schedule
from dp3d_core.progress import never_cancel, no_progress
from tests.conftest import SHARED, shared_path

SETS = sorted(
    path.name.removesuffix(".weights.safetensors")
    for path in (SHARED / "golden").glob("*.weights.safetensors")
) or ["dp3d_tiny_a"]


def verify(prefix):
    return verify_parity(prefix, progress=no_progress, cancel=never_cancel)


@pytest.mark.parametrize("name", SETS)
def test_golden_tensors(name):
    shared_path(f"golden/{name}.json")
    rows = verify(SHARED / "golden" / name)
    assert not [row for row in rows if not row.good]
    # all but the inputs are recomputed
    assert {row.reason for row in rows if row.error is None} == {"an input"}
    compared = {row.name.partition(".")[0] for row in rows if row.error is not None}
    assert {"text", "vae", "lat", "pose", "t601", "feat_cond", "ddim5_eta05"} <= compared


@pytest.mark.parametrize("name", SETS)
def test_the_pipelines_blocks_are_the_original_sampler(name):
    """The pipeline from pictures to latents with eta 0."""
    prefix = shared_path(f"golden/{name}.json").with_suffix("")
    data = json.loads(prefix.with_suffix(".json").read_text())
    tensors = load_file(f"{prefix}.tensors.safetensors")
    state = read_checkpoint(prefix.with_name(f"{name}.weights.safetensors"))
    config = config_of_official(recognise(state), data["official_config"], data["views"])
    loaded = load_official(state, config, torch.float32)
    prompt = EmptyPrompt.of(encode_empty_prompt(loaded.text_encoder, config.text))
    portraits = [
        tensors[key].float() / 127.5 - 1
        for key in ("in.ref_image_u8", "in.back_image_u8")
        if key in tensors
    ]
    for half, key in ((False, "ddim5_eta0"), (True, "fp16sched.ddim5_eta0")):
        if f"{key}.final" not in tensors:
            continue
        pipeline = MultiViewPipeline(
            **loaded.networks.named(),
            empty_prompt=prompt,
            scheduler=official_schedule(half),
            window=data["views"],
        )
        pipeline.set_progress_bar_config(disable=True)
        latents = pipeline(
            torch.cat(portraits),
            tensors["in.pose_images_u8"].float() / 127.5 - 1,
            num_inference_steps=5,
            eta=0.0,
            mode="blocks",
            latents=tensors[f"{key}.x_inter"][0],
            output_type="latent",
        ).latents
        golden = tensors[f"{key}.final"]
        assert float((latents - golden).abs().max() / golden.abs().max()) < 1e-4


def copy_of(name, folder, change):
    for kind in ("json", "weights.safetensors", "tensors.safetensors"):
        source = shared_path(f"golden/{name}.{kind}")
        (folder / f"set.{kind}").symlink_to(source)
    tensors = load_file(str(folder / "set.tensors.safetensors"))
    keep = ("in.input_ids", "in.input_ids_text", "text.", "sched")
    tensors = {k: v for k, v in tensors.items() if k.startswith(keep)}
    change(tensors)
    (folder / "set.tensors.safetensors").unlink()
    save_file(tensors, str(folder / "set.tensors.safetensors"))
    return folder / "set"


def test_a_wrong_number_is_reported(tmp_path):
    def change(tensors):
        tensors["text.context_empty"][0, 5] += 0.01

    rows = verify(copy_of("dp360_backhead_tiny_a", tmp_path, change))
    assert [row.name for row in rows if not row.good] == ["text.context_empty"]


def test_a_tensor_that_is_not_computed_is_reported(tmp_path):
    def change(tensors):
        tensors["secret.values"] = torch.zeros(3)
        tensors["vae.back_mean"] = torch.zeros(1)  # no picture of a back in this set
        tensors["in.never_read"] = torch.zeros(3)

    rows = verify(copy_of("dp360_backhead_tiny_a", tmp_path, change))
    bad = [row.name for row in rows if not row.good]
    assert bad == ["secret.values", "vae.back_mean", "in.never_read"]


def test_missing_and_damaged_sets_are_refused(tmp_path):
    with pytest.raises(Dp3dError) as caught:
        verify(tmp_path / "nothing")
    assert caught.value.code == "parity.invalid"
    (tmp_path / "set.json").write_text(json.dumps({"views": 2}))
    with pytest.raises(Dp3dError) as caught:
        verify(tmp_path / "set")
    assert caught.value.code == "parity.invalid"
