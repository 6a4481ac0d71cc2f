"""Names of our networks' weights in the published checkpoints.

The official files have the LDM layout of Stable Diffusion and ControlNet.  Official names are
derived from ours, so that every weight that a network needs is looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dp3d_core.models.config import Variant

# Parts of our names and of the official ones.
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_VIEW = {
    "block.attn1": "transformer_blocks.0.attention_blocks.0",
    "block.attn2": "transformer_blocks.0.attention_blocks.1",
    "block.norm1": "transformer_blocks.0.norms.0",
    "block.norm2": "transformer_blocks.0.norms.1",
    "block.norm3": "transformer_blocks.0.ff_norm",
    "block.ff": "transformer_blocks.0.ff",
    "block.pos_embed.pe": "transformer_blocks.0.attention_blocks.0.pos_encoder.pe",
}

_VAE_LEVELS = 4
"""Levels of the VAE's decoder, which official names count from the other end."""

SCHEDULE = frozenset(
    {
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "logvar",
    }
)
"""Tables of the noise schedule in official files, which are computed, not loaded."""

OF_TEXT_ENCODER = "cond_stage_model.transformer.text_model."
"""Prefix of the official names of the text encoder's weights."""
_POSITION_IDS = f"{OF_TEXT_ENCODER}embeddings.position_ids"
_HINT_BLOCK = frozenset(
    f"control_model.input_hint_block.{layer}.{kind}"
    for layer in range(0, 16, 2)
    for kind in ("weight", "bias")
)
"""Unused weights of DiffPortrait3D's reference network."""
_SECOND_POSITIONS = re.compile(
    r"(model\.diffusion_model\..*\.attention_blocks\.)1(\.pos_encoder\.pe)"
)


def twin_of(name: str) -> str:
    """Name of the weight that ``name`` is a copy of; empty for a weight that is no copy."""
    match = _SECOND_POSITIONS.fullmatch(name)
    return f"{match[1]}0{match[2]}" if match else ""


def is_known_extra(name: str, variant: Variant) -> bool:
    """Whether a weight of an official file is known and not needed.

    These are schedule tables, the hint block of DiffPortrait3D's reference network, position ids of
    older text encoders, and the second copy of view modules' position encodings (:func:`twin_of`).
    """
    return (
        name in SCHEDULE
        or name == _POSITION_IDS
        or (name in _HINT_BLOCK and variant is Variant.DIFFPORTRAIT3D)
        or bool(twin_of(name))
    )


@dataclass(frozen=True)
class Official:
    """Official names of our weights.

    Args:
        after_downsamplers: whether view modules also follow the downsamplers, which their
            official numbers count.

    """

    after_downsamplers: bool

    def name(self, component: str, key: str) -> str:
        """Official name of a network's weight.

        Args:
            component: one of ``networks.COMPONENTS``, or ``text_encoder``.
            key: in the network's state.

        """
        if component == "unet":
            if key.startswith("view_modules."):
                return "model.diffusion_model." + self._view_module(key)
            return "model.diffusion_model." + _unet(key.removeprefix("unet."))
        if component == "reference_unet":
            return "control_model." + _unet(key.removeprefix("unet."))
        if component == "pose_controlnet":
            return "pose_control_model." + _controlnet(key)
        if component == "vae":
            return "first_stage_model." + _vae(key)
        if component == "text_encoder":
            # transformers 5 omits the prefix "text_model.", older versions write it
            return OF_TEXT_ENCODER + key.removeprefix("text_model.")
        raise ValueError(component)

    def _view_module(self, key: str) -> str:
        _, site, index, rest = key.split(".", 3)
        for ours, theirs in _VIEW.items():
            if rest == ours or rest.startswith(f"{ours}."):
                rest = theirs + rest.removeprefix(ours)
                break
        level_kind, *position = site.split("_")
        if level_kind == "mid":
            module = "middle_block_motion_module.0"
        elif level_kind == "down":
            step = 3 if self.after_downsamplers else 2
            layer = 2 if position[1] == "resample" else int(position[1])
            module = f"input_blocks_motion_module.{step * int(position[0]) + layer}.0"
        else:
            layer = 2 if position[1] == "resample" else int(position[1])
            module = f"output_blocks_motion_module.{3 * int(position[0]) + layer}.{index}"
        return f"{module}.temporal_transformer.{rest}"


def _with_prefix_replaced(rest: str, table: dict[str, str]) -> str:
    for ours, theirs in table.items():
        if rest.startswith(f"{ours}."):
            return theirs + rest.removeprefix(ours)
    return rest


def _unet(key: str) -> str:
    parts = key.split(".")
    kind = parts[0]
    if kind == "time_embedding":
        return f"time_embed.{0 if parts[1] == 'linear_1' else 2}.{parts[2]}"
    if kind == "conv_in":
        return f"input_blocks.0.0.{parts[1]}"
    if kind == "conv_norm_out":
        return f"out.0.{parts[1]}"
    if kind == "conv_out":
        return f"out.2.{parts[1]}"
    if kind == "mid_block":
        return _in_middle(parts)
    level, what, layer, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    if kind == "down_blocks":
        if what == "downsamplers":
            return f"input_blocks.{3 * level + 3}.0.{rest.replace('conv', 'op', 1)}"
        block = f"input_blocks.{3 * level + 1 + layer}"
    else:
        if what == "upsamplers":
            # the lowest level has no attention, so the upsampler comes second there
            return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.{rest}"
        block = f"output_blocks.{3 * level + layer}"
    if what == "resnets":
        return f"{block}.0.{_with_prefix_replaced(rest, _RESNET)}"
    return f"{block}.1.{rest}"


def _in_middle(parts: list[str]) -> str:
    index, rest = int(parts[2]), ".".join(parts[3:])
    if parts[1] == "attentions":
        return f"middle_block.1.{rest}"
    return f"middle_block.{2 * index}.{_with_prefix_replaced(rest, _RESNET)}"


def _controlnet(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "controlnet_down_blocks":
        return f"zero_convs.{parts[1]}.0.{parts[2]}"
    if parts[0] == "controlnet_mid_block":
        return f"middle_block_out.0.{parts[1]}"
    if parts[0] == "controlnet_cond_embedding":
        if parts[1] == "conv_in":
            return f"input_hint_block.0.{parts[2]}"
        if parts[1] == "conv_out":
            return f"input_hint_block.14.{parts[2]}"
        return f"input_hint_block.{2 * int(parts[2]) + 2}.{parts[3]}"
    return _unet(key)


def _vae(key: str) -> str:
    parts = key.split(".")
    if parts[0] not in {"encoder", "decoder"}:
        return key
    side, kind = parts[0], parts[1]
    if kind == "conv_norm_out":
        return f"{side}.norm_out.{parts[2]}"
    if kind == "mid_block":
        index, rest = int(parts[3]), ".".join(parts[4:])
        if parts[2] == "attentions":
            return f"{side}.mid.attn_1.{_with_prefix_replaced(rest, _VAE_ATTENTION)}"
        return f"{side}.mid.block_{index + 1}.{rest}"
    if kind in {"down_blocks", "up_blocks"}:
        level, what, layer, rest = int(parts[2]), parts[3], parts[4], ".".join(parts[5:])
        if kind == "down_blocks":
            level_name = f"{side}.down.{level}"
        else:
            level_name = f"{side}.up.{_VAE_LEVELS - 1 - level}"
        if what == "resnets":
            return f"{level_name}.block.{layer}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
        return f"{level_name}.{'downsample' if kind == 'down_blocks' else 'upsample'}.{rest}"
    return key
