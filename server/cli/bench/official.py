"""``dp3d bench official``: what can be made of the frames published with DiffPortrait3D."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.errors import Dp3dError
from server.cli.session import Outcome, Session

if TYPE_CHECKING:
    import numpy as np

    from dp3d_core.evaluation.official import OfficialSample

_SIDE = 256
"""Width of a picture in the sheets of fits, pixels."""


@dataclass
class Official:
    """The preview engine against the frames published with DiffPortrait3D; fits of these frames."""

    data: Path
    """Folder of the published samples, NAME/portrait.png, generated/ and start/."""
    out: Path | None = None
    """Folder for contact sheets; for fits, too."""
    fit: str | None = None
    """Instead, fit the published frames with this preset: a mesh, and a sheet of held-out frames,
    the field, the mesh and its form."""

    def run(self, session: Session) -> Outcome:
        """Compare sample after sample."""
        from dp3d_core.evaluation.official import compare_with_official, official_samples
        from dp3d_core.evaluation.scores import table
        from dp3d_core.pictures import contact_sheet, save_png
        from dp3d_core.required_models import fetch_missing

        samples = official_samples(self.data)
        fetch_missing(session.progress, session.cancel)
        if self.fit is not None:
            return self._fits(samples, self.fit, session)
        scores, rows = {}, []
        for sample in samples:
            found = compare_with_official(sample, progress=session.progress, cancel=session.cancel)
            scores[sample.name] = {name: s.to_dict() for name, s in found.scores.items()}
            rows += [(f"{sample.name} {name}", s) for name, s in scores[sample.name].items()]
            if self.out is not None:
                save_png(self.out / f"{sample.name}.png", contact_sheet(found.frames))
        return Outcome({"scores": scores}, table(rows))

    def _fits(self, samples: list[OfficialSample], preset: str, session: Session) -> Outcome:
        from dp3d_core.evaluation.official import write_published_views
        from dp3d_core.pictures import save_png
        from nerf_export.fit import fit_views
        from nerf_export.mesh import build_mesh
        from server.face_points import face_points
        from server.fit_report import write_fit_report

        if self.out is None:
            raise Dp3dError("server.bad_request", "Fits need a folder.", "Name one with --out.")
        calls: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
        found, lines = {}, []
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
            save_png(folder / "sheet.png", _sheet(folder, session))
            found[sample.name] = {**fit.meta["scores"], "warnings": fit.meta["warnings"]}
            lines += [
                f"{sample.name}: {fit.scores['foreground_psnr']:.1f} dB on held-out frames, "
                f"{fit.meta['seconds'] or float('nan'):.0f} s; look at {folder / 'sheet.png'}",
                *(f"  note: {warning}" for warning in fit.meta["warnings"]),
            ]
        return Outcome({"fits": found}, lines)


def _sheet(folder: Path, session: Session) -> np.ndarray:
    """Rows: published frames, held-out ones first; the field there; the mesh; its form."""
    import numpy as np

    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.pictures import resized
    from dp3d_core.viewset import ViewSet, over
    from nerf_export.fit import Fit
    from nerf_export.render import render_fit

    fit, views = Fit.open(folder / "fit"), ViewSet.open(folder / "views")
    held = list(fit.meta["held_out"])
    chosen = held + [i for i in range(0, len(views), 4) if i not in held]
    cameras = [fit.cameras[i].resized(_SIDE, _SIDE) for i in chosen]
    seen = render_fit(
        folder / "fit",
        cameras,
        folder / "held-out",
        progress=session.progress,
        cancel=session.cancel,
    )
    mesh, white = TexturedMesh.open(folder / "head.glb"), (255, 255, 255)
    rows = [
        [resized(over(views.rgba(i)), _SIDE, _SIDE) for i in chosen],
        [over(seen.rgba(k)) for k in range(len(chosen))],
        [mesh.render(camera).composite(white) for camera in cameras],
        [mesh.clay(camera).composite(white) for camera in cameras],
    ]
    return np.vstack([np.hstack(row) for row in rows])
