"""COLMAP folders: a sparse model beside its pictures."""

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
"""Where a folder keeps its model; the first counts, and of models beside each other the largest."""
_PARENTS = ("sparse", "colmap/sparse", "dense/sparse")
"""Where models lie that have a name instead of a number."""
_PICTURES = ("images", "input", "", "images_2", "images_4", "images_8")
"""Where pictures lie, beside the model or above it."""
_COMMENT_BYTES = 1024


def colmap_model(folder: Path) -> tuple[Path, Path] | None:
    """The files of a folder's model, None where it has none."""
    for name in MODELS:
        base = folder / name
        models = _numbered(base.parent) if PurePath(name).name == "0" else []
        if len(models) > 1:
            return max(models, key=_image_count)
        files = models[0] if models else model_files(base)
        if files is not None:
            return files
    return _only_model(folder)


def _only_model(folder: Path) -> tuple[Path, Path] | None:
    """The model in a folder of ``sparse/`` that somebody gave a name; None where there is none.

    Raises:
        Dp3dError: ``viewset.invalid`` for several.

    """
    for name in _PARENTS:
        below = folder / name
        if not below.is_dir():
            continue
        models = [files for path in sorted(below.iterdir()) if (files := model_files(path))]
        if len(models) > 1:
            names = listed(files[0].parent.name for files in models)
            raise unusable(
                f"{name}/ holds several models of COLMAP ({names})",
                "Leave one of them in it, and move the others elsewhere.",
            )
        if models:
            return models[0]
    return None


def _numbered(folder: Path) -> list[tuple[Path, Path]]:
    """The models that COLMAP made of the same pictures, in order of their numbers."""
    paths = [p for p in folder.glob("[0-9]*") if p.name.isdecimal()]
    models = (model_files(path) for path in sorted(paths, key=lambda p: (int(p.name), p.name)))
    return [files for files in models if files is not None]


def _image_count(files: tuple[Path, Path]) -> int:
    """Images of a model; none of one that cannot be read."""
    try:
        return len(read_model(files).images)
    except (Dp3dError, OSError):
        return 0


def read_colmap(root: Path, files: tuple[Path, Path], cancel: CancelCheck) -> Capture:
    """Read a model and find its pictures; its world is read as Z up.

    Args:
        root: the folder that was given.
        files: of cameras and images.
        cancel: polled between images.

    Raises:
        Dp3dError: ``camera.file_invalid``, ``viewset.invalid``, ``job.cancelled``.

    """
    notes, model = Notes(), read_model(files)
    beside = _numbered(files[0].parent.parent) if files[0].parent.name.isdecimal() else []
    if len(beside) > 1:
        sizes = ", ".join(f"{_image_count(one)} in {one[0].parent.name}" for one in beside[:9])
        notes.add(
            f"COLMAP made {len(beside)} models of these pictures, with images: {sizes}. That in "
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
    ours = _alpha_is_head(files[0])
    return Capture("COLMAP", files, tuple(frames), (), notes, alpha_is_head=ours)


def _alpha_is_head(cameras: Path) -> bool:
    """Whether a comment that exports of ours begin with says so."""
    if cameras.suffix != ".txt":
        return False
    with cameras.open("rb") as file:
        return colmap_alpha_comment().encode() in file.read(_COMMENT_BYTES)


def colmap_alpha_comment() -> str:
    """The comment in ``cameras.txt`` that alpha is the head."""
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
    """Where the pictures of a model lie, no further up than ``root``."""
    folder = model.files[0].parent
    levels = [folder, *folder.parents]
    levels = levels[: levels.index(root) + 1] if root in levels else [folder]
    some = [image.name for image in model.images[:3]]
    for level in levels:
        for name in _PICTURES:
            base = level / name
            if any((base / picture).is_file() for picture in some):
                return FileNames(root, base, notes)
    for level in levels:
        for name in _PICTURES:
            if (level / name).is_dir():
                names = FileNames(root, level / name, Notes())
                if any(names.find(picture) is not None for picture in some):
                    return FileNames(root, level / name, notes)
    if root in (folder, folder.parent):
        raise unusable(
            f"the pictures of COLMAP's model are not in {root.name!r}",
            "Give the folder above, in which images/ lies beside sparse/.",
        )
    return FileNames(root, root / "images", notes)


def _camera_to_world(image: PosedImage, where: str) -> Array:
    """(4, 4) rigid pose with OpenCV axes, COLMAP's world."""
    rotation = np.array(image.rotation)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(rotation)
    if not (np.isfinite(length) and length > 1e-9 and np.isfinite(image.translation).all()):
        raise camera_file_error(
            f"{where} has a pose that is none", "Reconstruct the scene again with COLMAP."
        )
    w, x, y, z = rotation / length
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn.T, -turn.T @ np.array(image.translation)
    try:
        return rigid_and_scale(pose)[0]
    except UnusableCamera as error:
        raise camera_file_error(f"{where}: {error}", "Reconstruct the scene again.") from error
