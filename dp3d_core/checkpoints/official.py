"""Reads the published checkpoint files into our networks.

Files are read without running anything in them (``weights_only``) and mapped into memory, so a
file of eleven gigabytes needs hardly any.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp3d_core.checkpoints.names import Official, is_known_extra, twin_of
from dp3d_core.errors import Dp3dError
from dp3d_core.models.bundle import Networks
from dp3d_core.models.config import PUBLISHED, NetworkConfig, Variant

State = Mapping[str, Tensor]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 5
"""Names that a message lists."""


def require_file(path: Path) -> None:
    """Refuse a path without a file; raises ``weights.not_found``."""
    if not path.is_file():
        raise Dp3dError(
            "weights.not_found", f"There is no file at {path}.", "Check the path of the weights."
        )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a file by name, mapped into memory.

    Args:
        path: ``.th``, ``.pt``, ``.ckpt`` (torch's zip container) or ``.safetensors``; weights
            may lie in ``state_dict``.

    Raises:
        Dp3dError: ``weights.not_found``, ``weights.damaged``, ``weights.unsafe``,
            ``weights.unknown``.

    """
    path = Path(path)
    require_file(path)
    if path.suffix == ".safetensors":
        found: Any = _read_safetensors(path)
    else:
        found = _read_torch(path)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise _unknown(path, "it does not hold weights by name")
    return dict(found)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(2)
        # torch's old container, a bare pickle, begins so; a zip without its end is cut off
        if start == b"PK" or start[:1] != b"\x80":
            raise _damaged(path, None)
    try:
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
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
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception | None) -> Dp3dError:
    return Dp3dError(
        "weights.damaged",
        f"{path.name} cannot be read: it is cut off, or it is no file of weights.",
        "Fetch it again and compare its size and hash with those of its authors.",
        "" if error is None else str(error),
    )


def _unknown(path: Path, why: str) -> Dp3dError:
    return Dp3dError(
        "weights.unknown",
        f"{path.name} is none of the published checkpoints: {why}.",
        "Give DiffPortrait3D's model_state-540000-001.th, or DiffPortrait360's "
        "model_state-340000.th or back_head-230000.th.",
    )


def recognise(names: Iterable[str]) -> Variant:
    """Which checkpoint has weights of these names.

    Raises:
        Dp3dError: ``weights.unknown``.

    """
    kept = list(names)
    needed = ("model.diffusion_model.", "control_model.", "pose_control_model.")
    if not all(any(name.startswith(prefix) for name in kept) for prefix in needed):
        raise _unknown(Path("The file"), "a network is missing, or its names are others")
    if any("middle_block_motion_module" in name for name in kept):
        return Variant.DIFFPORTRAIT3D
    if any("_motion_module" in name for name in kept):
        return Variant.DIFFPORTRAIT360
    return Variant.BACK_VIEW


@dataclass(frozen=True)
class Loaded:
    """Networks with the weights of a checkpoint."""

    config: NetworkConfig
    networks: Networks
    ignored: tuple[str, ...]
    """Names in the file that are known and not needed."""


def load_official(
    state: State, config: NetworkConfig | None = None, dtype: torch.dtype | None = None
) -> Loaded:
    """Put official weights into networks of ours.

    Args:
        state: by official name.
        config: sizes; by default the published ones of the variant that the names tell.
        dtype: of the networks; by default weights stay as they are stored.

    Raises:
        Dp3dError: ``weights.unknown``, or ``weights.mismatch`` with the names that are missing,
            unexpected, of another shape, of no number type, or hold values that are no numbers.

    """
    variant = recognise(state)
    config = config or PUBLISHED[variant]
    if config.variant is not variant:
        raise _mismatch([f"it is {variant}, not {config.variant}"])
    networks = Networks.of(config, meta=True)
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    used: set[str] = set()
    faults: dict[str, list[str]] = {"missing": [], "shape": [], "type": [], "numbers": []}
    for component, net in networks.named().items():
        weights, places = {}, set()
        for key, wanted in net.state_dict().items():
            name = official.name(component, key)
            used.add(name)
            value = state.get(name)
            if value is None:
                faults["missing"].append(name)
                continue
            if _is_plain(value) and value.ndim == wanted.ndim + 2 and value.shape[-2:] == (1, 1):
                value = value[..., 0, 0]  # a 1 x 1 convolution that is a linear layer here
            if not value.is_nested and value.shape != wanted.shape:
                faults["shape"].append(f"{name} {tuple(value.shape)}")
            elif value.dtype not in _FLOATS or not _is_plain(value):
                faults["type"].append(f"{name} {value.dtype}")
            else:
                value = value if dtype is None else value.to(dtype)
                if not bool(torch.isfinite(value).all()):  # in the type that is kept
                    faults["numbers"].append(name)
                weights[key] = value if value.data_ptr() not in places else value.clone()
                places.add(weights[key].data_ptr())
        if not any(faults.values()):
            _fill(net, weights)
    rest = [name for name in state if name not in used]
    unexpected = [name for name in rest if not is_known_extra(name, variant)]
    faults["numbers"] += [
        name
        for name in rest
        if (twin := twin_of(name)) in state and not _equal(state[name], state[twin])
    ]
    told = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"
        for what, names in (
            ("are missing", faults["missing"]),
            ("are not expected", unexpected),
            ("have another shape", faults["shape"]),
            ("have a type that is none of weights", faults["type"]),
            ("hold values that are no numbers", faults["numbers"]),
        )
        if names
    ]
    if told:
        every = [n for names in (*faults.values(), unexpected) for n in names]
        raise _mismatch(told, "\n".join(every))
    return Loaded(config, networks.eval(), tuple(rest))


def _is_plain(value: Tensor) -> bool:
    """Whether it is an ordinary array of numbers."""
    return value.layout is torch.strided and not (
        value.is_meta or value.is_nested or value.is_quantized
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return _is_plain(a) and _is_plain(b) and torch.equal(a, b)


def _fill(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a network without weights its weights, in the type they have, without a copy."""
    net.load_state_dict(weights, strict=True, assign=True)
    for module in net.modules():  # what is computed, not stored
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, _computed(name, buffer))


def _computed(name: str, buffer: Tensor) -> Tensor:
    if name == "position_ids":
        return torch.arange(buffer.shape[-1]).expand(buffer.shape)
    raise AssertionError(f"nobody says how {name} is computed")


def _mismatch(told: list[str], detail: str = "") -> Dp3dError:
    return Dp3dError(
        "weights.mismatch",
        f"The weights do not fit the networks: {'; '.join(told)}.",
        "Use the file as its authors published it, whole and unchanged.",
        detail,
    )
