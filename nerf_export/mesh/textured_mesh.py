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
from nerf_export.mesh.bake import Painted, paint
from nerf_export.mesh.splats import to_splats
from nerf_export.process.child_process import run_child
from nerf_export.process.left_children import working_folder
from nerf_export.shape.depth_fusion import poisson_grid, tsdf_grid
from nerf_export.shape.hull import Silhouette, carving_views, grid_points, hull_distances
from nerf_export.shape.surface import LEAST_BLUR, DistanceGrid, extract_surface
from nerf_export.views.dataset import wholly_known

SURFACES = ("distance", "tsdf", "poisson")
"""Ways to a surface; the first was the nearest to the truth in every measure, and the fastest
(``dp3d bench nerf --compare``)."""
DEFAULT_SURFACE = SURFACES[0]
_HULL_CELLS = 4
_OUTLINE = 1536
"""Longest side of the silhouettes that a hull is made of: a field has 256 cells."""
_WIDEST = 4.0
"""How many times wider the distances are blurred at most where views contradict each other."""


@dataclass(frozen=True)
class MeshStats:
    """What a mesh is like."""

    vertices: int
    faces: int
    texture_size: int
    watertight: bool
    """Whether the surface was closed before it was cut into charts."""
    pieces: int
    """Parts of that surface that hang together."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    """Lowest and highest corner, head space, head units (metres in the file)."""
    seen: float
    """Part of the texture that some view sees, 0 to 1."""
    splats: int | None
    """Gaussians in the file, which then has no triangles."""
    seconds: float

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
        surface: ``distance``, the zero level of the field's distances; or, to compare, ``tsdf``
            or ``poisson`` of the depth that the field renders for the views it was fitted to.
        normal_map: whether a GLB gets the form that its triangles are too few for.
        splats: whether a PLY holds Gaussian splats instead of triangles, one for each texel.
        progress: stage ``mesh``, and ``render`` where depth is needed.
        cancel: polled between steps.

    Raises:
        Dp3dError: ``fit.*``, ``mesh.empty``, ``mesh.bad_format``, ``nerf.*``,
            ``mesh.bad_option``, ``output.*``, ``job.cancelled``.

    """
    began = time.monotonic()
    out = Path(out)
    check_mesh_path(out, FORMATS, () if splats else side_names(out))
    check_mesh_options(faces, texture_size)
    for asked, what, ending in ((normal_map, "A normal map", ".glb"), (splats, "Splats", ".ply")):
        if asked and out.suffix.lower() != ending:
            raise Dp3dError(
                "mesh.bad_format",
                f"{what} cannot be written with {out.name}.",
                f"Give the name of a file that ends in {ending}, or leave the option away.",
            )
    if surface not in SURFACES:
        raise Dp3dError(
            "mesh.bad_option",
            f"There is no way to a surface called {surface!r}.",
            f"Choose one of: {', '.join(SURFACES)}.",
        )
    opened = Fit.open(Path(fit))
    cameras = opened.cameras
    stage = Stage("mesh", len(cameras) + 4, progress, cancel, "Asking the field for its surface")
    grid = _distance_grid(opened, progress, cancel)
    stage.advance("Making the surface")
    hull = _hull(opened, grid)
    if surface != DEFAULT_SURFACE:
        grid = _from_depth(opened, surface, grid, progress, cancel)
    closed = extract_surface(grid, faces, hull)
    stage.advance(f"{len(closed.faces)} triangles; unwrapping")
    pictures = (_equalised(opened, i) for i in range(len(cameras)))
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
        seconds=round(time.monotonic() - began, 2),
    )
    stage.advance("The mesh is written", file=out.name)
    return stats


def to_glb(painted: Painted, name: str = "head.glb") -> dict[str, bytes]:
    """GLB: one mesh, one rough, non-metallic material with the texture; Y up."""
    return {name: glb.to_glb([painted.part()])}


