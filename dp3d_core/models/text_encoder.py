"""The CLIP text encoder of the published files, which encodes the empty prompt.

The only module that needs transformers.  It is used when a checkpoint is imported, when parity is
verified, and with weights of earlier imports (``dp3d.weights/1``), which store the text encoder.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from dp3d_core.models.config import TextSize
from dp3d_core.models.prompt import empty_tokens


def text_encoder(size: TextSize, *, meta: bool = False) -> CLIPTextModel:
    """A text encoder with random weights, or without data on the meta device (``meta``)."""
    config = CLIPTextConfig(
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
    with torch.device("meta") if meta else nullcontext():
        return CLIPTextModel(config).eval().requires_grad_(False)


def stored_text_encoder(folder: Path, dtype: torch.dtype | None) -> CLIPTextModel:
    """A text encoder that an earlier import wrote, on the CPU; dtype None: the stored one."""
    return CLIPTextModel.from_pretrained(str(folder), dtype=dtype, local_files_only=True)


@torch.no_grad()
def encode_tokens(encoder: CLIPTextModel, tokens: Tensor) -> Tensor:
    """Embeddings (1, 77, c) of token ids (1, 77), on the encoder's device, in its dtype."""
    out: Tensor = encoder(tokens.to(encoder.device)).last_hidden_state
    return out


def encode_empty_prompt(encoder: CLIPTextModel, size: TextSize) -> Tensor:
    """The embedding (1, 77, c) of the empty prompt, on the CPU, in the encoder's dtype."""
    return encode_tokens(encoder, empty_tokens(size)).cpu()
