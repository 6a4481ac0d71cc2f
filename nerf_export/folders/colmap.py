"""COLMAP folders -> captures: the sparse model and the pictures beside it."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import (
    UnusableCamera,
    WorldFrame,
    convert_pose,
    rigid_and_scale,
)
from dp3d_core.cameras.files import camera_file_error
from dp3d_core.cameras.lenses import Lens
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, check_cancel
from nerf_export.folders.capture import HEAD_ALPHA, Capture, Frame, Notes, listed, unusable
from nerf_export.folders.colmap_model import Model, PosedImage, model_files, read_model
from nerf_export.folders.names import FileNames
from nerf_export.folders.pictures import read_header
from nerf_export.folders.transforms import MISSING_PART, scaled_frame

MODELS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "dense/0/sparse",
          "dense/sparse", "0", ".")  # fmt: skip
"""Folders of a model, tried in this order; of numbered models the one with most images is taken."""
_MODEL_PARENTS = ("sparse", "colmap/sparse", "dense/sparse")
"""Folders of models that have a name instead of a number."""
_PICTURE_FOLDERS = ("images", "input", "", "images_2", "images_4", "images_8")
"""Folders of the pictures, beside the model or above it."""
_COMMENT_BYTES = 1024
"""Bytes at the start of ``cameras.txt`` in which the comment on alpha is searched."""


def colmap_model(folder: Path) -> tuple[Path, Path] | None:
    """Files of cameras and images of a folder's model; None where there is no model."""
    for name in MODELS:
        base = folder / name
        models = _numbered_models(base.parent) if PurePath(name).name == "0" else []
        if len(models) > 1:
            return max(models, key=_image_count)
        files = models[0] if models else model_files(base)
        if files is not None:
            return files
    return _named_model(folder)


def _named_model(folder: Path) -> tuple[Path, Path] | None:
    """Files of the model in the only named folder of ``sparse/``; None where there is none.

    Raises:
        Dp3dError: ``viewset.invalid`` for several models.

    """
    for name in _MODEL_PARENTS:
        parent = folder / name
        if not parent.is_dir():
            continue
        models = [files for path in sorted(parent.iterdir()) if (files := model_files(path))]
        if len(models) > 1:
            names = listed(files[0].parent.name for files in models)
            raise unusable(
                f"{name}/ holds several models of COLMAP ({names})",
                "Leave one of them in it, and move the others elsewhere.",
            )
        if models:
            return models[0]
    return None


def _numbered_models(folder: Path) -> list[tuple[Path, Path]]:
    """Files of the numbered models, which COLMAP makes of one set of pictures, by number."""
    paths = [p for p in folder.glob("[0-9]*") if p.name.isdecimal()]
    models = (model_files(path) for path in sorted(paths, key=lambda p: (int(p.name), p.name)))
    return [files for files in models if files is not None]


def _image_count(files: tuple[Path, Path]) -> int:
    """Number of a model's images; 0 where the model cannot be read."""
    try:
        return len(read_model(files).images)
    except (Dp3dError, OSError):
        return 0


def read_colmap(root: Path, files: tuple[Path, Path], cancel: CancelCheck) -> Capture:
    """Read a model and find its pictures; the model's world is read as Z up.

    Args:
        root: the user's folder.
        files: files of cameras and images.
        cancel: polled between images.

    Raises:
        Dp3dError: ``camera.file_invalid``, ``viewset.invalid``, ``job.cancelled``.

    """
    notes, model = Notes(), read_model(files)
    siblings = _numbered_models(files[0].parent.parent) if files[0].parent.name.isdecimal() else []
    if len(siblings) > 1:
        sizes = ", ".join(
            f"{_image_count(sibling)} in {sibling[0].parent.name}" for sibling in siblings[:9]
        )
        notes.add(
            f"COLMAP made {len(siblings)} models of these pictures, with images: {sizes}. That in "
            f"{files[0].parent.name} is read."
        )
    names = _picture_folder(root, model, notes)
    frames, absent = [], []
    pictures: set[Path] = set()
    for image in model.images:
        check_cancel(cancel, "The import")
        where = f"the image {image.name!r:.80} of COLMAP"
        picture = names.find(image.name, where=f"the name of image {image.name!r:.80} of COLMAP")
        if picture is None:
            absent.append(image.name)
            continue
        if picture in pictures:
            raise unusable(f"{where} has the picture of another one", "Take one of them out.")
        pictures.add(picture)
        frames.append(_frame(image, model.lenses[image.camera], picture, where, notes))
    if len(absent) > MISSING_PART * len(model.images):
        raise unusable(
            f"{len(absent)} of {len(model.images)} pictures are missing: "
            f"{names.missing(absent[0])}",
            "Copy the pictures into a folder images/ beside sparse/.",
        )
    if absent:
        notes.add(
            f"{len(absent)} of {len(model.images)} frames are left out, because their pictures "
            f"are missing: {listed(absent)}."
        )
    alpha_is_head = _alpha_is_head(files[0])
    return Capture("COLMAP", files, tuple(frames), (), notes, alpha_is_head=alpha_is_head)


