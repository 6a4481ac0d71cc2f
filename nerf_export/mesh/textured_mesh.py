"""Fit -> textured mesh in head space (Y up, face towards +Z): GLB, OBJ or PLY, or splats."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dp3d_core.arrays import Array32, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import (
    DEFAULT_FACES,
    DEFAULT_TEXTURE_SIDE,
    MESH_FACES,
    TEXTURE_SIDE,
    Range,
)
from dp3d_core.meshes import files, glb
from dp3d_core.meshes.files import check_mesh_path, side_names, write_mesh_files
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from nerf_export.field.child_messages import SurfaceRequest
from nerf_export.field.fit import Fit, invalid_fit
from nerf_export.field.presets import AGREEING_ERROR, REFERENCE_CORNERS
from nerf_export.field.render import render_fit
from nerf_export.mesh.bake import PaintedMesh, paint
from nerf_export.mesh.splats import to_splats
from nerf_export.process.child_process import run_child
from nerf_export.process.left_children import working_folder
from nerf_export.shape.depth_fusion import poisson_grid, tsdf_grid
from nerf_export.shape.hull import Silhouette, carving_views, grid_points, hull_distances
from nerf_export.shape.surface import LEAST_BLUR, DistanceGrid, extract_surface
from nerf_export.views.dataset import wholly_valid

SURFACES = ("distance", "tsdf", "poisson")
"""Methods of surface extraction: the field's distances, and two kinds of depth fusion."""
DEFAULT_SURFACE = SURFACES[0]
"""The method that was nearest to ground truth in every metric, and the fastest
(``dp3d bench nerf --compare``)."""
_HULL_CELLS = 4
"""Distance from the field's surface, cells, within which the visual hull is computed."""
_SILHOUETTE_SIDE = 1536
"""Longest side, pixels, of the silhouettes of the visual hull; a field has 256 cells at most."""
_MOST_WIDENING = 4.0
"""Largest factor by which inconsistent views widen the blur of the distances."""


@dataclass(frozen=True)
class MeshStats:
    """Sizes and properties of a written mesh."""

    vertices: int
    faces: int
    texture_size: int
    watertight: bool
    """Whether the surface was closed before it was cut into charts."""
    pieces: int
    """Connected components of the surface."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    """Lowest and highest corner, head space, head units (metres in the file)."""
    seen: float
    """Part of the texture that some view sees, 0 to 1."""
    splats: int | None
    """Gaussians in the file, which then has no triangles; None for a mesh."""
    seconds: float
    """Duration of the whole command."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def build_mesh(
    fit: Path,
    out: Path,
    *,
    faces: int = DEFAULT_FACES,
    texture_size: int = DEFAULT_TEXTURE_SIDE,
    surface: str = DEFAULT_SURFACE,
    normal_map: bool = False,
    splats: bool = False,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> MeshStats:
    """Make the textured mesh of a fit.

    Args:
        fit: folder of a finished fit.
        out: the file to write: ``.glb``; ``.obj``, with its material and texture beside it;
            ``.ply``, with its texture beside it and a colour for each vertex.
        faces: triangles, about, within ``MESH_FACES``.
        texture_size: side of the texture in texels, within ``TEXTURE_SIDE``.
        surface: ``distance``, the zero level of the field's distances; or, for comparison,
            ``tsdf`` or ``poisson``, fused from depth rendered for the fitted views.
        normal_map: whether a GLB gets the detail that its triangles are too coarse for.
        splats: whether a PLY holds Gaussian splats instead of triangles, one for each texel.
        progress: stage ``mesh``, and ``render`` where depth is needed.
        cancel: polled between steps.

    Raises:
        Dp3dError: ``fit.*``, ``mesh.empty``, ``mesh.bad_format``, ``nerf.*``,
            ``mesh.bad_option``, ``output.*``, ``job.cancelled``.

    """
    started_at = time.monotonic()
    out = Path(out)
    check_mesh_path(out, FORMATS, () if splats else side_names(out))
    check_mesh_options(faces, texture_size)
    for requested, feature, ending in (
        (normal_map, "A normal map", ".glb"),
        (splats, "Splats", ".ply"),
    ):
        if requested and out.suffix.lower() != ending:
            raise Dp3dError(
                "mesh.bad_format",
                f"{feature} cannot be written with {out.name}.",
                f"Give the name of a file that ends in {ending}, or leave out the option.",
            )
    if surface not in SURFACES:
        raise Dp3dError(
            "mesh.bad_option",
            f"There is no surface method called {surface!r}.",
            f"Choose one of: {', '.join(SURFACES)}.",
        )
    opened = Fit.open(Path(fit))
    cameras = opened.cameras
    stage = Stage("mesh", len(cameras) + 4, progress, cancel, "Asking the field for its surface")
    grid = _distance_grid(opened, progress, cancel)
    stage.advance("Making the surface")
    hull = _hull_distances(opened, grid)
    if surface != DEFAULT_SURFACE:
        grid = _fused_grid(opened, surface, grid, progress, cancel)
    closed = extract_surface(grid, faces, hull)
    stage.advance(f"{len(closed.faces)} triangles; unwrapping")
    pictures = (_picture_at_field_exposure(opened, i) for i in range(len(cameras)))
    normals_of = grid.normals_at if normal_map else None
    painted = paint(closed, pictures, texture_size, stage, normals_of)
    write = to_splats if splats else FORMATS[out.suffix.lower()]
    write_mesh_files(out, write(painted, out.name))
    stats = MeshStats(
        vertices=len(painted.vertices),
        faces=len(painted.faces),
        texture_size=texture_size,
        watertight=bool(closed.is_watertight),
        pieces=int(closed.body_count),
        bounds=tuple(tuple(float(x) for x in corner) for corner in closed.bounds),  # type: ignore[arg-type]
        seen=round(painted.seen, 4),
        splats=len(painted.texels.face) if splats else None,
        seconds=round(time.monotonic() - started_at, 2),
    )
    stage.advance("The mesh is written", file=out.name)
    return stats


