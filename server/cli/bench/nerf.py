"""``dp3d bench nerf``: errors of fits and meshes on synthetic heads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import (
    DEFAULT_FACES,
    DEFAULT_FIT_PRESET,
    DEFAULT_TEXTURE_SIDE,
    DEFAULT_VIEWS,
    FIT_VIEWS,
    PRESET_SIDE,
    SUBJECT,
    FitPreset,
    Range,
)
from server.cli.arguments import Faces, TextureSide, check_numbers, number
from server.cli.console import Console, Outcome

if TYPE_CHECKING:
    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.synthetic.rendering import SyntheticHead

_VIEWS = Range(8, FIT_VIEWS.high)
"""Range of ``--views``: fewer leave parts of the head unseen."""
_PICTURE_SIDE = 320
"""Side of each picture in ``compare.png``, pixels."""


@dataclass
class Nerf:
    """Views to radiance field to textured mesh, on synthetic heads of known surface and colours."""

    seeds: Annotated[tuple[int, ...], number("Numbers of the subjects", SUBJECT)] = (
        *(9001, 9002, 9003),
    )
    views: Annotated[int, number("Number of views of the capture path", _VIEWS)] = DEFAULT_VIEWS
    size: Annotated[int, number("Width and height of the views, pixels", PRESET_SIDE)] = 256
    preset: FitPreset = DEFAULT_FIT_PRESET
    """Preset of the fit."""
    faces: Faces = DEFAULT_FACES
    texture_size: TextureSide = DEFAULT_TEXTURE_SIDE
    compare: bool = False
    """Also mesh the fields by rendered depth and by nerfstudio's ns-export.  ns-export needs more
    packages in the NeRF environment; an error names missing ones."""
    drawn: bool = False
    """Use 16 inconsistent front views, like those of a network, instead of exact views from all
    sides; --views then has no effect."""
    out: Path = Path("out/bench-nerf")
    """Folder for views, fits, meshes and pictures; run again, finished fits are kept."""

    def run(self, console: Console) -> Outcome:
        """Measure each head."""
        if not self.seeds:
            raise Dp3dError(
                "bench.bad_option",
                "There are no subjects to measure.",
                "Name the number of one at least with --seeds.",
            )
        check_numbers("bench.bad_option", self, "seeds", "views", "size")
        if self.compare:
            from nerf_export.field.ns_commands import check_stock_exporters

            check_stock_exporters(progress=console.progress, cancel=console.cancel)
        cases = [case for seed in self.seeds for case in self._cases(seed, console)]
        lines = [f"{'subject':>8}" + "".join(f"{name:>16}" for name in list(cases[0])[1:])]
        for case in cases:
            cells = "".join(
                f"{value:>16.4f}" if isinstance(value, float) else f"{value!s:>16}"
                for value in list(case.values())[1:]
            )
            lines.append(f"{case['seed']:>8}{cells}")
        return Outcome({"cases": cases}, lines)

    def _cases(self, seed: int, console: Console) -> Iterator[dict[str, Any]]:
        """One row of figures for each method of meshing the field; dp3d's default first."""
        from dp3d_core.cameras.camera import camera_from_eg3d
        from dp3d_core.cameras.trajectories import capture_sphere, diffportrait3d_ellipse
        from dp3d_core.evaluation.perturbed_views import write_perturbed_views
        from dp3d_core.evaluation.surfaces import (
            feature_errors,
            score_face,
            score_surface,
            texture_psnr,
        )
        from dp3d_core.evaluation.textured import TexturedMesh
        from dp3d_core.synthetic.dataset import write_subject
        from dp3d_core.synthetic.rendering import SyntheticHead
        from dp3d_core.synthetic.subjects import random_subject
        from dp3d_core.viewsets.sheets import save_png
        from nerf_export.field.fit import fit_views
        from nerf_export.mesh.textured_mesh import DEFAULT_SURFACE, SURFACES, build_mesh
        from server.face_points import face_points

        folder = self.out / f"{seed:06d}"
        # a white backdrop, so that the colour mixed into the edges of frames is known
        subject = replace(random_subject(seed), backdrop=((1.0, 1.0, 1.0),))
        calls: dict[str, Any] = {"progress": console.progress, "cancel": console.cancel}
        detail: dict[str, Any] = {"faces": self.faces, "texture_size": self.texture_size}
        if self.drawn:
            cameras = [
                camera_from_eg3d(camera).resized(self.size, self.size)
                for camera in diffportrait3d_ellipse()
            ]
            write_perturbed_views(subject, cameras, folder / "views", **calls)
        else:
            cameras = capture_sphere(self.views, size=self.size)
            write_subject(subject, cameras, folder / "views", **calls)
        fit = fit_views(
            folder / "views", folder / "fit", preset=self.preset, points_of=face_points(), **calls
        )
        truth = SyntheticHead(subject)

        def row(method: str, mesh: TexturedMesh, seconds: float) -> dict[str, Any]:
            features = feature_errors(mesh, truth)
            return {
                "seed": seed,
                "way": method,
                "fit_s": fit.meta.seconds,
                "mesh_s": round(seconds, 1),
                "psnr": fit.scores["foreground_psnr"],
                "texture_psnr": round(texture_psnr(mesh, truth), 2),
                **score_surface(mesh.mesh, truth).to_dict(),
                **score_face(mesh.mesh, truth),
                **{name: round(features[name], 3) for name in ("lips", "iris") if name in features},
            }

        for surface in SURFACES if self.compare else (DEFAULT_SURFACE,):
            is_default = surface == DEFAULT_SURFACE
            name = "head.glb" if is_default else f"head-{surface}.glb"
            started = time.monotonic()
            build_mesh(folder / "fit", folder / name, surface=surface, **detail, **calls)
            seconds = time.monotonic() - started
            mesh = TexturedMesh.open(folder / name)
            if is_default:
                save_png(folder / "compare.png", _comparison_picture(mesh, truth))
            yield row(surface, mesh, seconds)
        if self.compare:
            for method, mesh, seconds in _stock_exports(folder, detail, calls):
                yield row(method, mesh, seconds)


