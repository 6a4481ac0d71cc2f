"""The view-consistency module: the views of a window attend to each other, place by place.

AnimateDiff's temporal transformer with the frames of a clip replaced by views (DiffPortrait3D,
section 3.4).  diffusers' own ``AnimateDiffTransformer3D`` normalises over all views at once;
the published models were trained with one normalisation per view.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

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

    def forward(self, features: Tensor, views: int) -> Tensor:
        """(windows * views, c, h, w) -> the same, the views of each window mixed.

        Positions count from the first view of a window.
        """
        batch, channels, height, width = features.shape
        tokens = self.norm(features).flatten(2).transpose(1, 2)  # [b, hw, c]
        tokens = self.proj_in(tokens)
        tokens = tokens.unflatten(0, (-1, views)).transpose(1, 2).flatten(0, 1)  # [w * hw, v, c]
        tokens = torch.cat([self.block(part) for part in tokens.split(_SEQUENCES_AT_ONCE)])
        tokens = tokens.reshape(batch // views, height * width, views, channels)
        tokens = tokens.transpose(1, 2).flatten(0, 1)
        tokens = self.proj_out(tokens).transpose(1, 2)
        mixed: Tensor = features + tokens.reshape(batch, channels, height, width)
        return mixed
