"""Denoiser, reference network and pose network: Stable Diffusion 1.5's UNet with view modules.

diffusers' ``UNet2DConditionModel`` holds the weights.  Its blocks are called from here, because the
published models have view modules where diffusers' containers have no slot: after the samplers, two
in sequence, or in the unconditional pass only.

Axes: ``b`` batch (all views of all windows), ``c`` channels, ``h w`` space, ``n`` tokens,
``t`` timesteps (1 or ``b``), ``e`` channels of their embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ControlNetModel, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from dp3d_core.arrays import Float, Shaped
from dp3d_core.models.attention import KeysValues, PassState, install_processors
from dp3d_core.models.view_attention import ViewAttention

Trace = Callable[[str, Tensor], None]
"""Called with the output of each block, ``SITE.block``, and of its view modules, ``SITE.views``."""

_DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
_HINT_CHANNELS = (16, 32, 96, 256)
"""Channels of the pose network's encoder of condition images."""


def view_sites(
    channels: Sequence[int], after_downsamplers: bool, in_middle: bool, after_upsamplers: int
) -> dict[str, tuple[int, int]]:
    """Channels and number of the view modules at each site, in the order of execution.

    Sites are ``down_B_J`` and ``up_B_J`` (after layer J of level B), ``down_B_resample`` and
    ``up_B_resample`` (after its sampler) and ``mid``.  The last layer of an upward level has no
    module where an upsampler follows.
    """
    sites = {}
    last = len(channels) - 1
    for level, width in enumerate(channels):
        for layer in range(2):
            sites[f"down_{level}_{layer}"] = (width, 1)
        if after_downsamplers and level < last:
            sites[f"down_{level}_resample"] = (width, 1)
    if in_middle:
        sites["mid"] = (channels[-1], 1)
    for level, width in enumerate(reversed(channels)):
        layers = 3 if level == last else 2
        for layer in range(layers):
            sites[f"up_{level}_{layer}"] = (width, 1)
        if level < last:
            sites[f"up_{level}_resample"] = (width, after_upsamplers)
    return sites


class MultiViewUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A UNet over the views of one or more windows.

    Args:
        channels: of the levels.
        heads: of spatial attention.
        context: channels of the prompt.
        view_heads: heads of view attention.
        view_positions: longest window, views; 0: no view modules.
        after_downsamplers: see :func:`view_sites`.
        in_middle: see :func:`view_sites`.
        after_upsamplers: see :func:`view_sites`.
        head: whether the network has an output convolution; the reference network has none.

    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: tuple[int, ...] = (320, 640, 1280, 1280),
        heads: int = 8,
        context: int = 768,
        view_heads: int = 8,
        view_positions: int = 0,
        after_downsamplers: bool = False,
        in_middle: bool = False,
        after_upsamplers: int = 1,
        head: bool = True,
    ) -> None:
        super().__init__()
        backbone = backbone_config(channels, heads, context)
        self.unet = UNet2DConditionModel(**backbone, up_block_types=_UP)
        if not head:
            self.unet.conv_norm_out = None
            self.unet.conv_out = None
        sites = (
            view_sites(channels, after_downsamplers, in_middle, after_upsamplers)
            if view_positions
            else {}
        )
        self.view_modules = nn.ModuleDict(
            {
                site: nn.ModuleList(
                    ViewAttention(width, view_heads, view_positions) for _ in range(count)
                )
                for site, (width, count) in sites.items()
            }
        )
        install_processors(self.unet)

    def forward(
        self,
        sample: Float[Tensor, "b 4 h w"],
        timestep: Shaped[Tensor, " t"],
        text: Sequence[KeysValues],
        *,
        views: int = 1,
        reference: Sequence[KeysValues] | None = None,
        residuals: Sequence[Float[Tensor, "b _c _h _w"]] | None = None,
        middle_views: bool = False,
        trace: Trace | None = None,
    ) -> Float[Tensor, "b 4 h w"]:
        """Predicted noise.

        Args:
            sample: (windows * views, 4, h, w) noisy latents.
            timestep: (1,) or (windows * views,).
            text: the prompt, see ``project_prompt``.
            views: number of views in a window.
            reference: reference portraits, see ``project_references``.
            residuals: of the pose network; the last is added to the middle block.
            middle_views: whether the view module of the middle block runs, if it exists.
            trace: receives intermediate features.

        Returns:
            (windows * views, 4, h, w) predicted noise.

        """
        state = PassState(text, reference)

        def mix(site: str, features: Tensor) -> Tensor:
            if trace is not None:
                trace(f"{site}.block", features)
            if site not in self.view_modules:
                return features
            modules: Any = self.view_modules[site]
            for module in modules:
                features = module(features, views)
            if trace is not None:
                trace(f"{site}.views", features)
            return features

        emb = time_embedding(self.unet, timestep, sample.dtype)
        features = self.unet.conv_in(sample)
        if trace is not None:
            trace("input.block", features)
        features, skips = encode(self.unet, features, emb, state, mix)
        mix_middle = mix if middle_views else None
        features = middle(self.unet, features, emb, state, mix_middle)
        if trace is not None:
            trace("middle.block", features)
        if residuals is not None:
            *skip_residuals, middle_residual = residuals
            skips = [skip + residual for skip, residual in zip(skips, skip_residuals, strict=True)]
            features = features + middle_residual
        features = self._decode(features, skips, emb, state, mix)
        features = self.unet.conv_act(self.unet.conv_norm_out(features))
        out: Tensor = self.unet.conv_out(features)
        return out

    def tokens(
        self,
        latent: Float[Tensor, "references 4 h w"],
        timestep: Shaped[Tensor, " 1"],
        text: Sequence[KeysValues],
    ) -> list[Float[Tensor, "references _n _c"]]:
        """Normalised tokens of references at each block, which the denoiser's attention reads.

        Args:
            latent: (references, 4, h, w) clean latents.
            timestep: (1,) timestep of the denoiser.
            text: the prompt.

        Returns:
            (references, tokens, channels) for each block.  Nothing after the last block's tokens is
            computed.

        """
        recorded: list[Tensor] = []
        state = PassState(text, record=recorded)
        emb = time_embedding(self.unet, timestep, latent.dtype)
        features, skips = encode(self.unet, self.unet.conv_in(latent), emb, state)
        features = middle(self.unet, features, emb, state)
        last = self._decode(features, skips, emb, state, until_last_tokens=True)
        return [*recorded, last]

    def _decode(
        self,
        features: Float[Tensor, "b _c _h _w"],
        skips: list[Float[Tensor, "b _c _h _w"]],
        emb: Float[Tensor, "t e"],
        state: PassState,
        mix: Callable[[str, Tensor], Tensor] | None = None,
        until_last_tokens: bool = False,
    ) -> Tensor:
        skips = list(skips)
        levels = self.unet.up_blocks
        for level, block in enumerate(levels):
            for layer, resnet in enumerate(block.resnets):
                features = resnet(torch.cat([features, skips.pop()], 1), emb)
                if hasattr(block, "attentions"):
                    attention = block.attentions[layer]
                    if until_last_tokens and not skips:
                        return _first_tokens(attention, features)
                    features = _attend(attention, features, state)
                if mix is not None and not (block.upsamplers and layer == len(block.resnets) - 1):
                    features = mix(f"up_{level}_{layer}", features)
            if block.upsamplers:
                features = block.upsamplers[0](features)
                if mix is not None:
                    features = mix(f"up_{level}_resample", features)
        return features


def backbone_config(channels: Sequence[int], heads: int, context: int) -> dict[str, Any]:
    """Constructor arguments common to diffusers' UNet and ControlNet (Stable Diffusion 1.5)."""
    return {
        "in_channels": 4,
        "block_out_channels": tuple(channels),
        "down_block_types": _DOWN,
        "layers_per_block": 2,
        "attention_head_dim": heads,  # diffusers reads the number of heads here
        "cross_attention_dim": context,
    }