def _stock_exports(
    folder: Path, detail: dict[str, Any], calls: dict[str, Any]
) -> Iterator[tuple[str, TexturedMesh, float]]:
    """Mesh the field in ``folder`` with nerfstudio's exporters; yields name, mesh and seconds."""
    from dp3d_core.cameras.camera import HEAD_FROM_Z_UP
    from dp3d_core.evaluation.textured import TexturedMesh
    from nerf_export.field.ns_commands import STOCK_EXPORTERS, stock_mesh, write_run_folder

    config = write_run_folder(folder / "fit", folder / "run", **calls)
    for kind in STOCK_EXPORTERS:
        started = time.monotonic()
        path = stock_mesh(config, folder / "fit", kind, folder / f"ns-{kind}", **detail, **calls)
        seconds = time.monotonic() - started
        yield f"ns-export {kind}", TexturedMesh.open(path).rotated(HEAD_FROM_Z_UP[:3, :3]), seconds


def _comparison_picture(mesh: TexturedMesh, truth: SyntheticHead) -> np.ndarray:
    """Rows of truth, textured mesh and clay render, from five cameras; (h, w, 3) uint8."""
    from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
    from dp3d_core.viewsets.viewset import over

    white = (255, 255, 255)
    rows: list[list[np.ndarray]] = [[], [], []]
    for yaw, pitch in ((0, 0), (40, 10), (90, 0), (180, 15), (-60, -10)):
        camera = canonical_camera(yaw, pitch, _PICTURE_SIDE, focal=WHOLE_HEAD_FOCAL)
        rows[0].append(over(truth.render(camera).rgba))
        rows[1].append(mesh.render(camera).composite(white))
        rows[2].append(mesh.clay(camera).composite(white))
    return np.vstack([np.hstack(row) for row in rows])
