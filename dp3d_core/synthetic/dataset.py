"""Data sets of synthetic subjects on disk: one folder per subject, reproducible from seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core import __version__
from dp3d_core.arrays import Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.decoding.png import read_png
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, never_cancel, no_progress
from dp3d_core.storage.files import read_json, write_atomic, write_json
from dp3d_core.synthetic.labels import PALETTE, Label
from dp3d_core.synthetic.materials import to_srgb
from dp3d_core.synthetic.rendering import SyntheticHead, random_cameras
from dp3d_core.synthetic.subjects import Subject, random_subject
from dp3d_core.synthetic.uv import head_uv
from dp3d_core.viewsets.viewset import DEPTH_UNIT, ViewMeta, ViewSet, encode_png
from dp3d_core.viewsets.writer import ViewSetWriter

DATASET_MARKER = "synth.json"
"""File that marks a folder as a data set; it is written first."""
SCHEMA = "dp3d.synth/2"
"""Version of the data set.  Version 1 had a sculpted head with other parameters."""


def write_subject(
    subject: Subject,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelCheck = never_cancel,
) -> ViewSet:
    """Write views of a subject with their ground truth; resumes where it stopped.

    Besides the view set (frames with backdrop, masks, cameras) the folder holds ``rgba/``,
    ``depth/`` (16 bit in :data:`DEPTH_UNIT`, 0 for the backdrop), ``normals/`` (16 bit,
    (n + 1) / 2 in head space), ``labels/`` (8 bit, ``labels.Label``) and ``head.glb``.

    Args:
        subject: the subject.
        cameras: cameras in head space.
        out: folder of the subject.
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
    """Indices of views of which an image besides the frame is missing."""
    kinds = ("rgba", "depth", "normals", "labels")
    return [i for i in range(views) if any(not (out / k / f"{i:04d}.png").is_file() for k in kinds)]


def _png16(values: NDArray[Any]) -> bytes:
    """Encode values, clipped to 0 to 65535, as a 16-bit PNG."""
    import cv2

    pixels = np.clip(values, 0, 65535).astype(np.uint16)
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    is_encoded, data = cv2.imencode(".png", pixels)
    if not is_encoded:  # pragma: no cover - OpenCV refuses only shapes that we do not make
        raise RuntimeError("the picture cannot be encoded")
    return bytes(data)


def read_png16(path: Path) -> NDArray[np.uint16]:
    """Read a 16-bit PNG of :func:`write_subject`: (h, w, 3) RGB or (h, w)."""
    import cv2

    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{path.name} is no 16 bit picture")
    return np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def head_glb(head: SyntheticHead) -> bytes:
    """Encode a head as GLB in head space (Y up), with UV, albedo and labels per vertex."""
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
    """Write or extend a data set.

    Args:
        count: number of subjects, with seeds ``seed``, ``seed + 1`` and so on.
        views: views of each subject.
        size: side of the views, pixels.
        seed: seed of the first subject.
        out: folder of the data set; an existing one is extended.
        progress: stage ``subjects``.
        cancel: polled between views.

    Returns:
        The folders of these subjects.

    Raises:
        Dp3dError: ``viewset.mismatch`` if the folder holds other views or another size.

    """
    stage = Stage("subjects", count, progress, cancel, "Synthetic heads")
    numbers = range(seed, seed + count)
    folders = [Path(out) / f"{number:05d}" for number in numbers]
    existing = _subjects_before(Path(out), views, size)
    write_json(
        Path(out) / DATASET_MARKER,
        {
            "schema": SCHEMA,
            "views": views,
            "size": size,
            "depth_unit": DEPTH_UNIT,
            "labels": {label.name.lower(): int(label) for label in Label},
            "subjects": sorted({*existing, *(folder.name for folder in folders)}),
        },
    )
    for number, folder in zip(numbers, folders, strict=True):
        cameras = random_cameras(views, size, number)
        write_subject(random_subject(number), cameras, folder, cancel=cancel)
        stage.advance(f"Subject {number}")
    return folders


def _subjects_before(out: Path, views: int, size: int) -> list[str]:
    """Names of the subjects already in a data set; raises if its version or views differ."""
    marker = out / DATASET_MARKER
    if not marker.is_file():
        return []
    existing = read_json(marker)
    if existing.get("schema") != SCHEMA:
        raise Dp3dError(
            "viewset.mismatch",
            f"{out} holds a data set of another version ({existing.get('schema')}).",
            "Choose another folder; the earlier heads cannot be extended.",
        )
    if (existing.get("views"), existing.get("size")) != (views, size):
        raise Dp3dError(
            "viewset.mismatch",
            f"{out} holds {existing.get('views')} views of {existing.get('size')} pixels "
            "per subject.",
            "Ask for these numbers again, or choose another folder.",
        )
    return [str(name) for name in existing.get("subjects", [])]


def dataset_sheet(folders: Sequence[Path], max_subjects: int = 12) -> Pixels:
    """Contact sheet: a row of four frames, labels and normals for each of the first subjects."""
    from dp3d_core.viewsets.sheets import contact_sheet

    tiles: list[Pixels] = []
    for folder in folders[:max_subjects]:
        views = ViewSet.open(folder)
        selected = [round(i * (len(views) - 1) / 3) for i in range(4)]
        tiles += [views.frame(i) for i in selected]
        name = f"{selected[1]:04d}.png"
        tiles.append(PALETTE[read_png(folder / "labels" / name, "L")])
        normals = read_png16(folder / "normals" / name) >> 8
        tiles.append(normals.astype(np.uint8))
    return contact_sheet(tiles, columns=6, tile=160)
