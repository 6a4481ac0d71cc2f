"""Pipeline from portraits, condition images and optional start images to views of a head.

``__call__`` encodes the pictures, then denoises all views step by step: each window's predictions
are averaged per view, guided and passed to the scheduler.  The VAE decodes the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from dp3d_core.arrays import Float
from dp3d_core.errors import Dp3dError
from dp3d_core.models.attention import install_processors
from dp3d_core.models.config import PIXELS_PER_LATENT, WINDOW
from dp3d_core.models.networks import Networks, decode_latents, encode_pictures
from dp3d_core.models.prompt import EmptyPrompt
from dp3d_core.models.unet import MultiViewUNet
from dp3d_core.pipelines.denoise import Conditions, Denoiser, Placement, guide, hint_features
from dp3d_core.pipelines.options import MOST_REFERENCES, SIZE_STEP
from dp3d_core.pipelines.schedule import start_factors
from dp3d_core.pipelines.windows import Window, check_windows, plan_windows

_HINTS_AT_ONCE = 8
"""Condition images that are encoded in one batch."""
_MAX_COLOUR = 1.01
"""Largest absolute colour value of an input picture; colours are -1 to 1."""

StepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any] | None]
"""Called with pipeline, step index, timestep and the requested tensors; returns replacements."""


@dataclass
class MultiViewOutput(BaseOutput):  # type: ignore[misc]
    """Result of the pipeline."""

    images: Float[Tensor, "views 3 height width"] | None
    """(views, 3, h, w) float32, 0 to 1, on the CPU; None for ``output_type="latent"``."""
    latents: Float[Tensor, "views 4 h w"]
    """(views, 4, h / 8, w / 8) scaled latents."""


class MultiViewPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Generates any number of views; its weights decide which of the three variants it is.

    Args:
        unet: denoises the views; see :class:`~dp3d_core.models.networks.Networks`.
        reference_unet: reads the portrait.
        pose_controlnet: reads the condition images.
        vae: latents to images and back.
        empty_prompt: embedding of the empty prompt.
        scheduler: one of diffusers' schedulers for predicted noise; see ``samplers``.
        window: views that the weights were trained to generate together.

    """

    def __init__(
        self,
        unet: MultiViewUNet,
        reference_unet: MultiViewUNet,
        pose_controlnet: ControlNetModel,
        vae: AutoencoderKL,
        empty_prompt: EmptyPrompt,
        scheduler: Any,
        window: int = WINDOW,
    ) -> None:
        super().__init__()
        install_processors(pose_controlnet)  # from_pretrained loads the network without them
        self.register_modules(
            unet=unet,
            reference_unet=reference_unet,
            pose_controlnet=pose_controlnet,
            vae=vae,
            empty_prompt=empty_prompt,
            scheduler=scheduler,
        )
        self.register_to_config(window=window)
        self._interrupt = False
        self._placement = Placement(None)
        self._poll: Callable[[], None] = lambda: None

    @property
    def interrupt(self) -> bool:
        """Whether to stop after the current step; set by a callback."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    @property
    def networks(self) -> Networks:
        """The pipeline's networks."""
        return Networks(self.unet, self.reference_unet, self.pose_controlnet, self.vae)

    @torch.inference_mode()
    def __call__(
        self,
        references: Tensor,
        conditions: Tensor,
        start: Tensor | None = None,
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        eta: float = 0.5,
        mode: str = "overlap",
        overlap: int = 1,
        closed: bool = False,
        windows: Sequence[Window] | None = None,
        windows_at_once: int = 1,
        device: torch.device | None = None,
        offload: bool = False,
        sample_posterior: bool = False,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        output_type: str = "pt",
        poll: Callable[[], None] | None = None,
    ) -> MultiViewOutput:
        """Generate the views.

        Args:
            references: (1 to 4, 3, h, w) portraits, -1 to 1.
            conditions: (views, 3, h, w) condition images, -1 to 1: another subject at the cameras.
            start: (views, 3, h, w) start images, -1 to 1 (3D-aware noise, DiffPortrait3D,
                section 3.3); None: views start from noise alone.
            num_inference_steps: number of steps of the scheduler.
            guidance_scale: 1 omits the unconditional pass.
            guidance_interval: fractions of the steps, 0 to 1, between which guidance is used.
            eta: noise that DDIM adds at each step, 0 to 1; 0.5 as published.
            mode: see ``windows.plan_windows``.
            overlap: see ``windows.plan_windows``; limited to the window's size - 1.
            closed: see ``windows.plan_windows``.
            windows: views that are denoised together, instead of ``mode``, ``overlap`` and
                ``closed``.
            windows_at_once: windows in one batch; memory grows with it.
            device: device to compute on; None: that of the denoiser.
            offload: whether networks are on the device only while they run; see ``memory``.
            sample_posterior: whether to sample the VAE's posterior, as the published code, instead
                of taking its mean.
            generator: source of all random numbers.  They are drawn on its device, view by view,
                so that a seed gives equal views on every device.
            latents: (views, 4, h / 8, w / 8) initial latents instead of noise or ``start``.
            callback_on_step_end: called with the pipeline, the step's index, its timestep and a
                dictionary of tensors; it may return replacements.
            callback_on_step_end_tensor_inputs: names in that dictionary: ``latents``, and
                ``clean``, a function that returns the predicted latents without noise.
            poll: called after each picture that the VAE encodes or decodes; may raise to stop.
            output_type: ``pt``, or ``latent`` to omit decoding.

        Raises:
            Dp3dError: ``engine.bad_input``, ``engine.bad_option``.

        """
        self._interrupt = False
        count = _check_pictures(references, conditions, start, latents)
        _check_numbers(self.scheduler, num_inference_steps, guidance_interval, windows_at_once)
        self._poll = poll or (lambda: None)
        device, dtype = device or self.unet.device, self.unet.dtype
        placement = self._placement = Placement(device, offload)
        size = self.config.window
        if windows is None:
            overlap = min(overlap, size - 1)
            windows = plan_windows(count, size, mode=mode, overlap=overlap, closed=closed)
        check_windows(windows, count)
        draw = generator if sample_posterior else None
        context = self.empty_prompt.embedding.to(device, dtype)
        with placement(self.vae):
            reference_latents = self._encode(references, draw).to(dtype)
            start_latents = None if start is None else self._encode(start, draw).float()
        with placement(self.pose_controlnet):
            hints = self._hints(conditions)
        shared = Conditions(context, reference_latents, hints)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        x = self._first_latents(conditions.shape, start_latents, latents, generator, device)
        denoiser = Denoiser(self.networks, shared, placement)
        takes = set(inspect.signature(self.scheduler.step).parameters)
        steps = self.scheduler.timesteps
        with placement(self.unet):
            for i, t in enumerate(self.progress_bar(steps)):
                inside = guidance_interval[0] <= i / len(steps) < guidance_interval[1]
                scale = guidance_scale if inside else 1.0
                denoiser.begin(t.reshape(1))
                before = x
                scaled = self.scheduler.scale_model_input(x, t)
                noise = self._predict(denoiser, scaled, windows, scale, windows_at_once)
                step_options: dict[str, Any] = {"eta": eta} if "eta" in takes else {}
                if "variance_noise" in takes and eta > 0:
                    step_options["variance_noise"] = _draw_noise(x.shape, generator, device)
                x = self.scheduler.step(noise, t, x, **step_options, return_dict=False)[0]
                if callback_on_step_end is not None:
                    available = {
                        "latents": x,
                        "clean": partial(_predicted_clean, self.scheduler, before, noise, t),
                    }
                    requested = {
                        name: available[name] for name in callback_on_step_end_tensor_inputs
                    }
                    x = (callback_on_step_end(self, i, t, requested) or {}).get("latents", x)
                if self._interrupt:
                    break
        if output_type == "latent":
            return MultiViewOutput(images=None, latents=x)
        return MultiViewOutput(images=self.decode(x), latents=x)

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 3 8*h 8*w"]:
        """(n, 3, h, w) float32 pictures, 0 to 1, on the CPU, of latents; usable in a callback."""
        vae, pictures = self.vae, []
        with self._placement(vae):
            for x in latents:
                picture = decode_latents(vae, x[None].to(vae.device, vae.dtype))
                pictures.append(picture.float().cpu())
                self._poll()
        return (torch.cat(pictures) / 2 + 0.5).clamp(0, 1)

    def _predict(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "views 4 h w"],
        windows: Sequence[Window],
        scale: float,
        at_once: int,
    ) -> Float[Tensor, "views 4 h w"]:
        """(views, 4, h, w) float32 noise, averaged over the windows that contain a view.

        Guidance is linear in the two passes, so each pass is averaged on its own, and the pose
        network is on the device during the conditional pass only.
        """
        dtype = self.unet.dtype

        def average(predict: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
            noise = torch.zeros_like(x, dtype=torch.float32)
            for batch in _batches(windows, at_once):
                indices = torch.tensor(
                    [view for window in batch for view in window.views], device=x.device
                )
                weights = torch.tensor(
                    [weight for window in batch for weight in window.weights], device=x.device
                )
                predicted = predict(x[indices].to(dtype), indices, len(batch[0].views))
                noise.index_add_(0, indices, predicted.float() * weights[:, None, None, None])
            return noise

        with denoiser.on(self.pose_controlnet):
            conditional = average(denoiser.conditional)
        if scale == 1:
            return conditional
        unconditional = average(
            lambda sample, indices, views: denoiser.unconditional(sample, views)
        )
        return guide(conditional, unconditional, scale)

    def _first_latents(
        self,
        shape_of_pictures: Sequence[int],
        start: Float[Tensor, "views 4 h w"] | None,
        latents: Float[Tensor, "views 4 h w"] | None,
        generator: torch.Generator | None,
        device: torch.device,
    ) -> Float[Tensor, "views 4 h w"]:
        if latents is not None:
            return latents.to(device, torch.float32)
        count, _, height, width = shape_of_pictures
        shape = (count, 4, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
        noise = _draw_noise(shape, generator, device)
        if start is None:
            return noise * float(self.scheduler.init_noise_sigma)
        signal, grain = start_factors(self.scheduler)
        return signal * start + grain * noise

    def _encode(
        self, pictures: Float[Tensor, "n 3 h w"], draw: torch.Generator | None
    ) -> Float[Tensor, "n 4 h//8 w//8"]:
        """Scaled latents, encoded one by one: the VAE needs more memory than the UNet."""
        vae, latents = self.vae, []
        for picture in pictures:
            latents.append(encode_pictures(vae, picture[None].to(vae.device, vae.dtype), draw))
            self._poll()
        return torch.cat(latents)

    def _hints(self, conditions: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h//8 w//8"]:
        net = self.pose_controlnet
        return torch.cat(
            [
                hint_features(self.networks, part.to(net.device, net.dtype))
                for part in torch.split(conditions, _HINTS_AT_ONCE)
            ]
        )


def _predicted_clean(scheduler: Any, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Latents without noise, predicted at timestep t (DDIM, Song et al. 2021, equation 12)."""
    signal_share = float(scheduler.alphas_cumprod[int(t)])
    clean: Tensor = (x - (1 - signal_share) ** 0.5 * noise) / signal_share**0.5
    return clean


def _batches(windows: Sequence[Window], at_once: int) -> Iterator[list[Window]]:
    """Batches of at most ``at_once`` consecutive windows of one length."""
    batch: list[Window] = []
    for window in windows:
        if batch and (len(batch) >= at_once or len(window.views) != len(batch[0].views)):
            yield batch
            batch = []
        batch.append(window)
    yield batch


def _draw_noise(
    shape: Sequence[int], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Noise drawn view by view, so that it does not depend on the number of views."""
    noise: Tensor = torch.cat(
        [
            randn_tensor((1, *shape[1:]), generator=generator, device=device, dtype=torch.float32)
            for _ in range(shape[0])
        ]
    )
    return noise


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse a number of steps that a sampler cannot take.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    leading = getattr(scheduler.config, "timestep_spacing", "") == "leading"
    if steps < 1 or steps > 1000 or (leading and (steps < 2 or steps > 500 or 1000 % steps)):
        raise Dp3dError(
            "engine.bad_option",
            f"This sampler cannot take {steps} steps.",
            "Give a divisor of 1000 up to 500, such as 20, 25, 50 or 100."
            if leading
            else "Give 1 to 1000 steps.",
        )


def _check_numbers(
    scheduler: Any, steps: int, interval: tuple[float, float], windows_at_once: int
) -> None:
    """Refuse a number of steps, guidance interval or batch that is out of range."""
    check_steps(scheduler, steps)
    if windows_at_once < 1 or not 0 <= interval[0] <= interval[1] <= 1:
        raise Dp3dError(
            "engine.bad_option",
            f"{windows_at_once} windows at once, guidance from {interval[0]:g} to {interval[1]:g}: "
            "that cannot be.",
            "Give at least one window, and an interval within 0 and 1.",
        )


def _check_pictures(
    references: Tensor, conditions: Tensor, start: Tensor | None, latents: Tensor | None
) -> int:
    """Refuse pictures that the networks cannot take; returns the number of views."""

    def bad_input(problem: str, remedy: str) -> Dp3dError:
        return Dp3dError("engine.bad_input", problem, remedy)

    if not 1 <= len(references) <= MOST_REFERENCES:
        raise bad_input(
            f"{len(references)} portraits were given.", f"Give 1 to {MOST_REFERENCES} portraits."
        )
    if not len(conditions):
        raise bad_input(
            "There are no condition images.",
            "Give one for each camera, or let the preview engine make them.",
        )
    if start is not None and len(start) != len(conditions):
        raise bad_input(
            f"There are {len(start)} start images for {len(conditions)} condition images.",
            "Give one start image for each view, or none at all.",
        )
    for name, pictures in (
        ("portrait", references),
        ("condition image", conditions),
        ("start image", start),
    ):
        if pictures is None:
            continue
        height, width = pictures.shape[-2:]
        if pictures.ndim != 4 or pictures.shape[1] != 3 or height % SIZE_STEP or width % SIZE_STEP:
            raise bad_input(
                f"A {name} of {width} x {height} pixels does not fit the networks.",
                f"Give colour pictures whose sides are multiples of {SIZE_STEP} pixels, "
                "512 as the networks were trained on.",
            )
        if not pictures.is_floating_point() or not bool(torch.isfinite(pictures).all()):
            raise bad_input(f"A {name} holds values that are no numbers.", "Make it again.")
        if float(pictures.abs().max()) > _MAX_COLOUR:
            raise bad_input(
                f"A {name} holds values up to {float(pictures.abs().max()):.0f}.",
                "Give colours from -1 (black) to 1 (white).",
            )
    for pictures in (references, start):
        if pictures is not None and pictures.shape[-2:] != conditions.shape[-2:]:
            raise bad_input(
                "Portraits, start images and condition images differ in size.",
                "Give all in the frames' size.",
            )
    height, width = conditions.shape[-2:]
    expected = (len(conditions), 4, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    if latents is not None and tuple(latents.shape) != expected:
        raise bad_input(
            f"The latents are {tuple(latents.shape)}, the views need {expected}.",
            "Give latents for each view, an eighth of its size.",
        )
    return len(conditions)
