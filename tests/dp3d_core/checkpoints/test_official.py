"""Published files are recognised and read without executing code, and every weight is matched."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from safetensors.torch import save_file

from dp3d_core.checkpoints.names import SCHEDULE, Official, is_known_extra
from dp3d_core.checkpoints.official import load_official, read_checkpoint, recognise
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import PUBLISHED, NetworkConfig, Variant
from dp3d_core.models.networks import Networks
from dp3d_core.models.text_encoder import text_encoder
from dp3d_core.models.unet import MultiViewUNet
from tests.support.diffusion import (
    official_state,
    tiny_config,
    tiny_networks,
    tiny_text_encoder,
)

POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
GOLDEN = {
    Variant.DIFFPORTRAIT3D: "dp3d",
    Variant.DIFFPORTRAIT360: "dp360",
    Variant.BACK_VIEW: "dp360_backhead",
}
KEYS = {
    Variant.DIFFPORTRAIT3D: 2937,
    Variant.DIFFPORTRAIT360: 2725,
    Variant.BACK_VIEW: 2165,
}


@pytest.fixture(params=list(Variant))
def variant(request) -> Variant:
    return request.param


@pytest.fixture
def state(variant):
    return official_state(variant)


def names_of(variant: Variant) -> dict[str, tuple[str, str, torch.Size]]:
    """Official name -> network, our key, shape; full size, no memory."""
    config = PUBLISHED[variant]
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    names = {}
    components = Networks.of(config, meta=True).named()
    components["text_encoder"] = text_encoder(config.text, meta=True)
    for component, net in components.items():
        for key, value in net.state_dict().items():
            name = official.name(component, key)
            assert name not in names
            names[name] = (component, key, value.shape)
    return names


def test_full_size_key_lists_map_completely(golden, variant):
    listed = golden(f"{GOLDEN[variant]}_full_keys.json")["keys"]
    assert len(listed) == KEYS[variant]
    ours = names_of(variant)
    assert set(ours) <= set(listed)
    assert all(is_known_extra(name, variant) for name in set(listed) - set(ours))
    for name, (_, _, shape) in ours.items():
        theirs = listed[name]
        assert list(shape) == (theirs[:2] if theirs[2:] == [1, 1] and len(shape) == 2 else theirs)


def test_names_are_those_of_diffusers_converters(golden, variant):
    table = golden(f"{GOLDEN[variant]}_key_map.json")["map"]
    for name, (component, key, _) in names_of(variant).items():
        theirs = table[name]
        if theirs["component"] == "view_module":
            continue  # diffusers has none
        assert theirs["component"].split()[0] == component
        assert theirs["key"].removeprefix("text_model.") == key.removeprefix("unet.")


def test_loading_gives_the_weights_back(tmp_path, variant, state):
    path = tmp_path / "weights.th"
    torch.save({"state_dict": state | {POSITIONS: torch.arange(77)[None]}}, path)
    loaded = load_official(read_checkpoint(path), tiny_config(variant))
    assert loaded.config.variant is variant
    assert {*SCHEDULE, POSITIONS} <= set(loaded.ignored)
    truth = {**tiny_networks(variant).named(), "text_encoder": tiny_text_encoder(variant)}
    for name, net in {**loaded.networks.named(), "text_encoder": loaded.text_encoder}.items():
        ours = net.state_dict()
        for key, value in truth[name].state_dict().items():
            assert torch.equal(ours[key], value), (name, key)


def test_safetensors_are_read_like_torch_files(tmp_path, variant, state):
    path = tmp_path / "weights.safetensors"
    save_file(state, str(path))
    assert recognise(read_checkpoint(path)) is variant


def test_half_weights_stay_half_unless_asked(variant, state):
    halves = {name: value.half() for name, value in state.items()}
    loaded = load_official(halves, tiny_config(variant))
    assert loaded.networks.unet.dtype == torch.float16
    wide = load_official(halves, tiny_config(variant), torch.float32)
    assert wide.networks.unet.dtype == torch.float32


FIRST = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.pop(FIRST), "are missing"),
        (lambda s: s.update({"lora.weight": torch.zeros(1)}), "are not expected"),
        (lambda s: s.update({FIRST: torch.zeros(3, 3)}), "another shape"),
        (lambda s: s.update({FIRST: s[FIRST].to(torch.int32)}), "type"),
        (lambda s: s.update({FIRST: s[FIRST] * float("nan")}), "no numbers"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, problem):
    state = official_state(Variant.BACK_VIEW)
    change(state)
    with pytest.raises(Dp3dError) as caught:
        load_official(state, tiny_config(Variant.BACK_VIEW))
    assert caught.value.code == "weights.mismatch"
    assert problem in caught.value.problem
    assert (FIRST if FIRST in caught.value.detail else "lora.weight") in caught.value.problem


def test_every_missing_name_is_in_the_detail():
    state = official_state(Variant.BACK_VIEW)
    gone = [name for name in state if name.startswith("first_stage_model.encoder.")]
    for name in gone:
        del state[name]
    with pytest.raises(Dp3dError) as caught:
        load_official(state, tiny_config(Variant.BACK_VIEW))
    assert set(gone) <= set(caught.value.detail.splitlines())


def back_view():
    return official_state(Variant.BACK_VIEW)


@pytest.mark.parametrize(
    "odd",
    [
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
        lambda value: torch.nested.nested_tensor([value[0], value[1]]),
    ],
)
def test_tensors_that_are_no_arrays_are_refused(odd):
    state = back_view()
    state[FIRST] = odd(state[FIRST])
    with pytest.raises(Dp3dError) as caught:
        load_official(state, tiny_config(Variant.BACK_VIEW))
    assert caught.value.code == "weights.mismatch"
    assert FIRST in caught.value.problem


def test_weights_that_share_memory_are_kept_apart(tmp_path):
    state = back_view()
    keys = [f"unet.down_blocks.0.resnets.{i}.conv1.bias" for i in (0, 1)]
    first, second = (Official(False).name("unet", key) for key in keys)
    state[second] = state[first]
    unet = load_official(state, tiny_config(Variant.BACK_VIEW)).networks.unet
    unet.save_pretrained(tmp_path)
    for network in (unet, MultiViewUNet.from_pretrained(tmp_path)):
        weights = network.state_dict()
        for key in keys:
            torch.testing.assert_close(weights[key], state[first], rtol=0, atol=0)
        storages = {weights[key].untyped_storage().data_ptr() for key in keys}
        assert len(storages) == 2


def test_weights_too_large_for_half_precision_are_refused():
    state = back_view()
    state[FIRST] = state[FIRST] * 1e7
    load_official(state, tiny_config(Variant.BACK_VIEW))
    with pytest.raises(Dp3dError) as caught:
        load_official(state, tiny_config(Variant.BACK_VIEW), torch.float16)
    assert "no numbers" in caught.value.problem


def test_extras_are_known_by_name_and_variant():
    hint = "control_model.input_hint_block.0.weight"
    assert is_known_extra(hint, Variant.DIFFPORTRAIT3D)
    assert not is_known_extra(hint, Variant.BACK_VIEW)
    other = "control_model.input_hint_block.anything.goes"
    assert not is_known_extra(other, Variant.DIFFPORTRAIT3D)


def test_second_positions_must_be_the_first():
    variant = Variant.DIFFPORTRAIT360
    state = official_state(variant)
    name = next(n for n in state if n.endswith("attention_blocks.1.pos_encoder.pe"))
    state[name] = state[name] + 1
    with pytest.raises(Dp3dError) as caught:
        load_official(state, tiny_config(variant))
    assert name in caught.value.problem


def test_sizes_of_another_network_are_refused(state):
    with pytest.raises(Dp3dError) as caught:
        load_official(state)  # the published sizes
    assert caught.value.code == "weights.mismatch"


class Harmful:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def harmful(path: Path) -> None:
    torch.save({"model.diffusion_model.x": Harmful()}, path)


def old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": Harmful()}))


def cut(path: Path) -> None:
    torch.save({"a": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])


def no_weights(path: Path) -> None:
    torch.save([torch.zeros(3)], path)


def text(path: Path) -> None:
    path.write_text("<html>quota exceeded</html>")


def nothing(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (harmful, "weights.unsafe"),
        (old_pickle, "weights.unsafe"),
        (cut, "weights.incomplete"),
        (text, "weights.web_page"),
        (nothing, "weights.incomplete"),
        (no_weights, "weights.unknown"),
    ],
)
def test_files_that_are_no_weights(tmp_path, capfd, make, code):
    path = tmp_path / "weights.th"
    make(path)
    with pytest.raises(Dp3dError) as caught:
        read_checkpoint(path)
    assert caught.value.code == code
    assert "never be printed" not in capfd.readouterr().out


def test_a_cut_safetensors_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1000)}, str(path))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(Dp3dError) as caught:
        read_checkpoint(path)
    assert caught.value.code == "weights.incomplete"


def test_another_models_weights_are_unknown():
    with pytest.raises(Dp3dError) as caught:
        recognise(["model.diffusion_model.x", "first_stage_model.y"])
    assert caught.value.code == "weights.unknown"


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        (["lora_unet_down_blocks_0.lora_up.weight"], "LoRA"),
        (["unet.down_blocks.0.attn.to_q.lora.down.weight"], "LoRA"),
        (["model.diffusion_model.x", "conditioner.embedders.0.y"], "Stable Diffusion XL"),
        (["model.diffusion_model.x", "cond_stage_model.y"], "plain Stable Diffusion"),
        (["control_model.input_hint_block.0.weight"], "ControlNet"),
        (["down_blocks.0.motion_modules.0.x"], "AnimateDiff"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"], "diffusers"),
        (["model.layers.0.self_attn.q_proj.weight"], "language model"),
        (["text_model.encoder.layers.0.x"], "CLIP"),
        (["backbone.synthesis.b4.const"], "EG3D"),
        (["something.else"], "something.else"),
        ([], "no weights"),
    ],
)
def test_other_networks_are_named(names, meaning):
    with pytest.raises(Dp3dError) as caught:
        recognise(names)
    assert caught.value.code == "weights.unknown"
    assert meaning in caught.value.problem


def test_a_description_survives_json():
    for variant in Variant:
        config = tiny_config(variant)
        assert NetworkConfig.from_dict(config.to_dict()) == config
