"""``dp3d bench front``: compares photos with the preview engine's view from their own camera."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from dp3d_core.progress import check_cancel
from server.cli.console import Console, Outcome


@dataclass
class Front:
    """Fidelity of the preview engine to photos at their own camera, and its speed."""

    photos: tuple[Path, ...] = ()
    """Photos, instead of the sample photos of dp3d."""
    out: Path | None = None
    """Folder for contact sheets of the orbits."""

    def run(self, console: Console) -> Outcome:
        """Measure each photo; the time of the first includes the one-time set-up of the process."""
        from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, full_orbit
        from dp3d_core.evaluation.scores import score_front
        from dp3d_core.portraits.load import load_portrait
        from dp3d_core.portraits.required_files import fetch_missing
        from dp3d_core.preview.head import PreviewHead
        from dp3d_core.synthetic.sample_photos import sample_photos
        from dp3d_core.viewsets.sheets import contact_sheet, save_png

        fetch_missing(console.progress, console.cancel)
        sources: dict[str, Path | bytes] = {
            photo.stem if photo.stem != "portrait" else photo.parent.name: photo
            for photo in self.photos
        } or {name: make() for name, make in sample_photos().items()}
        figures, lines = (
            {},
            [f"{'':28}{'PSNR':>8}{'IoU':>8}{'head IoU':>10}{'fit, s':>9}{'32 views, s':>13}"],
        )
        for name, source in sources.items():
            started = time.perf_counter()
            portrait = load_portrait(source)
            head = PreviewHead(portrait)
            fitted = time.perf_counter()
            views = []
            for camera in full_orbit(32, size=512, focal=WHOLE_HEAD_FOCAL):
                check_cancel(console.cancel, "The measurement")
                views.append(head.render(camera).composite((235, 235, 235)))
            rendered = time.perf_counter()
            front = score_front(portrait, head.render(portrait.camera))
            seconds = {
                "fit_s": round(fitted - started, 2),
                "views_s": round(rendered - fitted, 2),
            }
            figures[name] = front.to_dict() | seconds
            lines.append(
                f"{name:28}{front.psnr:8.1f}{front.iou:8.3f}{front.head_iou:10.3f}"
                f"{seconds['fit_s']:9.1f}{seconds['views_s']:13.1f}"
            )
            if self.out is not None:
                save_png(
                    self.out / f"{name}.png",
                    contact_sheet([portrait.image, *views[::4]], 9, tile=160),
                )
        return Outcome({"photos": figures}, lines)
