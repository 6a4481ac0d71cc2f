"""One generation of views with the diffusion networks.

The portrait and further photos become references in the networks' framing, the template head the
condition images, and the preview engine's head the start images.  The pipeline's frames in the
networks' framing are resampled to the requested cameras.  DiffPortrait360 takes a back view as its
second reference: a photo, or one that it generates first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.cameras.camera import CANONICAL_FOCAL, CANONICAL_RADIUS, Camera
from dp3d_core.cameras.framing import network_camera, reframe, shown_by
from dp3d_core.cameras.trajectories import canonical_camera, closed_rings, is_closed
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import WINDOW, NetworkConfig, Variant
from dp3d_core.pipelines.loading import load_pipeline
from dp3d_core.pipelines.memory import MemoryPlan, compute_needs, plan_memory
from dp3d_core.pipelines.multi_view import MultiViewPipeline, check_steps
from dp3d_core.pipelines.options import MOST_REFERENCES, DiffusionOptions
from dp3d_core.pipelines.photos import (
    ChosenPhotos,
    choose_photos,
    on_background,
    reference_picture,
)
from dp3d_core.pipelines.samplers import get_sampler
from dp3d_core.pipelines.user_pictures import UserPictures, read_user_pictures
from dp3d_core.pipelines.windows import Window, plan_windows
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.storage.files import write_atomic
from dp3d_core.viewsets.viewset import encode_png
from dp3d_core.weights.installed import require_weights
from dp3d_core.weights.requirements import find_device

if TYPE_CHECKING:
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.preview.further.photos import PhotoUse
    from dp3d_core.preview.head import PreviewHead


LATENT_PREVIEW = "denoising.png"
"""File in the output folder during denoising: the predicted clean picture of the first view."""
_PREVIEW_COUNT = 6
"""Previews that are written during denoising."""
_FRONT_DEG = 75.0
"""Angle from the face, degrees, beyond which DiffPortrait3D had hardly any training pictures."""
_BEHIND_DEG = 5.0
"""Largest angle from straight behind, degrees, of a user's condition image for the back view."""
_LEAST_SHOWN = 0.97
"""Valid share of a frame's pixels below which the views get a warning."""
_PROBE_SIDE = 64
"""Longer side of the frames that the valid share is measured at, pixels."""
_SINGLE_VIEW = (Window((0,), (1.0,)),)
"""Windows of a single view."""


def check_options(options: DiffusionOptions) -> None:
    """Refuse combinations of values; ``engines.options.parse_options`` checks each value.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    sampler = get_sampler(options.sampler)
    check_steps(sampler.scheduler, options.steps or sampler.steps)
    plan_windows(WINDOW + 1, WINDOW, mode=options.windows, overlap=options.overlap)
    if options.guidance_from > options.guidance_to:
        raise Dp3dError(
            "engine.bad_option",
            f"Guidance from {options.guidance_from:g} to {options.guidance_to:g} of the steps "
            "cannot be.",
            "Give an interval within 0 and 1.",
        )


@dataclass(frozen=True)
class GenerationRequest:
    """Portrait, cameras, options and seed of one generation."""

    variants: tuple[Variant, ...]
    """Weights of the views, followed by those of the back view if the engine generates one."""
    eg3d: bool
    """Whether the networks use EG3D's framing, else PanoHead's."""
    portrait: Portrait
    cameras: tuple[Camera, ...]
    options: DiffusionOptions
    user_pictures: UserPictures
    seed: int

    def network_camera(self, camera: Camera) -> Camera:
        """Camera of the networks' framing at the position of ``camera``."""
        return network_camera(camera, self.options.size, self.eg3d)

    @cached_property
    def background(self) -> tuple[int, int, int]:
        """Background colour of frames and start images, 8 bit RGB."""
        return self.portrait.background_colour()

    @property
    def dtype(self) -> str:
        """Name of the floating point type that the networks compute in."""
        if self.options.dtype != "auto":
            return self.options.dtype
        return "float32" if find_device(self.options.device).type == "cpu" else "float16"

    def windows(self, config: NetworkConfig) -> list[Window]:
        """Windows over the cameras; no window crosses from one closed ring to another."""
        return [
            window.moved(ring.start)
            for ring in closed_rings(self.cameras)
            for window in plan_windows(
                len(ring),
                config.window,
                mode=self.options.windows,
                overlap=min(self.options.overlap, config.window - 1),
                closed=is_closed(self.cameras[ring.start : ring.stop]),
            )
        ]


