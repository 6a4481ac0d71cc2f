"""One step of denoising: predicted noise with classifier-free guidance.

Keys and values of the prompt are cached for the run, those of the references for the step.  The
conditional pass reads the references and the pose network's residuals.  The unconditional pass
reads neither, and runs the middle block's view module where the variant has one (DiffPortrait3D,
section 3.5).  :class:`Placement` moves networks between CPU and device.

Axes: ``b`` views of all windows, ``n`` tokens, pictures or views, ``c`` and ``d`` channels,
``h w`` space.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dp3d_core.arrays import Float, Int, Shaped
from dp3d_core.models.attention import KeysValues, project_prompt, project_references
from dp3d_core.models.networks import Networks
from dp3d_core.models.unet import Trace, pose_residuals


@dataclass(frozen=True)
class Conditions:
    """Conditions that all steps of a generation share."""

    context: Float[Tensor, "1 n c"]
    """(1, 77, c) embedding of the prompt."""
    references: Float[Tensor, "portraits 4 h w"]
    """(portraits, 4, h, w) scaled latents of the reference portraits, without noise."""
    hints: Float[Tensor, "views d h w"]
    """(views, d, h, w) features of the condition images, see :func:`hint_features`."""


class Placement:
    """Device that networks run on, as a context manager for each network.

    Args:
        device: device to run on; None: the device that each network is on.
        offload: whether a network goes back to the CPU after it has run.

    """

    def __init__(self, device: torch.device | None, offload: bool = False) -> None:
        self.device, self.offload = device, offload

    @contextmanager
    def __call__(self, net: nn.Module) -> Iterator[None]:
        """Put a network on the device; a nested context of one network changes nothing."""
        home = next(net.parameters()).device
        if self.device is None or _is_same_device(home, self.device):
            yield
            return
        slots = _tensor_slots(net)
        try:
            _copy_to_device(slots, self.device)
        except BaseException:  # the device is full: free what was copied
            _restore(slots)
            raise
        try:
            yield
        finally:
            if self.offload:
                _restore(slots)


_TensorSlots = list[tuple[dict[str, Tensor | None], str, Tensor]]


def _tensor_slots(net: nn.Module) -> _TensorSlots:
    """A network's tensors, each with the dictionary and key that hold it.

    Weights do not change, so restoring these tensors needs no copy back from the device.
    """
    slots: _TensorSlots = []
    for module in net.modules():
        dictionaries: tuple[Any, ...] = (module._parameters, module._buffers)
        for tensors in dictionaries:
            slots += [
                (tensors, name, value) for name, value in tensors.items() if value is not None
            ]
    return slots


def _copy_to_device(slots: _TensorSlots, device: torch.device) -> None:
    """Replace tensors by copies on a device; tensors in several slots are copied once."""
    copies: dict[int, Tensor] = {}
    for tensors, name, value in slots:
        if id(value) not in copies:
            copy = value.detach().to(device)
            is_weight = isinstance(value, nn.Parameter)
            copies[id(value)] = nn.Parameter(copy, requires_grad=False) if is_weight else copy
        tensors[name] = copies[id(value)]


def _restore(slots: _TensorSlots) -> None:
    for tensors, name, value in slots:
        tensors[name] = value


def _is_same_device(a: torch.device, b: torch.device) -> bool:
    return a.type == b.type and (a.index or 0) == (b.index or 0)


def hint_features(
    networks: Networks, pictures: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, "n c h//8 w//8"]:
    """Features (n, c, h / 8, w / 8) of condition images (n, 3, h, w), -1 to 1."""
    out: Tensor = networks.pose_controlnet.controlnet_cond_embedding(pictures)
    return out


class Denoiser:
    """Predicts noise for windows of views."""

    def __init__(
        self, networks: Networks, conditions: Conditions, on: Placement | None = None
    ) -> None:
        self.networks, self.conditions = networks, conditions
        self.on = on or Placement(None)
        context = conditions.context
        with self.on(networks.unet):
            self._text = project_prompt(networks.unet.unet, context)
        with self.on(networks.reference_unet):
            self._text_of_reference = project_prompt(networks.reference_unet.unet, context)
        with self.on(networks.pose_controlnet):
            self._text_of_pose = project_prompt(networks.pose_controlnet, context)
        self._timestep = torch.zeros(1)
        self._reference: list[KeysValues] | None = None

    def reference_tokens(
        self, timestep: Shaped[Tensor, " 1"], copies: int = 1
    ) -> list[Float[Tensor, "portraits _n _c"]]:
        """Reference tokens (portraits, tokens, channels) of each block at a timestep, (1,).

        ``copies`` repeats the references, to measure the published code, which reads them once for
        each view.
        """
        references = self.conditions.references.repeat(copies, 1, 1, 1)
        net = self.networks.reference_unet
        with self.on(net):
            return net.tokens(references, timestep, self._text_of_reference)

    def begin(self, timestep: Shaped[Tensor, " 1"]) -> None:
        """Set the timestep, (1,), and read the references once for all views and windows."""
        self._timestep = timestep
        self._reference = project_references(
            self.networks.unet.unet, self.reference_tokens(timestep)
        )

    def residuals(
        self, sample: Float[Tensor, "n 4 h w"], indices: Int[Tensor, " n"]
    ) -> list[Float[Tensor, "n _c _h _w"]]:
        """Pose residuals of latents (n, 4, h, w), which belong to the views ``indices``, (n,)."""
        net, hints = self.networks.pose_controlnet, self.conditions.hints[indices]
        with self.on(net):
            return pose_residuals(net, sample, self._timestep, self._text_of_pose, hints)

    def conditional(
        self,
        sample: Float[Tensor, "b 4 h w"],
        indices: Int[Tensor, " b"],
        views: int,
        trace: Trace | None = None,
    ) -> Float[Tensor, "b 4 h w"]:
        """Predicted noise of the conditional pass.

        Args:
            sample: (windows * views, 4, h, w) noisy latents.
            indices: (windows * views,) indices of the views.
            views: number of views in a window.
            trace: receives intermediate features.

        """
        out: Tensor = self.networks.unet(
            sample,
            self._timestep,
            self._text,
            views=views,
            reference=self._reference,
            residuals=self.residuals(sample, indices),
            trace=trace,
        )
        return out

    def unconditional(
        self, sample: Float[Tensor, "b 4 h w"], views: int, trace: Trace | None = None
    ) -> Float[Tensor, "b 4 h w"]:
        """Predicted noise of the unconditional pass; arguments as of :meth:`conditional`."""
        out: Tensor = self.networks.unet(
            sample, self._timestep, self._text, views=views, middle_views=True, trace=trace
        )
        return out

    def guided(
        self, sample: Float[Tensor, "b 4 h w"], indices: Int[Tensor, " b"], views: int, scale: float
    ) -> Float[Tensor, "b 4 h w"]:
        """Predicted noise with guidance; a scale of 1 needs the conditional pass only."""
        conditional = self.conditional(sample, indices, views)
        if scale == 1:
            return conditional
        return guide(conditional, self.unconditional(sample, views), scale)


def guide(
    conditional: Float[Tensor, "b 4 h w"], unconditional: Float[Tensor, "b 4 h w"], scale: float
) -> Float[Tensor, "b 4 h w"]:
    """Classifier-free guidance (Ho and Salimans 2022): u + scale * (c - u)."""
    return unconditional + scale * (conditional - unconditional)
