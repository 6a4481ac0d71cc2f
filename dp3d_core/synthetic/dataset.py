"""Data sets of synthetic subjects on disk: a folder a subject, made anew anywhere from seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core import __version__
from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json, write_atomic, write_json
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, never_cancel, no_progress
from dp3d_core.synthetic.labels import PALETTE, Label
from dp3d_core.synthetic.materials import to_srgb
from dp3d_core.synthetic.rendering import SyntheticHead, random_cameras
from dp3d_core.synthetic.subjects import Subject, random_subject
from dp3d_core.synthetic.uv import head_uv
from dp3d_core.viewset import DEPTH_UNIT, ViewMeta, ViewSet, ViewSetWriter, encode_png, read_png

Pixels = NDArray[np.uint8]

DATASET_MARKER = "synth.json"
"""The file that makes a folder a data set; it is written first."""
SCHEMA = "dp3d.synth/2"
"""2: people of the human head; 1 was a sculpted head with other parameters."""


def write_subject(
    subject: Subject,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelCheck = never_cancel,
) -> ViewSet:
    """Write a subject's views with all that is known of them; goes on where it stopped.

    Besides the view set (frames over the backdrop, masks, cameras) the folder holds
    ``rgba/``, ``depth/`` (16 bit, :data:`DEPTH_UNIT`, 0 is the backdrop), ``normals/`` (16 bit,
    (n + 1) / 2 in head space), ``labels/`` (8 bit, ``labels.Label``) and ``head.glb``.

    Args:
        subject: who.
        cameras: in head space.
        out: folder of this subject.
        progress: stage ``views``.
        cancel: polled between views.

    """
    meta = ViewMeta(
        engine="synth", seed=subject.seed, parameters=subject.to_dict(),
        versions={"dp3d": __version__},
    )  # fmt: skip
    writer = ViewSetWriter(out, cameras, meta)
    missing = sorted({*writer.missing(), *_incomplete(out, len(cameras))})
    if not missing and (out / "head.glb").is_file():
        return writer.finish()
    stage = Stage(
        "views", len(cameras), progress, cancel, f"Subject {subject.seed}",
        start=len(cameras) - len(missing),
    )  # fmt: skip
    head = SyntheticHead(subject)
    if not (out / "head.glb").is_file():
        write_atomic(out / "head.glb", head_glb(head))
    for index in missing:
        view = head.render(cameras[index])
        name = f"{index:04d}.png"
        write_atomic(out / "rgba" / name, encode_png(view.rgba))
        write_atomic(out / "labels" / name, encode_png(view.labels))
        write_atomic(out / "normals" / name, _png16(np.rint((view.normals + 1) * 32767.5)))
        writer.write(index, view.rgb, view.rgba[..., 3], depth=view.depth)
        stage.advance(f"View {index + 1} of {len(cameras)}")
    return writer.finish()


def _incomplete(out: Path, views: int) -> list[int]:
    """Views of which a picture beside the frame is missing."""
    kinds = ("rgba", "depth", "normals", "labels")
    return [i for i in range(views) if any(not (out / k / f"{i:04d}.png").is_file() for k in kinds)]


def _png16(values: NDArray[Any]) -> bytes:
    import cv2

    pixels = np.clip(values, 0, 65535).astype(np.uint16)
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    done, data = cv2.imencode(".png", pixels)
    if not done:  # pragma: no cover - OpenCV refuses only shapes that we do not make
        raise RuntimeError("the picture cannot be encoded")
    return bytes(data)


def read_png16(path: Path) -> NDArray[np.uint16]:
    """Pixels of a 16 bit picture of :func:`write_subject`, RGB or one channel."""
    import cv2

    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{path.name} is no 16 bit picture")
    return np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def head_glb(head: SyntheticHead) -> bytes:
    """The head as GLB in head space (Y up): UV, colours without light and labels per vertex."""
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    mesh = head.head.mesh
    source, faces, uv = head_uv(head.head)
    colours = np.full((len(source), 4), 255, np.uint8)
    colours[:, :3] = np.rint(to_srgb(head.shader.vertex_albedo()[source]) * 255)
    skin = PBRMaterial("head", metallicFactor=0.0, roughnessFactor=0.7)  # type: ignore[no-untyped-call]
    visual = TextureVisuals(uv, skin)  # type: ignore[no-untyped-call]
    visual.vertex_attributes["color"] = colours
    body = trimesh.Trimesh(
        mesh.vertices[source], faces, vertex_normals=mesh.normals[source], process=False,
        visual=visual,
        vertex_attributes={"_LABEL": head.shader.vertex_labels[source].astype(np.float32)},
    )  # fmt: skip
    buffer = io.BytesIO()
    body.export(buffer, file_type="glb")
    return buffer.getvalue()


def write_subjects(
    count: int,
    views: int,
    size: int,
    seed: int,
    out: Path,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelCheck = never_cancel,
) -> list[Path]:
    """A data set: ``count`` subjects of seeds ``seed``, ``seed + 1`` ..., each in a folder.

    A data set that is there already is extended.

    Returns:
        The folders.

    Raises:
        Dp3dError: ``viewset.mismatch`` if the folder holds other views or another size.

    """
    stage = Stage("subjects", count, progress, cancel, "Synthetic heads")
    numbers = range(seed, seed + count)
    folders = [Path(out) / f"{number:05d}" for number in numbers]
    earlier = _subjects_before(Path(out), views, size)
    write_json(
        Path(out) / DATASET_MARKER,
        {
            "schema": SCHEMA,
            "views": views,
            "size": size,
            "depth_unit": DEPTH_UNIT,
            "labels": {label.name.lower(): int(label) for label in Label},
            "subjects": sorted({*earlier, *(folder.name for folder in folders)}),
        },
    )
    for number, folder in zip(numbers, folders, strict=True):
        cameras = random_cameras(views, size, number)
        write_subject(random_subject(number), cameras, folder, cancel=cancel)
        stage.advance(f"Subject {number}")
    return folders


def _subjects_before(out: Path, views: int, size: int) -> list[str]:
    """Subjects of the data set in a folder; refused if they are of another kind."""
    marker = out / DATASET_MARKER
    if not marker.is_file():
        return []
    earlier = read_json(marker)
    if earlier.get("schema") != SCHEMA:
        raise Dp3dError(
            "viewset.mismatch",
            f"{out} holds a data set of another version ({earlier.get('schema')}).",
            "Choose another folder; the earlier heads cannot be extended.",
        )
    if (earlier.get("views"), earlier.get("size")) != (views, size):
        raise Dp3dError(
            "viewset.mismatch",
            f"{out} holds {earlier.get('views')} views of {earlier.get('size')} pixels a subject.",
            "Ask for these numbers again, or choose another folder.",
        )
    return [str(name) for name in earlier.get("subjects", [])]


def dataset_sheet(folders: Sequence[Path], most: int = 12) -> Pixels:
    """Contact sheet: a row of frames, labels and normals for each of the first subjects."""
    from dp3d_core.pictures import contact_sheet

    tiles: list[Pixels] = []
    for folder in folders[:most]:
        views = ViewSet.open(folder)
        shown = [round(i * (len(views) - 1) / 3) for i in range(4)]
        tiles += [views.frame(i) for i in shown]
        name = f"{shown[1]:04d}.png"
        tiles.append(PALETTE[read_png(folder / "labels" / name, "L")])
        normals = read_png16(folder / "normals" / name) >> 8
        tiles.append(normals.astype(np.uint8))
    return contact_sheet(tiles, columns=6, tile=160)