def view_warnings(request: GenerationRequest) -> list[str]:
    """Warnings about the requested views: cameras outside the networks' framing or training."""
    warnings = []
    shares = []
    for camera in request.cameras:
        factor = _PROBE_SIDE / max(camera.width, camera.height)
        small = camera.resized(
            max(1, round(camera.width * factor)), max(1, round(camera.height * factor))
        )
        shares.append(float(shown_by(request.network_camera(camera), small).mean()))
    if min(shares) < _LEAST_SHOWN:
        warnings.append(
            f"The networks show {min(shares):.0%} to {max(shares):.0%} of these frames, the rest "
            "stays empty and counts as unknown in a fit. They see the head through a lens of "
            f"{CANONICAL_FOCAL:.2f} picture widths at {CANONICAL_RADIUS:g} head units"
            f"{', a little closer' if request.eg3d else ''}: take a longer lens, or aim at the "
            "face."
        )
    if request.eg3d:
        aside = sum(
            1
            for camera in request.cameras
            if camera.position[2] < np.cos(np.radians(_FRONT_DEG)) * np.linalg.norm(camera.position)
        )
        if aside:
            warnings.append(
                f"{aside} of {len(request.cameras)} cameras look from more than {_FRONT_DEG:g} "
                "degrees off the face, where DiffPortrait3D was hardly trained. Take "
                "diffportrait360 for them."
            )
    return warnings


