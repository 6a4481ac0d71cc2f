"""Fit -> textured mesh in head space (Y up, face towards +Z): GLB, OBJ or PLY, or splats."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from nerf_export.bake import Painted, paint
from nerf_export.child_process import run_child, working_folder
from nerf_export.fit import Fit
from nerf_export.fusion import poisson_grid, tsdf_grid
from nerf_export.hull import Silhouette, carving_views, grid_points, hull_distances
from nerf_export.presets import AGREEING_ERROR, REFERENCE_CORNERS
from nerf_export.render import render_fit
from nerf_export.splats import to_splats
from nerf_export.surface import LEAST_BLUR, DistanceGrid, extract_surface

MIN_FACES, MAX_FACES = 200, 500_000
MIN_TEXTURE, MAX_TEXTURE = 64, 4096
SURFACES = ("distance", "tsdf", "poisson")
"""Ways to a surface; the first was the nearest to the truth in every measure, and the fastest
(``dp3d bench nerf --compare``)."""
DEFAULT_SURFACE = SURFACES[0]
_HULL_CELLS = 4
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
    faces: int = 30000,
    texture_size: int = 1024,
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
            ``.ply``, with a colour for each vertex.
        faces: triangles, about; 200 to 500,000.
        texture_size: side of the texture in texels; 64 to 4096.
        surface: ``distance``, the zero level of the field's distances; or, to compare, ``tsdf``
            or ``poisson`` of the depth that the field renders for the views it was fitted to.
        normal_map: whether a GLB gets the form that its triangles are too few for.
        splats: whether a PLY holds Gaussian splats instead of triangles, one for each texel.
        progress: stage ``mesh``, and ``render`` where depth is needed.
        cancel: polled between steps.

    Raises:
        Dp3dError: ``fit.*``, ``mesh.empty``, ``nerf.*``, ``engine.bad_option``,
            ``output.not_writable``, ``job.cancelled``.

    """
    began = time.monotonic()
    out = Path(out)
    if out.suffix.lower() not in FORMATS or out.is_dir():
        raise Dp3dError(
            "output.not_writable",
            f"A mesh cannot be written as {out.name}.",
            f"Give the name of a file that ends in {', '.join(FORMATS)}.",
        )
    check_mesh_options(faces, texture_size)
    _check_beside(out)
    for asked, what, ending in ((normal_map, "A normal map", ".glb"), (splats, "Splats", ".ply")):
        if asked and out.suffix.lower() != ending:
            raise Dp3dError(
                "engine.bad_option",
                f"{what} cannot be written with {out.name}.",
                f"Give the name of a file that ends in {ending}, or leave the option away.",
            )
    if surface not in SURFACES:
        raise Dp3dError(
            "engine.bad_option",
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
    for name, data in write(painted, out.name).items():
        write_atomic(out.with_name(name), data)
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
    material = trimesh.visual.material.PBRMaterial(  # type: ignore[no-untyped-call]
        name="head",
        baseColorTexture=Image.fromarray(painted.texture),
        metallicFactor=0.0,
        roughnessFactor=0.9,
        normalTexture=None if painted.normal_map is None else Image.fromarray(painted.normal_map),
    )
    scene = trimesh.Scene()
    scene.add_geometry(_textured(painted, material), node_name="head", geom_name="head")
    data: bytes = scene.export(file_type="glb", include_normals=True)  # type: ignore[no-untyped-call]
    return {name: data}


def to_obj(painted: Painted, name: str = "head.obj") -> dict[str, bytes]:
    """OBJ with its material and texture; Y up.  The OBJ comes last: it names the others."""
    stem = Path(name).stem
    material = trimesh.visual.material.SimpleMaterial(  # type: ignore[no-untyped-call]
        image=Image.fromarray(painted.texture), name=stem
    )
    text, beside = trimesh.exchange.obj.export_obj(  # type: ignore[no-untyped-call]
        _textured(painted, material),
        include_normals=True,
        return_texture=True,
        mtl_name=f"{stem}.mtl",
    )
    return {**beside, name: text.encode()}


def to_ply(painted: Painted, name: str = "head.ply") -> dict[str, bytes]:
    """PLY with a colour for each vertex; Y up."""
    size = len(painted.texture)
    column = np.clip(painted.uv[:, 0] * size, 0, size - 1).astype(int)
    row = np.clip((1 - painted.uv[:, 1]) * size, 0, size - 1).astype(int)
    mesh = trimesh.Trimesh(
        painted.vertices,
        painted.faces,
        vertex_normals=painted.normals,
        vertex_colors=painted.texture[row, column],
        process=False,
    )
    data: Any = mesh.export(file_type="ply", vertex_normal=True)  # type: ignore[no-untyped-call]
    return {name: data}


def _textured(painted: Painted, material: Any) -> trimesh.Trimesh:
    return trimesh.Trimesh(
        painted.vertices,
        painted.faces,
        vertex_normals=painted.normals,
        visual=trimesh.visual.TextureVisuals(uv=painted.uv, material=material),  # type: ignore[no-untyped-call]
        process=False,
    )


FORMATS: dict[str, Callable[[Painted, str], dict[str, bytes]]] = {
    ".glb": to_glb,
    ".obj": to_obj,
    ".ply": to_ply,
}
"""Files to write, by the ending of the mesh's name."""


def check_mesh_options(faces: int, texture_size: int) -> None:
    """Raise ``engine.bad_option`` for numbers that :func:`build_mesh` would refuse."""
    _check("number of faces", faces, MIN_FACES, MAX_FACES)
    _check("texture size", texture_size, MIN_TEXTURE, MAX_TEXTURE)


def _check_beside(out: Path) -> None:
    """Refuse an OBJ whose material and texture would replace files that no OBJ here names."""
    if out.suffix.lower() != ".obj" or out.exists():
        return
    for beside in (out.with_suffix(".mtl"), out.with_suffix(".png")):
        if beside.exists():
            raise Dp3dError(
                "output.occupied",
                f"{out.name} would bring a file {beside.name}, and there is another one of that "
                "name.",
                "Choose another name for the mesh.",
            )


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Dp3dError(
            "engine.bad_option",
            f"A mesh cannot be made with {value} as its {name}.",
            f"Give a number from {low} to {high}.",
        )


def _distance_grid(fit: Fit, progress: ProgressCallback, cancel: CancelCheck) -> DistanceGrid:
    with working_folder() as work:
        run_child(
            "surface",
            {
                "field": str(fit.root.absolute() / "field.safetensors"),
                "field_size": fit.meta["field_size"],
                "grid": str(work / "grid.npz"),
            },
            work,
            progress=progress,
            cancel=cancel,
        )
        with np.load(work / "grid.npz", allow_pickle=False) as grid:
            return DistanceGrid(grid["distance"], grid["low"], float(grid["cell"]), _blur(fit))


def _blur(fit: Fit) -> float:
    """How far, cells, the noise of a field's distances reaches.

    Views that contradict each other leave dents: the larger the error that training could not
    take away, the wider, in parts of the head.
    """
    error = float(fit.meta.get("training_error", 0.0))
    wider = min(_WIDEST, max(1.0, math.sqrt(error / AGREEING_ERROR)))
    finer = max(fit.meta["field_size"]["corners"]) / REFERENCE_CORNERS
    return max(LEAST_BLUR, LEAST_BLUR * wider * finer) if wider > 1 else LEAST_BLUR


def _from_depth(
    fit: Fit,
    surface: str,
    grid: DistanceGrid,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> DistanceGrid:
    """Distances from the depth that the field renders for its own views."""
    with tempfile.TemporaryDirectory(prefix="dp3d-depth-") as folder:
        views = render_fit(
            fit.root, fit.cameras, Path(folder) / "views", progress=progress, cancel=cancel
        )
        depths = [depth for i in range(len(views)) if (depth := views.depth(i)) is not None]
    make = tsdf_grid if surface == "tsdf" else poisson_grid
    return make(fit.cameras, depths, grid)


def _equalised(fit: Fit, index: int) -> tuple[Camera, NDArray[np.uint8]]:
    """A view without what its exposure differs from the others'."""
    camera, rgba = fit.picture(index)
    gain = fit.exposure(index)
    if np.allclose(gain, 1):
        return camera, rgba
    rgb = np.rint(rgba[..., :3] / gain).clip(0, 255).astype(np.uint8)
    return camera, np.dstack([rgb, rgba[..., 3]])


def _hull(fit: Fit, grid: DistanceGrid) -> NDArray[np.float32]:
    """Distances of the visual hull of all views, on the corners near the field's surface."""
    chosen = carving_views(range(len(fit.cameras)))
    pictures = [fit.picture(i) for i in chosen]
    hull = np.full(grid.distance.size, -np.inf, np.float32)  # far inside or out: no say
    near = np.abs(grid.distance.ravel()) < _HULL_CELLS * grid.cell
    hull[near] = hull_distances(
        [camera for camera, _ in pictures],
        [
            Silhouette.of(pixels[..., 3], fit.known(i))
            for i, (_, pixels) in zip(chosen, pictures, strict=True)
        ],
        grid_points(grid.low, grid.cell, grid.distance.shape)[near],
    )
    return hull.reshape(grid.distance.shape)
