"""``dp3d fit``: fits a radiance field to views."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dp3d_core.limits import DEFAULT_FIT_PRESET, FIT_STEPS, FitPreset, PosePolicy
from server.cli.arguments import Seed, check_seed, number
from server.cli.console import Common, Console, Outcome
from server.json_ready import json_ready


@dataclass
class Fit(Common):
    """Views to a radiance field (nerfstudio in its own environment)."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the views, or one of another tool: nerfstudio, instant-ngp, synthetic scenes,
    COLMAP."""
    out: Path = field(default=tyro.MISSING)
    """Folder of the fit; an interrupted run is resumed."""
    preset: FitPreset = DEFAULT_FIT_PRESET
    """Size and length of the fit; high wants a GPU."""
    steps: Annotated[int | None, number("Training steps instead of the preset's", FIT_STEPS)] = None
    seed: Seed = 0
    max_memory_gb: float | None = None
    """Most memory for the fit, GiB (1024^3 bytes), more than 0; of the GPU where there is one.  By
    default all that is free."""
    poses: PosePolicy = "auto"
    """Cameras that disagree with the face in their frames: auto corrects those of generated views
    and warns about others; given corrects none; refined corrects all."""
    report: bool = True
    """By default report/, with pictures and a turntable, is written into the folder."""

    def run(self, console: Console) -> Outcome:
        """Fit the views."""
        from dp3d_core.storage.files import output_folder
        from nerf_export.field.fit import FIT_MARKER, fit_views
        from server.face_points import face_points
        from server.reports.fit_report import write_fit_report

        check_seed(self.seed)
        with output_folder(self.out, (FIT_MARKER,)):
            fit = fit_views(
                self.views,
                self.out,
                preset=self.preset,
                steps=self.steps,
                seed=self.seed,
                max_memory_gb=self.max_memory_gb,
                poses=self.poses,
                points_of=face_points(),
                progress=console.progress,
                cancel=console.cancel,
            )
            page = None
            if self.report:
                page = write_fit_report(fit.root, progress=console.progress, cancel=console.cancel)
        meta = json_ready(fit.meta)
        console.warn(meta["warnings"])
        scores = meta["scores"]
        return Outcome(
            {"fit": str(fit.root), "meta": meta, "report": None if page is None else str(page)},
            [
                f"Fit in {fit.root}: foreground PSNR {scores['foreground_psnr']:.1f} dB on "
                f"{scores['held_out_views']} views it has not seen",
                *([f"look at {page}"] if page is not None else []),
            ],
        )
