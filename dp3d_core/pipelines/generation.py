"""One generation with the diffusion networks.

portrait -> reference in the networks' framing; template head -> condition images; preview head ->
start images; pipeline -> frames in the networks' framing -> frames of the cameras that were asked
for.  DiffPortrait360 generates the back view first and takes it as a second reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp3d_core.cameras import CANONICAL_FOCAL, CANONICAL_RADIUS, Camera
from dp3d_core.checkpoints.store import load_pipeline, require_weights
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.framing import network_camera, reframe, shown_by
from dp3d_core.models.config import NetworkConfig, Variant
from dp3d_core.models.packages import find_device
from dp3d_core.pipelines.given import GivenPictures, read_given
from dp3d_core.pipelines.memory import Plan, compute_needs, plan_memory
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.options import DiffusionOptions
from dp3d_core.pipelines.samplers import get_sampler
from dp3d_core.pipelines.windows import Window, plan_windows
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.trajectories import canonical_camera, closed_rings, is_closed
from dp3d_core.viewset import encode_png

if TYPE_CHECKING:
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.preview.engine import PreviewHead

Pixels = NDArray[np.uint8]

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
class Job:
    """What is asked for."""

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
        from dp3d_core.preview.engine import background_colour

        return background_colour(self.portrait)

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


def view_warnings(job: Job) -> list[str]:
    """What a person should know of the views before they are made, a sentence or two each."""
    found = []
    parts = []
    for camera in job.cameras:
        factor = _PROBE / max(camera.width, camera.height)
        small = camera.resized(
            max(1, round(camera.width * factor)), max(1, round(camera.height * factor))
        )
        parts.append(float(shown_by(job.network_camera(camera), small).mean()))
    if min(parts) < _MOSTLY:
        found.append(
            f"The networks show {min(parts):.0%} to {max(parts):.0%} of these frames, the rest "
            "stays empty and counts as unknown in a fit. They see the head through a lens of "
            f"{CANONICAL_FOCAL:.2f} picture widths at {CANONICAL_RADIUS:g} head units"
            f"{', a little closer' if job.eg3d else ''}: take a longer lens, or aim at the face."
        )
    if job.eg3d:
        aside = sum(
            1
            for camera in job.cameras
            if camera.position[2] < np.cos(np.radians(_FRONT_DEG)) * np.linalg.norm(camera.position)
        )
        if aside:
            found.append(
                f"{aside} of {len(job.cameras)} cameras look from more than {_FRONT_DEG:g} degrees "
                "off the face, where DiffPortrait3D was hardly trained. Take diffportrait360 for "
                "them."
            )
    return found


class Generation:
    """Runs a job.

    Args:
        job: what is asked for.
        out: folder of the view set; the picture of the state is written there.
        progress: stages ``head``, ``conditions``, ``load``, ``back view``, ``denoise``.
        cancel: polled within each step.

    """

    def __init__(
        self, job: Job, out: Path, progress: ProgressCallback, cancel: CancelCheck
    ) -> None:
        self.job, self.out, self.progress, self.cancel = job, out, progress, cancel
        self.portrait, self.chosen = job.portrait, job.chosen
        self.cameras = [job.network_camera(camera) for camera in job.cameras]
        self.background = job.background
        self.device = find_device(job.chosen.device)
        self.dtype: torch.dtype = getattr(torch, job.dtype)
        self._head: PreviewHead | None = None
        views, *behind = job.variants
        references = 1 + len(behind)
        windows = job.windows(require_weights(views).config)
        self._plans = {views: self._plan(views, len(job.cameras), references, windows)}
        self._plans |= {variant: self._plan(variant, 1, 1, _ONE) for variant in behind}
        self._given_conditions = self._read(job.given.conditions, "condition images")
        self._given_start = self._read(job.given.start, "start images")

    @property
    def head(self) -> PreviewHead:
        """The preview engine's head: start images and outlines."""
        if self._head is None:
            from dp3d_core.preview.engine import PreviewHead

            self._head = PreviewHead.fit(
                self.portrait, self.job.seed, progress=self.progress, cancel=self.cancel
            )
        return self._head

    def frames(self) -> list[Pixels]:
        """One picture in the networks' framing for each camera."""
        views, *behind = self.job.variants
        conditions = self._conditions()
        start = self._start()
        references = [self._reference()]
        if behind:
            references.append(self._back_view(behind[0], references[0], conditions))
        return self._sample(views, references, conditions, start, "denoise")

    def finish(self, picture: Pixels, index: int) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
        """The picture as the camera that was asked for sees it, its outline, what is known."""
        camera, wanted = self.cameras[index], self.job.cameras[index]
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
        return reframe(self.portrait.image, seen_by, self.job.network_camera(seen_by))

    def _conditions(self) -> list[Pixels]:
        if self._given_conditions is not None:
            return self._given_conditions
        return self._rendered_conditions(self.cameras)

    def _read(self, folder: Path | None, what: str) -> list[Pixels] | None:
        if folder is None:
            return None
        return read_given(folder, what, len(self.cameras), self.chosen.size)

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
        pipeline = load_pipeline(variant, self.dtype)
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
            generator=torch.Generator().manual_seed(self.job.seed),
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=("clean",),
            poll=lambda: check_cancel(self.cancel, "The generation"),
        )
        del pipeline
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        assert found.images is not None
        return _pictures(found.images)

    def _guarded(self, plan: Plan, pipeline: MultiViewPipeline, *given: Any, **more: Any) -> Any:
        """Run the pipeline; a device that is full is told as what it is."""
        try:
            if not plan.offload:
                pipeline.to(self.device)
            return pipeline(*given, **more)
        except torch.OutOfMemoryError as error:
            raise Dp3dError(
                "engine.too_little_memory",
                f"The device ran out of memory; {plan.peak / 1e9:.1f} GB had been computed.",
                "Close what else uses it, or set the option max_vram_gb below what is free.",
                str(error),
            ) from error
        finally:
            (self.out / LATENT_PREVIEW).unlink(missing_ok=True)

    def _plan(
        self, variant: Variant, views: int, references: int, windows: Sequence[Window]
    ) -> Plan:
        """Before anything is loaded: how the generation keeps within the memory allowed."""
        chosen, config = self.chosen, require_weights(variant).config
        needs = compute_needs(config, chosen.size, views, references, self.dtype)
        budget = int(chosen.max_vram_gb * 1e9) or None
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            budget = free if budget is None else min(budget, free)
        return plan_memory(needs, windows, budget)


def _tensor(pictures: Sequence[Pixels]) -> torch.Tensor:
    """(n, 3, h, w) float32, -1 to 1."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def _pictures(tensor: torch.Tensor) -> list[Pixels]:
    """(h, w, 3) uint8 each of (n, 3, h, w), 0 to 1."""
    found = (tensor * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [np.ascontiguousarray(picture) for picture in found]