def pose_network(channels: Sequence[int], heads: int, context: int) -> ControlNetModel:
    """The pose network: a ControlNet whose hint is a condition image, -1 to 1."""
    net = ControlNetModel(
        **backbone_config(channels, heads, context),
        conditioning_embedding_out_channels=_HINT_CHANNELS,
    )
    install_processors(net)
    return net


def pose_residuals(
    net: ControlNetModel,
    sample: Float[Tensor, "b 4 h w"],
    timestep: Shaped[Tensor, " t"],
    text: Sequence[KeysValues],
    hints: Float[Tensor, "b c h w"],
) -> list[Float[Tensor, "b _c _h _w"]]:
    """Residuals that the pose network adds to the denoiser's skips and, last, to its middle block.

    Args:
        net: see :func:`pose_network`.
        sample: (b, 4, h, w) noisy latents.
        timestep: (1,) or (b,).
        text: the prompt.
        hints: (b, c, h, w), ``net.controlnet_cond_embedding`` of the condition images; they do
            not change between steps.

    """
    state = PassState(text)
    emb = time_embedding(net, timestep, sample.dtype)
    features, skips = encode(net, net.conv_in(sample) + hints, emb, state)
    features = middle(net, features, emb, state)
    residuals = [out(skip) for out, skip in zip(net.controlnet_down_blocks, skips, strict=True)]
    return [*residuals, net.controlnet_mid_block(features)]


def time_embedding(
    net: UNet2DConditionModel | ControlNetModel, timestep: Shaped[Tensor, " t"], dtype: torch.dtype
) -> Float[Tensor, "t e"]:
    """Embeddings (t, e) of timesteps (t,); a single one is broadcast over the batch."""
    out: Tensor = net.time_embedding(net.time_proj(timestep).to(dtype))
    return out


def encode(
    net: UNet2DConditionModel | ControlNetModel,
    features: Float[Tensor, "b c h w"],
    emb: Float[Tensor, "t e"],
    state: PassState,
    mix: Callable[[str, Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "b _c _h _w"], list[Float[Tensor, "b _c _h _w"]]]:
    """The downward blocks: features at the lowest level, and the skips for the upward blocks."""
    skips = [features]
    for level, block in enumerate(net.down_blocks):
        for layer, resnet in enumerate(block.resnets):
            features = resnet(features, emb)
            if hasattr(block, "attentions"):
                features = _attend(block.attentions[layer], features, state)
            if mix is not None:
                features = mix(f"down_{level}_{layer}", features)
            skips.append(features)
        if block.downsamplers:
            features = block.downsamplers[0](features)
            if mix is not None:
                features = mix(f"down_{level}_resample", features)
            skips.append(features)
    return features, skips


def middle(
    net: UNet2DConditionModel | ControlNetModel,
    features: Float[Tensor, "b c h w"],
    emb: Float[Tensor, "t e"],
    state: PassState,
    mix: Callable[[str, Tensor], Tensor] | None = None,
) -> Float[Tensor, "b c h w"]:
    """The middle block."""
    block = net.mid_block
    features = block.resnets[0](features, emb)
    features = _attend(block.attentions[0], features, state)
    if mix is not None:
        features = mix("mid", features)
    out: Tensor = block.resnets[1](features, emb)
    return out


def _attend(
    attention: Any, features: Float[Tensor, "b c h w"], state: PassState
) -> Float[Tensor, "b c h w"]:
    out: Tensor = attention(features, cross_attention_kwargs={"state": state}, return_dict=False)[0]
    return out


def _first_tokens(attention: Any, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c"]:
    """(b, n, c) normalised tokens that the self-attention of a spatial transformer reads."""
    tokens = rearrange(attention.proj_in(attention.norm(features)), "b c h w -> b (h w) c")
    out: Tensor = attention.transformer_blocks[0].norm1(tokens)
    return out
