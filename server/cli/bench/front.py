"""``dp3d bench front``: compares photos with the preview engine's view from their own camera."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

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
        from dp3d_core.preview.choices import ALL_AUTO
        from dp3d_core.preview.engine import PreviewEngine
        from dp3d_core.preview.kept_heads import HEAD_FILE, forget, head_key, read_head
        from dp3d_core.synthetic.sample_photos import sample_photos
        from dp3d_core.viewsets.sheets import contact_sheet, save_png

        fetch_missing(console.progress, console.cancel)
        sources: dict[str, Path | bytes] = {
            photo.stem if photo.stem != "portrait" else photo.parent.name: photo
            for photo in self.photos
        } or {name: make() for name, make in sample_photos().items()}
        figures = {}
        lines = [f"{'':28}{'PSNR':>8}{'IoU':>8}{'head IoU':>10}{'photo to 32 views, s':>22}"]
        cameras = full_orbit(32, size=512, focal=WHOLE_HEAD_FOCAL)
        for name, source in sources.items():
            with TemporaryDirectory() as folder:
                started = time.perf_counter()
                portrait = load_portrait(source, cancel=console.cancel)
                forget(head_key(portrait, 0, ALL_AUTO))
                views = PreviewEngine().generate(
                    portrait, cameras, {}, out=Path(folder), cancel=console.cancel
                )
                seconds = round(time.perf_counter() - started, 2)
                head = read_head(Path(folder) / HEAD_FILE)
                front = score_front(portrait, head.render(portrait.camera))
                if self.out is not None:
                    tiles = [portrait.image, *(views.frame(i) for i in range(0, len(views), 4))]
                    save_png(self.out / f"{name}.png", contact_sheet(tiles, 9, tile=160))
            figures[name] = front.to_dict() | {"seconds": seconds}
            lines.append(
                f"{name:28}{front.psnr:8.1f}{front.iou:8.3f}{front.head_iou:10.3f}{seconds:22.1f}"
            )
        return Outcome({"photos": figures}, lines)
