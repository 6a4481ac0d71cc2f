"""The diffusion engines behind ``engines.HeadViewEngine``.

portrait -> reference in the networks' framing; template head -> condition images; preview head ->
start images; pipeline -> frames in the networks' framing -> frames of the cameras that were asked
for.  DiffPortrait360 generates the back view first and takes it as a second reference.

torch is imported when views are generated, not when engines are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.engines import EngineInfo, describe_options, package_versions, parse_options
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.framing import network_camera, reframe, shown_by
from dp3d_core.models.config import Variant
from dp3d_core.models.packages import HOW, packages_problem, require_packages
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.viewset import ViewMeta, ViewSet, ViewSetWriter, encode_png

if TYPE_CHECKING:
    import torch

    from dp3d_core.checkpoints.store import Weights
    from dp3d_core.pipelines.memory import Plan
    from dp3d_core.pipelines.multi_view import MultiViewPipeline
    from dp3d_core.portrait import Portrait
    from dp3d_core.preview.engine import PreviewHead

Pixels = NDArray[np.uint8]

LATENT_PREVIEW = "denoising.png"
"""Beside the frames while they are denoised: what the first view is expected to become."""
_PREVIEWS = 6
_DTYPES = ("auto", "float32", "float16", "bfloat16")
_CLOSED = 1.1
"""A path is closed when its ends are no further apart than so many of its steps."""
_LEVEL = 0.05
"""Radians by which the pitch of both ends may differ."""


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of the diffusion engines."""

    sampler: str = "official"
    """official (50 steps), paper (100), fast or unipc (20)."""
    steps: int = 0
    """Steps of the sampler; 0: its own number."""
    guidance: float = 3.0
    """Guidance scale; 1 switches it off."""
    guidance_from: float = 0.0
    guidance_to: float = 1.0
    """Part of the steps in which guidance is used; outside of it a step takes half the time."""
    windows: str = "overlap"
    """overlap, or blocks as the published code."""
    overlap: int = 2
    """Views that neighbouring windows share."""
    start: str = "preview"
    """preview: 3D-consistent start images of the preview engine; noise: none."""
    size: int = 512
    """Width and height that the networks work at; a multiple of 64."""
    half_schedule: bool = False
    """Round the noise schedule where DiffPortrait360's code does, for comparisons with it."""
    device: str = "auto"
    """auto, cpu, cuda, mps ..."""
    dtype: str = "auto"
    """float32, float16, bfloat16; auto: float32 on a CPU, float16 elsewhere."""
    max_vram_gb: float = 0.0
    """Device memory that may be used, 10^9 bytes; 0: what is free on a CUDA device, elsewhere as
    much as it takes.  Decides how many windows go together and whether networks leave the device
    while they are idle."""


