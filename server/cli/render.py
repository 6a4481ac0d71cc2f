"""``dp3d render``: renders views of a fit from other cameras."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from dp3d_core.limits import DEFAULT_FPS, FPS
from server.cli.arguments import CameraOptions, number
from server.cli.console import Common, Console, Outcome, count_of


@dataclass
class Render(Common):
    """Views of a fit from other cameras."""

    fit: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the fit."""
    out: Path = field(default=tyro.MISSING)
    """Folder of the rendered views."""
    camera: tyro.conf.OmitArgPrefixes[CameraOptions] = field(default_factory=CameraOptions)
    video: Path | None = None
    """Also write the frames as a video: .webm or .mp4."""
    fps: Annotated[float, number("Frames a second of the video", FPS)] = DEFAULT_FPS

    def run(self, console: Console) -> Outcome:
        """Render the fit."""
        from dp3d_core.storage.files import output_folder
        from dp3d_core.viewsets.sheets import save_png, viewset_sheet
        from dp3d_core.viewsets.video import save_video
        from dp3d_core.viewsets.video_limits import check_video
        from dp3d_core.viewsets.viewset import VIEWSET_MARKER
        from nerf_export.field.fit import Fit as FinishedFit
        from nerf_export.field.render import render_cameras, render_fit, render_warnings

        fit = FinishedFit.open(self.fit)
        request, notes = self.camera.request(fit.applied)
        cameras, camera_notes = render_cameras(fit, request)
        if self.video is not None:
            check_video(self.video, self.fps, [(c.width, c.height) for c in cameras])
        with output_folder(self.out, (VIEWSET_MARKER,)):
            views = render_fit(
                fit, cameras, self.out, progress=console.progress, cancel=console.cancel
            )
            save_png(self.out / "contact_sheet.png", viewset_sheet(views))
            if self.video is not None:
                save_video(self.video, (views.frame(i) for i in range(len(views))), self.fps)
        warnings = [*notes, *camera_notes, *render_warnings(views, fit)]
        console.warn(warnings)
        data: dict[str, Any] = {
            "views": str(views.root),
            "count": len(views),
            "warnings": warnings,
        }
        lines = [
            f"{count_of(len(views), 'view')} in {views.root}: frames/, rgba/ with alpha, depth/",
            f"look at {self.out / 'contact_sheet.png'}",
        ]
        if self.video is not None:
            data["video"] = str(self.video)
            lines.append(f"video in {self.video}")
        return Outcome(data, lines)
