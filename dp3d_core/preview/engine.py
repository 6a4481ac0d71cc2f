"""The preview engine: views of a head in seconds, without weights or a GPU.

portrait -> ``placement`` (parametric head on the photo, ``parsing``, ``hair``, ``outline``) ->
``appearance`` (the photo's ``projection``, unseen sides completed under ``light``) ->
``raycast`` (any camera) -> ViewSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.cameras import Camera
from dp3d_core.engines import EngineInfo, option, package_versions, parse_options
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import (
    ALL_AUTO,
    AUTO,
    BEARD,
    CLOTHES,
    HAIR,
    HAT,
    Choice,
    HeadChoices,
    choice_warnings,
    choices_to_dict,
)
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
from dp3d_core.threads import cores, in_threads, one_blas_thread
from dp3d_core.viewset import ViewMeta, ViewSet, ViewSetWriter, encode_png

if TYPE_CHECKING:
    from dp3d_core.mesh import Mesh
    from dp3d_core.preview.appearance import Appearance

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
    lit: bool = option(
        True,
        "Show the head in the photo's light; without, its colours under even light, for a scene "
        "that has lights of its own.",
    )
    hair: str = option(
        AUTO,
        "Length of the hair, auto: that of the photo; bald, buzz (a few millimetres), short (ends "
        "above ears and neck), put up in a bun behind, or down to chin, shoulder or chest (long).",
        choices=HAIR,
    )
    hat: str = option(
        AUTO,
        "What covers the crown, auto: that of the photo, hair where it is doubtful; none: hair; "
        "worn: headwear, whose cloth is continued evenly all round.",
        choices=HAT,
    )
    clothes: str = option(
        AUTO,
        "Collar, auto: that of the photo; none (bare shoulders), low (wide neckline), crew (base "
        "of the neck) or high.",
        choices=CLOTHES,
    )
    beard: str = option(
        AUTO,
        "Beard, auto: that of the photo; none removes it, stubble, moustache and full paint one.",
        choices=BEARD,
    )

    @property
    def choices(self) -> HeadChoices:
        """What is chosen for the head."""
        return HeadChoices(self.hair, self.hat, self.clothes, self.beard)

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


_PIXELS_AT_ONCE = 4 * 512 * 512
"""Pixels of all views that are rendered at a time: each takes some 200 bytes."""


class PreviewHead:
    """One portrait turned into a head that any camera can look at."""

    def __init__(
        self,
        portrait: Portrait,
        seed: int = 0,
        repeat_photo: bool = True,
        on_step: StepCallback = no_step,
        choices: HeadChoices = ALL_AUTO,
    ) -> None:
        from dp3d_core.preview.appearance import Appearance
        from dp3d_core.preview.placement import place_head
        from dp3d_core.raycast import RayCaster

        placed = place_head(portrait, on_step, choices)
        self.mesh = placed.mesh
        self.caster = RayCaster(self.mesh)
        self.appearance = Appearance(placed, portrait, self.caster, seed, repeat_photo, on_step)
        seen = {**placed.seen, "clothes": self.appearance.clothes.shown}
        self.chosen: dict[str, Choice] = choices.settled(seen)
        """Hair, hat, clothes and beard of the head, with confidence."""

    @classmethod
    def of_parts(cls, mesh: Mesh, appearance: Appearance, chosen: dict[str, Choice]) -> PreviewHead:
        """A head whose parts are known already (``kept_heads``)."""
        from dp3d_core.raycast import RayCaster

        head = cls.__new__(cls)
        head.mesh, head.appearance, head.chosen = mesh, appearance, chosen
        head.caster = RayCaster(mesh)
        return head

    @classmethod
    @one_blas_thread
    def fit(
        cls,
        portrait: Portrait,
        seed: int = 0,
        repeat_photo: bool = True,
        choices: HeadChoices = ALL_AUTO,
        *,
        progress: ProgressCallback,
        cancel: CancelCheck,
    ) -> PreviewHead:
        """The head of a portrait, with progress (stage ``head``); cancel is polled at each step.

        A head that was fitted before is read from disk (``kept_heads``), a new one is kept there.
        """
        from dp3d_core.preview.appearance import APPEARANCE_STEPS
        from dp3d_core.preview.kept_heads import find_kept, head_key, keep
        from dp3d_core.preview.placement import placement_steps

        steps = placement_steps(portrait) + APPEARANCE_STEPS
        stage = Stage("head", steps, progress, cancel, "Fitting the head to the photo")
        key = head_key(portrait, seed, choices)
        head = find_kept(key)
        if head is None:
            head = cls(portrait, seed, repeat_photo, stage.begin, choices)
            keep(key, head)
        head.appearance.repeat_photo = repeat_photo
        stage.end("Head fitted")
        return head

    def surface_colours(self, face: Any, weights: Any) -> Any:
        """(k, 3) colours, 0 to 1, of places on the surface, wherever they are looked at from.

        Args:
            face: (k,) triangles of :attr:`mesh`.
            weights: (k, 3) barycentric.

        """
        return self.appearance.of_surface(face, weights)

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

    @one_blas_thread
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
        from dp3d_core.preview.kept_heads import HEAD_FILE, head_key, kept_bytes

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
            portrait, seed, chosen.repeat_photo, chosen.choices, progress=progress, cancel=cancel
        )
        head.appearance.lit = chosen.lit
        # in a folder without frames it may be another person's
        if len(missing) == len(cameras) or not (out / HEAD_FILE).is_file():
            key = head_key(portrait, seed, chosen.choices)
            write_atomic(out / HEAD_FILE, kept_bytes(key, head))
        writer.amend(choices_to_dict(head.chosen), choice_warnings(head.chosen))
        stage = Stage(
            "views",
            len(cameras),
            progress,
            cancel,
            "Rendering views",
            start=len(cameras) - len(missing),
        )

        def write(index: int) -> Path:
            view = head.render(cameras[index])
            return writer.write(index, view.composite(background), view.mask)

        pixels = max(camera.width * camera.height for camera in cameras)
        workers = max(1, min(cores(), _PIXELS_AT_ONCE // pixels))
        # closed before anybody sees an error: no thread writes while the folder is removed
        with closing(in_threads(write, missing, workers)) as paths:
            for index, path in zip(missing, paths, strict=True):
                stage.advance(
                    f"View {index + 1} of {len(cameras)}", file=f"frames/{path.name}", index=index
                )
        return writer.finish()


def _write_guides(out: Path, cameras: Sequence[Camera], cancel: CancelCheck) -> None:
    """The condition images that are not there yet."""
    from dp3d_core.synthetic.rendering import condition_image

    for index, camera in enumerate(cameras):
        check_cancel(cancel)
        guide = out / CONDITION_FOLDER / f"{index:04d}.png"
        if not guide.is_file():
            write_atomic(guide, encode_png(condition_image(camera)))
