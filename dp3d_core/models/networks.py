"""The networks of one checkpoint; encoding and decoding of pictures by its VAE."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel
from torch import Tensor, nn

from dp3d_core.arrays import Float
from dp3d_core.models.config import LATENT_SCALE, NetworkConfig
from dp3d_core.models.unet import MultiViewUNet, pose_network

COMPONENTS = ("unet", "reference_unet", "pose_controlnet", "vae")
"""Names of the networks, as in a saved pipeline."""


@dataclass(frozen=True)
class Networks:
    """The networks of a checkpoint that views are generated with."""

    unet: MultiViewUNet
    """The denoiser."""
    reference_unet: MultiViewUNet
    pose_controlnet: ControlNetModel
    vae: AutoencoderKL

    @classmethod
    def of(cls, config: NetworkConfig, *, meta: bool = False) -> Networks:
        """Networks with random weights, or without data on the meta device (``meta``)."""
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
            )

    def named(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: getattr(self, name) for name in COMPONENTS}

    def eval(self) -> Networks:
        """Switch to inference mode, without gradients."""
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


def encode_pictures(
    vae: AutoencoderKL,
    pictures: Float[Tensor, "n 3 h w"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n 4 h//8 w//8"]:
    """Scaled latents (n, 4, h / 8, w / 8) of pictures (n, 3, h, w), -1 to 1.

    With a generator, a sample of the encoder's distribution, as the published code draws; without,
    the distribution's mean, which does not vary between runs.
    """
    distribution = vae.encode(pictures).latent_dist
    latents = distribution.mode() if generator is None else distribution.sample(generator)
    scaled: Tensor = latents * vae.config.scaling_factor
    return scaled


def decode_latents(
    vae: AutoencoderKL, latents: Float[Tensor, "n 4 h w"]
) -> Float[Tensor, "n 3 8*h 8*w"]:
    """Pictures (n, 3, h, w), about -1 to 1, of scaled latents."""
    out: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return out
