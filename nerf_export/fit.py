"""Fits a radiance field to a view set, with nerfstudio in its own interpreter.

A fit is a folder::

    fit.json             how it was made, how good it is; written last: it marks the end
    field.safetensors    the field
    dataset/             what it was fitted to, in nerfstudio's format

While it runs there is also ``work/`` (log, hull, checkpoints); run again with the same
arguments after a stop, it goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.camera_files import cameras_from_dict, cameras_from_transforms
from dp3d_core.cameras import HEAD_FROM_Z_UP, Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import check_folder, read_json, write_json
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.viewset import ViewSet, read_png
from nerf_export.agreement import (
    NO_MASKS,
    check_cameras,
    check_frames,
    compare_silhouettes,
    score_warnings,
)
from nerf_export.child_process import run_child
from nerf_export.dataset import Dataset, leave_out, views_hash, write_dataset
from nerf_export.environment import nerf_python
from nerf_export.exchange import import_nerfstudio, is_nerfstudio, nerfstudio_hash
from nerf_export.hull import Hull, carving_views, visual_hull
from nerf_export.poses import POSES, settled_poses
from nerf_export.presets import DEFAULT_PRESET, get_preset
from nerf_export.prior import room_behind, with_head_like_start
from nerf_export.registration import PointsOf

FIT_SCHEMA = "dp3d.fit/1"
FIT_MARKER = "job.json"
"""The file that makes a folder ours; it is written before anything else."""


@dataclass(frozen=True)
class Fit:
    """A finished fit on disk."""

    root: Path
    meta: dict[str, Any]
    """``fit.json``: job (preset, seed, views_sha256), field_size, scores, versions ..."""

    @classmethod
    def open(cls, path: Path) -> Fit:
        """Open a fit folder.

        Raises:
            Dp3dError: ``fit.not_found``, ``fit.invalid``.

        """
        root = Path(path)
        if not (root / "fit.json").is_file():
            raise Dp3dError(
                "fit.not_found",
                f"There is no finished fit in {root}.",
                "Give the folder that 'dp3d fit' wrote, or run 'dp3d fit' again to finish it.",
            )
        try:
            meta = read_json(root / "fit.json")
            if not isinstance(meta, dict) or meta.get("schema") != FIT_SCHEMA:
                raise ValueError(f"fit.json is not of the kind {FIT_SCHEMA}")
            for key in ("job", "field_size", "scores"):
                if not isinstance(meta.get(key), dict):
                    raise ValueError(f"fit.json lacks {key!r}")
            field = root / "field.safetensors"
            if not field.is_file():
                raise ValueError("field.safetensors is missing")
            if _sha256(field) != meta.get("field_sha256"):
                raise ValueError("field.safetensors is not the one that fit.json speaks of")
        except (OSError, ValueError) as error:
            raise _invalid(str(error)) from error
        fit = cls(root, meta)
        missing = [i for i in range(len(fit.cameras)) if not fit.picture_path(i).is_file()]
        if missing:
            raise _invalid(f"{len(missing)} pictures of its dataset are missing")
        return fit

    @property
    def scores(self) -> dict[str, float]:
        """Quality on views that were held out (PSNR in dB)."""
        scores: dict[str, float] = self.meta["scores"]
        return scores

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Cameras of the dataset (training size), head space."""
        try:
            data = read_json(self.root / "dataset/transforms.json")
            cameras = cameras_from_transforms(data)[0]
        except (OSError, ValueError, Dp3dError) as error:
            raise _invalid("dataset/transforms.json is damaged or missing") from error
        if not cameras:
            raise _invalid("dataset/transforms.json has no cameras")
        return tuple(cameras)

    @property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner, (3,) each, of the field's box, world N, head units."""
        size = self.meta["field_size"]
        low = np.array(size["low"])
        return low, low + size["cell"] * (np.array(size["corners"]) - 1)

    @property
    def box(self) -> tuple[NDArray[np.float64], float]:
        """Centre (3,), head space, and diagonal of the box that the field fills, head units."""
        low, high = self.bounds
        return HEAD_FROM_Z_UP[:3, :3] @ (low + high) / 2, float(np.linalg.norm(high - low))

    def picture_path(self, index: int) -> Path:
        """The largest picture of a fitted view."""
        original = self.root / f"dataset/originals/{index:04d}.png"
        if original.is_file():
            return original
        return self.root / f"dataset/images/{index:04d}.png"

    def picture(self, index: int) -> tuple[Camera, NDArray[np.uint8]]:
        """A fitted view at its frame's own size: camera and (h, w, 4) uint8 straight alpha."""
        path = self.picture_path(index)
        try:
            pixels = read_png(path, "RGBA")
        except ValueError as error:
            raise _invalid(f"{path.name} {error}") from error
        return self.cameras[index].resized(pixels.shape[1], pixels.shape[0]), pixels

    def exposure(self, index: int) -> NDArray[np.float32]:
        """(3,) factor by which a view is brighter than the field, near 1."""
        held_out, gains = self.meta.get("held_out", []), self.meta.get("gains")
        if index in held_out:  # told by its render
            scored = self.meta.get("view_scores", [])
            told = [row.get("gain") for row in scored if row["file"] == f"{index:04d}.png"]
            return np.asarray(told[0] if told and told[0] else np.ones(3), np.float32)
        if gains is None:
            return np.ones(3, np.float32)
        place = index - sum(1 for other in held_out if other < index)
        return np.asarray(gains[place], np.float32)

    def known(self, index: int) -> NDArray[np.bool_] | None:
        """(h, w) pixels of :meth:`picture` that are known; None: all."""
        path = self.root / f"dataset/known/{index:04d}.png"
        if not path.is_file():
            return None
        try:
            return read_png(path, "L") >= 128
        except ValueError as error:
            raise _invalid(f"{path.name} {error}") from error


