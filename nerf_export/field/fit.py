"""Fits a radiance field to a view set, with nerfstudio in its own interpreter.

A fit is a folder::

    fit.json             settings and scores; written last, so it marks a finished fit
    field.safetensors    weights of the field
    dataset/             training pictures and cameras in nerfstudio's format

A running fit also has ``work/`` (log, hull, checkpoints).  A stopped fit resumes from its last
checkpoint when the command is given again with the arguments of the first run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Array, Array32, Mask, Pixels
from dp3d_core.cameras.camera import HEAD_FROM_Z_UP, Camera
from dp3d_core.cameras.documents import Normalisation
from dp3d_core.cameras.files import cameras_from_transforms
from dp3d_core.decoding.png import png_size, read_png
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import DEFAULT_FIT_PRESET, FIT_VIEWS, POSE_POLICIES
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import check_folder, hash_file, is_file, read_json, write_json
from dp3d_core.storage.json_fields import read_bounded_json
from dp3d_core.viewsets.viewset import ViewSet
from nerf_export.field.child_messages import TrainRequest, TrainResult
from nerf_export.field.fit_meta import FIT_SCHEMA, FitMeta
from nerf_export.field.presets import get_preset
from nerf_export.field.size import check_field_file
from nerf_export.folders.capture import Capture
from nerf_export.folders.capture_folders import find_capture_folder, is_view_set, view_set_folder
from nerf_export.folders.importing import import_capture
from nerf_export.process.child_process import run_child
from nerf_export.process.environment import nerf_python
from nerf_export.shape.head_prior import room_behind, with_head_like_start
from nerf_export.shape.hull import Hull, carving_views, visual_hull
from nerf_export.views.consistency import (
    NO_MASKS,
    check_cameras,
    check_frames,
    compare_silhouettes,
    score_warnings,
)
from nerf_export.views.dataset import Dataset, exclude_rays, views_hash, write_dataset
from nerf_export.views.pose_policy import settled_poses
from nerf_export.views.registration import PointsOf

_MAX_META_BYTES = 4_000_000
"""Bytes of a ``fit.json`` that is read."""
_MAX_CAMERA_BYTES = 16_000_000
"""Bytes of a dataset's ``transforms.json`` that is read."""
_ASPECT_TOLERANCE = 1.1
"""Factor between the aspect ratios of a frame and of its training picture, whose sides are
rounded to whole pixels."""
FIT_MARKER = "job.json"
"""File that marks a folder as a fit's; it is written before all other files."""


