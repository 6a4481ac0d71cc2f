"""``dp3d export``: writes a view set, or a fit, for other tools."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from dp3d_core.limits import ExportFormat
from server.cli.console import Common, Console, Outcome


@dataclass
class Export(Common):
    """A view set as another tool reads it: nerfstudio, instant-ngp, COLMAP (gsplat, Postshot)."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the views, or one of another tool; for nerfstudio-run, of a fit."""
    out: Path = field(default=tyro.MISSING)
    """Folder to write: a new one, or that of an earlier export."""
    to: ExportFormat = "nerfstudio"
    """Format: blender is that of NeRF's synthetic scenes; colmap also has a point cloud;
    nerfstudio-run is the folder that ns-train leaves, for ns-viewer, ns-render and ns-export."""

    def run(self, console: Console) -> Outcome:
        """Write the folder."""
        from dp3d_core.storage.files import output_folder
        from nerf_export.field.ns_commands import write_run_folder
        from nerf_export.folders.importing import open_views
        from nerf_export.folders.writing import EXPORT_MARKER, export_views

        calls: dict[str, Any] = {"progress": console.progress, "cancel": console.cancel}
        written: dict[str, Any] = {"out": str(self.out), "format": self.to}
        if self.to == "nerfstudio-run":
            with output_folder(self.out, (EXPORT_MARKER,)):
                config = write_run_folder(self.views, self.out, **calls)
            return Outcome(
                {**written, "config": str(config)},
                [f"Where dp3d is installed beside nerfstudio: ns-viewer --load-config {config}"],
            )
        with (
            open_views(self.views, **calls) as (views, warnings),
            output_folder(self.out, (EXPORT_MARKER,)),
        ):
            files = export_views(views, self.out, self.to, **calls)
        console.warn(warnings)
        return Outcome(
            {**written, "cameras": files, "count": len(views), "warnings": warnings},
            [f"{len(views)} pictures in {self.out}, cameras in {', '.join(files)}"],
        )