def to_glb(painted: PaintedMesh, name: str = "head.glb") -> dict[str, bytes]:
    """GLB: one mesh, one rough, non-metallic material with the texture; Y up."""
    return {name: glb.to_glb([painted.part()])}


def to_obj(painted: PaintedMesh, name: str = "head.obj") -> dict[str, bytes]:
    """OBJ with its material and texture; Y up.  The OBJ comes last: it names the others."""
    return files.to_obj([painted.part()], Path(name))


def to_ply(painted: PaintedMesh, name: str = "head.ply") -> dict[str, bytes]:
    """PLY with its texture and a colour for each vertex; Y up."""
    return files.to_ply(painted.part(), Path(name))


FORMATS: dict[str, Callable[[PaintedMesh, str], dict[str, bytes]]] = {
    ".glb": to_glb,
    ".obj": to_obj,
    ".ply": to_ply,
}
"""Writers of mesh files by the ending of the file's name."""


def check_mesh_options(faces: int, texture_size: int) -> None:
    """Raise ``mesh.bad_option`` for numbers that :func:`build_mesh` would refuse."""
    _check_range("number of faces", faces, MESH_FACES)
    _check_range("texture size", texture_size, TEXTURE_SIDE)


def _check_range(name: str, value: int, limits: Range[int]) -> None:
    if not limits.holds(value):
        raise Dp3dError(
            "mesh.bad_option",
            f"A mesh cannot be made with {value} as its {name}.",
            f"Give a number from {limits}.",
        )


def _distance_grid(fit: Fit, progress: ProgressCallback, cancel: CancelCheck) -> DistanceGrid:
    with working_folder() as work:
        request = SurfaceRequest(
            field=fit.root.absolute() / "field.safetensors",
            field_size=fit.meta.field_size,
            grid=work / "grid.npz",
        )
        run_child("surface", request.to_dict(), work, progress=progress, cancel=cancel)
        with np.load(work / "grid.npz", allow_pickle=False) as grid:
            distance = grid["distance"]
            if not np.isfinite(distance).all():
                raise invalid_fit("its field holds numbers that are infinite or none")
            return DistanceGrid(distance, grid["low"], float(grid["cell"]), _blur(fit))


def _blur(fit: Fit) -> float:
    """Standard deviation, cells, of the blur that removes the noise of a field's distances.

    Inconsistent views leave dents.  Their width, in parts of the head, grows with the root of the
    training error.
    """
    error = fit.meta.training_error
    wider = min(_MOST_WIDENING, max(1.0, math.sqrt(error / AGREEING_ERROR)))
    finer = max(fit.meta.field_size.corners) / REFERENCE_CORNERS
    return max(LEAST_BLUR, LEAST_BLUR * wider * finer) if wider > 1 else LEAST_BLUR


def _fused_grid(
    fit: Fit,
    surface: str,
    grid: DistanceGrid,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> DistanceGrid:
    """Distances fused from depth that the field renders for its fitted views."""
    with working_folder() as folder:
        views = render_fit(fit, fit.cameras, folder / "views", progress=progress, cancel=cancel)
        depths = [depth for i in range(len(views)) if (depth := views.depth(i)) is not None]
    make = tsdf_grid if surface == "tsdf" else poisson_grid
    return make(fit.cameras, depths, grid)


def _picture_at_field_exposure(fit: Fit, index: int) -> tuple[Camera, Pixels]:
    """Camera and RGBA of a fitted view, divided by the view's exposure."""
    camera, rgba = fit.picture(index)
    gain = fit.exposure(index)
    if np.allclose(gain, 1):
        return camera, rgba
    rgb = np.rint(rgba[..., :3] / gain).clip(0, 255).astype(np.uint8)
    return camera, np.dstack([rgb, rgba[..., 3]])


def _silhouette(fit: Fit, index: int) -> tuple[Camera, Silhouette]:
    """A view's camera and silhouette, at most :data:`_SILHOUETTE_SIDE` pixels wide and high."""
    camera, rgba = fit.picture(index)
    alpha, valid = rgba[..., 3], fit.valid_mask(index)
    if valid is not None and valid.shape != alpha.shape:
        raise invalid_fit(f"known/{index:04d}.png is not as large as its frame")
    factor = _SILHOUETTE_SIDE / max(alpha.shape)
    if factor < 1:
        size = (max(1, round(alpha.shape[1] * factor)), max(1, round(alpha.shape[0] * factor)))
        camera = camera.resized(*size)
        alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX))
        if valid is not None:
            valid = wholly_valid(Image.fromarray(np.where(valid, 255, 0).astype(np.uint8)), size)
    return camera, Silhouette.of(alpha, valid)


def _hull_distances(fit: Fit, grid: DistanceGrid) -> Array32:
    """Distances of the visual hull of all views, on the corners near the field's surface."""
    silhouettes = [_silhouette(fit, i) for i in carving_views(range(len(fit.cameras)))]
    hull = np.full(grid.distance.size, -np.inf, np.float32)  # no limit far from the surface
    near = np.abs(grid.distance.ravel()) < _HULL_CELLS * grid.cell
    hull[near] = hull_distances(
        [camera for camera, _ in silhouettes],
        [silhouette for _, silhouette in silhouettes],
        grid_points(grid.low, grid.cell, grid.distance.shape)[near],
    )
    return hull.reshape(grid.distance.shape)
