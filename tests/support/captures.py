"""Writes small captures of the ellipsoid head in the formats of other tools."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import Camera, CameraAxes, WorldFrame, convert_pose, invert_rigid
from dp3d_core.cameras.files import cameras_to_transforms
from dp3d_core.cameras.lenses import COLMAP_MODELS
from dp3d_core.cameras.trajectories import capture_sphere
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.folders.importing import import_folder
from tests.support.scene import trace

CALLS: dict[str, Any] = {"progress": no_progress, "cancel": never_cancel}
COUNT, SIDE = 6, 32
"""Number of views, and their width and height in pixels."""


def cameras(count: int = COUNT, side: int = SIDE) -> list[Camera]:
    """Cameras of a capture."""
    return capture_sphere(count, (-15.0, 20.0), side, 3.2)


def write_pictures(folder: Path, views: list[Camera], *, alpha: bool = True) -> list[str]:
    """Write RGBA pictures, or RGB pictures and masks/; returns the names of the pictures."""
    (folder / "images").mkdir(parents=True)
    if not alpha:
        (folder / "masks").mkdir()
    for i, camera in enumerate(views):
        rgb, mask = trace(camera)
        picture = np.dstack([rgb, mask]) if alpha else rgb
        Image.fromarray(picture).save(folder / f"images/{i:04d}.png")
        if not alpha:
            Image.fromarray(mask).save(folder / f"masks/{i:04d}.png")
    return [f"images/{i:04d}.png" for i in range(len(views))]


def write_transforms(
    folder: Path, *, alpha: bool = True, change: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Write nerfstudio's ``transforms.json`` with pictures.

    ``change`` edits the document before it is written.
    """
    views = cameras()
    names = write_pictures(folder, views, alpha=alpha)
    masks = None if alpha else [name.replace("images", "masks") for name in names]
    data = json.loads(json.dumps(cameras_to_transforms(views, names, masks)))
    if change is not None:
        change(data)
    (folder / "transforms.json").write_text(json.dumps(data))
    return data


def write_synthetic(folder: Path) -> None:
    """Write a synthetic scene of NeRF: four training frames, one for each other split."""
    views = cameras()
    names = write_pictures(folder, views)
    frames = cameras_to_transforms(views, names)["frames"]
    angle = 2 * np.arctan(views[0].width / 2 / views[0].K[0, 0])
    for split, indices in (("train", range(4)), ("val", [4]), ("test", [5])):
        split_frames = [
            {
                "file_path": "./" + names[i].removesuffix(".png"),
                "transform_matrix": frames[i]["transform_matrix"],
            }
            for i in indices
        ]
        document = {"camera_angle_x": float(angle), "frames": split_frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(document))


def write_colmap(
    folder: Path,
    *,
    binary: bool,
    model: str = "PINHOLE",
    bends: tuple[float, ...] = (),
    where: str = "sparse/0",
    one_line: bool = False,
) -> None:
    """Write pictures and a COLMAP model with one camera.

    Args:
        folder: to write to.
        binary: binary files instead of text.
        model: camera model of COLMAP.
        bends: distortion coefficients of the model.
        where: folder of the model.
        one_line: leave out the lines of points in images.txt.

    """
    views = cameras()
    write_pictures(folder, views)
    (folder / where).mkdir(parents=True, exist_ok=True)
    first = views[0]
    focal = [first.K[0, 0]] if model.startswith(("SIMPLE", "RADIAL")) else [first.K[0, 0]] * 2
    lens = [*focal, first.K[0, 2], first.K[1, 2], *bends]
    poses = []
    for camera in views:
        pose = invert_rigid(convert_pose(camera.c2w, world=(WorldFrame.HEAD, WorldFrame.Z_UP)))
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        poses.append([w, x, y, z, *pose[:3, 3]])
    names = [f"{i:04d}.png" for i in range(len(views))]
    if binary:
        number = [name for name, _ in COLMAP_MODELS].index(model)
        data = struct.pack("<Q", 1) + struct.pack("<IiQQ", 7, number, SIDE, SIDE)
        (folder / where / "cameras.bin").write_bytes(data + struct.pack(f"<{len(lens)}d", *lens))
        data = struct.pack("<Q", len(views))
        for i, (pose, name) in enumerate(zip(poses, names, strict=True)):
            data += struct.pack("<I7dI", i + 1, *pose, 7) + name.encode() + b"\0"
            data += struct.pack("<Q", 2) + struct.pack("<ddqddq", 1.5, 2.5, -1, 3.5, 4.5, 9)
        (folder / where / "images.bin").write_bytes(data)
        return
    text = f"# cameras\n7 {model} {SIDE} {SIDE} {' '.join(map(str, lens))}\n"
    (folder / where / "cameras.txt").write_text(text)
    lines = ["# images"]
    for i, (pose, name) in enumerate(zip(poses, names, strict=True)):
        lines.append(f"{i + 1} {' '.join(f'{v:.15g}' for v in pose)} 7 {name}")
        lines += [] if one_line else ["1.5 2.5 -1 3.5 4.5 9" if i % 2 else ""]
    (folder / where / "images.txt").write_text("\n".join(lines) + "\n")


def read(folder: Path, out: Path) -> ViewSet:
    """Import a capture as a view set."""
    return import_folder(folder, out, **CALLS)


def check_cameras(views: ViewSet, truth: list[Camera] | None = None) -> None:
    """Assert that cameras project points to the pixels of the true cameras."""
    points = np.random.default_rng(3).uniform(-0.2, 0.2, (20, 3))
    for camera, true in zip(views.cameras, truth or cameras(), strict=True):
        np.testing.assert_allclose(
            camera.project(points)[0], true.project(points)[0], atol=1e-4 * true.width
        )


def camera_path(views: list[Camera], scale: float = 1.0) -> dict[str, Any]:
    """Content of nerfstudio's ``camera_path.json``; positions are multiplied by ``scale``."""
    path = []
    for camera in views:
        pose = convert_pose(
            camera.c2w,
            axes=(CameraAxes.OPENCV, CameraAxes.OPENGL),
            world=(WorldFrame.HEAD, WorldFrame.Z_UP),
        )
        pose[:3, 3] *= scale
        fov = np.degrees(2 * np.arctan(camera.height / 2 / camera.K[1, 1]))
        aspect = camera.width / camera.height
        path.append({"camera_to_world": pose.ravel().tolist(), "fov": float(fov), "aspect": aspect})
    return {
        "camera_type": "perspective",
        "render_width": views[0].width,
        "render_height": views[0].height,
        "camera_path": path,
        "fps": 24,
        "seconds": 2,
    }