def _invalid(why: str) -> Dp3dError:
    return Dp3dError(
        "fit.invalid",
        f"The fit cannot be used: {why}.",
        "Run the same 'dp3d fit' command again: it makes the fit anew.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fit_views(
    views: Path,
    out: Path,
    *,
    preset: str = DEFAULT_PRESET,
    steps: int | None = None,
    seed: int = 0,
    max_memory_gb: float | None = None,
    poses: str = "auto",
    points_of: PointsOf | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Fit:
    """Fit a field to the view set in ``views``.

    Args:
        views: view set folder, or a nerfstudio folder with ``transforms.json`` (see
            ``exchange.import_nerfstudio``); at least four views; masks make it much better.
        out: folder of the fit.  One that holds a finished fit of the same arguments is
            returned as it is, an unfinished one is continued, a damaged one made anew.
        preset: ``draft`` (a CPU in minutes), ``standard``, ``high`` (a GPU), ``tiny`` (tests).
        steps: other number of steps than the preset's.
        seed: of everything random.
        max_memory_gb: GiB that the fit may take, of the device's memory; None: what is free.
        poses: one of :data:`POSES`.
        points_of: finds points of the face in a frame, for the poses and for the form that a
            capture of the front alone starts from; None: poses are taken as given, and not
            doubted.
        progress: stages ``poses``, ``dataset``, ``shape``, ``fit`` (values: losses, psnr),
            ``score``.
        cancel: polled four times a second.

    Raises:
        Dp3dError: ``viewset.*``, ``viewset.mismatch`` if ``out`` holds another fit,
            ``viewset.no_faces`` where poses are to be refined, ``output.occupied`` if it holds
            something else, ``nerf.*``, ``job.cancelled``.

    """
    chosen = get_preset(preset, steps)
    if max_memory_gb is not None and not max_memory_gb > 0:
        raise Dp3dError(
            "engine.bad_option",
            f"A fit cannot do with {max_memory_gb:g} GiB of memory.",
            "Give a number above 0, or leave the limit away.",
        )
    if poses not in POSES:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no way with poses called {poses!r}.",
            f"Choose one of: {', '.join(POSES)}.",
        )
    began = time.monotonic()
    views, out = Path(views), Path(out).absolute()
    foreign = is_nerfstudio(views)
    job = {
        "preset": json.loads(json.dumps(chosen.to_dict())),
        "seed": seed,
        "views_sha256": nerfstudio_hash(views) if foreign else views_hash(ViewSet.open(views)),
    }
    if poses != POSES[0]:
        job["poses"] = poses
    known = (out / FIT_MARKER).exists()
    _adopt(out, job)
    if (out / "fit.json").is_file():
        with contextlib.suppress(Dp3dError):
            return Fit.open(out)
        (out / "fit.json").unlink()
    work = out / "work"
    calls: dict[str, Any] = {"progress": progress, "cancel": cancel}
    try:
        nerf_python()  # before any work: without it there is no fit
        if foreign:
            view_set = import_nerfstudio(views, work / "views", **calls)
        else:
            view_set = ViewSet.open(views)
        settled = settled_poses(view_set, work / "poses.json", poses, points_of, calls)
        view_set = replace(view_set, cameras=tuple(cameras_from_dict(settled["cameras"])))
        dataset = write_dataset(view_set, out / "dataset", chosen.image_size, **calls)
        # another tool's world has its head anywhere
        back = None if foreign else room_behind(dataset.cameras)
        hull, findings = _common_shape(dataset, chosen.grid, back, calls)
        if not foreign:
            face = settled.get("face")
            hull = with_head_like_start(
                hull, dataset.cameras, None if face is None else np.array(face)
            )
        work.mkdir(exist_ok=True)
        hull.save(work / "hull.npz")
    except Exception:
        if not known:
            _leave(out)
        raise
    try:
        answer = run_child(
            "train",
            {
                "dataset": str(dataset.root),
                "hull": str(work / "hull.npz"),
                "has_masks": dataset.has_masks,
                "work": str(work),
                "field": str(out / "field.safetensors"),
                "preset": chosen.to_dict(),
                "seed": seed,
                "max_memory_gb": max_memory_gb,
            },
            work,
            **calls,
        )
    except Dp3dError as error:
        if error.code == "nerf.too_little_memory" and not any(work.rglob("*.ckpt")):
            _leave(out)  # to a smaller preset
        raise
    told = score_warnings(answer["scores"], dataset.has_masks)
    meta = {
        "schema": FIT_SCHEMA,
        "job": job,
        "held_out": list(dataset.held_out),
        "warnings": settled["warnings"] + findings["warnings"] + told,
        "registration": settled["registration"],
        "silhouettes": findings["silhouettes"],
        "start": "hull" if hull.start is None else "head",
        # of a fit that went on after a stop, nobody has measured the whole
        "seconds": None if answer["resumed_at"] else round(time.monotonic() - began, 1),
        "field_sha256": _sha256(out / "field.safetensors"),
        **answer,
    }
    write_json(out / "fit.json", meta)
    # Checkpoints are pickles, and nobody needs them now.
    shutil.rmtree(work, ignore_errors=True)
    return Fit.open(out)


