"""The networks of one checkpoint, and what they compute together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from dp3d_core.models.config import LATENT_SCALE, NetworkConfig, TextSize
from dp3d_core.models.unet import MultiViewUNet, pose_network

COMPONENTS = ("unet", "reference_unet", "pose_controlnet", "vae", "text_encoder")
"""Names of the networks, as in a saved pipeline."""


@dataclass(frozen=True)
class Networks:
    """All networks of a checkpoint."""

    unet: MultiViewUNet
    """The denoiser."""
    reference_unet: MultiViewUNet
    pose_controlnet: ControlNetModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel

    @classmethod
    def of(cls, config: NetworkConfig, *, meta: bool = False) -> Networks:
        """Networks of these sizes with random weights, or with none at all (``meta``)."""
        sizes = (config.channels, config.heads, config.context)
        views: dict[str, Any] = {}
        if (modules := config.view_modules) is not None:
            views = {
                "view_heads": modules.heads,
                "view_positions": modules.positions,
                "after_downsamplers": modules.after_downsamplers,
                "in_middle": modules.in_middle,
                "after_upsamplers": modules.after_upsamplers,
            }
        with torch.device("meta") if meta else nullcontext():
            return cls(
                MultiViewUNet(*sizes, **views),
                MultiViewUNet(*sizes, head=False),
                pose_network(*sizes),
                _vae(config.vae_channels),
                CLIPTextModel(_text_config(config.text)),
            )

    def named(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: getattr(self, name) for name in COMPONENTS}

    def eval(self) -> Networks:
        """Switch to inference."""
        for net in self.named().values():
            net.eval().requires_grad_(False)
        return self


def _vae(channels: Sequence[int]) -> AutoencoderKL:
    levels = len(channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2,
        scaling_factor=LATENT_SCALE,
        sample_size=512,
    )


def _text_config(size: TextSize) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=size.LENGTH,
        projection_dim=size.hidden,
        hidden_act="quick_gelu",
        bos_token_id=size.start_token,
        eos_token_id=size.end_token,
        pad_token_id=size.end_token,
    )


def empty_prompt(encoder: CLIPTextModel) -> Tensor:
    """(1, 77) tokens of the empty prompt: a start, then ends."""
    config = encoder.config
    tokens = torch.full((1, config.max_position_embeddings), config.eos_token_id)
    tokens[:, 0] = config.bos_token_id
    return tokens


def encode_prompt(encoder: CLIPTextModel, tokens: Tensor) -> Tensor:
    """(1, 77, c) of (1, 77) tokens."""
    out: Tensor = encoder(tokens.to(encoder.device)).last_hidden_state
    return out


def encode_pictures(
    vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Scaled latents (n, 4, h / 8, w / 8) of pictures (n, 3, h, w), -1 to 1.

    The published code draws a sample of the encoder's distribution; without a generator it is
    the distribution's mean, which is the same in every run.
    """
    distribution = vae.encode(pictures).latent_dist
    latents = distribution.mode() if generator is None else distribution.sample(generator)
    scaled: Tensor = latents * vae.config.scaling_factor
    return scaled


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures (n, 3, h, w), about -1 to 1, of scaled latents."""
    out: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return out
