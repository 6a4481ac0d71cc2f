"""``dp3d generate``: generates consistent views from a photo and cameras."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dp3d_core.limits import DEFAULT_ENGINE
from server.cli.arguments import (
    Also,
    CameraOptions,
    HeadOptions,
    Seed,
    check_seed,
    parse_engine_options,
    sides_and_paths,
)
from server.cli.console import Common, Console, Outcome, count_of
from server.json_ready import json_ready


@dataclass
class Generate(Common):
    """A photo and cameras to consistent views with exact poses."""

    photo: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """The portrait: any image file."""
    also: Also = ()
    out: Path = field(default=tyro.MISSING)
    """Folder of the views; an interrupted run is resumed."""
    camera: tyro.conf.OmitArgPrefixes[CameraOptions] = field(default_factory=CameraOptions)
    engine: str = DEFAULT_ENGINE
    """Engine that makes the views; 'dp3d engines' lists them."""
    seed: Seed = 0
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)
    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Engine option as name=value; may be given several times."""
    condition_images: Path | None = None
    """Folder with a picture of another subject for each camera, for the diffusion engines; without
    one a template head is rendered."""
    start_images: Path | None = None
    """Folder with a 3D-consistent start image for each camera, for the diffusion engines; without
    one the preview engine makes them."""

    def run(self, console: Console) -> Outcome:
        """Generate the views."""
        from dp3d_core.engines.registry import cameras_for, check_photo_count, with_pictures

        check_seed(self.seed)
        engine = with_pictures(self.engine, self.condition_images, self.start_images)
        options = parse_engine_options(self.option)
        engine.check(options)  # before the imports below, which need the engine's packages
        also = [path for _, path in sides_and_paths(self.also)]
        check_photo_count(self.engine, engine.info().references, 1 + len(also))
        request, notes = self.camera.request()
        cameras = cameras_for(engine, request)
        from dp3d_core.engines.photos import person_warnings, photo_line
        from dp3d_core.portraits.report_picture import report_picture
        from dp3d_core.preview.choices import choices_line
        from dp3d_core.storage.files import output_folder
        from dp3d_core.viewsets.sheets import save_png, viewset_sheet
        from dp3d_core.viewsets.viewset import VIEWSET_MARKER

        with output_folder(self.out, (VIEWSET_MARKER,), (self.photo, *also)):
            portrait = self.head.load(console, self.photo, self.also)
            views = engine.generate(
                portrait,
                cameras,
                options,
                out=self.out,
                seed=self.seed,
                progress=console.progress,
                cancel=console.cancel,
            )
            save_png(self.out / "portrait.png", report_picture(portrait))
            save_png(self.out / "contact_sheet.png", viewset_sheet(views))
        report = json_ready(portrait.report)
        console.warn([*notes, *views.meta.warnings])
        return Outcome(
            {
                "views": str(views.root),
                "count": len(views),
                "portrait_report": report,
                "photos": views.meta.photos,
                "choices": json_ready(views.meta.choices),
                "warnings": notes + person_warnings(portrait) + views.meta.warnings,
            },
            [
                f"{count_of(len(views), 'view')} in {views.root}",
                *(photo_line(photo) for photo in views.meta.photos if photo["used"]),
                *([choices_line(views.meta.choices)] if views.meta.choices else []),
                f"look at {views.root / 'contact_sheet.png'} and {views.root / 'portrait.png'}",
            ],
        )
