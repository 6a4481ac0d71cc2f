"""View attention: the views of a window attend to each other at each position of the feature map.

AnimateDiff's temporal transformer with the frames of a clip replaced by views (DiffPortrait3D,
section 3.4).  diffusers' ``AnimateDiffTransformer3D`` normalises over all views of a window; the
published models were trained with a normalisation per view.

Axes: ``b`` windows, ``v`` views of a window, ``bv`` all views, ``c`` channels, ``h w`` space,
``n`` tokens of a view.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import BasicTransformerBlock
from einops import rearrange
from torch import Tensor, nn

from dp3d_core.arrays import Float

_SEQUENCES_AT_ONCE = 32768
"""Sequences in one call of attention.  CUDA's kernels take at most 65,535, and 8 windows at 768
pixels have 73,728 (pytorch issue 142228)."""


class ViewAttention(nn.Module):
    """View attention module (AnimateDiff's temporal transformer).

    Args:
        channels: of the features.
        heads: of attention.
        positions: longest window, views.
        groups: of the normalisation.

    """

    def __init__(self, channels: int, heads: int, positions: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.block = BasicTransformerBlock(
            channels,
            heads,
            channels // heads,
            activation_fn="geglu",
            double_self_attention=True,
            positional_embeddings="sinusoidal",
            num_positional_embeddings=positions,
        )
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, features: Float[Tensor, "bv c h w"], views: int) -> Float[Tensor, "bv c h w"]:
        """Features (windows * views, c, h, w) after attention between the views of each window.

        Position encodings count from the first view of a window.
        """
        height, width = features.shape[2:]
        tokens = self.proj_in(rearrange(self.norm(features), "bv c h w -> bv (h w) c"))
        tokens = rearrange(tokens, "(b v) n c -> (b n) v c", v=views)
        tokens = torch.cat([self.block(part) for part in tokens.split(_SEQUENCES_AT_ONCE)])
        tokens = rearrange(tokens, "(b n) v c -> (b v) n c", n=height * width)
        mixed: Tensor = rearrange(self.proj_out(tokens), "bv (h w) c -> bv c h w", h=height)
        return features + mixed
