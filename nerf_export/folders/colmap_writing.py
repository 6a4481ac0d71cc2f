"""Writes COLMAP's text model, with points on the visual hull from which splatting tools start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.measure import marching_cubes

from dp3d_core.arrays import Array, Pixels
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Camera, WorldFrame, convert_pose
from dp3d_core.storage.files import write_atomic
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.folders.colmap import colmap_alpha_comment
from nerf_export.shape.hull import carving_views, visual_hull

_POINT_CORNERS = 96
"""Corners along the longest axis of the hull's grid."""
_MOST_POINTS = 30_000
"""Most points of a model."""


def write_colmap(views: ViewSet, out: Path) -> list[str]:
    """Write ``sparse/0`` for the pictures of an export.

    Args:
        views: the exported views.
        out: folder of the export.

    Returns:
        Names of the written files, relative to ``out``.

    """
    from scipy.spatial.transform import Rotation

    cameras, images = ["# one camera for each picture"], ["# two lines for each picture"]
    if any(views.mask_path(i).is_file() for i in range(len(views))):
        cameras.append(colmap_alpha_comment())
    for i, camera in enumerate(views.cameras):
        values = (camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2])
        numbers = " ".join(f"{value:.9g}" for value in values)
        cameras.append(f"{i + 1} PINHOLE {camera.width} {camera.height} {numbers}")
        world_to_camera = np.linalg.inv(_pose_z_up(camera))
        x, y, z, w = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat()
        pose = (w, x, y, z, *world_to_camera[:3, 3])
        numbers = " ".join(f"{value:.12g}" for value in pose)
        images += [f"{i + 1} {numbers} {i + 1} {i:04d}.png", ""]
    points = ["# id, place, colour, error"]
    for i, (point, colour) in enumerate(zip(*_hull_points(views), strict=True)):
        position = " ".join(f"{value:.6g}" for value in point)
        points.append(f"{i + 1} {position} {' '.join(str(int(c)) for c in colour)} 0")
    files = {
        f"sparse/0/{name}.txt": lines
        for name, lines in (("cameras", cameras), ("images", images), ("points3D", points))
    }
    for name, lines in files.items():
        write_atomic(out / name, ("\n".join(lines) + "\n").encode())
    return list(files)


def _pose_z_up(camera: Camera) -> Array:
    """(4, 4) camera-to-world pose, OpenCV axes, in world N."""
    pose: Array = convert_pose(camera.c2w, world=(WorldFrame.HEAD, WorldFrame.Z_UP))
    return pose


def _hull_points(views: ViewSet) -> tuple[Array, Pixels]:
    """(n, 3) points on the visual hull in world N, and their (n, 3) uint8 colours."""
    chosen = carving_views(range(len(views)))
    cameras, pictures = [views.cameras[i] for i in chosen], [views.rgba(i) for i in chosen]
    hull = visual_hull(
        cameras,
        [picture[..., 3] for picture in pictures],
        _POINT_CORNERS,
        [views.valid_mask(i) for i in chosen],
    )
    vertices, _, normals, _ = marching_cubes(hull.distance, 0.0)
    if len(vertices) > _MOST_POINTS:
        kept_indices = np.linspace(0, len(vertices) - 1, _MOST_POINTS).astype(int)
        vertices, normals = vertices[kept_indices], normals[kept_indices]
    points = hull.low + hull.cell * vertices
    head, outward = points @ HEAD_FROM_Z_UP[:3, :3].T, normals @ HEAD_FROM_Z_UP[:3, :3].T
    best_cosine, colour = np.full(len(points), -np.inf), np.full((len(points), 3), 128, np.uint8)
    for camera, picture in zip(cameras, pictures, strict=True):
        uv, depth = camera.project(head)
        inside = (depth > 0) & (uv >= 0).all(1) & (uv < [camera.width, camera.height]).all(1)
        to_camera = camera.position - head
        facing = np.einsum("ni,ni->n", outward, to_camera) / np.linalg.norm(to_camera, axis=1)
        pixels = np.clip(np.nan_to_num(uv), 0, [camera.width - 1, camera.height - 1]).astype(int)
        opaque = picture[pixels[:, 1], pixels[:, 0], 3] > 127
        better = inside & opaque & (facing > best_cosine)
        best_cosine[better] = facing[better]
        colour[better] = picture[pixels[better, 1], pixels[better, 0], :3]
    return points, colour
