"""Imports a folder of another tool as a view set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Array, Mask, Pixels
from dp3d_core.cameras.camera import CameraAxes, WorldFrame, convert_pose
from dp3d_core.cameras.lenses import Distortion, Lens
from dp3d_core.decoding.picture import ASSUMED_BITS
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, check_cancel
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet, over
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.folders.capture import Capture, Frame, Notes, unusable
from nerf_export.folders.capture_folders import (
    CaptureFolder,
    find_capture_folder,
    is_view_set,
    view_set_folder,
)
from nerf_export.folders.masks import MaskConvention, mask_convention
from nerf_export.folders.pictures import read_picture, read_white
from nerf_export.folders.undistortion import Undistortion

_COMMON_FOCUS_PART = 0.9
"""Part of the cameras from which they look towards, or away from, their common focus."""
_MOST_FOCUS_MISS = 0.2
"""Largest median distance of camera axes from the common focus, in parts of the distance to it."""
_LOOKING_AWAY_PART = 0.75
"""Part of the cameras that look away from their focus above which poses have OpenCV axes."""


@contextmanager
def open_views(
    path: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> Iterator[tuple[ViewSet, list[str]]]:
    """Open a view set, or import a folder of another tool into a temporary one.

    Args:
        path: the folder, or the file with its cameras.
        progress: stages ``masks`` and ``import`` for a folder of another tool.
        cancel: polled between pictures.

    Yields:
        The views, and notes on how a folder of another tool was understood.  The warnings of a
        view set of ours are not among them: they were shown when it was made.

    Raises:
        Dp3dError: ``viewset.*``, ``camera.*``.

    """
    if is_view_set(path):
        yield ViewSet.open(view_set_folder(path)), []
        return
    with tempfile.TemporaryDirectory(prefix="dp3d-views-") as folder:
        views = import_folder(path, Path(folder) / "v", progress=progress, cancel=cancel)
        yield views, views.meta.warnings


def import_folder(
    path: Path, out: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> ViewSet:
    """Import a folder of another tool as a view set (see :func:`import_capture`)."""
    source_folder = find_capture_folder(path)
    return import_capture(
        source_folder, source_folder.read(cancel), out, progress=progress, cancel=cancel
    )


def import_capture(
    source_folder: CaptureFolder,
    capture: Capture,
    out: Path,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> ViewSet:
    """Write a capture as a view set; an interrupted import resumes at the first missing frame.

    Poses are kept, with the folder's world read as Z up.  Distorted pictures are undistorted at
    unchanged focal length.  :func:`~nerf_export.folders.masks.mask_convention` decides what alpha
    and masks mean.

    Args:
        source_folder: the folder.
        capture: its parsed cameras.
        out: folder of the view set, whose ``meta.warnings`` are the capture's notes.
        progress: stages ``masks`` and ``import``.
        cancel: polled between pictures.

    Raises:
        Dp3dError: ``viewset.*``, ``camera.*``, ``job.cancelled``.

    """
    frames, notes = capture.frames, capture.notes
    if not frames:
        raise unusable("no frame has a picture", "Copy the pictures into the folder.")
    cameras = []
    for frame in frames:
        try:
            cameras.append(frame.camera)
        except Dp3dError as error:
            raise Dp3dError(
                error.code, f"{frame.name!r:.80}: {error.problem}", error.remedy
            ) from error
    _check_directions(frames)
    mask_stage = Stage("masks", 2 * len(frames), progress, cancel, "Looking at masks and alpha")
    convention = mask_convention(capture, source_folder.root, mask_stage)
    mask_stage.end()
    lenses, whites = _Lenses(frames, notes), _common_whites(frames, notes, cancel)
    held_out = list(capture.held_out)
    meta = ViewMeta(
        engine=capture.source,
        parameters={"held_out": held_out} if held_out else {},
        warnings=notes.sentences(len(frames)),
    )
    writer = ViewSetWriter(out, cameras, meta)
    missing = writer.missing()
    stage = Stage(
        "import",
        len(frames),
        progress,
        cancel,
        "Reading the pictures",
        start=len(frames) - len(missing),
    )
    for i in missing:
        writer.write(i, *_pixels(frames[i], convention, lenses, whites.get(i)))
        stage.advance()
    return writer.finish()


class _Lenses:
    """Undistortions of a capture's lenses; the last one is cached, as most captures have one."""

    def __init__(self, frames: tuple[Frame, ...], notes: Notes) -> None:
        """Check the undistortion of each lens, and note how much of the pictures is unknown."""
        self._lens: Lens | None = None
        self._undistortion: Undistortion | None = None
        valid_parts = {
            lens: float(self.of(lens).valid.mean())
            for lens in {frame.lens for frame in frames}
            if lens.distorted
        }
        for frame in frames:
            valid_part = valid_parts.get(frame.lens, 1.0)
            if valid_part < 1e-3:
                raise unusable(
                    f"{frame.name!r:.80} shows nothing once it is undistorted",
                    "Check the distortion of its lens, or undistort the pictures first.",
                )
        if valid_parts:
            most_invalid = 1 - min(valid_parts.values())
            border_note = (
                f": up to {max(most_invalid, 0.001):.1%} of a frame, at its border, is unknown"
                if most_invalid > 0
                else ""
            )
            fisheye = any(lens.distortion is Distortion.FISHEYE for lens in valid_parts)
            kind = "a fisheye lens" if fisheye else "their lens"
            notes.add(f"The pictures are distorted by {kind}, and were undistorted{border_note}.")

    def of(self, lens: Lens) -> Undistortion:
        """The undistortion of a lens."""
        if self._undistortion is None or lens != self._lens:
            self._lens, self._undistortion = lens, Undistortion.of(lens)
        return self._undistortion


