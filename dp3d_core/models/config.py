"""Sizes and wiring of the published networks: one configuration class for all three variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

LATENT_SCALE = 0.18215
"""Factor from the VAE's latents to the latents of the networks (Stable Diffusion 1.5)."""
PIXELS_PER_LATENT = 8
"""Pixels of a picture along one side of a latent."""
SD15_CHANNELS = (320, 640, 1280, 1280)
"""Channels of the levels of Stable Diffusion 1.5's UNet."""
WINDOW = 8
"""Views that the published networks generate together."""


class Variant(StrEnum):
    """A published checkpoint."""

    DIFFPORTRAIT3D = "diffportrait3d"
    DIFFPORTRAIT360 = "diffportrait360"
    BACK_VIEW = "diffportrait360-back"
    """The generator of the back view, DiffPortrait360's first stage: one view, no view modules."""


@dataclass(frozen=True)
class ViewModules:
    """Places and size of the view attention modules."""

    heads: int = 8
    positions: int = 32
    """Number of position encodings, the longest window in views."""
    after_downsamplers: bool = True
    in_middle: bool = True
    """Module before the middle block's second resnet, used in the unconditional pass only."""
    after_upsamplers: int = 2
    """Modules in sequence after each upsampler."""


@dataclass(frozen=True)
class TextSize:
    """Sizes of the CLIP text encoder of the published files, which reads the empty prompt only."""

    vocabulary: int = 49408
    hidden: int = 768
    intermediate: int = 3072
    layers: int = 12
    heads: int = 12
    start_token: int = 49406
    end_token: int = 49407

    LENGTH = 77
    """Tokens of a prompt."""


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration that the networks of a checkpoint are built from.

    Defaults are the sizes of Stable Diffusion 1.5, which all published checkpoints share.
    """

    variant: Variant
    channels: tuple[int, ...] = SD15_CHANNELS
    heads: int = 8
    context: int = 768
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    view_modules: ViewModules | None = None
    window: int = WINDOW
    """Views that are generated together."""
    references: int = 1
    """Reference portraits that the variant was trained with."""
    half_schedule: bool = False
    """Whether the published sampler rounds its noise schedule to float16."""
    text: TextSize = field(default_factory=TextSize)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkConfig:
        """Inverse of :meth:`to_dict`."""
        values = dict(data)
        views = values.get("view_modules")
        return cls(
            **{
                **values,
                "variant": Variant(values["variant"]),
                "channels": tuple(values["channels"]),
                "vae_channels": tuple(values["vae_channels"]),
                "view_modules": None if views is None else ViewModules(**views),
                "text": TextSize(**values["text"]),
            }
        )


PUBLISHED = {
    Variant.DIFFPORTRAIT3D: NetworkConfig(
        Variant.DIFFPORTRAIT3D,
        view_modules=ViewModules(),
    ),
    Variant.DIFFPORTRAIT360: NetworkConfig(
        Variant.DIFFPORTRAIT360,
        view_modules=ViewModules(
            positions=24, after_downsamplers=False, in_middle=False, after_upsamplers=1
        ),
        references=2,
        half_schedule=True,
    ),
    Variant.BACK_VIEW: NetworkConfig(Variant.BACK_VIEW, window=1, half_schedule=True),
}
"""Configurations of the published checkpoints."""


def config_of_official(variant: Variant, official: Mapping[str, Any], window: int) -> NetworkConfig:
    """Configuration from an official training configuration (its yaml as a mapping).

    Args:
        variant: which of the published wirings.
        official: ``params`` with ``unet_config``, ``first_stage_config`` and
            ``cond_stage_config``.
        window: views that are generated together.

    """
    params = official["params"]
    unet = params["unet_config"]["params"]
    vae = params["first_stage_config"]["params"]["ddconfig"]
    text = params["cond_stage_config"]["params"]
    published = PUBLISHED[variant]
    views = published.view_modules
    if views is not None:
        sizes = unet["unet_additional_kwargs"]["motion_module_kwargs"]
        views = replace(
            views,
            heads=sizes["num_attention_heads"],
            positions=sizes["temporal_position_encoding_max_len"],
        )
    return replace(
        published,
        channels=tuple(unet["model_channels"] * part for part in unet["channel_mult"]),
        heads=unet["num_heads"],
        context=unet["context_dim"],
        vae_channels=tuple(vae["ch"] * part for part in vae["ch_mult"]),
        view_modules=views,
        window=window,
        text=TextSize(
            text["vocab_size"],
            text["hidden_size"],
            text["intermediate_size"],
            text["num_hidden_layers"],
            text["num_attention_heads"],
            text["bos_token_id"],
            text["eos_token_id"],
        ),
    )