class Generation:
    """Runs one request.

    Args:
        request: portrait, cameras, options and seed.
        out: folder of the view set; previews of the denoising are written there.
        progress: stages ``head``, ``conditions``, ``load``, ``back view``, ``denoise``.
        cancel: polled within each step.

    """

    def __init__(
        self, request: GenerationRequest, out: Path, progress: ProgressCallback, cancel: CancelCheck
    ) -> None:
        self.request, self.out, self.progress, self.cancel = request, out, progress, cancel
        self.portrait, self.options = request.portrait, request.options
        self.cameras = [request.network_camera(camera) for camera in request.cameras]
        self.background = request.background
        self.device = find_device(request.options.device)
        self.dtype: torch.dtype = getattr(torch, request.dtype)
        self._head: PreviewHead | None = None
        views, *behind = request.variants
        # known before the photos are placed: those that are left out count as well
        references = min(MOST_REFERENCES, 1 + len(behind) + len(self.portrait.references))
        windows = request.windows(require_weights(views).config)
        self._plans = {views: self._plan(views, len(request.cameras), references, windows)}
        self._plans |= {variant: self._plan(variant, 1, 1, _SINGLE_VIEW) for variant in behind}
        self._user_conditions = self._user_pictures(
            request.user_pictures.conditions, "condition images"
        )
        self._user_start = self._user_pictures(request.user_pictures.start, "start images")

    @property
    def head(self) -> PreviewHead:
        """The preview engine's head, fitted when it is first used for start images or masks."""
        if self._head is None:
            from dp3d_core.preview.kept_heads import fitted_head

            self._head = fitted_head(
                self.portrait, self.request.seed, progress=self.progress, cancel=self.cancel
            )
        return self._head

    @cached_property
    def photos(self) -> tuple[PhotoUse, ...]:
        """Further photos of the person, placed on the preview engine's head."""
        return self.head.photos if self.portrait.references else ()

    @cached_property
    def chosen(self) -> ChosenPhotos:
        """The photos that become references."""
        back_view = len(self.request.variants) > 1
        return choose_photos(self.portrait.camera, self.photos, back_view=back_view)

    def frames(self) -> list[Pixels]:
        """Generated pictures in the networks' framing, (size, size, 3) each, one per camera."""
        views, *behind = self.request.variants
        conditions = self._conditions()
        start = self._start()
        references = self._references()
        if behind and not self.chosen.shows_back:
            references.insert(1, self._back_view(behind[0], references[0], conditions))
        return self._sample(views, references, conditions, start, "denoise")

    def finish(self, picture: Pixels, index: int) -> tuple[Pixels, Pixels, Mask]:
        """Frame, mask and valid mask of the requested camera from a generated picture."""
        camera, wanted = self.cameras[index], self.request.cameras[index]
        mask = self._outline(picture, camera)
        valid = shown_by(camera, wanted)
        reframed = reframe(picture, camera, wanted)
        reframed[~valid] = self.background
        return reframed, reframe(mask, camera, wanted) * valid, valid

    def _outline(self, picture: Pixels, camera: Camera) -> Pixels:
        """(h, w) alpha of a picture by the segmenter, or of the preview head if that is unsure."""
        from dp3d_core.portraits.matting import LEAST_CONFIDENCE, find_matte

        matte, confidence = find_matte(picture)
        return matte if confidence > LEAST_CONFIDENCE else self.head.render(camera).mask

    def _references(self) -> list[Pixels]:
        """Pictures of the chosen photos, the portrait's first."""
        photos = [self.portrait]
        for index in self.chosen.references:
            reference = self.portrait.references[index]
            photo = self.photos[index].portrait(reference, self.head.caster)
            photos.append(on_background(photo, self.background))
        return [
            reference_picture(photo, self.request.network_camera(photo.camera)) for photo in photos
        ]

    def _conditions(self) -> list[Pixels]:
        if self._user_conditions is not None:
            return self._user_conditions
        return self._rendered_conditions(self.cameras)

    def _user_pictures(self, folder: Path | None, what: str) -> list[Pixels] | None:
        if folder is None:
            return None
        return read_user_pictures(folder, what, len(self.cameras), self.options.size, self.cancel)

    def _rendered_conditions(self, cameras: Sequence[Camera]) -> list[Pixels]:
        from dp3d_core.synthetic.rendering import condition_image

        stage = Stage(
            "conditions", len(cameras), self.progress, self.cancel, "Rendering condition images"
        )
        images = []
        for camera in cameras:
            images.append(condition_image(camera))
            stage.advance()
        return images

    def _start(self) -> list[Pixels] | None:
        if self._user_start is not None:
            return self._user_start
        if self.options.start == "noise":
            return None
        return [self.head.render(c).composite(self.background) for c in self.cameras]

    def _back_view(self, variant: Variant, front: Pixels, conditions: Sequence[Pixels]) -> Pixels:
        """The back view; its condition image is the user's if one of them is from behind."""
        degrees_from_behind = [
            float(np.degrees(np.arccos(-c.position[2] / np.linalg.norm(c.position))))
            for c in self.cameras
        ]
        nearest = int(np.argmin(degrees_from_behind))
        if self._user_conditions is not None and degrees_from_behind[nearest] <= _BEHIND_DEG:
            condition = conditions[nearest]
        else:
            behind = canonical_camera(180.0, 0.0, self.options.size)
            condition = self._rendered_conditions([behind])[0]
        return self._sample(variant, [front], [condition], None, "back view")[0]

    def _sample(
        self,
        variant: Variant,
        references: Sequence[Pixels],
        conditions: Sequence[Pixels],
        start: Sequence[Pixels] | None,
        stage_name: str,
    ) -> list[Pixels]:
        options = self.options
        check_cancel(self.cancel, "The generation")
        plan = self._plans[variant]
        loading = Stage("load", 1, self.progress, self.cancel, f"Loading {variant}")
        with _memory_errors(plan):
            pipeline = load_pipeline(variant, self.dtype, self.device)
        pipeline.set_progress_bar_config(disable=True)
        loading.advance(f"{variant} loaded")
        half = options.half_schedule and variant is not Variant.DIFFPORTRAIT3D
        sampler = get_sampler(options.sampler, half)
        pipeline.scheduler = sampler.scheduler
        steps = options.steps or sampler.steps
        stage = Stage(stage_name, steps, self.progress, self.cancel, "Denoising")
        out, preview_interval = self.out, max(1, round(steps / _PREVIEW_COUNT))

        def after_step(
            running: MultiViewPipeline, step: int, t: Any, tensors: dict[str, Any]
        ) -> dict[str, Any]:
            values: dict[str, Any] = {}
            if (step + 1) % preview_interval == 0 and step + 1 < steps:
                picture = running.decode(tensors["clean"]()[:1])
                write_atomic(out / LATENT_PREVIEW, encode_png(_pictures(picture)[0]))
                values["latent_preview"] = LATENT_PREVIEW
            stage.advance(f"Step {step + 1} of {steps}", **values)  # raises Cancelled on request
            return {}

        output = self._run_reporting_errors(
            plan,
            pipeline,
            _tensor(references),
            _tensor(conditions),
            None if start is None else _tensor(start),
            num_inference_steps=steps,
            guidance_scale=options.guidance,
            guidance_interval=(options.guidance_from, options.guidance_to),
            eta=sampler.eta,
            windows=plan.windows,
            windows_at_once=plan.windows_at_once,
            device=self.device,
            offload=plan.offload,
            generator=torch.Generator().manual_seed(self.request.seed),
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=("clean",),
            poll=lambda: check_cancel(self.cancel, "The generation"),
        )
        del pipeline
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        assert output.images is not None
        return _pictures(output.images)

    def _run_reporting_errors(
        self, plan: MemoryPlan, pipeline: MultiViewPipeline, *args: Any, **kwargs: Any
    ) -> Any:
        """Run the pipeline with errors as :func:`_memory_errors`; remove the preview afterwards."""
        try:
            with _memory_errors(plan):
                if not plan.offload:
                    pipeline.to(self.device)
                return pipeline(*args, **kwargs)
        finally:
            (self.out / LATENT_PREVIEW).unlink(missing_ok=True)

    def _plan(
        self, variant: Variant, views: int, references: int, windows: Sequence[Window]
    ) -> MemoryPlan:
        """Windows at once and offload within the allowed memory; nothing is loaded."""
        options, config = self.options, require_weights(variant).config
        needs = compute_needs(config, options.size, views, references, self.dtype)
        budget = int(options.max_vram_gb * 1e9) or None
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            budget = free if budget is None else min(budget, free)
        return plan_memory(needs, windows, budget)


@contextmanager
def _memory_errors(plan: MemoryPlan) -> Iterator[None]:
    """Turn torch's out-of-memory error into ``engine.too_little_memory``."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Dp3dError(
            "engine.too_little_memory",
            f"The device ran out of memory; {plan.peak / 1e9:.1f} GB had been computed.",
            "Close what else uses it, or set the option max_vram_gb below what is free.",
            str(error),
        ) from error


def _tensor(pictures: Sequence[Pixels]) -> torch.Tensor:
    """(n, 3, h, w) float32, -1 to 1, of (h, w, 3) uint8 pictures."""
    stacked = rearrange(torch.from_numpy(np.stack(pictures)), "v h w c -> v c h w")
    return stacked.float() / 127.5 - 1


def _pictures(tensor: torch.Tensor) -> list[Pixels]:
    """(h, w, 3) uint8 pictures of (n, 3, h, w), 0 to 1."""
    frames = rearrange((tensor * 255).round().byte(), "v c h w -> v h w c").numpy()
    return [np.ascontiguousarray(picture) for picture in frames]
