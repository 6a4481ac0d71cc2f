"""``dp3d bench official``: comparisons with, and fits of, DiffPortrait3D's published frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FitPreset
from server.cli.console import Console, Outcome

if TYPE_CHECKING:
    import numpy as np

    from dp3d_core.evaluation.published_frames import PublishedSample

_SIDE = 256
"""Side of each picture in the sheets of fits, pixels."""


@dataclass
class Official:
    """The preview engine against the frames published with DiffPortrait3D; fits of these frames."""

    data: Path
    """Folder of the published samples, NAME/portrait.png, generated/ and start/."""
    out: Path | None = None
    """Folder for contact sheets and fits."""
    fit: FitPreset | None = None
    """Fit the published frames with this preset instead: a mesh, and a sheet of held-out frames,
    field, textured mesh and clay."""

    def run(self, console: Console) -> Outcome:
        """Compare, or fit, each sample."""
        from dp3d_core.evaluation.published_frames import compare_with_published, published_samples
        from dp3d_core.evaluation.scores import table
        from dp3d_core.portraits.required_files import fetch_missing
        from dp3d_core.viewsets.sheets import contact_sheet, save_png

        samples = published_samples(self.data)
        fetch_missing(console.progress, console.cancel)
        if self.fit is not None:
            return self._fits(samples, self.fit, console)
        scores, rows = {}, []
        for sample in samples:
            comparison = compare_with_published(
                sample, progress=console.progress, cancel=console.cancel
            )
            scores[sample.name] = {name: s.to_dict() for name, s in comparison.scores.items()}
            rows += [(f"{sample.name} {name}", s) for name, s in scores[sample.name].items()]
            if self.out is not None:
                save_png(self.out / f"{sample.name}.png", contact_sheet(comparison.frames))
        return Outcome({"scores": scores}, table(rows))

    def _fits(self, samples: list[PublishedSample], preset: FitPreset, console: Console) -> Outcome:
        from dp3d_core.evaluation.published_frames import write_published_views
        from dp3d_core.viewsets.sheets import save_png
        from nerf_export.field.fit import fit_views
        from nerf_export.mesh.textured_mesh import build_mesh
        from server.face_points import face_points
        from server.reports.fit_report import write_fit_report

        if self.out is None:
            raise Dp3dError("bench.bad_option", "Fits need a folder.", "Name one with --out.")
        calls: dict[str, Any] = {"progress": console.progress, "cancel": console.cancel}
        fits, lines = {}, []
        for sample in samples:
            folder = self.out / sample.name
            write_published_views(sample, folder / "views", **calls)
            fit = fit_views(
                folder / "views",
                folder / "fit",
                preset=preset,
                poses="refined",
                points_of=face_points(),
                **calls,
            )
            stats = build_mesh(folder / "fit", folder / "head.glb", **calls)
            write_fit_report(
                folder / "fit", mesh=folder / "head.glb", mesh_stats=stats.to_dict(), **calls
            )
            save_png(folder / "sheet.png", _sheet(folder, console))
            fits[sample.name] = {**fit.meta.scores, "warnings": list(fit.meta.warnings)}
            lines += [
                f"{sample.name}: {fit.scores['foreground_psnr']:.1f} dB on held-out frames, "
                f"{fit.meta.seconds or float('nan'):.0f} s; look at {folder / 'sheet.png'}",
                *(f"  note: {warning}" for warning in fit.meta.warnings),
            ]
        return Outcome({"fits": fits}, lines)


def _sheet(folder: Path, console: Console) -> np.ndarray:
    """Rows of published frames (held-out first), field, textured mesh, clay; (h, w, 3) uint8."""
    import numpy as np

    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.viewsets.sheets import resized
    from dp3d_core.viewsets.viewset import ViewSet, over
    from nerf_export.field.fit import Fit
    from nerf_export.field.render import render_fit

    fit, views = Fit.open(folder / "fit"), ViewSet.open(folder / "views")
    held_out = list(fit.meta.held_out)
    chosen = held_out + [i for i in range(0, len(views), 4) if i not in held_out]
    cameras = [fit.cameras[i].resized(_SIDE, _SIDE) for i in chosen]
    renders = render_fit(
        fit,
        cameras,
        folder / "held-out",
        progress=console.progress,
        cancel=console.cancel,
    )
    mesh, white = TexturedMesh.open(folder / "head.glb"), (255, 255, 255)
    rows = [
        [resized(over(views.rgba(i)), _SIDE, _SIDE) for i in chosen],
        [over(renders.rgba(k)) for k in range(len(chosen))],
        [mesh.render(camera).composite(white) for camera in cameras],
        [mesh.clay(camera).composite(white) for camera in cameras],
    ]
    return np.vstack([np.hstack(row) for row in rows])
