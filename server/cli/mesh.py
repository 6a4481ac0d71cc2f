"""``dp3d mesh``: extracts a textured mesh from a fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dp3d_core.limits import DEFAULT_FACES, DEFAULT_TEXTURE_SIDE
from server.cli.arguments import Faces, TextureSide
from server.cli.console import Common, Console, Outcome
from server.json_ready import json_ready


@dataclass
class Mesh(Common):
    """A fit to a textured mesh: GLB, OBJ or PLY."""

    fit: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the fit."""
    out: Path = field(default=tyro.MISSING)
    """The file to write: .glb, .obj (with material and texture) or .ply (with texture)."""
    faces: Faces = DEFAULT_FACES
    texture_size: TextureSide = DEFAULT_TEXTURE_SIDE
    normal_map: bool = False
    """Also a normal map (GLB only), with shape details finer than the triangles."""
    splats: bool = False
    """Gaussian splats instead of triangles (PLY only), one for each texel of the texture."""
    report: bool = True
    """By default the mesh is added to the fit's report."""

    def run(self, console: Console) -> Outcome:
        """Build the mesh."""
        from nerf_export.mesh.textured_mesh import build_mesh
        from server.reports.fit_report import write_fit_report

        stats = json_ready(
            build_mesh(
                self.fit,
                self.out,
                faces=self.faces,
                texture_size=self.texture_size,
                normal_map=self.normal_map,
                splats=self.splats,
                progress=console.progress,
                cancel=console.cancel,
            )
        )
        page = None
        if self.report and self.out.suffix.lower() != ".ply":  # the turntable needs a texture
            page = write_fit_report(
                self.fit,
                mesh=self.out,
                mesh_stats=stats,
                progress=console.progress,
                cancel=console.cancel,
            )
        return Outcome(
            {
                "mesh": str(self.out),
                "stats": stats,
                "report": None if page is None else str(page),
            },
            [f"Mesh in {self.out}", *([f"look at {page}"] if page is not None else [])],
        )
