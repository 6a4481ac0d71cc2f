"""Loads published checkpoint files into our networks.

Files are read without executing code in them (``weights_only``) and are memory-mapped, so a file of
11 GB takes little memory.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp3d_core.checkpoints.file_kinds import check_weights_file
from dp3d_core.checkpoints.names import OF_TEXT_ENCODER, Official, is_known_extra, twin_of
from dp3d_core.checkpoints.refusals import PUBLISHED_REMEDY, damaged
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import PUBLISHED, NetworkConfig, Variant
from dp3d_core.models.networks import Networks

if TYPE_CHECKING:
    from transformers import CLIPTextModel

State = Mapping[str, Tensor]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Accepted types of weights."""
_SHOWN = 5
"""Largest number of names in a message."""
TEXT_ENCODER = "text_encoder"
"""Component of official files that encodes the empty prompt and generates no views."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Weights of a file by name, memory-mapped.

    Args:
        path: a file of torch or safetensors with any name; weights may be in ``state_dict``.

    Raises:
        Dp3dError: ``weights.not_found``, ``weights.damaged``, ``weights.unsafe``,
            ``weights.unknown``, or an error of ``file_kinds.check_weights_file``.

    """
    path = Path(path)
    container = check_weights_file(path)
    if container == "safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = _read_torch(path, mapped=container == "zip")
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise _unknown(path.name, "it does not hold weights by name")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, "its list of weights is garbled", str(error)) from error


