"""One step of denoising: what depends on nothing is computed once, on the step once per step.

The unconditional pass has neither portrait nor pose (and the middle's view module, where there is
one), the conditional one has both; guidance goes from the one to the other (DiffPortrait3D,
section 3.5).

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
    """What the views are generated from."""

    context: Float[Tensor, "1 n c"]
    """(1, 77, c) the prompt."""
    references: Float[Tensor, "portraits 4 h w"]
    """(portraits, 4, h, w) scaled latents, clean."""
    hints: Float[Tensor, "views d h w"]
    """(views, d, h, w) features of the condition images, see :func:`hint_features`."""


class Placement:
    """Where networks run, and whether they stay there.

    Args:
        device: where; None: wherever they are.
        offload: move a network back to the CPU when it has run.

    """

    def __init__(self, device: torch.device | None, offload: bool = False) -> None:
        self.device, self.offload = device, offload

    @contextmanager
    def __call__(self, net: nn.Module) -> Iterator[None]:
        """A network on the device; inside another such context it simply stays."""
        home = next(net.parameters()).device
        if self.device is None or _same(home, self.device):
            yield
            return
        at_home = _places(net)
        try:
            _move(at_home, self.device)
        except BaseException:  # the device is full: half a network there helps nobody
            _put_back(at_home)
            raise
        try:
            yield
        finally:
            if self.offload:
                _put_back(at_home)


_Kept = list[tuple[dict[str, Tensor | None], str, Tensor]]


def _places(net: nn.Module) -> _Kept:
    """A network's tensors and their places.

    Weights do not change, so nothing has to be copied back when the network leaves a device.
    """
    kept: _Kept = []
    for module in net.modules():
        stores: tuple[Any, ...] = (module._parameters, module._buffers)
        for tensors in stores:
            kept += [(tensors, name, value) for name, value in tensors.items() if value is not None]
    return kept


def _move(kept: _Kept, device: torch.device) -> None:
    """Put copies on a device in the places of tensors."""
    copies: dict[int, Tensor] = {}
    for tensors, name, value in kept:
        if id(value) not in copies:
            copy = value.detach().to(device)
            is_weight = isinstance(value, nn.Parameter)
            copies[id(value)] = nn.Parameter(copy, requires_grad=False) if is_weight else copy
        tensors[name] = copies[id(value)]


def _put_back(kept: _Kept) -> None:
    for tensors, name, value in kept:
        tensors[name] = value


def _same(a: torch.device, b: torch.device) -> bool:
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
        """Of each block, (portraits, tokens, channels): what the denoiser reads at this step.

        ``copies`` is for measurements: the published code computes the same for every view.
        """
        references = self.conditions.references.repeat(copies, 1, 1, 1)
        net = self.networks.reference_unet
        with self.on(net):
            return net.tokens(references, timestep, self._text_of_reference)

    def begin(self, timestep: Shaped[Tensor, " 1"]) -> None:
        """Set the step, (1,); the portraits are read once for all views and windows."""
        self._timestep = timestep
        self._reference = project_references(
            self.networks.unet.unet, self.reference_tokens(timestep)
        )

    def residuals(
        self, sample: Float[Tensor, "n 4 h w"], which: Int[Tensor, " n"]
    ) -> list[Float[Tensor, "n _c _h _w"]]:
        """The pose network's part for views ``which``, (n,), whose latents are (n, 4, h, w)."""
        net, hints = self.networks.pose_controlnet, self.conditions.hints[which]
        with self.on(net):
            return pose_residuals(net, sample, self._timestep, self._text_of_pose, hints)

    def conditional(
        self,
        sample: Float[Tensor, "b 4 h w"],
        which: Int[Tensor, " b"],
        views: int,
        trace: Trace | None = None,
    ) -> Float[Tensor, "b 4 h w"]:
        """Noise with portrait and pose.

        Args:
            sample: (windows * views, 4, h, w).
            which: (windows * views,) numbers of the views.
            views: of a window.
            trace: for comparisons.

        """
        out: Tensor = self.networks.unet(
            sample,
            self._timestep,
            self._text,
            views=views,
            reference=self._reference,
            residuals=self.residuals(sample, which),
            trace=trace,
        )
        return out

    def unconditional(
        self, sample: Float[Tensor, "b 4 h w"], views: int, trace: Trace | None = None
    ) -> Float[Tensor, "b 4 h w"]:
        """Noise without them."""
        out: Tensor = self.networks.unet(
            sample, self._timestep, self._text, views=views, middle_views=True, trace=trace
        )
        return out

    def guided(
        self, sample: Float[Tensor, "b 4 h w"], which: Int[Tensor, " b"], views: int, scale: float
    ) -> Float[Tensor, "b 4 h w"]:
        """Noise with guidance; a scale of 1 needs the conditional pass only."""
        towards = self.conditional(sample, which, views)
        if scale == 1:
            return towards
        return guide(towards, self.unconditional(sample, views), scale)


def guide(
    towards: Float[Tensor, "b 4 h w"], away: Float[Tensor, "b 4 h w"], scale: float
) -> Float[Tensor, "b 4 h w"]:
    """Classifier-free guidance (Ho and Salimans 2022): from the one pass beyond the other."""
    return away + scale * (towards - away)