class DiffPortrait3DEngine:
    """DiffPortrait3D: views from the front, framed as EG3D does."""

    name: ClassVar[str] = "diffportrait3d"
    title: ClassVar[str] = "DiffPortrait3D: photo-real views from the front (official weights)"
    needs: ClassVar[tuple[Variant, ...]] = (Variant.DIFFPORTRAIT3D,)
    eg3d: ClassVar[bool] = True

    def info(self) -> EngineInfo:
        """Describe the engine."""
        problem = self._problem()
        return EngineInfo(
            self.name, self.title, problem is None, problem, describe_options(DiffusionOptions())
        )

    def _problem(self) -> str | None:
        from dp3d_core.checkpoints.store import find_weights, how

        if (problem := packages_problem()) is not None:
            return f"{problem} {HOW}"
        try:
            absent = [variant for variant in self.needs if find_weights(variant) is None]
        except Dp3dError as error:
            return f"{error.problem} {error.remedy}"
        return " ".join(how(variant) for variant in absent) or None

    def generate(
        self,
        portrait: Portrait,
        cameras: Sequence[Camera],
        options: Mapping[str, Any],
        *,
        out: Path,
        seed: int = 0,
        progress: ProgressCallback,
        cancel: CancelCheck,
    ) -> ViewSet:
        """Generate the views (contract: :meth:`dp3d_core.engines.HeadViewEngine.generate`).

        All views are denoised together, so an interrupted run starts again; finished frames of a
        run that ended while writing are kept.

        Raises:
            Dp3dError: also ``engine.packages_missing``, ``weights.missing``, ``weights.damaged``,
                ``engine.bad_option``.

        """
        from dp3d_core.checkpoints.store import require_weights

        require_packages()
        chosen = parse_options(DiffusionOptions, options)
        _check(chosen)
        weights = [require_weights(variant) for variant in self.needs]
        writer = ViewSetWriter(out, cameras, self._meta(portrait, chosen, weights, seed))
        missing = writer.missing()
        if not missing:
            return writer.finish()
        run = _Run(self, portrait, cameras, chosen, out, seed, progress, cancel)
        frames = run.frames()
        done = len(cameras) - len(missing)
        stage = Stage("views", len(cameras), progress, cancel, "Writing views", start=done)
        for index in missing:
            picture, mask = run.finish(frames[index], index, cameras[index])
            path = writer.write(index, picture, mask)
            stage.advance(f"View {index + 1}", file=f"frames/{path.name}", index=index)
        return writer.finish()

    def _meta(
        self,
        portrait: Portrait,
        chosen: DiffusionOptions,
        weights: Sequence[Weights],
        seed: int,
    ) -> ViewMeta:
        return ViewMeta(
            engine=self.name,
            seed=seed,
            parameters={
                **asdict(chosen),
                **portrait.report.place,
                "weights": {str(w.config.variant): w.source_sha256 for w in weights},
            },
            portrait_sha256=portrait.sha256,
            weights_sha256=weights[0].source_sha256,
            versions=package_versions("torch", "diffusers", "transformers"),
        )


class DiffPortrait360Engine(DiffPortrait3DEngine):
    """DiffPortrait360: the whole orbit, with a back view that is generated first."""

    name: ClassVar[str] = "diffportrait360"
    title: ClassVar[str] = "DiffPortrait360: photo-real views from all around (official weights)"
    needs: ClassVar[tuple[Variant, ...]] = (Variant.DIFFPORTRAIT360, Variant.BACK_VIEW)
    eg3d: ClassVar[bool] = False


def is_closed(cameras: Sequence[Camera]) -> bool:
    """Whether the last camera stands beside the first, as on an orbit."""
    places = np.array([camera.position for camera in cameras])
    if len(places) < 4:
        return False
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    gap = float(np.linalg.norm(places[-1] - places[0]))
    heights = np.radians([camera.yaw_pitch_deg[1] for camera in cameras])
    # rings above each other: the end of the last is not beside the start of the first
    level = abs(heights[-1] - heights[0]) <= max(_LEVEL, float(np.abs(np.diff(heights)).max()))
    travelled = float(steps.max()) > 0 and len(np.unique(places.round(6), axis=0)) > 3
    return bool(travelled and level and gap <= _CLOSED * float(np.median(steps)))


