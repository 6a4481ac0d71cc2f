"""``dp3d bench nerf``: the way from views to a mesh, on heads whose truth is known."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dp3d_core.errors import Dp3dError
from server.cli.session import Outcome, Session

if TYPE_CHECKING:
    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.heads.synth import SyntheticHead

_PREVIEW = 320


@dataclass
class Nerf:
    """Views to radiance field to textured mesh, on synthetic heads of known surface and colours."""

    seeds: tuple[int, ...] = (9001, 9002, 9003)
    """Subjects."""
    views: int = 32
    """Views of the capture path."""
    size: int = 256
    """Width and height of the views, pixels."""
    preset: str = "draft"
    """Of the fit."""
    faces: int = 30_000
    """Triangles of the mesh, about."""
    texture_size: int = 1024
    """Width and height of the texture, pixels."""
    out: Path = Path("out/bench-nerf")
    """Folder for views, fits, meshes and pictures; run again, finished parts are kept, and not
    measured in seconds."""

    def run(self, session: Session) -> Outcome:
        """Measure head after head."""
        if not self.seeds or min(self.seeds) < 0 or self.views < 8:
            raise Dp3dError(
                "server.bad_request",
                "These heads cannot be measured.",
                "Give subjects' numbers from 0 up, and at least 8 views.",
            )
        cases = [self._case(seed, session) for seed in self.seeds]
        columns = [name for name in cases[0] if name != "seed"]
        lines = [f"{'subject':>8}" + "".join(f"{name:>16}" for name in columns)]
        for case in cases:
            cells = "".join(
                f"{case[n]:>16.4f}" if isinstance(case.get(n), float) else f"{case.get(n)!s:>16}"
                for n in columns
            )
            lines.append(f"{case['seed']:>8}{cells}")
        return Outcome({"cases": cases}, lines)

    def _case(self, seed: int, session: Session) -> dict[str, Any]:
        from dp3d_core.evaluation.surfaces import feature_errors, score_surface, texture_psnr
        from dp3d_core.evaluation.textured import TexturedMesh
        from dp3d_core.heads.synth import SyntheticHead, random_subject, write_subject
        from dp3d_core.pictures import save_png
        from dp3d_core.trajectories import capture_sphere
        from nerf_export.fit import fit_views
        from nerf_export.mesh import build_mesh

        folder = self.out / f"{seed:06d}"
        # white behind: what a frame mixes into its edges is then known
        subject = replace(random_subject(seed), backdrop=((1.0, 1.0, 1.0),))
        calls: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
        write_subject(
            subject, capture_sphere(self.views, size=self.size), folder / "views", **calls
        )
        began = time.monotonic()
        fit = fit_views(folder / "views", folder / "fit", preset=self.preset, **calls)
        fitted = time.monotonic()
        build_mesh(
            folder / "fit",
            folder / "head.glb",
            faces=self.faces,
            texture_size=self.texture_size,
            **calls,
        )
        meshed = time.monotonic()
        truth, mesh = SyntheticHead(subject), TexturedMesh.open(folder / "head.glb")
        surface = score_surface(mesh.mesh, truth)
        features = feature_errors(mesh, truth)
        save_png(folder / "compare.png", _picture(mesh, truth))
        return {
            "seed": seed,
            "fit_s": round(fitted - began, 1),
            "mesh_s": round(meshed - fitted, 1),
            "psnr": fit.scores["foreground_psnr"],
            "texture_psnr": round(texture_psnr(mesh, truth), 2),
            **surface.to_dict(),
            **{name: round(value, 3) for name, value in features.items()},
        }


def _picture(mesh: TexturedMesh, truth: SyntheticHead) -> np.ndarray:
    """Truth above, mesh below, its form below that, from five sides."""
    from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
    from dp3d_core.viewset import over

    white = (255, 255, 255)
    rows: list[list[np.ndarray]] = [[], [], []]
    for yaw, pitch in ((0, 0), (40, 10), (90, 0), (180, 15), (-60, -10)):
        camera = canonical_camera(yaw, pitch, _PREVIEW, focal=WHOLE_HEAD_FOCAL)
        rows[0].append(over(truth.render(camera).rgba))
        rows[1].append(mesh.render(camera).composite(white))
        rows[2].append(mesh.clay(camera).composite(white))
    return np.vstack([np.hstack(row) for row in rows])
