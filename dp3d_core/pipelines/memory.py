"""Device memory of a generation, computed before networks are loaded and kept within a budget.

Networks run once on torch's meta device, without data, while the sizes of all living tensors are
summed.  A factor accounts for the workspaces of kernels and the fragmentation of the allocator.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import PIXELS_PER_LATENT, NetworkConfig, TextSize
from dp3d_core.models.networks import Networks, decode_latents, encode_pictures
from dp3d_core.pipelines.denoise import Conditions, Denoiser
from dp3d_core.pipelines.windows import Window

_SLACK = 1.25
"""Factor on activations for fragmentation and workspaces."""
_RUNTIME = 0.6e9
"""Bytes of a CUDA context with its libraries."""
_MOST_WINDOWS_AT_ONCE = 8
"""Largest number of windows in one batch."""


class LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the bytes of tensors that are made inside the context and still live.

    Attributes:
        living: bytes now.
        peak: largest number of bytes so far.

    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.living, self.peak = 0, 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the tensors that it returns."""
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._add(value)
        return out

    def _add(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = storage.nbytes()
        self._storages.add(key)
        self.living += size
        self.peak = max(self.peak, self.living)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.living -= size


@dataclass(frozen=True)
class Needs:
    """Bytes that a generation needs on the device."""

    networks: dict[str, int]
    """Weights of each network."""
    kept: int
    """Latents and features of the condition images, which live through all steps."""
    reference: int
    """Peak while the references are read, their keys and values of a step included."""
    window: int
    """Peak while one window is denoised."""
    picture: int
    """Peak while the VAE encodes or decodes one picture."""

    def peak(self, windows_at_once: int, offload: bool) -> int:
        """Peak of the whole generation, CUDA context included, bytes."""
        net = self.networks
        denoising = net["unet"] + net["pose_controlnet"] + self.kept
        denoising += int(_SLACK * (self.reference + windows_at_once * self.window))
        decoding = net["vae"] + self.kept + int(_SLACK * self.picture)
        if not offload:
            rest = sum(net.values()) - net["unet"] - net["pose_controlnet"]
            return int(_RUNTIME) + max(denoising + rest, decoding + sum(net.values()) - net["vae"])
        reading = net["unet"] + net["reference_unet"] + self.kept + int(_SLACK * self.reference)
        # previews are decoded while the denoiser is on the device
        between = net["unet"] + decoding
        return int(_RUNTIME) + max(denoising, reading, between)


@dataclass(frozen=True)
class MemoryPlan:
    """How a generation keeps within a budget."""

    windows_at_once: int
    offload: bool
    """Whether networks are on the device only while they run."""
    peak: int
    """Computed peak of this plan, bytes."""
    windows: tuple[Window, ...]
    """Views that are denoised together."""


def plan_memory(needs: Needs, windows: Sequence[Window], budget: int | None) -> MemoryPlan:
    """The fastest plan within a budget.

    Args:
        needs: of the generation.
        windows: all windows of a step.
        budget: bytes; None: no limit.

    Raises:
        Dp3dError: ``engine.too_little_memory`` with the smallest budget that is enough.

    """
    most_at_once = max(1, min(len(windows), _MOST_WINDOWS_AT_ONCE))
    planned = tuple(windows)
    if budget is None:
        return MemoryPlan(1, False, needs.peak(1, False), planned)
    for offload in (False, True):
        for at_once in range(most_at_once, 0, -1):
            peak = needs.peak(at_once, offload)
            if peak <= budget:
                return MemoryPlan(at_once, offload, peak, planned)
    least = needs.peak(1, True)
    raise Dp3dError(
        "engine.too_little_memory",
        f"The generation needs {least / 1e9:.1f} GB of device memory, and {budget / 1e9:.1f} GB "
        "are allowed.",
        "Allow more, choose a smaller size, or use the preview engine.",
    )


@lru_cache(maxsize=16)
def compute_needs(
    config: NetworkConfig, size: int, views: int, references: int, dtype: torch.dtype
) -> Needs:
    """Memory of a generation, measured on the meta device.

    Args:
        config: of the networks.
        size: width and height of the pictures, pixels.
        views: number of generated views.
        references: number of reference portraits.
        dtype: of the networks.

    """
    passes = _measure_passes(config, size, min(config.window, views), references, dtype)
    latent = size // PIXELS_PER_LATENT
    hints = views * config.channels[0] * latent * latent * dtype.itemsize
    # float32: latents, noise, their sums and temporaries
    latents = 6 * views * 4 * latent * latent * 4
    return replace(passes, kept=hints + latents)


@lru_cache(maxsize=16)
def _measure_passes(
    config: NetworkConfig, size: int, window: int, references: int, dtype: torch.dtype
) -> Needs:
    """Networks' weights and the peaks of their passes; what is kept for the views counts as 0.

    The number of views outside the window changes no pass, so one measurement serves all of them.
    """
    latent = size // PIXELS_PER_LATENT
    # diffusers' ``to`` warns about dtypes, nn.Module's does not
    networks = Networks.of(config, meta=True)
    for net in networks.named().values():
        nn.Module.to(net, dtype)
    networks.eval()

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, device="meta", dtype=dtype)

    conditions = Conditions(
        empty(1, TextSize.LENGTH, config.context),
        empty(references, 4, latent, latent),
        empty(window, config.channels[0], latent, latent),
    )
    t, indices = torch.empty(1, device="meta"), torch.arange(window, device="meta")
    x = empty(window, 4, latent, latent)
    with torch.inference_mode():
        denoiser = Denoiser(networks, conditions)
        reading = _peak(lambda: denoiser.begin(t))
        denoising = max(
            _peak(lambda: denoiser.conditional(x, indices, window)),
            _peak(lambda: denoiser.unconditional(x, window)),
        )
        picture = max(
            _peak(lambda: decode_latents(networks.vae, empty(1, 4, latent, latent))),
            _peak(lambda: encode_pictures(networks.vae, empty(1, 3, size, size))),
        )
    return Needs(
        {name: _bytes(net) for name, net in networks.named().items()},
        0,
        reading,
        denoising,
        picture,
    )


def _peak(run: Callable[[], object]) -> int:
    with LivingTensors() as living:
        run()
    return int(living.peak)


def _bytes(net: nn.Module) -> int:
    return sum(value.nbytes for value in net.state_dict().values())
