"""Diffusion networks of the real classes at tiny sizes, a few kilobytes each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from dp3d_core.checkpoints.names import SCHEDULE, Official
from dp3d_core.models.config import PUBLISHED, NetworkConfig, TextSize, Variant, ViewModules
from dp3d_core.models.networks import Networks
from dp3d_core.models.prompt import EmptyPrompt
from dp3d_core.models.text_encoder import encode_empty_prompt, text_encoder
from dp3d_core.pipelines.samplers import get_sampler
from dp3d_core.weights.installed import Weights, find_weights, hash_file

LATENT = 16
"""Width and height of latents; at 8, a group norm of the lowest level would see two numbers."""


def tiny_config(variant: Variant) -> NetworkConfig:
    """The configuration of a variant with tiny sizes."""
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
    """Networks with random weights, also in layers that are initialised with zeros."""
    return _tiny(variant, seed)[0]


def tiny_text_encoder(variant: Variant, seed: int = 0) -> CLIPTextModel:
    """The text encoder for :func:`tiny_networks`."""
    return _tiny(variant, seed)[1]


def tiny_prompt(variant: Variant) -> EmptyPrompt:
    """The encoded empty prompt, as the importer stores it."""
    return EmptyPrompt.of(
        encode_empty_prompt(tiny_text_encoder(variant), tiny_config(variant).text)
    )


def _tiny(variant: Variant, seed: int) -> tuple[Networks, CLIPTextModel]:
    torch.manual_seed(seed)
    config = tiny_config(variant)
    networks, encoder = Networks.of(config).eval(), text_encoder(config.text)
    for net in (*networks.named().values(), encoder):
        for name, weight in net.named_parameters():
            if not bool(weight.any()):
                bound = 0.3 if name.endswith("bias") else 0.5 / max(1, weight[0].numel()) ** 0.5
                torch.nn.init.uniform_(weight, -bound, bound)
    return networks, encoder


def official_state(variant: Variant) -> dict[str, Tensor]:
    """Weights of the tiny networks and text encoder under the names of the authors' files."""
    networks, encoder = _tiny(variant, 0)
    config = tiny_config(variant)
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    components: dict[str, nn.Module] = networks.named() | {"text_encoder": encoder}
    state = {
        official.name(component, key): value.clone().contiguous()
        for component, net in components.items()
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


def write_older_import(folder: Path) -> Weights:
    """Write an import of DiffPortrait3D in the older schema ``dp3d.weights/1``.

    It includes a text encoder; ``save_pretrained`` of the libraries writes the networks.
    """
    variant = Variant.DIFFPORTRAIT3D
    networks, encoder = _tiny(variant, 0)
    config = tiny_config(variant)
    folder.mkdir(parents=True)
    for name, net in {**networks.named(), "text_encoder": encoder}.items():
        net.save_pretrained(folder / name)
    scheduler = get_sampler("official", config.half_schedule).scheduler
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "MultiViewPipeline",
        "pose_controlnet": ["diffusers", "ControlNetModel"],
        "reference_unet": ["dp3d_core.models.unet", "MultiViewUNet"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["dp3d_core.models.unet", "MultiViewUNet"],
        "vae": ["diffusers", "AutoencoderKL"],
        "window": config.window,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    files = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    marker = {
        "schema": "dp3d.weights/1",
        "source": {"name": f"{variant}.th", "sha256": "0" * 64, "revision": None},
        "config": config.to_dict(),
        "ignored": [],
        "files": files,
    }
    (folder / "weights.json").write_text(json.dumps(marker))
    weights = find_weights(variant)
    assert weights is not None
    return weights


def prompt_size(config: NetworkConfig) -> tuple[int, int, int]:
    """Shape of the encoded prompt."""
    return (1, TextSize.LENGTH, config.context)
