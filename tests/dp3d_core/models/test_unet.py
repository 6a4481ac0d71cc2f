"""Our calls of diffusers' blocks give diffusers' outputs; view modules are in the published places."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from dp3d_core.models.attention import project_prompt, project_references
from dp3d_core.models.config import PUBLISHED, Variant
from dp3d_core.models.unet import MultiViewUNet, pose_residuals, view_sites
from tests.support.diffusion import LATENT, prompt_size, tiny_config, tiny_networks

T = torch.tensor([321])


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 5e-5) -> bool:
    """Whether the largest difference over the largest value is small; rounding gives about 1e-6."""
    return float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance


def latents(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 4, LATENT, LATENT, generator=torch.Generator().manual_seed(seed))


def context(variant: Variant) -> torch.Tensor:
    size = prompt_size(tiny_config(variant))
    return torch.randn(*size, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=list(Variant))
def variant(request) -> Variant:
    return request.param


@pytest.fixture(scope="module")
def networks(variant):
    return tiny_networks(variant)


def stock(ours: UNet2DConditionModel | ControlNetModel):
    """A network of diffusers with our weights and none of our processors."""
    net = type(ours).from_config(ours.config)
    net.load_state_dict(ours.state_dict())
    net.set_attn_processor(AttnProcessor2_0())
    return net.eval()


@torch.inference_mode()
def test_without_view_modules_it_is_diffusers_unet():
    net = tiny_networks(Variant.BACK_VIEW).unet
    prompt = context(Variant.BACK_VIEW)
    ours = net(latents(2), T, project_prompt(net.unet, prompt))
    theirs = stock(net.unet)(latents(2), T, prompt.expand(2, -1, -1)).sample
    assert close(ours, theirs)


@torch.inference_mode()
def test_the_pose_network_is_diffusers_controlnet(networks, variant):
    net, prompt = networks.pose_controlnet, context(variant)
    pictures = torch.rand(2, 3, 8 * LATENT, 8 * LATENT) * 2 - 1
    hints = net.controlnet_cond_embedding(pictures)
    ours = pose_residuals(net, latents(2), T, project_prompt(net, prompt), hints)
    down, middle = stock(net)(latents(2), T, prompt.expand(2, -1, -1), pictures, return_dict=False)
    for mine, stocks in zip(ours, [*down, middle], strict=True):
        assert close(mine, stocks)


@torch.inference_mode()
def test_references_are_read_at_every_self_attention(networks, variant):
    """Tokens equal those that hooks record in a network of diffusers."""
    net, prompt = networks.reference_unet, context(variant)
    tokens = net.tokens(latents(2), T, project_prompt(net.unet, prompt))
    config = {**net.unet.config}
    theirs = UNet2DConditionModel.from_config(config)
    theirs.load_state_dict(net.unet.state_dict(), strict=False)  # it has no output layer
    theirs.set_attn_processor(AttnProcessor2_0())
    recorded = []
    levels = [*theirs.down_blocks, theirs.mid_block, *theirs.up_blocks]
    for level in levels:
        for attention in getattr(level, "attentions", ()):
            attention.transformer_blocks[0].norm1.register_forward_hook(
                lambda _m, _i, out: recorded.append(out)
            )
    theirs.eval()(latents(2), T, prompt.expand(2, -1, -1))
    assert len(tokens) == len(recorded) == 16
    for mine, stocks in zip(tokens, recorded, strict=True):
        assert close(mine, stocks)


@torch.inference_mode()
def test_a_reference_of_ones_own_tokens_changes_nothing():
    """Softmax over each key twice equals softmax over each key once (one view, no view module)."""
    net = tiny_networks(Variant.BACK_VIEW).unet
    prompt = context(Variant.BACK_VIEW)
    text = project_prompt(net.unet, prompt)
    own = net.tokens(latents(1), T, text)
    reference = project_references(net.unet, own)
    alone = net(latents(1), T, text)
    assert close(net(latents(1), T, text, reference=reference), alone)
    other = project_references(net.unet, net.tokens(latents(1, 9), T, text))
    assert not close(net(latents(1), T, text, reference=other), alone, 1e-2)


@torch.inference_mode()
def test_windows_in_one_batch_do_not_mix(networks, variant):
    views = tiny_config(variant).window
    net, text = networks.unet, project_prompt(networks.unet.unet, context(variant))
    both = latents(2 * views)
    together = net(both, T, text, views=views)
    apart = torch.cat([net(half, T, text, views=views) for half in both.split(views)])
    assert close(together, apart)
    if views > 1:
        changed = both.clone()
        changed[0] += 1
        moved = net(changed, T, text, views=views)
        assert not close(moved[1], together[1], 1e-3)  # its neighbour sees it
        assert close(moved[views:], together[views:])


@torch.inference_mode()
def test_the_middle_module_runs_only_when_asked(networks, variant):
    net, text = networks.unet, project_prompt(networks.unet.unet, context(variant))
    sample = latents(4)
    plain = net(sample, T, text, views=4 if variant is not Variant.BACK_VIEW else 1)
    asked = net(
        sample, T, text, views=4 if variant is not Variant.BACK_VIEW else 1, middle_views=True
    )
    assert torch.equal(plain, asked) == (variant is not Variant.DIFFPORTRAIT3D)


def test_published_sites_of_view_modules():
    """27 modules at DiffPortrait3D, 20 at DiffPortrait360."""
    for variant, count in ((Variant.DIFFPORTRAIT3D, 27), (Variant.DIFFPORTRAIT360, 20)):
        config = PUBLISHED[variant]
        views = config.view_modules
        sites = view_sites(
            config.channels, views.after_downsamplers, views.in_middle, views.after_upsamplers
        )
        assert sum(n for _, n in sites.values()) == count


def test_a_network_is_saved_and_loaded(tmp_path, networks):
    networks.unet.save_pretrained(tmp_path)
    loaded = MultiViewUNet.from_pretrained(tmp_path)
    ours, theirs = networks.unet.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
