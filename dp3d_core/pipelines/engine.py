"""The diffusion engines, implementations of ``engines.protocol.HeadViewEngine``.

``generation`` turns a portrait into views; an engine checks options and weights, and writes the
view set.  torch is imported when views are generated, not when engines are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.framing import network_camera
from dp3d_core.cameras.trajectories import neighbours
from dp3d_core.engines.options import parse_options
from dp3d_core.engines.photos import photo_parameters, photo_records, photo_warnings
from dp3d_core.engines.protocol import EngineInfo
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.packages import package_versions
from dp3d_core.pipelines.options import MOST_REFERENCES, DiffusionOptions
from dp3d_core.pipelines.user_pictures import UserPictures
from dp3d_core.pipelines.windows import window_edges
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.viewsets.viewset import VIEWSET_MARKER, ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from dp3d_core.weights.requirements import HOW, older_import_refusal, packages_problem

if TYPE_CHECKING:
    from dp3d_core.pipelines.generation import GenerationRequest
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.weights.installed import Weights


_RUN_OPTIONS = ("device", "max_vram_gb")
"""Options that do not affect the views: a run may be resumed with other values."""


class DiffPortrait3DEngine:
    """DiffPortrait3D: views from the front, in EG3D's framing."""

    name: ClassVar[str] = "diffportrait3d"
    title: ClassVar[str] = "DiffPortrait3D: photo-real views from the front (official weights)"
    needs: ClassVar[tuple[Variant, ...]] = (Variant.DIFFPORTRAIT3D,)
    eg3d: ClassVar[bool] = True

    def __init__(self, user_pictures: UserPictures | None = None) -> None:
        self.user_pictures = user_pictures or UserPictures()

    def with_pictures(self, conditions: Path | None, start: Path | None) -> Self:
        """An engine that takes condition and start images from folders, see ``UserPictures``."""
        return type(self)(UserPictures(conditions, start))

    def own_lens(self, camera: Camera) -> Camera:
        """Camera of the networks' framing at the position of ``camera``."""
        return network_camera(camera, camera.width, self.eg3d)

    def info(self) -> EngineInfo:
        """Describe the engine."""
        return EngineInfo.of(
            self.name, self.title, self._refusal(), DiffusionOptions(), MOST_REFERENCES
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse missing packages or weights and bad options, see ``HeadViewEngine.check``."""
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        parse_options(DiffusionOptions, options)

    def _refusal(self) -> Dp3dError | None:
        """The error that keeps the engine from running, or None; imports none of its packages."""
        from dp3d_core.weights.installed import find_weights, how

        if (problem := packages_problem()) is not None:
            return Dp3dError("engine.packages_missing", problem, HOW)
        try:
            weights = {variant: find_weights(variant) for variant in self.needs}
        except Dp3dError as error:
            return error
        absent = [variant for variant, present in weights.items() if present is None]
        if not absent:
            refusals = (older_import_refusal(present) for present in weights.values() if present)
            return next((refusal for refusal in refusals if refusal is not None), None)
        return Dp3dError(
            "weights.missing",
            f"The weights {' and '.join(absent)} are not installed.",
            " ".join(how(variant) for variant in absent),
        )

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
        """Generate the views, see ``HeadViewEngine.generate``.

        All views are denoised together, so a run that was interrupted before writing starts again.
        One that was interrupted while writing keeps its finished frames.

        Raises:
            Dp3dError: also ``engine.packages_missing``, ``weights.missing``, ``weights.damaged``,
                ``engine.bad_option``, ``engine.bad_input``.

        """
        self.check(options)  # the imports below need the packages
        from dp3d_core.pipelines.generation import (
            Generation,
            GenerationRequest,
            check_options,
            view_warnings,
        )
        from dp3d_core.weights.installed import require_weights

        parsed = parse_options(DiffusionOptions, options)
        check_options(parsed)
        weights = [require_weights(variant) for variant in self.needs]
        if not cameras:
            raise Dp3dError("camera.invalid", "There are no cameras.", "Give one at least.")
        request = GenerationRequest(
            self.needs, self.eg3d, portrait, tuple(cameras), parsed, self.user_pictures, seed
        )
        meta = self._meta(request, weights, view_warnings(request))
        if (Path(out) / VIEWSET_MARKER).is_file():  # resume: all frames may be written already
            views_so_far = ViewSetWriter(out, cameras, meta, rgba=True)
            if not views_so_far.missing():
                return views_so_far.finish()
        # bad requests are refused before the folder is made
        run = Generation(request, Path(out), progress, cancel)
        writer = ViewSetWriter(out, cameras, meta, rgba=True)
        missing = writer.missing()
        if portrait.references:
            photos = photo_records(portrait, run.chosen.uses)
            writer.amend({}, [*meta.warnings, *photo_warnings(photos)], photos)
        frames = run.frames()
        done = len(cameras) - len(missing)
        stage = Stage("views", len(cameras), progress, cancel, "Writing views", start=done)
        for index in missing:
            path = writer.write(index, *run.finish(frames[index], index))
            stage.advance(f"View {index + 1}", file=f"frames/{path.name}", index=index)
        return writer.finish()

    def _meta(
        self, request: GenerationRequest, weights: Sequence[Weights], warnings: list[str]
    ) -> ViewMeta:
        windows = request.windows(weights[0].config)
        edges = window_edges(windows, neighbours(request.cameras))
        values = asdict(request.options)
        encoders = (
            ["transformers"] if any(imported.holds_text_encoder for imported in weights) else []
        )
        return ViewMeta(
            engine=self.name,
            approximate_poses=True,
            seed=request.seed,
            parameters={
                **{name: value for name, value in values.items() if name not in _RUN_OPTIONS},
                "dtype": request.dtype,
                **request.user_pictures.fingerprint(),
                **request.portrait.report.pose_parameters(),
                **photo_parameters(request.portrait),
                "window_edges": [list(pair) for pair in edges],
                "weights": {
                    str(imported.config.variant): imported.source_sha256 for imported in weights
                },
            },
            background=request.background,
            portrait_sha256=request.portrait.sha256,
            weights_sha256=weights[0].source_sha256,
            versions=package_versions("torch", "diffusers", *encoders),
            run={name: values[name] for name in _RUN_OPTIONS},
            warnings=warnings,
        )


class DiffPortrait360Engine(DiffPortrait3DEngine):
    """DiffPortrait360: views from all sides, with a back view that is generated first."""

    name: ClassVar[str] = "diffportrait360"
    title: ClassVar[str] = "DiffPortrait360: photo-real views from all around (official weights)"
    needs: ClassVar[tuple[Variant, ...]] = (Variant.DIFFPORTRAIT360, Variant.BACK_VIEW)
    eg3d: ClassVar[bool] = False
