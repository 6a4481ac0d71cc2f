"""The preview engine: views of a head in seconds, without weights or a GPU.

portrait -> ``placement`` (parametric head on the photo, ``parsing``, ``hair``, ``outline``) ->
``appearance`` (the photo's ``projection``, unseen sides completed under ``light``) ->
``raycast`` (any camera) -> ViewSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp3d_core.cameras import Camera
from dp3d_core.engines import EngineInfo, option, package_versions, parse_options
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.progress import (
    CancelCheck,
    ProgressCallback,
    Stage,
    StepCallback,
    check_cancel,
    never_cancel,
    no_progress,
    no_step,
)
from dp3d_core.viewset import ViewMeta, ViewSet, ViewSetWriter, encode_png

CONDITION_FOLDER = "condition"


@dataclass(frozen=True)
class PreviewOptions:
    """Options of the preview engine."""

    background: str = option(
        "#ffffff",
        "Colour behind the head: #rrggbb, or photo for the main colour behind the head there.",
    )
    guides: bool = option(
        False,
        "Also write condition/, another subject at the same cameras: with the frames as start "
        "images, a diffusion engine is led by it.",
    )
    repeat_photo: bool = option(
        True,
        "Within a few degrees of the photo's own camera show the photo as it is, rims included; "
        "without, a point of the head has exactly one colour in all views.",
    )

    def background_rgb(self, portrait: Portrait) -> tuple[int, int, int]:
        """The background as 8 bit numbers."""
        if self.background == "photo":
            return background_colour(portrait)
        text = self.background.removeprefix("#")
        try:
            if len(text) != 6:
                raise ValueError(text)
            r, g, b = bytes.fromhex(text)
        except ValueError:
            raise Dp3dError(
                "engine.bad_option",
                f"{self.background!r} is not a colour.",
                "Write it as #rrggbb, for example #ffffff, or as photo.",
            ) from None
        return r, g, b


def background_colour(portrait: Portrait) -> tuple[int, int, int]:
    """Median colour of a photo outside its matte, 8 bit RGB; white when nothing is outside."""
    import numpy as np

    outside = portrait.image[(portrait.matte < 10) & portrait.inside]
    if not len(outside):
        return 255, 255, 255
    r, g, b = (int(value) for value in np.median(outside, axis=0))
    return r, g, b


class PreviewHead:
    """One portrait turned into a head that any camera can look at."""

    def __init__(
        self,
        portrait: Portrait,
        seed: int = 0,
        repeat_photo: bool = True,
        on_step: StepCallback = no_step,
    ) -> None:
        from dp3d_core.preview.appearance import Appearance
        from dp3d_core.preview.placement import place_head
        from dp3d_core.raycast import RayCaster

        placed = place_head(portrait, on_step)
        self.mesh = placed.mesh
        self.caster = RayCaster(self.mesh)
        self.appearance = Appearance(placed, portrait, self.caster, seed, repeat_photo, on_step)

    @classmethod
    def fit(
        cls,
        portrait: Portrait,
        seed: int = 0,
        repeat_photo: bool = True,
        *,
        progress: ProgressCallback,
        cancel: CancelCheck,
    ) -> PreviewHead:
        """The head of a portrait, with progress (stage ``head``); cancel is polled at each step."""
        from dp3d_core.preview.appearance import APPEARANCE_STEPS
        from dp3d_core.preview.placement import placement_steps

        steps = placement_steps(portrait) + APPEARANCE_STEPS
        stage = Stage("head", steps, progress, cancel, "Fitting the head to the photo")
        head = cls(portrait, seed, repeat_photo, stage.begin)
        stage.end("Head fitted")
        return head

    def render(self, camera: Camera) -> Any:
        """A :class:`~dp3d_core.raycast.Render` of the head."""
        from dp3d_core.raycast import render

        return render(self.caster, camera, self.appearance)


class PreviewEngine:
    """See :class:`dp3d_core.engines.HeadViewEngine`."""

    name = "preview"

    def info(self) -> EngineInfo:
        """Describe the engine."""
        return EngineInfo.of(
            self.name,
            "Preview: parametric head with the photo's texture (no weights, seconds on a CPU)",
            None,
            PreviewOptions(),
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that cannot be (see :meth:`dp3d_core.engines.HeadViewEngine.check`)."""
        parse_options(PreviewOptions, options)

    def generate(
        self,
        portrait: Portrait,
        cameras: Sequence[Camera],
        options: Mapping[str, Any],
        *,
        out: Path,
        seed: int = 0,
        progress: ProgressCallback = no_progress,
        cancel: CancelCheck = never_cancel,
    ) -> ViewSet:
        """Generate the views (contract: :meth:`dp3d_core.engines.HeadViewEngine.generate`)."""
        chosen = parse_options(PreviewOptions, options)
        background = chosen.background_rgb(portrait)
        meta = ViewMeta(
            engine=self.name,
            seed=seed,
            parameters={
                **asdict(chosen),
                **portrait.report.place,
            },
            background=background,
            portrait_sha256=portrait.sha256,
            versions=package_versions(
                "numpy", "opencv-python-headless", "embreex", "scipy", "scikit-image"
            ),
        )
        writer = ViewSetWriter(out, cameras, meta, rgba=True)
        if chosen.guides:
            _write_guides(out, cameras, cancel)
        missing = writer.missing()
        if not missing:
            return writer.finish()
        head = PreviewHead.fit(
            portrait, seed, chosen.repeat_photo, progress=progress, cancel=cancel
        )
        stage = Stage(
            "views",
            len(cameras),
            progress,
            cancel,
            "Rendering views",
            start=len(cameras) - len(missing),
        )
        for index in missing:
            view = head.render(cameras[index])
            path = writer.write(index, view.composite(background), view.mask)
            stage.advance(
                f"View {index + 1} of {len(cameras)}", file=f"frames/{path.name}", index=index
            )
        return writer.finish()


def _write_guides(out: Path, cameras: Sequence[Camera], cancel: CancelCheck) -> None:
    """The condition images that are not there yet."""
    from dp3d_core.heads.synth import condition_image

    for index, camera in enumerate(cameras):
        check_cancel(cancel)
        guide = out / CONDITION_FOLDER / f"{index:04d}.png"
        if not guide.is_file():
            write_atomic(guide, encode_png(condition_image(camera)))
