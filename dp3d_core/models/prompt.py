"""The embedding of the empty prompt, the only prompt of the published models.

The models were trained and are sampled without text, so the text encoder's output is a constant of
each checkpoint.  The import computes the embedding and stores it beside the networks.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from dp3d_core.models.config import TextSize


class EmptyPrompt(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The embedding of the empty prompt, as a component of a diffusers pipeline.

    Args:
        channels: of each token.
        tokens: length of the prompt.

    Attributes:
        embedding: (1, tokens, channels), the last hidden state of the text encoder.

    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, channels: int = 768, tokens: int = TextSize.LENGTH) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(1, tokens, channels), requires_grad=False)

    @classmethod
    def of(cls, embedding: Tensor) -> EmptyPrompt:
        """A component with an embedding (1, tokens, channels), in the embedding's dtype."""
        _, tokens, channels = embedding.shape
        prompt: EmptyPrompt = cls(channels, tokens)
        prompt.embedding = nn.Parameter(embedding, requires_grad=False)
        return prompt


def empty_tokens(size: TextSize) -> Tensor:
    """(1, 77) token ids of the empty prompt: the start token, then end tokens."""
    tokens = torch.full((1, size.LENGTH), size.end_token)
    tokens[:, 0] = size.start_token
    return tokens