def _check(chosen: DiffusionOptions) -> None:
    """Refuse options before anything is loaded."""
    from dp3d_core.pipelines.multi_view import SIZE_STEP, check_steps
    from dp3d_core.pipelines.samplers import get_sampler
    from dp3d_core.pipelines.windows import plan_windows

    sampler = get_sampler(chosen.sampler)
    check_steps(sampler.scheduler, chosen.steps or sampler.steps)
    plan_windows(9, 8, mode=chosen.windows, overlap=chosen.overlap)
    for wrong, problem, remedy in (
        (
            chosen.start not in {"preview", "noise"},
            f"There are no start images {chosen.start!r}.",
            "Choose preview or noise.",
        ),
        (
            chosen.size < SIZE_STEP or chosen.size % SIZE_STEP or chosen.size > 2048,
            f"The networks cannot work at {chosen.size} pixels.",
            f"Give a multiple of {SIZE_STEP}; they were trained at 512.",
        ),
        (
            chosen.max_vram_gb < 0,
            f"Memory of {chosen.max_vram_gb:g} GB is out of range.",
            "Give gigabytes, or 0 for as much as it takes.",
        ),
        (
            not 0 <= chosen.guidance_from <= chosen.guidance_to <= 1,
            f"Guidance from {chosen.guidance_from:g} to {chosen.guidance_to:g} of the steps "
            "cannot be.",
            "Give an interval within 0 and 1.",
        ),
        (
            chosen.dtype not in _DTYPES,
            f"The networks cannot compute in {chosen.dtype!r}.",
            f"Choose one of: {', '.join(_DTYPES)}.",
        ),
        (
            not 0 <= chosen.guidance <= 50,
            f"Guidance {chosen.guidance:g} is out of range.",
            "Give a number from 0 to 50; the models were published with 3.",
        ),
    ):
        if wrong:
            raise Dp3dError("engine.bad_option", problem, remedy)


