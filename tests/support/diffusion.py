"""Diffusion networks of a few kilobytes: the real classes at tiny sizes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dp3d_core.checkpoints.names import SCHEDULE, Official
from dp3d_core.models.bundle import Networks
from dp3d_core.models.config import PUBLISHED, NetworkConfig, TextSize, Variant, ViewModules

LATENT = 16
"""Width and height of latents; at 8 a group of the lowest level would have two numbers to norm."""


def tiny_config(variant: Variant) -> NetworkConfig:
    published = PUBLISHED[variant]
    views = published.view_modules
    if views is not None:
        views = ViewModules(**{**views.__dict__, "heads": 2})
    return replace(
        published,
        channels=(32, 32, 64, 64),
        heads=2,
        context=24,
        vae_channels=(32, 32, 32, 32),
        view_modules=views,
        window=min(published.window, 4),
        text=TextSize(40, 24, 32, 1, 2, 38, 39),
    )


def tiny_networks(variant: Variant, seed: int = 0) -> Networks:
    """Random weights; layers that start at zero are filled, too, so that every path matters."""
    torch.manual_seed(seed)
    networks = Networks.of(tiny_config(variant)).eval()
    for net in networks.named().values():
        for name, weight in net.named_parameters():
            if not bool(weight.any()):
                bound = 0.3 if name.endswith("bias") else 0.5 / max(1, weight[0].numel()) ** 0.5
                torch.nn.init.uniform_(weight, -bound, bound)
    return networks


def official_state(networks: Networks, config: NetworkConfig) -> dict[str, Tensor]:
    """The weights as the authors' files hold them."""
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    state = {
        official.name(component, key): value.clone().contiguous()
        for component, net in networks.named().items()
        for key, value in net.state_dict().items()
    }
    for name in list(state):
        if (
            name.startswith("first_stage_model.")
            and ".mid.attn_1." in name
            and state[name].ndim == 2
        ):
            state[name] = state[name][..., None, None]
        if name.endswith("attention_blocks.0.pos_encoder.pe"):
            state[name.replace("blocks.0.pos", "blocks.1.pos")] = state[name].clone()
    return state | {name: torch.zeros(1000) for name in SCHEDULE}


def prompt_size(config: NetworkConfig) -> tuple[int, int, int]:
    return (1, TextSize.LENGTH, config.context)