@dataclass(frozen=True)
class Fit:
    """A finished fit on disk."""

    root: Path
    meta: FitMeta
    """``fit.json``."""

    @classmethod
    def open(cls, path: Path) -> Fit:
        """Open a fit folder.

        Raises:
            Dp3dError: ``fit.not_found``, ``fit.invalid``.

        """
        root = Path(path)
        if not is_file(root / "fit.json"):
            raise Dp3dError(
                "fit.not_found",
                f"There is no finished fit in {root}.",
                "Give the folder that 'dp3d fit' wrote, or run 'dp3d fit' again to finish it.",
            )
        try:
            meta = FitMeta.from_dict(read_bounded_json(root / "fit.json", _MAX_META_BYTES))
            field = root / "field.safetensors"
            if not field.is_file():
                raise ValueError("field.safetensors is missing")
            check_field_file(field, meta.field_size)
            if hash_file(field) != meta.field_sha256:
                raise ValueError("field.safetensors is not the one that fit.json speaks of")
            fit = cls(root, meta)
            meta.check_views(len(fit.cameras))
            fit._check_pictures()
        except OSError as error:
            raise invalid_fit(f"a file of it cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise invalid_fit(str(error)) from error
        return fit

    def _check_pictures(self) -> None:
        """Raise ``ValueError`` for a picture that is missing or of the wrong size."""
        missing = [i for i in range(len(self.cameras)) if not self.picture_path(i).is_file()]
        if missing:
            raise ValueError(f"{len(missing)} pictures of its dataset are missing")
        for i, camera in enumerate(self.cameras):
            path = self.picture_path(i)
            width, height = png_size(path)
            aspect_ratio = width / height / (camera.width / camera.height)
            is_larger = path.parent.name == "originals"
            if not (is_larger and _ASPECT_TOLERANCE > aspect_ratio > 1 / _ASPECT_TOLERANCE) and (
                width,
                height,
            ) != (
                camera.width,
                camera.height,
            ):
                raise ValueError(
                    f"{path.name} is {width} x {height} pixels, its camera "
                    f"{camera.width} x {camera.height}"
                )

    @property
    def scores(self) -> dict[str, float]:
        """Scores on the held-out views, means and worst (PSNR in dB)."""
        return self.meta.scores

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Cameras of the dataset (training size), head space."""
        try:
            data = read_bounded_json(self.root / "dataset/transforms.json", _MAX_CAMERA_BYTES)
            cameras = cameras_from_transforms(data)[0]
        except (OSError, ValueError, Dp3dError) as error:
            raise invalid_fit("dataset/transforms.json is damaged or missing") from error
        if not 0 < len(cameras) <= FIT_VIEWS.high:
            raise invalid_fit(f"dataset/transforms.json has {len(cameras)} cameras")
        return tuple(cameras)

    @property
    def applied(self) -> Normalisation | None:
        """Transform that another tool had applied to its poses before it wrote them."""
        return None if self.meta.source is None else self.meta.source.applied

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner, (3,) each, of the field's box, world N, head units."""
        size = self.meta.field_size
        low = np.array(size.low)
        return low, low + size.cell * (np.array(size.corners) - 1)

    @property
    def box(self) -> tuple[Array, float]:
        """Centre (3,) in head space, and diagonal, of the field's box in head units."""
        low, high = self.bounds
        return HEAD_FROM_Z_UP[:3, :3] @ (low + high) / 2, float(np.linalg.norm(high - low))

    def picture_path(self, index: int) -> Path:
        """Path of the largest picture of a fitted view."""
        original = self.root / f"dataset/originals/{index:04d}.png"
        if original.is_file():
            return original
        return self.root / f"dataset/images/{index:04d}.png"

    def picture(self, index: int) -> tuple[Camera, Pixels]:
        """Camera and (h, w, 4) uint8 picture, straight alpha, of a fitted view at full size."""
        path = self.picture_path(index)
        try:
            pixels = read_png(path, "RGBA")
        except ValueError as error:
            raise invalid_fit(f"{path.name} {error}") from error
        return self.cameras[index].resized(pixels.shape[1], pixels.shape[0]), pixels

    def exposure(self, index: int) -> Array32:
        """(3,) factor by which a view is brighter than the field, near 1."""
        held_out, gains = self.meta.held_out, self.meta.gains
        if index in held_out:  # its gain was measured on a render
            name = f"{index:04d}.png"
            render_gains = [
                row.gain for row in self.meta.view_scores if row.file == name and row.gain
            ]
            return np.asarray(render_gains[0] if render_gains else np.ones(3), np.float32)
        if gains is None:
            return np.ones(3, np.float32)
        training_index = index - sum(1 for held in held_out if held < index)
        return np.asarray(gains[training_index], np.float32)

    def valid_mask(self, index: int) -> Mask | None:
        """(h, w) valid mask of :meth:`picture`; None: all pixels are valid."""
        path = self.root / f"dataset/known/{index:04d}.png"
        if not path.is_file():
            return None
        try:
            return read_png(path, "L") >= 128
        except ValueError as error:
            raise invalid_fit(f"{path.name} {error}") from error


def invalid_fit(why: str) -> Dp3dError:
    """The error for a fit that cannot be used; ``why`` is half a sentence."""
    return Dp3dError(
        "fit.invalid",
        f"The fit cannot be used: {why}.",
        "Run the same 'dp3d fit' command again: it makes the fit anew.",
    )


def fit_views(
    views: Path,
    out: Path,
    *,
    preset: str = DEFAULT_FIT_PRESET,
    steps: int | None = None,
    seed: int = 0,
    max_memory_gb: float | None = None,
    poses: str = "auto",
    points_of: PointsOf | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Fit:
    """Fit a radiance field to views.

    Args:
        views: folder of a view set or of another tool (see :mod:`nerf_export.folders`), or its
            file of cameras.  At least four views; masks improve the shape much.
        out: folder of the fit.  A finished fit of these arguments is returned, an unfinished
            one resumes, a damaged one is made anew.
        preset: ``draft`` (a CPU in minutes), ``standard``, ``high`` (a GPU), ``tiny`` (tests).
        steps: number of steps in place of the preset's.
        seed: of all random numbers.
        max_memory_gb: GiB of the device's memory that the fit may take; None: all that is free.
        poses: one of :data:`~dp3d_core.limits.POSE_POLICIES`.
        points_of: finds points of the face in a frame.  They refine or check the poses, and
            shape the head prior of a capture of the front alone.  None: the given poses are
            taken unchecked.
        progress: stages ``poses``, ``dataset``, ``shape``, ``fit`` (values: losses, psnr),
            ``score``.
        cancel: polled four times a second.

    Raises:
        Dp3dError: ``fit.bad_option``, ``viewset.*``, ``viewset.mismatch`` if ``out`` holds
            another fit, ``viewset.no_faces`` where poses cannot be refined,
            ``output.occupied`` if ``out`` holds other files, ``nerf.*``, ``job.cancelled``.

    """
    chosen = get_preset(preset, steps)
    if max_memory_gb is not None and not max_memory_gb > 0:
        raise Dp3dError(
            "fit.bad_option",
            f"A fit cannot be limited to {max_memory_gb:g} GiB of memory.",
            "Give a number above 0, or leave out the limit.",
        )
    if poses not in POSE_POLICIES:
        raise Dp3dError(
            "fit.bad_option",
            f"There is no pose policy called {poses!r}.",
            f"Choose one of: {', '.join(POSE_POLICIES)}.",
        )
    started_at = time.monotonic()
    views, out = Path(views), Path(out).absolute()
    source_folder = None if is_view_set(views) else find_capture_folder(views)
    capture = None if source_folder is None else source_folder.read(cancel)
    job = {
        "preset": json.loads(json.dumps(chosen.to_dict())),
        "seed": seed,
        "views_sha256": views_hash(ViewSet.open(view_set_folder(views)))
        if capture is None
        else capture.sha256(cancel),
    }
    if poses != POSE_POLICIES[0]:
        job["poses"] = poses
    folder_was_ours = (out / FIT_MARKER).exists()
    _claim_folder(out, job)
    if (out / "fit.json").is_file():
        with contextlib.suppress(Dp3dError):
            return Fit.open(out)
        (out / "fit.json").unlink()
    work = out / "work"
    callbacks: dict[str, Any] = {"progress": progress, "cancel": cancel}
    try:
        nerf_python()  # raises before any work where nerfstudio is not installed
        if source_folder is None or capture is None:
            view_set = ViewSet.open(view_set_folder(views))
        else:
            view_set = import_capture(source_folder, capture, work / "views", **callbacks)
        settled = settled_poses(view_set, work / "poses.json", poses, points_of, callbacks)
        view_set = replace(view_set, cameras=settled.cameras)
        dataset = write_dataset(view_set, out / "dataset", chosen.image_size, **callbacks)
        # in another tool's world the head may lie anywhere, so no room can be given behind it
        back = None if capture else room_behind(dataset.cameras)
        hull, warnings, silhouettes = _carve_hull(dataset, chosen.grid, back, callbacks)
        if capture is None:
            hull = with_head_like_start(hull, dataset.cameras, settled.face)
        work.mkdir(exist_ok=True)
        hull.save(work / "hull.npz")
    except Exception:
        if not folder_was_ours:
            _reset_folder(out)
        raise
    request = TrainRequest(
        dataset=dataset.root,
        hull=work / "hull.npz",
        has_masks=dataset.has_masks,
        work=work,
        field=out / "field.safetensors",
        preset=chosen,
        seed=seed,
        max_memory_gb=max_memory_gb,
    )
    try:
        trained = _train(request, callbacks)
    except Dp3dError as error:
        if error.code == "nerf.too_little_memory" and not any(work.rglob("*.ckpt")):
            _reset_folder(out)  # so that a smaller preset may take it
        raise
    # a view set of ours showed its warnings when it was made
    notes = view_set.meta.warnings if capture else []
    warnings += score_warnings(trained.scores, dataset.has_masks)
    meta = {
        "schema": FIT_SCHEMA,
        "job": job,
        **({} if capture is None else {"source": _source_fields(capture)}),
        "held_out": list(dataset.held_out),
        "warnings": notes + settled.warnings + warnings,
        "registration": settled.registration,
        "silhouettes": silhouettes,
        "start": "hull" if hull.start is None else "head",
        # the time of a resumed fit was not measured as a whole
        "seconds": None if trained.resumed_at else round(time.monotonic() - started_at, 1),
        "field_sha256": hash_file(out / "field.safetensors"),
        **trained.answer(),
    }
    write_json(out / "fit.json", meta)
    # Checkpoints are pickles, and a finished fit does not need them.
    shutil.rmtree(work, ignore_errors=True)
    return Fit.open(out)


def _train(request: TrainRequest, callbacks: dict[str, Any]) -> TrainResult:
    """Train in the child process; raises ``fit.invalid`` for an answer that cannot be read."""
    answer = run_child("train", request.to_dict(), request.work, **callbacks)
    try:
        return TrainResult.from_dict(answer)
    except ValueError as error:
        shutil.rmtree(request.work, ignore_errors=True)  # so that the next run does not resume
        raise invalid_fit(str(error)) from error


def _source_fields(capture: Capture) -> dict[str, Any]:
    """``source`` of ``fit.json``: format of another tool, and the transform it had applied."""
    source: dict[str, Any] = {"format": capture.source}
    if capture.applied is not None:
        source["applied_transform"] = capture.applied.transform.tolist()
        source["applied_scale"] = capture.applied.scale
    return source


def _reset_folder(out: Path) -> None:
    """Delete what a command wrote before training began, so that another fit may take ``out``."""
    shutil.rmtree(out / "dataset", ignore_errors=True)
    shutil.rmtree(out / "work", ignore_errors=True)
    (out / FIT_MARKER).unlink(missing_ok=True)


def _carve_hull(
    dataset: Dataset, corners: int, back: float | None, callbacks: dict[str, Any]
) -> tuple[Hull, list[str], dict[str, Any] | None]:
    """Visual hull of the training views, warnings, and the part of each silhouette it fills."""
    views = range(len(dataset.cameras))
    stage = Stage("shape", len(views) + 1, **callbacks, message="Carving the silhouettes")
    warnings = check_frames(dataset.looks)
    carving = carving_views(dataset.training)
    hull = visual_hull(
        [dataset.cameras[i] for i in carving],
        [dataset.masks[i] for i in carving],
        corners,
        [dataset.valid[i] for i in carving],
        back,
    )
    stage.advance("Comparing the silhouettes")
    warnings += check_cameras(dataset.cameras, hull)
    if not dataset.has_masks:
        return hull, [*warnings, NO_MASKS], None
    agreement = compare_silhouettes(dataset.cameras, dataset.masks, dataset.valid, hull, stage)
    warnings += agreement.warnings(views)
    exclude_rays(dataset, agreement.beyond)
    # An empty view has no silhouette to compare (NaN), which JSON cannot hold.
    filled = [None if np.isnan(share) else round(share, 4) for share in agreement.filled]
    return hull, warnings, {"mean": round(agreement.mean, 4), "views": filled}


def _claim_folder(out: Path, job: dict[str, Any]) -> None:
    """Mark ``out`` as this job's folder; raises ``viewset.mismatch`` for another job's."""
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
