"""Exports view sets for other tools.

Every format gets exact poses in world N of docs/coordinates.md (Z up, as in Blender), so that the
results of other tools lie where ours do.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_transforms
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import write_atomic, write_json
from dp3d_core.viewsets.viewset import ViewSet, encode_png
from nerf_export.folders.capture import HEAD_ALPHA, KNOWN_MASKS
from nerf_export.folders.colmap_writing import write_colmap
from nerf_export.views.dataset import held_out_of

_EXPORTED_NAMES = ("images", "masks", "sparse", "head", "transforms.json", "transforms_*.json")
"""Files and folders that exports write, as patterns."""
EXPORT_MARKER = "dp3d-export.json"
"""File that marks a folder as an export; it is written before all other files."""


@dataclass(frozen=True)
class _Format:
    """A format: its title and its writer."""

    title: str
    """Name for progress messages."""
    write: Callable[[ViewSet, Path], list[str]]
    """Writes the cameras; returns the names of the files."""
    check: Callable[[Sequence[Camera]], None] = lambda cameras: None
    """Raises ``camera.invalid`` for cameras that the format cannot describe."""
    masks: bool = False
    """Whether valid masks are written, into ``masks/`` beside ``images/``."""


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
        views: the views; those with masks become RGBA pictures.
        out: folder, new or of an earlier export.
        to: a name of :data:`FORMATS`.
        progress: stage ``export``.
        cancel: polled between pictures.

    Returns:
        Names of the files that describe the cameras.

    Raises:
        Dp3dError: ``export.bad_format``, ``camera.invalid`` for cameras that the format
            cannot describe, ``job.cancelled``.

    """
    if to not in FORMATS:
        raise Dp3dError(
            "export.bad_format",
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
            valid = views.valid_mask(i)
            if valid is None:
                valid = np.ones(rgba.shape[:2], bool)
            # invalid pixels are opaque, since transparent ones would mean background
            rgba[~valid, 3] = 255
            write_atomic(out / masks[i], encode_png(np.where(valid, 255, 0).astype(np.uint8)))
        write_atomic(out / name, encode_png(rgba))
        stage.advance()
    files = chosen.write(views, out)
    stage.advance("Cameras written")
    return files


def mark_export(out: Path, to: str) -> None:
    """Mark a folder as an export, and delete the files of an earlier one: two must not mix."""
    if (out / EXPORT_MARKER).is_file():
        for name in _EXPORTED_NAMES:
            for path in out.glob(name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    write_json(out / EXPORT_MARKER, {"schema": "dp3d.export/1", "format": to})


def _pictures(views: ViewSet) -> list[str]:
    return [f"images/{i:04d}.png" for i in range(len(views))]


def _masks(views: ViewSet) -> list[str] | None:
    """Names of the valid masks, black where no rays are to be drawn; None: all pixels are valid."""
    if not any(views.valid_mask_path(i).is_file() for i in range(len(views))):
        return None
    return [name.replace("images/", "masks/") for name in _pictures(views)]


def _alpha(views: ViewSet) -> dict[str, str]:
    """The entry of a camera file that declares alpha to be the head; empty without masks."""
    masked = any(views.mask_path(i).is_file() for i in range(len(views)))
    return dict([HEAD_ALPHA]) if masked else {}


def _write_nerfstudio(views: ViewSet, out: Path) -> list[str]:
    """nerfstudio: with valid masks where frames have them, and the split that the source named."""
    names, masks = _pictures(views), _masks(views)
    data = cameras_to_transforms(views.cameras, names, masks) | _alpha(views)
    if masks is not None:
        data |= dict([KNOWN_MASKS])
    held_out = views.meta.parameters.get("held_out")
    if held_out:
        data["train_filenames"] = [name for i, name in enumerate(names) if i not in held_out]
        data["val_filenames"] = data["test_filenames"] = [names[i] for i in held_out]
    write_json(out / "transforms.json", data)
    return ["transforms.json"]


def _write_instant_ngp(views: ViewSet, out: Path) -> list[str]:
    """instant-ngp: scale and offset put the head into most of its unit cube."""
    data = cameras_to_transforms(views.cameras, _pictures(views)) | _alpha(views)
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
    """Refuse cameras that NeRF's synthetic format cannot describe.

    It has one size, one centred lens and square pixels for all frames.
    """
    first = cameras[0]
    for i, camera in enumerate(cameras):
        centred = np.allclose(camera.K[:2, 2], [camera.width / 2, camera.height / 2], atol=1e-3)
        square = math.isclose(camera.K[0, 0], camera.K[1, 1], rel_tol=1e-6)
        equals_first = (camera.width, camera.height) == (
            first.width,
            first.height,
        ) and math.isclose(camera.K[0, 0], first.K[0, 0], rel_tol=1e-6)
        if not (centred and square and equals_first):
            raise Dp3dError(
                "camera.invalid",
                f"The format 'blender' has one centred lens with square pixels for all, camera "
                f"{i} has another.",
                "Export for nerfstudio or colmap, which have a lens for each camera.",
            )


def _write_blender(views: ViewSet, out: Path) -> list[str]:
    """NeRF's synthetic format: one lens for all; validation and test are the held-out frames."""
    first = views.cameras[0]
    angle = 2 * math.atan(first.width / 2 / float(first.K[0, 0]))
    names = [name.removesuffix(".png") for name in _pictures(views)]
    frames = [
        {"file_path": f"./{name}", "transform_matrix": frame["transform_matrix"]}
        for name, frame in zip(
            names, cameras_to_transforms(views.cameras, names)["frames"], strict=True
        )
    ]
    held_out = held_out_of(views)
    splits = {
        "train": [frame for i, frame in enumerate(frames) if i not in held_out],
        "val": [frames[i] for i in held_out],
        "test": [frames[i] for i in held_out],
    }
    for name, split_frames in splits.items():
        document = {"camera_angle_x": angle, **_alpha(views), "frames": split_frames}
        write_json(out / f"transforms_{name}.json", document)
    return [f"transforms_{name}.json" for name in splits]


FORMATS: dict[str, _Format] = {
    "nerfstudio": _Format("nerfstudio", _write_nerfstudio, masks=True),
    "instant-ngp": _Format("instant-ngp", _write_instant_ngp),
    "blender": _Format("NeRF's synthetic format", _write_blender, _check_blender),
    "colmap": _Format("COLMAP, gsplat, Postshot", write_colmap),
}
"""Formats that :func:`export_views` writes, by name."""
