"""View sets from and to the formats of other tools.

Every format is written with exact poses in the same world: Z up, as Blender has it (the world N of
docs/coordinates.md), so that what another tool makes of the frames lies where ours does.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import marching_cubes

from dp3d_core.camera_files import cameras_from_transforms, cameras_to_transforms
from dp3d_core.cameras import HEAD_FROM_Z_UP, Camera, WorldFrame, convert_pose
from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json, write_atomic, write_json
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.viewset import VIEWSET_MARKER, ViewMeta, ViewSet, ViewSetWriter, encode_png, over
from nerf_export.dataset import held_out_of
from nerf_export.hull import carving_views, visual_hull

_POINT_CORNERS = 96
_MOST_POINTS = 30_000
_PICTURES = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_CAMERA_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL")
"""Those of nerfstudio that are pinholes without distortion, which is looked at by itself; the
first is what folders mean that name none."""
_OF_EXPORTS = ("images", "masks", "sparse", "head", "transforms.json", "transforms_*.json")
"""What exports write into their folder."""
EXPORT_MARKER = "dp3d-export.json"
"""The file that makes a folder ours; it is written before anything else."""


# -- reading -------------------------------------------------------------------------------


def is_nerfstudio(path: Path) -> bool:
    """Whether a folder is nerfstudio's, not a view set."""
    return not (path / VIEWSET_MARKER).is_file() and (path / "transforms.json").is_file()