def _leave(out: Path) -> None:
    """Empty a folder in which no fit was begun: it is free for the next command."""
    shutil.rmtree(out / "dataset", ignore_errors=True)
    shutil.rmtree(out / "work", ignore_errors=True)
    (out / FIT_MARKER).unlink(missing_ok=True)


def _common_shape(
    dataset: Dataset, corners: int, back: float | None, calls: dict[str, Any]
) -> tuple[Hull, dict[str, Any]]:
    """The hull of the training views, and how well all views agree with it."""
    views = range(len(dataset.cameras))
    stage = Stage("shape", len(views) + 1, **calls, message="Carving the silhouettes")
    warnings = check_frames(dataset.looks)
    train = carving_views(dataset.training)
    hull = visual_hull(
        [dataset.cameras[i] for i in train],
        [dataset.masks[i] for i in train],
        corners,
        [dataset.known[i] for i in train],
        back,
    )
    stage.advance("Comparing the silhouettes")
    warnings += check_cameras(dataset.cameras, hull)
    if not dataset.has_masks:
        return hull, {"warnings": [*warnings, NO_MASKS], "silhouettes": None}
    agreement = compare_silhouettes(dataset.cameras, dataset.masks, dataset.known, hull, stage)
    warnings += agreement.warnings(views)
    leave_out(dataset, agreement.beyond)
    # A view that shows nothing has no silhouette to compare, and JSON no word for it but null.
    each = [None if np.isnan(part) else round(part, 4) for part in agreement.filled]
    return hull, {
        "warnings": warnings,
        "silhouettes": {"mean": round(agreement.mean, 4), "views": each},
    }


def _adopt(out: Path, job: dict[str, Any]) -> None:
    """Mark ``out`` as this job's folder, or refuse one that is another's."""
    check_folder(out, (FIT_MARKER,))
    marker = out / FIT_MARKER
    if marker.is_file():
        present = None
        with contextlib.suppress(OSError, ValueError):
            present = read_json(marker)
        if present != job:
            raise _mismatch(out)
    write_json(marker, job)


def _mismatch(out: Path) -> Dp3dError:
    return Dp3dError(
        "viewset.mismatch",
        f"{out} holds a fit of other views, another preset or another seed.",
        "Choose another folder, or delete this one first.",
    )
