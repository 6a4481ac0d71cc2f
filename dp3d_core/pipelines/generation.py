"""One generation with the diffusion networks.

portrait -> reference in the networks' framing; template head -> condition images; preview head ->
start images; pipeline -> frames in the networks' framing -> frames of the cameras that were asked
for.  DiffPortrait360 generates the back view first and takes it as a second reference.
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
from dp3d_core.models.config import NetworkConfig, Variant
from dp3d_core.pipelines.loading import load_pipeline
from dp3d_core.pipelines.memory import MemoryPlan, compute_needs, plan_memory
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.pipelines.samplers import get_sampler
from dp3d_core.pipelines.user_pictures import GivenPictures, read_given
from dp3d_core.pipelines.windows import Window, plan_windows
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.storage.files import write_atomic
from dp3d_core.viewsets.viewset import encode_png
from dp3d_core.weights.installed import require_weights
from dp3d_core.weights.requirements import find_device

if TYPE_CHECKING:
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.preview.head import PreviewHead


LATENT_PREVIEW = "denoising.png"
"""Beside the frames while they are denoised: what the first view is expected to become."""
_PREVIEWS = 6
_FRONT_DEG = 75.0
"""Further aside DiffPortrait3D has seen next to no pictures."""
_BEHIND_DEG = 5.0
"""Degrees within which a given condition image serves as that of the back view."""
_MOSTLY = 0.97
"""Frames of which less is shown are worth a warning."""
_PROBE = 64
_ONE = (Window((0,), (1.0,)),)
"""For a single view."""


@dataclass(frozen=True)
class GenerationRequest:
    """Portrait, cameras, options and seed of one generation."""

    variants: tuple[Variant, ...]
    """Networks of the views, and of the back view where there is one."""
    eg3d: bool
    """Framed as EG3D does, not as PanoHead."""
    portrait: Portrait
    cameras: tuple[Camera, ...]
    chosen: DiffusionOptions
    given: GivenPictures
    seed: int

    def network_camera(self, camera: Camera) -> Camera:
        """What the networks see from the place of a camera."""
        return network_camera(camera, self.chosen.size, self.eg3d)

    @cached_property
    def background(self) -> tuple[int, int, int]:
        """Colour where nothing is generated, and that start images are laid over."""
        return self.portrait.background_colour()

    @property
    def dtype(self) -> str:
        """What the networks compute in."""
        if self.chosen.dtype != "auto":
            return self.chosen.dtype
        return "float32" if find_device(self.chosen.device).type == "cpu" else "float16"

    def windows(self, config: NetworkConfig) -> list[Window]:
        """Windows over the cameras; each closed ring of them has windows of its own."""
        return [
            window.moved(ring.start)
            for ring in closed_rings(self.cameras)
            for window in plan_windows(
                len(ring),
                config.window,
                mode=self.chosen.windows,
                overlap=min(self.chosen.overlap, config.window - 1),
                closed=is_closed(self.cameras[ring.start : ring.stop]),
            )
        ]


def view_warnings(request: GenerationRequest) -> list[str]:
    """What a person should know of the views before they are made, a sentence or two each."""
    found = []
    parts = []
    for camera in request.cameras:
        factor = _PROBE / max(camera.width, camera.height)
        small = camera.resized(
            max(1, round(camera.width * factor)), max(1, round(camera.height * factor))
        )
        parts.append(float(shown_by(request.network_camera(camera), small).mean()))
    if min(parts) < _MOSTLY:
        found.append(
            f"The networks show {min(parts):.0%} to {max(parts):.0%} of these frames, the rest "
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
            found.append(
                f"{aside} of {len(request.cameras)} cameras look from more than {_FRONT_DEG:g} "
                "degrees off the face, where DiffPortrait3D was hardly trained. Take "
                "diffportrait360 for them."
            )
    return found


class Generation:
    """Runs one request.

    Args:
        request: portrait, cameras, options and seed.
        out: folder of the view set; the picture of the state is written there.
        progress: stages ``head``, ``conditions``, ``load``, ``back view``, ``denoise``.
        cancel: polled within each step.

    """

    def __init__(
        self, request: GenerationRequest, out: Path, progress: ProgressCallback, cancel: CancelCheck
    ) -> None:
        self.request, self.out, self.progress, self.cancel = request, out, progress, cancel
        self.portrait, self.chosen = request.portrait, request.chosen
        self.cameras = [request.network_camera(camera) for camera in request.cameras]
        self.background = request.background
        self.device = find_device(request.chosen.device)
        self.dtype: torch.dtype = getattr(torch, request.dtype)
        self._head: PreviewHead | None = None
        views, *behind = request.variants
        references = 1 + len(behind)
        windows = request.windows(require_weights(views).config)
        self._plans = {views: self._plan(views, len(request.cameras), references, windows)}
        self._plans |= {variant: self._plan(variant, 1, 1, _ONE) for variant in behind}
        self._given_conditions = self._read(request.given.conditions, "condition images")
        self._given_start = self._read(request.given.start, "start images")

    @property
    def head(self) -> PreviewHead:
        """The preview engine's head: start images and outlines."""
        if self._head is None:
            from dp3d_core.preview.kept_heads import fitted_head

            self._head = fitted_head(
                self.portrait, self.request.seed, progress=self.progress, cancel=self.cancel
            )
        return self._head

    def frames(self) -> list[Pixels]:
        """One picture in the networks' framing for each camera."""
        views, *behind = self.request.variants
        conditions = self._conditions()
        start = self._start()
        references = [self._reference()]
        if behind:
            references.append(self._back_view(behind[0], references[0], conditions))
        return self._sample(views, references, conditions, start, "denoise")

    def finish(self, picture: Pixels, index: int) -> tuple[Pixels, Pixels, Mask]:
        """The picture as the camera that was asked for sees it, its outline, what is known."""
        camera, wanted = self.cameras[index], self.request.cameras[index]
        mask = self._outline(picture, camera)
        known = shown_by(camera, wanted)
        seen = reframe(picture, camera, wanted)
        seen[~known] = self.background
        return seen, reframe(mask, camera, wanted) * known, known

    def _outline(self, picture: Pixels, camera: Camera) -> Pixels:
        """Alpha of a generated picture: the segmenter's, else that of the preview's head."""
        from dp3d_core.portraits.matting import LEAST_CONFIDENCE, find_matte

        matte, confidence = find_matte(picture)
        return matte if confidence > LEAST_CONFIDENCE else self.head.render(camera).mask

    def _reference(self) -> Pixels:
        seen_by = self.portrait.camera
        return reframe(self.portrait.image, seen_by, self.request.network_camera(seen_by))

    def _conditions(self) -> list[Pixels]:
        if self._given_conditions is not None:
            return self._given_conditions
        return self._rendered_conditions(self.cameras)

    def _read(self, folder: Path | None, what: str) -> list[Pixels] | None:
        if folder is None:
            return None
        return read_given(folder, what, len(self.cameras), self.chosen.size, self.cancel)

    def _rendered_conditions(self, cameras: Sequence[Camera]) -> list[Pixels]:
        from dp3d_core.synthetic.rendering import condition_image

        stage = Stage(
            "conditions", len(cameras), self.progress, self.cancel, "Rendering condition images"
        )
        found = []
        for camera in cameras:
            found.append(condition_image(camera))
            stage.advance()
        return found

    def _start(self) -> list[Pixels] | None:
        if self._given_start is not None:
            return self._given_start
        if self.chosen.start == "noise":
            return None
        return [self.head.render(c).composite(self.background) for c in self.cameras]

    def _back_view(self, variant: Variant, front: Pixels, conditions: Sequence[Pixels]) -> Pixels:
        """The back of the head; its condition image is one of the given, if one is from behind."""
        away = [
            float(np.degrees(np.arccos(-c.position[2] / np.linalg.norm(c.position))))
            for c in self.cameras
        ]
        nearest = int(np.argmin(away))
        if self._given_conditions is not None and away[nearest] <= _BEHIND_DEG:
            condition = conditions[nearest]
        else:
            behind = canonical_camera(180.0, 0.0, self.chosen.size)
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
        chosen = self.chosen
        check_cancel(self.cancel, "The generation")
        plan = self._plans[variant]
        loading = Stage("load", 1, self.progress, self.cancel, f"Loading {variant}")
        with _memory_guard(plan):
            pipeline = load_pipeline(variant, self.dtype, self.device)
        pipeline.set_progress_bar_config(disable=True)
        loading.advance(f"{variant} loaded")
        half = chosen.half_schedule and variant is not Variant.DIFFPORTRAIT3D
        sampler = get_sampler(chosen.sampler, half)
        pipeline.scheduler = sampler.scheduler
        steps = chosen.steps or sampler.steps
        stage = Stage(stage_name, steps, self.progress, self.cancel, "Denoising")
        out, every = self.out, max(1, round(steps / _PREVIEWS))

        def after_step(
            made: MultiViewPipeline, step: int, t: Any, tensors: dict[str, Any]
        ) -> dict[str, Any]:
            values: dict[str, Any] = {}
            if (step + 1) % every == 0 and step + 1 < steps:
                picture = made.decode(tensors["clean"]()[:1])
                write_atomic(out / LATENT_PREVIEW, encode_png(_pictures(picture)[0]))
                values["latent_preview"] = LATENT_PREVIEW
            stage.advance(f"Step {step + 1} of {steps}", **values)  # raises when it is cancelled
            return {}

        found = self._guarded(
            plan,
            pipeline,
            _tensor(references),
            _tensor(conditions),
            None if start is None else _tensor(start),
            num_inference_steps=steps,
            guidance_scale=chosen.guidance,
            guidance_interval=(chosen.guidance_from, chosen.guidance_to),
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
        assert found.images is not None
        return _pictures(found.images)

    def _guarded(
        self, plan: MemoryPlan, pipeline: MultiViewPipeline, *given: Any, **more: Any
    ) -> Any:
        """Run the pipeline; a device that is full is told as what it is."""
        try:
            with _memory_guard(plan):
                if not plan.offload:
                    pipeline.to(self.device)
                return pipeline(*given, **more)
        finally:
            (self.out / LATENT_PREVIEW).unlink(missing_ok=True)

    def _plan(
        self, variant: Variant, views: int, references: int, windows: Sequence[Window]
    ) -> MemoryPlan:
        """Before anything is loaded: how the generation keeps within the memory allowed."""
        chosen, config = self.chosen, require_weights(variant).config
        needs = compute_needs(config, chosen.size, views, references, self.dtype)
        budget = int(chosen.max_vram_gb * 1e9) or None
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            budget = free if budget is None else min(budget, free)
        return plan_memory(needs, windows, budget)


@contextmanager
def _memory_guard(plan: MemoryPlan) -> Iterator[None]:
    """Raise ``engine.too_little_memory`` when the device is full."""
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
    """(n, 3, h, w) float32, -1 to 1."""
    stacked = rearrange(torch.from_numpy(np.stack(pictures)), "v h w c -> v c h w")
    return stacked.float() / 127.5 - 1


def _pictures(tensor: torch.Tensor) -> list[Pixels]:
    """(h, w, 3) uint8 each of (n, 3, h, w), 0 to 1."""
    found = rearrange((tensor * 255).round().byte(), "v c h w -> v h w c").numpy()
    return [np.ascontiguousarray(picture) for picture in found]
