"""Attention layers of the networks: reference attention and attention to the prompt.

In every transformer block of the denoiser, self-attention takes keys and values from its own
tokens and from the reference network's tokens at that block (DiffPortrait3D, section 3.2;
DiffPortrait360, equation 5 for several references).  All views share the keys and values of the
references and of the prompt, so each is projected once.

The state of a pass travels in :class:`PassState`; modules keep none.

Axes: ``b`` batch, ``n`` tokens, ``c`` channels, ``d`` channels of one head; ``heads`` of attention
and ``references`` are written out.  An axis with a leading underscore has any length.
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
    """Inputs and recordings that the attention layers share during one forward pass."""

    text: Sequence[KeysValues]
    """Keys and values of the prompt, one entry per block in the order of execution."""
    reference: Sequence[KeysValues] | None = None
    """Keys and values of the reference portraits per block; None: no reference."""
    record: list[Float[Tensor, "_b _n _c"]] | None = None
    """Receives the normalised tokens of each block, (b, n, c); None: nothing is recorded."""


class _Processor(ABC):
    """Attention processor of diffusers; subclasses give the keys and values."""

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
        """Attention output (b, n, c); argument names are those that diffusers passes."""
        assert state is not None
        keys, values = self.keys_values(attn, hidden_states, state)
        return _attend(attn, hidden_states, keys, values)

    @abstractmethod
    def keys_values(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """Keys and values for every entry of the batch."""


class SelfAttention(_Processor):
    """Processor of ``attn1``: self-attention that also reads the references."""

    def keys_values(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """Keys and values of the tokens themselves, followed by those of the references."""
        if state.record is not None:
            state.record.append(tokens)
        keys, values = project(attn, tokens)
        if state.reference is None:
            return keys, values
        reference_keys, reference_values = _expand_to_batch(tokens, state.reference[self.block])
        return torch.cat([keys, reference_keys], 2), torch.cat([values, reference_values], 2)


class PromptAttention(_Processor):
    """Processor of ``attn2``: cross-attention to the prompt."""

    def keys_values(
        self, attn: Attention, tokens: Float[Tensor, "b n c"], state: PassState
    ) -> KeysValues:
        """Keys and values of the prompt."""
        return _expand_to_batch(tokens, state.text[self.block])


def _expand_to_batch(tokens: Float[Tensor, "b n c"], shared: KeysValues) -> KeysValues:
    """Shared keys and values expanded to a batch, without a copy."""
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
    """Set processors that read a :class:`PassState` in all attention layers of a network."""
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
        net: the denoiser; its own projections are used.
        tokens: of each block, (references, n, c); references are concatenated along the tokens.

    """
    return [
        project(block.attn1, rearrange(block_tokens, "references n c -> 1 (references n) c"))
        for block, block_tokens in zip(transformer_blocks(net), tokens, strict=True)
    ]


def _heads(attn: Attention, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n d"]:
    return rearrange(tokens, "b n (heads d) -> b heads n d", heads=attn.heads)


def _attend(
    attn: Attention,
    tokens: Float[Tensor, "b n c"],
    keys: Float[Tensor, "b heads m d"],
    values: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b n c"]:
    attended_values = F.scaled_dot_product_attention(_heads(attn, attn.to_q(tokens)), keys, values)
    out: Tensor = attn.to_out[0](rearrange(attended_values, "b heads n d -> b n (heads d)"))
    return out
