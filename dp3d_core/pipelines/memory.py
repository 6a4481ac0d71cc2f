"""Memory of a generation: computed before anything is loaded, and kept within a budget.

Networks run once without numbers (torch's meta device) while the sizes of all living tensors are
added up.  What a device's kernels and allocator take besides is estimated by a factor.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
"""Of activations: fragments and work spaces."""
_RUNTIME = 0.6e9
"""Bytes of a CUDA context with its libraries."""
_MOST_WINDOWS = 8


class LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that are made inside and still live.

    Attributes:
        peak: most bytes at any time.

    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.living, self.peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and take its results down."""
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._add(value)
        return out

    def _add(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.living += size
        self.peak = max(self.peak, self.living)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.living -= size


@dataclass(frozen=True)
class Needs:
    """Bytes that a generation needs on the device."""

    networks: dict[str, int]
    """Weights of each network."""
    kept: int
    """What lives through all steps: latents and features of the condition images."""
    reference: int
    """Living at most while the references are read, and what is kept of them in a step."""
    window: int
    """Living at most while one window is denoised."""
    picture: int
    """Living at most while the VAE encodes or decodes one picture."""

    def peak(self, windows_at_once: int, offload: bool) -> int:
        """Most bytes at any time, runtime included."""
        net = self.networks
        denoising = net["unet"] + net["pose_controlnet"] + self.kept
        denoising += int(_SLACK * (self.reference + windows_at_once * self.window))
        decoding = net["vae"] + self.kept + int(_SLACK * self.picture)
        if not offload:
            rest = sum(net.values()) - net["unet"] - net["pose_controlnet"]
            return int(_RUNTIME) + max(denoising + rest, decoding + sum(net.values()) - net["vae"])
        reading = net["unet"] + net["reference_unet"] + self.kept + int(_SLACK * self.reference)
        # the picture of the state is decoded while the denoiser is there
        between = net["unet"] + decoding
        return int(_RUNTIME) + max(denoising, reading, between)


@dataclass(frozen=True)
class MemoryPlan:
    """How a generation keeps within a budget."""

    windows_at_once: int
    offload: bool
    """Networks are on the device only while they run."""
    peak: int
    """Bytes that were computed for it."""
    windows: tuple[Window, ...]
    """What is denoised together."""


def plan_memory(needs: Needs, windows: Sequence[Window], budget: int | None) -> MemoryPlan:
    """The fastest way within a budget.

    Args:
        needs: of the generation.
        windows: that are there to be denoised.
        budget: bytes; None: as much as it takes.

    Raises:
        Dp3dError: ``engine.too_little_memory`` with the least that would do.

    """
    most = max(1, min(len(windows), _MOST_WINDOWS))
    planned = tuple(windows)
    if budget is None:
        return MemoryPlan(1, False, needs.peak(1, False), planned)
    for offload in (False, True):
        for at_once in range(most, 0, -1):
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
    """What a generation needs.

    Args:
        config: of the networks.
        size: width and height of the pictures, pixels.
        views: that are generated.
        references: portraits.
        dtype: of the networks.

    """
    latent = size // PIXELS_PER_LATENT
    window = min(config.window, views)
    # diffusers' own ``to`` warns when it is given a type
    networks = Networks.of(config, meta=True)
    for net in networks.named().values():
        nn.Module.to(net, dtype)
    networks.eval()

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, device="meta", dtype=dtype)

    given = Conditions(
        empty(1, TextSize.LENGTH, config.context),
        empty(references, 4, latent, latent),
        empty(views, config.channels[0], latent, latent),
    )
    t, which = torch.empty(1, device="meta"), torch.arange(window, device="meta")
    x = empty(window, 4, latent, latent)
    with torch.inference_mode():
        denoiser = Denoiser(networks, given)
        reading = _peak(lambda: denoiser.begin(t))
        denoising = max(
            _peak(lambda: denoiser.conditional(x, which, window)),
            _peak(lambda: denoiser.unconditional(x, window)),
        )
        picture = max(
            _peak(lambda: decode_latents(networks.vae, empty(1, 4, latent, latent))),
            _peak(lambda: encode_pictures(networks.vae, empty(1, 3, size, size))),
        )
    latents = 6 * views * 4 * latent * latent * 4  # float32: x, noise, sums and their sources
    return Needs(
        {name: _bytes(net) for name, net in networks.named().items()},
        given.hints.nbytes + latents,
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
