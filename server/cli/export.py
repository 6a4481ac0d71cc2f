"""``dp3d export``: a view set, or a fit, for other tools."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from server.cli.session import Common, Outcome, Session


@dataclass
class Export(Common):
    """A view set as another tool reads it: nerfstudio, instant-ngp, COLMAP (gsplat, Postshot)."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the views; for nerfstudio-run, of a fit."""
    out: Path = field(default=tyro.MISSING)
    """Folder to write: new, or of an earlier export."""
    to: Literal["nerfstudio", "instant-ngp", "blender", "colmap", "nerfstudio-run"] = "nerfstudio"
    """Format. blender is the one of NeRF's synthetic scenes; colmap has a cloud of points, too;
    nerfstudio-run is a fit as ns-train leaves it, for ns-viewer, ns-render and ns-export."""

    def run(self, session: Session) -> Outcome:
        """Write the folder."""
        from dp3d_core.files import output_folder
        from dp3d_core.viewset import ViewSet
        from nerf_export.exchange import EXPORT_MARKER, export_views
        from nerf_export.stock import write_run_folder

        calls: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
        told = {"out": str(self.out), "format": self.to}
        if self.to == "nerfstudio-run":
            with output_folder(self.out, (EXPORT_MARKER,)):
                config = write_run_folder(self.views, self.out, **calls)
            return Outcome(
                {**told, "config": str(config)},
                [f"Where dp3d is installed beside nerfstudio: ns-viewer --load-config {config}"],
            )
        views = ViewSet.open(self.views)
        with output_folder(self.out, (EXPORT_MARKER,)):
            files = export_views(views, self.out, self.to, **calls)
        return Outcome(
            {**told, "cameras": files, "count": len(views)},
            [f"{len(views)} pictures in {self.out}, cameras in {', '.join(files)}"],
        )
