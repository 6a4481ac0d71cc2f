"""The view-consistency module: the views of a window attend to each other, place by place.

AnimateDiff's temporal transformer with the frames of a clip replaced by views (DiffPortrait3D,
section 3.4).  diffusers' own ``AnimateDiffTransformer3D`` normalises over all views at once;
the published models were trained with one normalisation per view.

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
"""Sequences that attention is given at a time: CUDA's kernels launch at most 65,535 of them, and 8
windows of 768 pixels have more (pytorch issue 142228)."""


class ViewAttention(nn.Module):
    """One module.

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
        """(windows * views, c, h, w) -> the same, the views of each window mixed.

        Positions count from the first view of a window.
        """
        height, width = features.shape[2:]
        tokens = self.proj_in(rearrange(self.norm(features), "bv c h w -> bv (h w) c"))
        tokens = rearrange(tokens, "(b v) n c -> (b n) v c", v=views)
        tokens = torch.cat([self.block(part) for part in tokens.split(_SEQUENCES_AT_ONCE)])
        tokens = rearrange(tokens, "(b n) v c -> (b v) n c", n=height * width)
        mixed: Tensor = rearrange(self.proj_out(tokens), "bv (h w) c -> bv c h w", h=height)
        return features + mixed
