"""Attention that also reads a reference portrait's tokens.

In every transformer block of the denoiser, self-attention takes keys and values from its own
tokens and from those that the reference network had at the same place (DiffPortrait3D,
section 3.2; DiffPortrait360, equation 5 for several references).  Keys and values of the
reference are the same for all views, as are those of the prompt: both are projected once.

All state of a pass travels in :class:`PassState`, none stays in the modules.

Axes: ``b`` batch, ``n`` tokens, ``c`` channels, ``d`` channels of one head; ``heads`` of attention
and ``references`` are written out.  A leading underscore: its length is not compared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from dp3d_core.arrays import Float

KeysValues = tuple[Float[Tensor, "_b heads _n _d"], Float[Tensor, "_b heads _n _d"]]
"""Keys and values, each (1, heads, tokens, channels of a head)."""


@dataclass
class PassState:
    """What the attention layers of one pass through a network share."""

    text: Sequence[KeysValues]
    """The prompt, for each block in the order of execution."""
    reference: Sequence[KeysValues] | None = None
    """The reference portraits, likewise; None: there are none."""
    record: list[Float[Tensor, "_b _n _c"]] | None = None
    """Takes the normalised tokens of each block, (b, tokens, channels), when it is there."""


class _Processor(ABC):
    """What diffusers calls; the two kinds differ in what is attended to."""

    def __init__(self, block: int) -> None:
        self.block = block

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "b n c"],
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        state: PassState | None = None,
    ) -> Float[Tensor, "b n c"]:
        """(b, n, c) -> (b, n, c); arguments as diffusers calls them."""
        assert state is not None
        keys, values = self.attended(attn, hidden_states, state)
        return _attend(attn, hidden_states, keys, values)

    @abstractmethod
    def attended(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """Keys and values for each of the batch."""


class SelfAttention(_Processor):
    """Processor of ``attn1``."""

    def attended(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """The tokens themselves, and those of the references."""
        if state.record is not None:
            state.record.append(tokens)
        keys, values = project(attn, tokens)
        if state.reference is None:
            return keys, values
        more_keys, more_values = _for_each(tokens, state.reference[self.block])
        return torch.cat([keys, more_keys], 2), torch.cat([values, more_values], 2)


class PromptAttention(_Processor):
    """Processor of ``attn2``."""

    def attended(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """The prompt."""
        return _for_each(tokens, state.text[self.block])


def _for_each(tokens: Float[Tensor, "b n c"], shared: KeysValues) -> KeysValues:
    """The same keys and values for every entry of a batch, without a copy."""
    keys, values = shared
    size = (len(tokens), -1, -1, -1)
    return keys.expand(size), values.expand(size)


def transformer_blocks(net: UNet2DConditionModel | ControlNetModel) -> list[Any]:
    """The transformer blocks of a network in the order of execution."""
    levels = [*net.down_blocks, net.mid_block, *getattr(net, "up_blocks", ())]
    return [
        attention.transformer_blocks[0]
        for level in levels
        for attention in getattr(level, "attentions", ())
    ]


def install_processors(net: UNet2DConditionModel | ControlNetModel) -> None:
    """Let a network's attention layers read a :class:`PassState`."""
    for index, block in enumerate(transformer_blocks(net)):
        block.attn1.set_processor(SelfAttention(index))
        block.attn2.set_processor(PromptAttention(index))


def project(attn: Attention, tokens: Float[Tensor, "b n c"]) -> KeysValues:
    """Keys and values of (b, n, c) tokens, each (b, heads, n, channels of a head)."""
    return _heads(attn, attn.to_k(tokens)), _heads(attn, attn.to_v(tokens))


def project_prompt(
    net: UNet2DConditionModel | ControlNetModel, context: Float[Tensor, "1 n c"]
) -> list[KeysValues]:
    """Keys and values of a (1, n, c) prompt for every block of a network."""
    return [project(block.attn2, context) for block in transformer_blocks(net)]


def project_references(
    net: UNet2DConditionModel, tokens: Sequence[Float[Tensor, "references _n _c"]]
) -> list[KeysValues]:
    """Keys and values of references for every block of the denoiser.

    Args:
        net: the denoiser, whose own projections are used.
        tokens: of each block, (references, n, c): all are seen side by side.

    """
    return [
        project(block.attn1, rearrange(seen, "references n c -> 1 (references n) c"))
        for block, seen in zip(transformer_blocks(net), tokens, strict=True)
    ]


def _heads(attn: Attention, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n d"]:
    return rearrange(tokens, "b n (heads d) -> b heads n d", heads=attn.heads)


def _attend(
    attn: Attention,
    tokens: Float[Tensor, "b n c"],
    keys: Float[Tensor, "b heads m d"],
    values: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b n c"]:
    seen = F.scaled_dot_product_attention(_heads(attn, attn.to_q(tokens)), keys, values)
    out: Tensor = attn.to_out[0](rearrange(seen, "b heads n d -> b n (heads d)"))
    return out