def to_obj(painted: Painted, name: str = "head.obj") -> dict[str, bytes]:
    """OBJ with its material and texture; Y up.  The OBJ comes last: it names the others."""
    return files.to_obj([painted.part()], Path(name))


def to_ply(painted: Painted, name: str = "head.ply") -> dict[str, bytes]:
    """PLY with its texture and a colour for each vertex; Y up."""
    return files.to_ply(painted.part(), Path(name))


FORMATS: dict[str, Callable[[Painted, str], dict[str, bytes]]] = {
    ".glb": to_glb,
    ".obj": to_obj,
    ".ply": to_ply,
}
"""Files to write, by the ending of the mesh's name."""


def check_mesh_options(faces: int, texture_size: int) -> None:
    """Raise ``mesh.bad_option`` for numbers that :func:`build_mesh` would refuse."""
    _check("number of faces", faces, MESH_FACES)
    _check("texture size", texture_size, TEXTURE_SIDE)


def _check(name: str, value: int, limits: Range[int]) -> None:
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
    """How far, cells, the noise of a field's distances reaches.

    Views that contradict each other leave dents: the larger the error that training could not
    take away, the wider, in parts of the head.
    """
    error = fit.meta.training_error
    wider = min(_WIDEST, max(1.0, math.sqrt(error / AGREEING_ERROR)))
    finer = max(fit.meta.field_size.corners) / REFERENCE_CORNERS
    return max(LEAST_BLUR, LEAST_BLUR * wider * finer) if wider > 1 else LEAST_BLUR


def _from_depth(
    fit: Fit,
    surface: str,
    grid: DistanceGrid,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> DistanceGrid:
    """Distances from the depth that the field renders for its own views."""
    with working_folder() as folder:
        views = render_fit(fit, fit.cameras, folder / "views", progress=progress, cancel=cancel)
        depths = [depth for i in range(len(views)) if (depth := views.depth(i)) is not None]
    make = tsdf_grid if surface == "tsdf" else poisson_grid
    return make(fit.cameras, depths, grid)


def _equalised(fit: Fit, index: int) -> tuple[Camera, Pixels]:
    """A view without what its exposure differs from the others'."""
    camera, rgba = fit.picture(index)
    gain = fit.exposure(index)
    if np.allclose(gain, 1):
        return camera, rgba
    rgb = np.rint(rgba[..., :3] / gain).clip(0, 255).astype(np.uint8)
    return camera, np.dstack([rgb, rgba[..., 3]])


def _outline(fit: Fit, index: int) -> tuple[Camera, Silhouette]:
    """A view's camera and silhouette, at most :data:`_OUTLINE` pixels wide and high."""
    camera, rgba = fit.picture(index)
    alpha, known = rgba[..., 3], fit.known(index)
    if known is not None and known.shape != alpha.shape:
        raise invalid_fit(f"known/{index:04d}.png is not as large as its frame")
    factor = _OUTLINE / max(alpha.shape)
    if factor < 1:
        size = (max(1, round(alpha.shape[1] * factor)), max(1, round(alpha.shape[0] * factor)))
        camera = camera.resized(*size)
        alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX))
        if known is not None:
            known = wholly_known(Image.fromarray(np.where(known, 255, 0).astype(np.uint8)), size)
    return camera, Silhouette.of(alpha, known)


def _hull(fit: Fit, grid: DistanceGrid) -> Array32:
    """Distances of the visual hull of all views, on the corners near the field's surface."""
    outlines = [_outline(fit, i) for i in carving_views(range(len(fit.cameras)))]
    hull = np.full(grid.distance.size, -np.inf, np.float32)  # far inside or out: no say
    near = np.abs(grid.distance.ravel()) < _HULL_CELLS * grid.cell
    hull[near] = hull_distances(
        [camera for camera, _ in outlines],
        [silhouette for _, silhouette in outlines],
        grid_points(grid.low, grid.cell, grid.distance.shape)[near],
    )
    return hull.reshape(grid.distance.shape)
