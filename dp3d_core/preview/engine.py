"""The preview engine: views of a head in seconds, without weights or a GPU.

portrait -> ``kept_heads`` (``head`` fitted, or read from disk: ``shape`` with ``hair`` and
``clothing``, then ``colouring``) -> ``meshes.raycast`` (any camera) -> view set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp3d_core.cameras.camera import Camera
from dp3d_core.engines.options import option, parse_options
from dp3d_core.engines.photos import photo_parameters, photo_records, photo_warnings
from dp3d_core.engines.protocol import EngineInfo
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import MAX_PHOTOS
from dp3d_core.packages import package_versions
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import (
    AUTO,
    BeardOption,
    ClothesOption,
    HairOption,
    HatOption,
    HeadChoices,
    choice_warnings,
    choices_to_dict,
)
from dp3d_core.progress import (
    CancelCheck,
    ProgressCallback,
    Stage,
    check_cancel,
    never_cancel,
    no_progress,
)
from dp3d_core.storage.files import write_atomic
from dp3d_core.threads import cores, in_threads, one_blas_thread
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet, encode_png
from dp3d_core.viewsets.writer import ViewSetWriter

CONDITION_FOLDER = "condition"
"""Folder of the condition images in a view set's folder."""


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
    hair: HairOption = option(
        AUTO,
        "Length of the hair, auto: that of the photo; bald, buzz (a few millimetres), short (ends "
        "above ears and neck), put up in a bun behind, or down to chin, shoulder or chest (long).",
    )
    hat: HatOption = option(
        AUTO,
        "What covers the crown, auto: that of the photo, hair where it is doubtful; none: hair; "
        "worn: headwear, whose cloth is continued evenly all round.",
    )
    clothes: ClothesOption = option(
        AUTO,
        "Collar, auto: that of the photo; none (bare shoulders), low (wide neckline), crew (base "
        "of the neck) or high.",
    )
    beard: BeardOption = option(
        AUTO,
        "Beard, auto: that of the photo; none removes it, stubble, moustache and full paint one.",
    )

    @property
    def choices(self) -> HeadChoices:
        """The user's choices for the head."""
        return HeadChoices(self.hair, self.hat, self.clothes, self.beard)

    def background_rgb(self, portrait: Portrait) -> tuple[int, int, int]:
        """Background colour as 8-bit RGB.

        Raises:
            Dp3dError: ``engine.bad_option`` if it is not a colour.

        """
        if self.background == "photo":
            return portrait.background_colour()
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


_PIXELS_AT_ONCE = 4 * 512 * 512
"""Greatest number of pixels rendered in parallel, of about 200 bytes each."""


class PreviewEngine:
    """See :class:`dp3d_core.engines.protocol.HeadViewEngine`."""

    name = "preview"

    def info(self) -> EngineInfo:
        """Describe the engine."""
        return EngineInfo.of(
            self.name,
            "Preview: parametric head with the photo's texture (no weights, seconds on a CPU)",
            None,
            PreviewOptions(),
            MAX_PHOTOS,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Validate options (contract: ``HeadViewEngine.check``)."""
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
        """Generate the views (contract: ``HeadViewEngine.generate``)."""
        from dp3d_core.preview.kept_heads import HEAD_FILE, fitted_head, head_key, kept_bytes

        chosen = parse_options(PreviewOptions, options)
        background = chosen.background_rgb(portrait)
        meta = ViewMeta(
            engine=self.name,
            seed=seed,
            parameters={
                **asdict(chosen),
                **portrait.report.pose_parameters(),
                **photo_parameters(portrait),
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
        head = fitted_head(
            portrait, seed, chosen.repeat_photo, chosen.choices, progress=progress, cancel=cancel
        )
        head.appearance.lit = chosen.lit
        # without frames, a head in the folder may be another person's
        if len(missing) == len(cameras) or not (out / HEAD_FILE).is_file():
            key = head_key(portrait, seed, chosen.choices)
            write_atomic(out / HEAD_FILE, kept_bytes(key, head))
        photos = photo_records(portrait, head.photos)
        warnings = choice_warnings(head.chosen) + photo_warnings(photos)
        writer.amend(choices_to_dict(head.chosen), warnings, photos)
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
        # closed before an error is raised: no thread may write while a caller removes the folder
        with closing(in_threads(write, missing, workers)) as paths:
            for index, path in zip(missing, paths, strict=True):
                stage.advance(
                    f"View {index + 1} of {len(cameras)}", file=f"frames/{path.name}", index=index
                )
        return writer.finish()


def _write_guides(out: Path, cameras: Sequence[Camera], cancel: CancelCheck) -> None:
    """Write the condition images that are missing, one per camera."""
    from dp3d_core.synthetic.rendering import condition_image

    for index, camera in enumerate(cameras):
        check_cancel(cancel)
        guide = out / CONDITION_FOLDER / f"{index:04d}.png"
        if not guide.is_file():
            write_atomic(guide, encode_png(condition_image(camera)))