def nerfstudio_hash(path: Path) -> str:
    """SHA-256 over transforms.json and all that it names.

    Raises:
        Dp3dError: ``viewset.invalid``.

    """
    data = _transforms(path)
    digest = hashlib.sha256((path / "transforms.json").read_bytes())
    for frame in data["frames"]:
        for name in (frame["file_path"], frame.get("mask_path")):
            if name is not None:
                try:
                    digest.update(_inside(path, name).read_bytes())
                except OSError as error:
                    raise _invalid(f"{name} cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def import_nerfstudio(
    path: Path, out: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> ViewSet:
    """Make a nerfstudio folder into a view set; goes on at the first missing frame.

    Poses are read as Z up, without any change.  Where any picture is transparent somewhere, alpha
    is foreground, and where a mask is black over it, nothing is known; else a frame's mask is
    (white: the head).  ``train_filenames`` and ``val_filenames`` (or ``test_filenames``) decide
    what is held out.

    Args:
        path: folder with ``transforms.json``.
        out: folder of the view set.
        progress: stage ``import``.
        cancel: polled between pictures.

    Raises:
        Dp3dError: ``viewset.*``, ``camera.file_invalid``.

    """
    data = _transforms(path)
    cameras, names = cameras_from_transforms(data)
    held_out = _held_out(data, names)
    kept = sorted({*_listed(data, "train_filenames", names), *held_out}) or list(range(len(names)))
    cameras = [cameras[i] for i in kept]
    masks = [data["frames"][i].get("mask_path") for i in kept]
    parameters = {"held_out": [kept.index(i) for i in held_out]} if held_out else {}
    writer = ViewSetWriter(out, cameras, ViewMeta(engine="nerfstudio", parameters=parameters))
    missing = writer.missing()
    stage = Stage(
        "import",
        len(kept),
        progress,
        cancel,
        "Reading the pictures",
        start=len(kept) - len(missing),
    )
    cut_out = any(_transparent(path, names[i], cancel) for i in kept)
    unmasked = [names[i] for i, mask in zip(kept, masks, strict=True) if mask is None]
    if not cut_out and 0 < len(unmasked) < len(kept):
        raise _invalid(f"{unmasked[0]} has no mask, others have one")
    for i in missing:
        writer.write(i, *_read_frame(path, names[kept[i]], masks[i], cameras[i], cut_out))
        stage.advance()
    return writer.finish()


def _transforms(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path / "transforms.json")
    except (OSError, ValueError) as error:
        raise _invalid(f"transforms.json cannot be read ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("frames"), list):
        raise _invalid("transforms.json has no frames")
    frames: list[Any] = data["frames"]
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise _invalid(f"frame {i} of transforms.json has no file_path")
    model = data.get("camera_model", _CAMERA_MODELS[0])
    if model not in _CAMERA_MODELS:
        raise Dp3dError(
            "viewset.invalid",
            f"The views cannot be used: their camera_model is {model!r}, which is no pinhole.",
            "Undistort the pictures first, to pinhole cameras.",
        )
    return data


def _inside(root: Path, name: Any) -> Path:
    """The file of a name in transforms.json; never one outside the folder."""
    path = root / str(name)
    if root.resolve() not in path.resolve().parents:
        raise _invalid(f"{name!r} is no file of the folder")
    if not path.is_file() and not path.suffix:
        path = path.with_suffix(".png")
    return path


def _listed(data: dict[str, Any], key: str, names: Sequence[str]) -> list[int]:
    found = data.get(key) or []
    if not isinstance(found, list):
        raise _invalid(f"{key} is no list of file names")
    unknown = [name for name in found if name not in names]
    if unknown:
        raise _invalid(f"{key} names {unknown[0]!r}, which is no frame of transforms.json")
    return [names.index(name) for name in found]


def _held_out(data: dict[str, Any], names: Sequence[str]) -> list[int]:
    for key in ("val_filenames", "test_filenames"):
        found = _listed(data, key, names)
        if found:
            return list(dict.fromkeys(found))
    return []


def _read_frame(
    root: Path, name: str, mask_name: str | None, camera: Camera, cut_out: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.bool_] | None]:
    """Frame over white, alpha and what is known, at the camera's size.

    ``cut_out`` says whether alpha is foreground in these pictures.
    """
    pixels = _pixels(root, name, camera, "RGBA")
    alpha: NDArray[np.uint8] | None = pixels[..., 3]
    known = None
    mask = None if mask_name is None else _pixels(root, mask_name, camera, "L")
    if not cut_out:
        alpha = mask
    elif mask is not None:
        known = (mask >= 128) | (pixels[..., 3] == 0)
        alpha = np.where(known, pixels[..., 3], 0).astype(np.uint8)
    if alpha is None:
        return pixels[..., :3], None, None
    return over(np.dstack([pixels[..., :3], alpha])), alpha, known


def _transparent(root: Path, name: str, cancel: CancelCheck) -> bool:
    """Whether some of a picture is background by its alpha."""
    check_cancel(cancel, "The import")
    with _picture(root, name) as image:
        if not image.has_transparency_data:
            return False
        return bool((np.asarray(image.convert("RGBA"))[..., 3] < 128).any())


def _pixels(root: Path, name: str, camera: Camera, mode: str) -> NDArray[np.uint8]:
    with _picture(root, name) as image:
        if image.size != (camera.width, camera.height):
            raise _invalid(
                f"{name} is {image.width} x {image.height} pixels, its camera "
                f"{camera.width} x {camera.height}"
            )
        return np.asarray(image.convert(mode))


@contextmanager
def _picture(root: Path, name: str) -> Iterator[Image.Image]:
    """A picture of the folder; only kinds that Pillow itself decodes."""
    path = _inside(root, name)
    try:
        with Image.open(path, formats=_PICTURES) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _invalid(f"{name} cannot be read ({error})") from error


def _invalid(why: str) -> Dp3dError:
    return Dp3dError(
        "viewset.invalid",
        f"The views cannot be used: {why}.",
        "Check that the folder is whole: transforms.json and the pictures that it names.",
    )


# -- writing -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    title: str
    write: Callable[[ViewSet, Path], list[str]]
    """Writes the cameras, returns the names of the files."""
    check: Callable[[Sequence[Camera]], None] = lambda cameras: None
    """Refuses cameras that the format cannot say."""
    masks: bool = False
    """Whether what is not known is told by masks, in ``masks/`` beside ``images/``."""


def export_views(
    views: ViewSet,
    out: Path,
    to: str,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> list[str]:
    """Write a view set for another tool.

    Args:
        views: the views; RGBA pictures are written where there are masks.
        out: folder, new or from an earlier export.
        to: a name of :data:`FORMATS`.
        progress: stage ``export``.
        cancel: polled between pictures.

    Returns:
        Names of the files that describe the cameras.

    Raises:
        Dp3dError: ``engine.bad_option``, ``camera.invalid`` for cameras that the format
            cannot say.

    """
    if to not in FORMATS:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no format {to!r}.",
            f"Choose one of: {', '.join(FORMATS)}.",
        )
    chosen = FORMATS[to]
    chosen.check(views.cameras)
    mark_export(out, to)
    stage = Stage("export", len(views) + 1, progress, cancel, f"Writing for {chosen.title}")
    masks = _masks(views) if chosen.masks else None
    for i, name in enumerate(_pictures(views)):
        rgba = views.rgba(i)
        if masks is not None:
            known = views.known(i)
            if known is None:
                known = np.ones(rgba.shape[:2], bool)
            # opaque: alpha must not say that there is no head
            rgba[~known, 3] = 255
            write_atomic(out / masks[i], encode_png(np.where(known, 255, 0).astype(np.uint8)))
        write_atomic(out / name, encode_png(rgba))
        stage.advance()
    files = chosen.write(views, out)
    stage.advance("Cameras written")
    return files


def mark_export(out: Path, to: str) -> None:
    """Make a folder ours and clear it of an earlier export: two must never mix."""
    if (out / EXPORT_MARKER).is_file():
        for name in _OF_EXPORTS:
            for path in out.glob(name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    write_json(out / EXPORT_MARKER, {"schema": "dp3d.export/1", "format": to})


def _pictures(views: ViewSet) -> list[str]:
    return [f"images/{i:04d}.png" for i in range(len(views))]


def _masks(views: ViewSet) -> list[str] | None:
    """Masks of what is known, black where nobody is to draw rays; None: all is known."""
    if not any(views.known_path(i).is_file() for i in range(len(views))):
        return None
    return [name.replace("images/", "masks/") for name in _pictures(views)]


def _write_nerfstudio(views: ViewSet, out: Path) -> list[str]:
    """With masks where frames are known in part, and the split if the views' source named one."""
    names = _pictures(views)
    data = cameras_to_transforms(views.cameras, names, _masks(views))
    held = views.meta.parameters.get("held_out")
    if held:
        data["train_filenames"] = [name for i, name in enumerate(names) if i not in held]
        data["val_filenames"] = data["test_filenames"] = [names[i] for i in held]
    write_json(out / "transforms.json", data)
    return ["transforms.json"]


def _write_instant_ngp(views: ViewSet, out: Path) -> list[str]:
    """instant-ngp's own additions: a head fills most of its unit cube."""
    data = cameras_to_transforms(views.cameras, _pictures(views))
    first = views.cameras[0]
    data |= {
        "aabb_scale": 1,
        "scale": 0.8,
        "offset": [0.5, 0.5, 0.5],
        "w": first.width,
        "h": first.height,
        "fl_x": float(first.K[0, 0]),
        "fl_y": float(first.K[1, 1]),
        "cx": float(first.K[0, 2]),
        "cy": float(first.K[1, 2]),
        "camera_angle_x": 2 * math.atan(first.width / 2 / float(first.K[0, 0])),
    }
    write_json(out / "transforms.json", data)
    return ["transforms.json"]


def _check_blender(cameras: Sequence[Camera]) -> None:
    """Refuse what NeRF's synthetic format cannot say: one lens, centred, square pixels."""
    first = cameras[0]
    for i, camera in enumerate(cameras):
        centred = np.allclose(camera.K[:2, 2], [camera.width / 2, camera.height / 2], atol=1e-3)
        square = math.isclose(camera.K[0, 0], camera.K[1, 1], rel_tol=1e-6)
        same = (camera.width, camera.height) == (first.width, first.height) and math.isclose(
            camera.K[0, 0], first.K[0, 0], rel_tol=1e-6
        )
        if not (centred and square and same):
            raise Dp3dError(
                "camera.invalid",
                f"The format 'blender' has one centred lens with square pixels for all, camera "
                f"{i} has another.",
                "Export for nerfstudio or colmap, which have a lens for each camera.",
            )


def _write_blender(views: ViewSet, out: Path) -> list[str]:
    """NeRF's synthetic format: one lens for all; the same frames for every split but held-out."""
    first = views.cameras[0]
    angle = 2 * math.atan(first.width / 2 / float(first.K[0, 0]))
    names = [name.removesuffix(".png") for name in _pictures(views)]
    frames = [
        {"file_path": f"./{name}", "transform_matrix": frame["transform_matrix"]}
        for name, frame in zip(
            names, cameras_to_transforms(views.cameras, names)["frames"], strict=True
        )
    ]
    held = held_out_of(views)
    splits = {
        "train": [frame for i, frame in enumerate(frames) if i not in held],
        "val": [frames[i] for i in held],
        "test": [frames[i] for i in held],
    }
    for name, part in splits.items():
        write_json(out / f"transforms_{name}.json", {"camera_angle_x": angle, "frames": part})
    return [f"transforms_{name}.json" for name in splits]


def _write_colmap(views: ViewSet, out: Path) -> list[str]:
    """COLMAP's text model, with points on the visual hull: what splatting tools start from."""
    from scipy.spatial.transform import Rotation

    cameras, images = ["# one camera for each picture"], ["# two lines for each picture"]
    for i, camera in enumerate(views.cameras):
        values = (camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2])
        numbers = " ".join(f"{value:.9g}" for value in values)
        cameras.append(f"{i + 1} PINHOLE {camera.width} {camera.height} {numbers}")
        world_to_camera = np.linalg.inv(_pose_z_up(camera))
        x, y, z, w = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat()
        place = (w, x, y, z, *world_to_camera[:3, 3])
        numbers = " ".join(f"{value:.12g}" for value in place)
        images += [f"{i + 1} {numbers} {i + 1} {i:04d}.png", ""]
    points = ["# id, place, colour, error"]
    for i, (place, colour) in enumerate(zip(*_hull_points(views), strict=True)):
        where = " ".join(f"{value:.6g}" for value in place)
        points.append(f"{i + 1} {where} {' '.join(str(int(c)) for c in colour)} 0")
    files = {
        f"sparse/0/{name}.txt": lines
        for name, lines in (("cameras", cameras), ("images", images), ("points3D", points))
    }
    for name, lines in files.items():
        write_atomic(out / name, ("\n".join(lines) + "\n").encode())
    return list(files)


def _pose_z_up(camera: Camera) -> NDArray[np.float64]:
    """(4, 4) pose with OpenCV axes in world N."""
    pose: NDArray[np.float64] = convert_pose(camera.c2w, world=(WorldFrame.HEAD, WorldFrame.Z_UP))
    return pose


def _hull_points(views: ViewSet) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """(n, 3) places in world N and (n, 3) colours on the silhouettes' common volume."""
    chosen = carving_views(range(len(views)))
    cameras, pictures = [views.cameras[i] for i in chosen], [views.rgba(i) for i in chosen]
    hull = visual_hull(
        cameras,
        [picture[..., 3] for picture in pictures],
        _POINT_CORNERS,
        [views.known(i) for i in chosen],
    )
    vertices, _, normals, _ = marching_cubes(hull.distance, 0.0)
    if len(vertices) > _MOST_POINTS:
        keep = np.linspace(0, len(vertices) - 1, _MOST_POINTS).astype(int)
        vertices, normals = vertices[keep], normals[keep]
    points = hull.low + hull.cell * vertices
    head, outward = points @ HEAD_FROM_Z_UP[:3, :3].T, normals @ HEAD_FROM_Z_UP[:3, :3].T
    best, colour = np.full(len(points), -np.inf), np.full((len(points), 3), 128, np.uint8)
    for camera, picture in zip(cameras, pictures, strict=True):
        uv, depth = camera.project(head)
        inside = (depth > 0) & (uv >= 0).all(1) & (uv < [camera.width, camera.height]).all(1)
        away = camera.position - head
        facing = np.einsum("ni,ni->n", outward, away) / np.linalg.norm(away, axis=1)
        at = np.clip(np.nan_to_num(uv), 0, [camera.width - 1, camera.height - 1]).astype(int)
        held = picture[at[:, 1], at[:, 0], 3] > 127
        better = inside & held & (facing > best)
        best[better] = facing[better]
        colour[better] = picture[at[better, 1], at[better, 0], :3]
    return points, colour


FORMATS: dict[str, _Format] = {
    "nerfstudio": _Format("nerfstudio", _write_nerfstudio, masks=True),
    "instant-ngp": _Format("instant-ngp", _write_instant_ngp),
    "blender": _Format("NeRF's synthetic format", _write_blender, _check_blender),
    "colmap": _Format("COLMAP, gsplat, Postshot", _write_colmap),
}
"""What :func:`export_views` writes, by name."""
