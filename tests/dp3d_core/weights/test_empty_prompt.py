"""The empty prompt's embedding is stored by an import; imports with a text encoder are still read."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from safetensors.torch import load_file

from dp3d_core.checkpoints.importer import import_weights
from dp3d_core.engines.registry import get_engine
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import TextSize, Variant
from dp3d_core.models.prompt import EmptyPrompt, empty_tokens
from dp3d_core.models.text_encoder import encode_empty_prompt, encode_tokens, text_encoder
from dp3d_core.pipelines.loading import load_pipeline
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.weights import requirements
from dp3d_core.weights.installed import find_weights, verify_weights, weights_folder
from tests.support.diffusion import (
    official_state,
    tiny_config,
    tiny_networks,
    tiny_prompt,
    tiny_text_encoder,
    write_older_import,
)

CALLS = {"progress": no_progress, "cancel": never_cancel}
VARIANT = Variant.DIFFPORTRAIT3D
EMBEDDING = "empty_prompt/diffusion_pytorch_model.safetensors"
LAYER = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
SIZE = tiny_config(VARIANT).text


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


def do_import(tmp_path, state=None, **options):
    file = tmp_path / "model_state-540000-001.th"
    torch.save(official_state(VARIANT) if state is None else state, file)
    return import_weights(file, config=tiny_config(VARIANT), **CALLS, **options)


def older_import():
    return write_older_import(weights_folder() / VARIANT)


def test_the_embedding_replaces_the_text_encoder(tmp_path):
    weights = do_import(tmp_path)
    assert json.loads((weights.folder / "weights.json").read_text())["schema"] == "dp3d.weights/2"
    assert EMBEDDING in weights.files
    assert not weights.holds_text_encoder
    assert not [name for name in weights.files if "text_encoder" in name]
    assert "text_encoder" not in (weights.folder / "model_index.json").read_text()
    (embedding,) = load_file(weights.folder / EMBEDDING).values()
    assert embedding.shape == (1, 77, 24)
    assert torch.equal(embedding, tiny_prompt(VARIANT).embedding)
    assert float(embedding.std()) > 0.1


def test_the_embedding_of_half_weights_is_computed_in_float32(tmp_path):
    weights = do_import(tmp_path, half=True)
    (embedding,) = load_file(weights.folder / EMBEDDING).values()
    assert embedding.dtype == torch.float32
    rounded = tiny_text_encoder(VARIANT).to(torch.float16).to(torch.float32)
    assert torch.equal(embedding, encode_empty_prompt(rounded, SIZE))
    assert not torch.equal(embedding, tiny_prompt(VARIANT).embedding)


def test_published_sizes():
    encoder = text_encoder(TextSize(), meta=True)
    assert encode_tokens(encoder, empty_tokens(TextSize())).shape == (1, 77, 768)
    assert EmptyPrompt().embedding.shape == (1, 77, 768)
    assert empty_tokens(TextSize())[0].tolist() == [49406] + 76 * [49407]


@pytest.mark.parametrize(("factor", "half"), [(float("nan"), False), (1e7, True)])
def test_a_text_encoder_without_numbers_is_refused(tmp_path, factor, half):
    state = official_state(VARIANT)
    state[LAYER] = state[LAYER] * factor
    with pytest.raises(Dp3dError) as caught:
        do_import(tmp_path, state, half=half)
    assert caught.value.code == "weights.mismatch"
    assert LAYER in caught.value.problem
    assert find_weights(VARIANT) is None


def test_a_text_encoder_that_is_missing_is_named(tmp_path):
    state = official_state(VARIANT)
    del state[LAYER]
    with pytest.raises(Dp3dError) as caught:
        do_import(tmp_path, state)
    assert caught.value.code == "weights.mismatch"
    assert LAYER in caught.value.problem


def test_a_changed_embedding_is_refused(tmp_path):
    weights = do_import(tmp_path)
    data = bytearray((weights.folder / EMBEDDING).read_bytes())
    data[-1] ^= 1
    (weights.folder / EMBEDDING).write_bytes(data)
    with pytest.raises(Dp3dError) as caught:
        verify_weights(VARIANT, **CALLS)
    assert caught.value.code == "weights.damaged"
    assert EMBEDDING in caught.value.problem


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16])
def test_an_older_import_encodes_with_its_text_encoder(dtype):
    """The embedding equals the text encoder's output bit for bit, in the networks' dtype."""
    older_import()
    pipeline = load_pipeline(VARIANT, dtype)
    encoder = tiny_text_encoder(VARIANT).to(dtype or torch.float32)
    tokens = torch.tensor([[38] + 76 * [39]])
    with torch.no_grad():
        assert torch.equal(pipeline.empty_prompt.embedding, encoder(tokens).last_hidden_state)
    assert pipeline.unet.dtype == pipeline.empty_prompt.dtype == (dtype or torch.float32)
    for name, net in tiny_networks(VARIANT).named().items():
        loaded = getattr(pipeline, name).state_dict()
        for key, value in net.state_dict().items():
            assert torch.equal(loaded[key], value.to(dtype or torch.float32)), (name, key)


def views_of():
    pipeline = load_pipeline(VARIANT, torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    portrait, conditions = (torch.rand(n, 3, 64, 64, generator=generator) * 2 - 1 for n in (1, 3))
    return pipeline(portrait, conditions, num_inference_steps=2, generator=generator).images


def test_older_and_new_imports_give_equal_views(tmp_path):
    older = older_import()
    assert older.holds_text_encoder
    assert verify_weights(VARIANT, **CALLS) == older
    before = views_of()
    assert not do_import(tmp_path).holds_text_encoder
    assert not (older.folder / "text_encoder").exists()
    assert torch.equal(views_of(), before)


def test_loading_an_older_import_warns_of_nothing(capfd):
    older_import()
    load_pipeline(VARIANT)
    assert "text_encoder" not in capfd.readouterr().err


@pytest.mark.parametrize("absent", [True, False])
def test_an_older_import_without_the_package_is_refused(monkeypatch, absent):
    """Transformers is missing or of an older version."""
    older_import()
    if absent:
        monkeypatch.setattr(requirements, "is_absent", lambda name: name == "transformers")
    else:
        real = requirements.installed_version
        monkeypatch.setattr(
            requirements,
            "installed_version",
            lambda name: (4, 57) if name == "transformers" else real(name),
        )
    for refused in (lambda: load_pipeline(VARIANT), lambda: get_engine(VARIANT).check({})):
        with pytest.raises(Dp3dError) as caught:
            refused()
        assert caught.value.code == "engine.packages_missing"
        assert "transformers" in caught.value.problem
        assert str(VARIANT) in caught.value.problem
        assert "'dp3d models import'" in caught.value.remedy
        assert "dp3d[diffusion]" in caught.value.remedy


def test_a_new_import_runs_without_the_package(tmp_path, monkeypatch):
    do_import(tmp_path)
    monkeypatch.setattr(requirements, "is_absent", lambda name: name == "transformers")
    get_engine(VARIANT).check({})
    load_pipeline(VARIANT)