def _alpha_is_head(cameras: Path) -> bool:
    """Whether ``cameras.txt`` has the comment of our exports that alpha is the head."""
    if cameras.suffix != ".txt":
        return False
    with cameras.open("rb") as file:
        return colmap_alpha_comment().encode() in file.read(_COMMENT_BYTES)


def colmap_alpha_comment() -> str:
    """Comment for ``cameras.txt`` that declares alpha to be the head."""
    return f"# {HEAD_ALPHA[0]}: {HEAD_ALPHA[1]}"


def _frame(image: PosedImage, lens: Lens, picture: Path, where: str, notes: Notes) -> Frame:
    pose = convert_pose(_camera_to_world(image, where), world=(WorldFrame.Z_UP, WorldFrame.HEAD))
    header = read_header(picture, image.name)
    size = header.size
    turned = header.on_its_side and size[::-1] == (lens.width, lens.height) != size
    size = size[::-1] if turned else size
    frame = Frame(image.name, picture, None, pose, lens, turned, header.deep)
    frame = scaled_frame(frame, size, where)
    if size != (lens.width, lens.height):
        notes.add(
            f"The cameras are for {lens.width} x {lens.height} pixels, the pictures have "
            f"{size[0]} x {size[1]}: the lens is scaled.",
            image.name,
        )
    return frame


def _picture_folder(root: Path, model: Model, notes: Notes) -> FileNames:
    """Names in the folder of a model's pictures, which lies in ``root``."""
    folder = model.files[0].parent
    levels = [folder, *folder.parents]
    levels = levels[: levels.index(root) + 1] if root in levels else [folder]
    sample_names = [image.name for image in model.images[:3]]
    for level in levels:
        for name in _PICTURE_FOLDERS:
            base = level / name
            if any((base / picture).is_file() for picture in sample_names):
                return FileNames(root, base, notes)
    for level in levels:
        for name in _PICTURE_FOLDERS:
            if (level / name).is_dir():
                names = FileNames(root, level / name, Notes())
                if any(names.find(picture) is not None for picture in sample_names):
                    return FileNames(root, level / name, notes)
    if root in (folder, folder.parent):
        raise unusable(
            f"the pictures of COLMAP's model are not in {root.name!r}",
            "Give the folder above, in which images/ lies beside sparse/.",
        )
    return FileNames(root, root / "images", notes)


def _camera_to_world(image: PosedImage, where: str) -> Array:
    """(4, 4) rigid camera-to-world pose, OpenCV axes, in COLMAP's world."""
    rotation = np.array(image.rotation)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(rotation)
    if not (np.isfinite(length) and length > 1e-9 and np.isfinite(image.translation).all()):
        raise camera_file_error(
            f"{where} has a pose that is none", "Reconstruct the scene again with COLMAP."
        )
    w, x, y, z = rotation / length
    world_to_camera = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = world_to_camera.T, -world_to_camera.T @ np.array(image.translation)
    try:
        return rigid_and_scale(pose)[0]
    except UnusableCamera as error:
        raise camera_file_error(f"{where}: {error}", "Reconstruct the scene again.") from error