class _Run:
    """One generation."""

    def __init__(
        self,
        engine: DiffPortrait3DEngine,
        portrait: Portrait,
        cameras: Sequence[Camera],
        chosen: DiffusionOptions,
        out: Path,
        seed: int,
        progress: ProgressCallback,
        cancel: CancelCheck,
    ) -> None:
        import torch

        from dp3d_core.preview.engine import background_colour

        self.engine, self.portrait, self.chosen, self.seed = engine, portrait, chosen, seed
        self.out, self.progress, self.cancel = Path(out), progress, cancel
        self.cameras = [network_camera(c, chosen.size, engine.eg3d) for c in cameras]
        self.closed = is_closed(cameras)
        self.background = background_colour(portrait)
        self.device = _device(chosen.device)
        on_cpu = self.device.type == "cpu"
        name = ("float32" if on_cpu else "float16") if chosen.dtype == "auto" else chosen.dtype
        self.dtype: torch.dtype = getattr(torch, name)
        self._head: PreviewHead | None = None

    @property
    def head(self) -> PreviewHead:
        """The preview engine's head: start images and outlines."""
        if self._head is None:
            from dp3d_core.preview.engine import PreviewHead

            setup = Stage("head", 1, self.progress, self.cancel, "Fitting the head to the photo")
            self._head = PreviewHead(self.portrait, self.seed)
            setup.advance("Head fitted")
        return self._head

    def frames(self) -> list[Pixels]:
        """One picture in the networks' framing for each camera."""
        references = [self._reference()]
        if Variant.BACK_VIEW in self.engine.needs:
            references.append(self._back_view(references[0]))
        conditions = self._conditions(self.cameras)
        start = None
        if self.chosen.start == "preview":
            start = [self.head.render(c).composite(self.background) for c in self.cameras]
        return self._sample(self.engine.needs[0], references, conditions, start, "denoise")

    def finish(self, picture: Pixels, index: int, wanted: Camera) -> tuple[Pixels, Pixels]:
        """The picture as the camera that was asked for sees it, and its outline."""
        camera = self.cameras[index]
        mask = self._outline(picture, camera)
        shown = shown_by(camera, wanted)
        seen = reframe(picture, camera, wanted)
        seen[~shown] = self.background
        return seen, reframe(mask, camera, wanted) * shown

    def _outline(self, picture: Pixels, camera: Camera) -> Pixels:
        """Alpha of a generated picture: the segmenter's, else that of the preview's head."""
        from dp3d_core.matting import find_matte

        matte, _, source = find_matte(picture)
        return matte if source == "segmenter" else self.head.render(camera).mask

    def _reference(self) -> Pixels:
        seen_by = self.portrait.camera
        return reframe(
            self.portrait.image,
            seen_by,
            network_camera(seen_by, self.chosen.size, self.engine.eg3d),
        )

    def _back_view(self, front: Pixels) -> Pixels:
        from dp3d_core.trajectories import canonical_camera

        behind = canonical_camera(180.0, 0.0, self.chosen.size)
        conditions = self._conditions([behind])
        return self._sample(Variant.BACK_VIEW, [front], conditions, None, "back view")[0]

    def _conditions(self, cameras: Sequence[Camera]) -> list[Pixels]:
        from dp3d_core.heads.synth import condition_image

        stage = Stage(
            "conditions", len(cameras), self.progress, self.cancel, "Rendering condition images"
        )
        found = []
        for camera in cameras:
            found.append(condition_image(camera))
            stage.advance()
        return found

    def _sample(
        self,
        variant: Variant,
        references: Sequence[Pixels],
        conditions: Sequence[Pixels],
        start: Sequence[Pixels] | None,
        stage_name: str,
    ) -> list[Pixels]:
        import torch

        from dp3d_core.checkpoints.store import load_pipeline
        from dp3d_core.pipelines.samplers import get_sampler

        chosen = self.chosen
        check_cancel(self.cancel, "The generation")
        plan = self._plan(variant, len(conditions), len(references))
        loading = Stage("load", 1, self.progress, self.cancel, f"Loading {variant}")
        pipeline = load_pipeline(variant, self.dtype)
        if not plan.offload:
            pipeline.to(self.device)
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
            mode=chosen.windows,
            overlap=chosen.overlap,
            closed=self.closed and len(conditions) > 1,
            windows_at_once=plan.windows_at_once,
            device=self.device,
            offload=plan.offload,
            generator=torch.Generator().manual_seed(self.seed),
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=("clean",),
            poll=lambda: check_cancel(self.cancel, "The generation"),
        )
        del pipeline
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        assert found.images is not None
        (out / LATENT_PREVIEW).unlink(missing_ok=True)
        return _pictures(found.images)

    def _guarded(self, plan: Plan, pipeline: MultiViewPipeline, *given: Any, **more: Any) -> Any:
        """Run the pipeline; a device that is full is told as what it is."""
        import torch

        try:
            return pipeline(*given, **more)
        except torch.OutOfMemoryError as error:
            raise Dp3dError(
                "engine.too_little_memory",
                f"The device ran out of memory; {plan.peak / 1e9:.1f} GB had been computed.",
                "Close what else uses it, or set the option max_vram_gb below what is free.",
                str(error),
            ) from error

    def _plan(self, variant: Variant, views: int, references: int) -> Plan:
        """Before anything is loaded: how the generation keeps within the memory allowed."""
        from dp3d_core.checkpoints.store import require_weights
        from dp3d_core.pipelines.memory import compute_needs, plan_memory
        from dp3d_core.pipelines.windows import plan_windows

        chosen, config = self.chosen, require_weights(variant).config
        needs = compute_needs(config, chosen.size, views, references, self.dtype)
        windows = plan_windows(
            views,
            config.window,
            mode=chosen.windows,
            overlap=min(chosen.overlap, config.window - 1),
            closed=self.closed and views > 1,
        )
        budget = int(chosen.max_vram_gb * 1e9) or None
        if budget is None and self.device.type == "cuda":
            import torch

            budget = torch.cuda.mem_get_info(self.device)[0]  # what is free
        return plan_memory(needs, len(windows), budget)


def _tensor(pictures: Sequence[Pixels]) -> torch.Tensor:
    """(n, 3, h, w) float32, -1 to 1."""
    import torch

    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def _pictures(tensor: torch.Tensor) -> list[Pixels]:
    """(h, w, 3) uint8 each of (n, 3, h, w), 0 to 1."""
    found = (tensor * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [np.ascontiguousarray(picture) for picture in found]


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no device {name!r} here.",
            "Choose auto or cpu, or check the driver of the GPU.",
            str(error),
        ) from error
    return device