def _read_torch(path: Path, *, mapped: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise Dp3dError(
            "weights.unsafe",
            f"{path.name} holds more than weights, or is garbled; reading what it holds could run "
            "any program.",
            "Use the file as its authors published it; never load such a file from elsewhere.",
            str(error),
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a garbled container fails anywhere in torch's reader
        raise damaged(path, "it is cut off or garbled", str(error)) from error


def _unknown(name: str, why: str) -> Dp3dError:
    return Dp3dError(
        "weights.unknown", f"{name} is none of the published checkpoints: {why}.", PUBLISHED_REMEDY
    )


_OTHER_NETWORKS = (
    (r".*\blora[_.]|.*_lora\b|.*lora_(up|down|[AB])\b", "these are the weights of a LoRA"),
    (r"conditioner\.embedders|add_embedding\.", "these are the weights of Stable Diffusion XL"),
    (r"double_blocks\.|single_blocks\.|joint_blocks\.", "these are the weights of Flux or SD 3"),
    (r"(base_)?model\.layers\.\d|transformer\.h\.\d", "these are the weights of a language model"),
    (r".*motion_modules?\.", "these are the weights of an AnimateDiff motion module"),
    (r"controlnet_|input_hint_block|control_model\.", "these are the weights of a ControlNet"),
    (r"model\.diffusion_model\.", "these are the weights of a plain Stable Diffusion"),
    (r"(down|mid|up)_blocks?\.|conv_in\.", "these are the weights of one network of diffusers"),
    (r"text_model\.|vision_model\.", "these are the weights of a CLIP encoder"),
    (r"first_stage_model\.|(encoder|decoder)\.(down|up|mid)", "these are the weights of a VAE"),
    (r"backbone\.synthesis|synthesis\.|mapping\.", "these are the weights of a StyleGAN or EG3D"),
)
"""Expression for names of other networks' weights, and what a message says of them."""


def recognise(names: Iterable[str]) -> Variant:
    """Variant of a checkpoint, by the names of its weights.

    Raises:
        Dp3dError: ``weights.unknown``; the message names the network that they seem to be of.

    """
    weight_names = list(names)
    needed = ("model.diffusion_model.", "control_model.", "pose_control_model.")
    if not all(any(name.startswith(prefix) for name in weight_names) for prefix in needed):
        raise _unknown("The file", _other_network(weight_names))
    if any("middle_block_motion_module" in name for name in weight_names):
        return Variant.DIFFPORTRAIT3D
    if any("_motion_module" in name for name in weight_names):
        return Variant.DIFFPORTRAIT360
    return Variant.BACK_VIEW


def _other_network(names: list[str]) -> str:
    """Half a sentence on the network that weights of these names seem to be of."""
    if not names:
        return "it holds no weights"
    for pattern, meaning in _OTHER_NETWORKS:
        expression = re.compile(pattern)
        if any(expression.match(name) for name in names):
            return meaning
    return f"a network is missing, or its names are others ({', '.join(names[:3])} ...)"


@dataclass(frozen=True)
class Loaded:
    """Networks with the weights of a checkpoint."""

    config: NetworkConfig
    networks: Networks
    text_encoder: CLIPTextModel | None
    """None where it was not requested."""
    ignored: tuple[str, ...]
    """Names in the file that are not needed."""


@dataclass(frozen=True)
class Match:
    """Names of each network's weights in a file."""

    config: NetworkConfig
    networks: Networks
    """Networks without weights, on the meta device."""
    names: dict[str, dict[str, str]]
    """For each network and ``text_encoder``: our name of a weight to its name in the file."""
    ignored: tuple[str, ...]
    """Names in the file that are not needed."""


def match_official(
    state: State, config: NetworkConfig | None = None, *, text_encoder: bool = True
) -> Match:
    """Find every weight of our networks by its official name; values are hardly read.

    Args:
        state: weights by official name.
        config: sizes of the networks; None: the published ones of the variant.
        text_encoder: whether to find its weights, which needs transformers; else they are ignored.

    Raises:
        Dp3dError: ``weights.unknown``, or ``weights.mismatch`` with the names that are missing,
            unexpected, of another shape or type, or copies that differ.

    """
    variant = recognise(state)
    config = config or PUBLISHED[variant]
    if config.variant is not variant:
        raise _mismatch([f"it is {variant}, not {config.variant}"])
    networks = Networks.of(config, meta=True)
    components = networks.named()
    if text_encoder:
        components[TEXT_ENCODER] = _empty_text_encoder(config)
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    names: dict[str, dict[str, str]] = {}
    faults: dict[str, list[str]] = {"missing": [], "shape": [], "type": [], "numbers": []}
    for component, net in components.items():
        names[component] = {}
        for key, expected in net.state_dict().items():
            name = names[component][key] = official.name(component, key)
            value = state.get(name)
            if value is None:
                faults["missing"].append(name)
                continue
            value = shaped_like(value, expected)
            if not value.is_nested and value.shape != expected.shape:
                faults["shape"].append(f"{name} {tuple(value.shape)}")
            elif value.dtype not in _FLOATS or not _is_plain(value):
                faults["type"].append(f"{name} {value.dtype}")
    used = {name for of_network in names.values() for name in of_network.values()}
    rest = [name for name in state if name not in used]
    unexpected = [
        name
        for name in rest
        if not is_known_extra(name, variant)
        and (text_encoder or not name.startswith(OF_TEXT_ENCODER))
    ]
    faults["numbers"] += [
        name
        for name in rest
        if (twin := twin_of(name)) in state and not _equal(state[name], state[twin])
    ]
    _raise_mismatch(faults, unexpected)
    return Match(config, networks, names, tuple(rest))


def _empty_text_encoder(config: NetworkConfig) -> CLIPTextModel:
    """The text encoder without weights; imports transformers."""
    from dp3d_core.models.text_encoder import text_encoder

    return text_encoder(config.text, meta=True)


def _raise_mismatch(faults: Mapping[str, list[str]], unexpected: list[str]) -> None:
    """Raise ``weights.mismatch`` if there are faults or unexpected names."""
    sentences = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"
        for what, names in (
            ("are missing", faults.get("missing")),
            ("are not expected", unexpected),
            ("have another shape", faults.get("shape")),
            ("have a type that is none of weights", faults.get("type")),
            ("hold values that are no numbers", faults.get("numbers")),
        )
        if names
    ]
    if sentences:
        every = [n for names in (*faults.values(), unexpected) for n in names]
        raise _mismatch(sentences, "\n".join(every))


def refuse_no_numbers(names: list[str]) -> None:
    """Raise ``weights.mismatch`` if ``names`` lists any weights that are not finite."""
    _raise_mismatch({"numbers": names}, [])


def load_official(
    state: State,
    config: NetworkConfig | None = None,
    dtype: torch.dtype | None = None,
    *,
    text_encoder: bool = True,
) -> Loaded:
    """Networks with the weights of an official checkpoint.

    Args:
        state: weights by official name.
        config: sizes of the networks; None: the published ones of the variant.
        dtype: of the networks; None: the stored dtypes.
        text_encoder: see :func:`match_official`.

    Raises:
        Dp3dError: as :func:`match_official`; ``weights.mismatch`` also for values that are not
            finite.

    """
    match = match_official(state, config, text_encoder=text_encoder)
    not_finite: list[str] = []
    for component, net in match.networks.named().items():
        not_finite += _load(net, match.names[component], state, dtype)
    encoder = None
    if text_encoder:
        encoder = _empty_text_encoder(match.config)
        not_finite += _load(encoder, match.names[TEXT_ENCODER], state, dtype)
    refuse_no_numbers(not_finite)
    return Loaded(match.config, match.networks.eval(), encoder, match.ignored)


def load_text_encoder(
    state: State, match: Match, stored: torch.dtype | None = None
) -> CLIPTextModel:
    """The text encoder of a checkpoint, float32.

    Args:
        state: weights by official name.
        match: of that state, text encoder included.
        stored: dtype that the weights are rounded to; None: not rounded.

    Raises:
        Dp3dError: ``weights.mismatch`` for values that are not finite in that dtype.

    """
    encoder = _empty_text_encoder(match.config)
    refuse_no_numbers(_load(encoder, match.names[TEXT_ENCODER], state, stored))
    return encoder.to(torch.float32)


def _load(
    net: nn.Module, names: Mapping[str, str], state: State, dtype: torch.dtype | None
) -> list[str]:
    """Load a network's weights; returns official names of those that are not finite."""
    weights, pointers, not_finite = {}, set(), []
    for key, expected in net.state_dict().items():
        value = shaped_like(state[names[key]], expected)
        value = value if dtype is None else value.to(dtype)
        if not bool(torch.isfinite(value).all()):  # in the loaded dtype
            not_finite.append(names[key])
        weights[key] = value if value.data_ptr() not in pointers else value.clone()
        pointers.add(weights[key].data_ptr())
    _fill(net, weights)
    return not_finite


def shaped_like(value: Tensor, wanted: Tensor) -> Tensor:
    """An official weight in our shape: some 1 x 1 convolutions are linear layers here."""
    if _is_plain(value) and value.ndim == wanted.ndim + 2 and value.shape[-2:] == (1, 1):
        return value[..., 0, 0]
    return value


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, not quantised and has data."""
    return value.layout is torch.strided and not (
        value.is_meta or value.is_nested or value.is_quantized
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return _is_plain(a) and _is_plain(b) and torch.equal(a, b)


def _fill(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Assign weights to a network on the meta device, without conversion or copy."""
    net.load_state_dict(weights, strict=True, assign=True)
    for module in net.modules():  # buffers that are computed, not stored
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, _computed(name, buffer))


def _computed(name: str, buffer: Tensor) -> Tensor:
    if name == "position_ids":
        return torch.arange(buffer.shape[-1]).expand(buffer.shape)
    raise AssertionError(f"nobody says how {name} is computed")


def _mismatch(sentences: list[str], detail: str = "") -> Dp3dError:
    return Dp3dError(
        "weights.mismatch",
        f"The weights do not fit the networks: {'; '.join(sentences)}.",
        "Use the file as its authors published it, whole and unchanged.",
        detail,
    )