def _pixels(
    frame: Frame, convention: MaskConvention, lenses: _Lenses, white: float | None
) -> tuple[Pixels, Pixels | None, Mask | None]:
    """Undistorted frame over white, alpha of the head, and valid mask.

    Args:
        frame: to read.
        convention: meaning of alpha and masks.
        lenses: undistortions.
        white: the folder's value of white, for a deep grey picture that would get another one.

    Returns:
        (h, w, 3) uint8; (h, w) uint8, None: no alpha; (h, w) bool, None: all pixels are valid.

    """
    rgba, head, valid = convention.split(frame)
    if white is not None:
        rgba = read_picture(frame.picture, frame.name, frame.turned, white)
    rgb = rgba[..., :3] if head is None else over(np.dstack([rgba[..., :3], head]))
    if not frame.lens.distorted:
        return np.ascontiguousarray(rgb), head, valid
    undistortion = lenses.of(frame.lens)
    pinhole_valid = undistortion.valid
    if valid is not None:
        remapped = undistortion.apply(np.where(valid, 255, 0).astype(np.uint8), nearest=True)
        pinhole_valid = pinhole_valid & (remapped >= 128)
    rgb = undistortion.apply(np.ascontiguousarray(rgb))
    if head is not None:
        head = undistortion.apply(np.ascontiguousarray(head))
        rgb[head == 0] = 255
    return rgb, head, pinhole_valid


def _common_whites(
    frames: tuple[Frame, ...], notes: Notes, cancel: CancelCheck
) -> dict[int, float]:
    """Common value of white of deep grey pictures, by index of the frames that lack it.

    Files of more than 8 bits do not store the value of white.  Decoded alone, each picture would be
    scaled by its own largest value, and one camera's pictures would differ in exposure.
    """
    whites_by_frame: dict[int, float] = {}
    for i, frame in enumerate(frames):
        check_cancel(cancel, "The import")
        if frame.deep and (white := read_white(frame.picture, frame.name)) is not None:
            whites_by_frame[i] = white
    whites: dict[int, float] = {}
    for floating in (False, True):
        alike = {
            i: white for i, white in whites_by_frame.items() if (frames[i].deep == "F") == floating
        }
        if not alike:
            continue
        # the median for floats, some of which exceed 1 a little
        common = sorted(alike.values())[len(alike) // 2] if floating else max(alike.values())
        whites |= {i: common for i, white in alike.items() if white != common}
        if not floating and common in ASSUMED_BITS:
            notes.add(
                f"The grey pictures use {ASSUMED_BITS[common]} bits at most: {common:.0f} is "
                "taken for white in all of them."
            )
    return whites


def _check_directions(frames: tuple[Frame, ...]) -> None:
    """Refuse world-to-camera matrices, and cameras that look away from their common focus."""
    poses = np.array([frame.c2w for frame in frames])
    ahead, miss = _common_focus(poses[:, :3, 3], poses[:, :3, 2])
    if max(ahead, 1 - ahead) < _COMMON_FOCUS_PART or miss > _MOST_FOCUS_MISS:
        opencv_poses = [
            convert_pose(
                pose,
                axes=(CameraAxes.OPENCV, CameraAxes.OPENGL),
                world=(WorldFrame.HEAD, WorldFrame.Z_UP),
            )
            for pose in poses
        ]
        inverted = np.array([np.linalg.inv(pose) for pose in opencv_poses])
        ahead_inverted, miss_inverted = _common_focus(inverted[:, :3, 3], inverted[:, :3, 2])
        if (
            max(ahead_inverted, 1 - ahead_inverted) >= _COMMON_FOCUS_PART
            and miss_inverted <= _MOST_FOCUS_MISS
        ):
            raise unusable(
                "the matrices are world-to-camera: only their inverses look at one middle",
                "Invert each frame's matrix: camera-to-world is what is read.",
            )
    if 1 - ahead > _LOOKING_AWAY_PART:
        raise unusable(
            "its cameras look away from each other, as they do where the poses have OpenCV's axes "
            "and not OpenGL's",
            "Turn each camera's y and z axis round (the second and third column of its matrix).",
        )


def _common_focus(positions: Array, axes: Array) -> tuple[float, float]:
    """How cameras look at their focus, the point nearest to all of their axes.

    Args:
        positions: (n, 3) positions of the cameras.
        axes: (n, 3) unit viewing directions.

    Returns:
        Part of the cameras that have the focus before them, and the median distance of the axes
        from it in parts of the cameras' distance; 0.5 and infinity for parallel axes.

    """
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    matrix = across.sum(0)
    if len(positions) < 3 or np.linalg.cond(matrix) > 1e4:
        return 0.5, np.inf
    centre = np.linalg.solve(matrix, np.einsum("nij,nj->i", across, positions))
    depths = np.einsum("ni,ni->n", centre - positions, axes)
    misses = np.linalg.norm(np.einsum("nij,nj->ni", across, centre - positions), axis=1)
    distance = float(np.median(np.abs(depths)))
    relative_miss = float(np.median(misses)) / distance if distance > 0 else np.inf
    return float((depths >= 0).mean()), relative_miss
