"""A folder of another tool becomes a view set."""

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
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet, ViewSetWriter, over
from nerf_export.folders.capture import Capture, Frame, Notes, unusable
from nerf_export.folders.masks import MaskConvention, mask_convention
from nerf_export.folders.pictures import read_picture, read_white
from nerf_export.folders.places import Place, find_place, is_view_set, view_set_folder
from nerf_export.folders.undistortion import Undistortion

_MEET, _NEAR = 0.9, 0.2
"""Part of the cameras that have a common centre before them, and how far they may look past it, of
their distance."""
_OPENCV_AXES = 0.75
"""Part of the cameras that look away from their common centre when axes are OpenCV's."""


@contextmanager
def open_views(
    path: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> Iterator[tuple[ViewSet, list[str]]]:
    """Open a view set, or a folder of another tool, which is imported into a temporary one.

    Args:
        path: the folder, or the file with its cameras.
        progress: stages ``masks`` and ``import`` for a folder of another tool.
        cancel: polled between pictures.

    Yields:
        the views, and notes on how a folder of another tool was understood; what a view set says
        of itself was shown when it was made.

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
    """Make a folder of another tool into a view set (see :func:`import_capture`)."""
    place = find_place(path)
    return import_capture(place, place.read(cancel), out, progress=progress, cancel=cancel)


def import_capture(
    place: Place, capture: Capture, out: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> ViewSet:
    """Write a capture as a view set; goes on at the first missing frame.

    Poses stay where they are, the world read as Z up.  Distorted pictures become those of pinholes
    of the same focal length.  What alpha and masks mean is decided by
    :func:`~nerf_export.folders.masks.mask_convention`.

    Args:
        place: where the capture lies.
        capture: what was read of it.
        out: folder of the view set; its ``meta.warnings`` are the notes on what was understood.
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
    looking = Stage("masks", 2 * len(frames), progress, cancel, "Looking at masks and alpha")
    convention = mask_convention(capture, place.root, looking)
    looking.end()
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
    """Undistortions of a capture's lenses; the last one is kept, as most have one lens for all."""

    def __init__(self, frames: tuple[Frame, ...], notes: Notes) -> None:
        """Make one of each lens, and note how much of the pictures is unknown."""
        self._lens: Lens | None = None
        self._undistortion: Undistortion | None = None
        known = {
            lens: float(self.of(lens).known.mean())
            for lens in {frame.lens for frame in frames}
            if lens.distorted
        }
        for frame in frames:
            part = known.get(frame.lens, 1.0)
            if part < 1e-3:
                raise unusable(
                    f"{frame.name!r:.80} shows nothing once it is undistorted",
                    "Check the distortion of its lens, or undistort the pictures first.",
                )
        if known:
            worst = 1 - min(known.values())
            rest = (
                f": up to {max(worst, 0.001):.1%} of a frame, at its border, is unknown"
                if worst > 0
                else ""
            )
            fisheye = any(lens.distortion is Distortion.FISHEYE for lens in known)
            kind = "a fisheye lens" if fisheye else "their lens"
            notes.add(f"The pictures are distorted by {kind}, and were undistorted{rest}.")

    def of(self, lens: Lens) -> Undistortion:
        """The undistortion of a lens."""
        if self._undistortion is None or lens != self._lens:
            self._lens, self._undistortion = lens, Undistortion.of(lens)
        return self._undistortion


def _pixels(
    frame: Frame, convention: MaskConvention, lenses: _Lenses, white: float | None
) -> tuple[Pixels, Pixels | None, Mask | None]:
    """Frame over white, alpha of the head and what is known, as pinhole pictures.

    ``white`` is that of the folder for a deep grey picture that would take another one alone.
    """
    rgba, head, known = convention.split(frame)
    if white is not None:
        rgba = read_picture(frame.picture, frame.name, frame.turned, white)
    rgb = rgba[..., :3] if head is None else over(np.dstack([rgba[..., :3], head]))
    if not frame.lens.distorted:
        return np.ascontiguousarray(rgb), head, known
    undistortion = lenses.of(frame.lens)
    shown = undistortion.known
    if known is not None:
        seen = undistortion.apply(np.where(known, 255, 0).astype(np.uint8), nearest=True)
        shown = shown & (seen >= 128)
    rgb = undistortion.apply(np.ascontiguousarray(rgb))
    if head is not None:
        head = undistortion.apply(np.ascontiguousarray(head))
        rgb[head == 0] = 255
    return rgb, head, shown


def _common_whites(
    frames: tuple[Frame, ...], notes: Notes, cancel: CancelCheck
) -> dict[int, float]:
    """The value of white that deep grey pictures have in common, for those that need it.

    Their files do not say it: each alone would be taken by its largest value, and one camera's
    pictures would get different exposures.
    """
    own: dict[int, float] = {}
    for i, frame in enumerate(frames):
        check_cancel(cancel, "The import")
        if frame.deep and (white := read_white(frame.picture, frame.name)) is not None:
            own[i] = white
    whites: dict[int, float] = {}
    for floating in (False, True):
        same = {i: white for i, white in own.items() if (frames[i].deep == "F") == floating}
        if not same:
            continue
        # floats may go a little beyond 1, which is no other white for all
        common = sorted(same.values())[len(same) // 2] if floating else max(same.values())
        whites |= {i: common for i, white in same.items() if white != common}
        if not floating and common in ASSUMED_BITS:
            notes.add(
                f"The grey pictures use {ASSUMED_BITS[common]} bits at most: {common:.0f} is "
                "taken for white in all of them."
            )
    return whites


def _check_directions(frames: tuple[Frame, ...]) -> None:
    """Refuse inverted poses, and cameras that look away from what lies between them."""
    poses = np.array([frame.c2w for frame in frames])
    ahead, past = _meeting(poses[:, :3, 3], poses[:, :3, 2])
    if max(ahead, 1 - ahead) < _MEET or past > _NEAR:
        turned = [
            convert_pose(
                pose,
                axes=(CameraAxes.OPENCV, CameraAxes.OPENGL),
                world=(WorldFrame.HEAD, WorldFrame.Z_UP),
            )
            for pose in poses
        ]
        inverted = np.array([np.linalg.inv(pose) for pose in turned])
        there, beside = _meeting(inverted[:, :3, 3], inverted[:, :3, 2])
        if max(there, 1 - there) >= _MEET and beside <= _NEAR:
            raise unusable(
                "the matrices are world-to-camera: only their inverses look at one middle",
                "Invert each frame's matrix: camera-to-world is what is read.",
            )
    if 1 - ahead > _OPENCV_AXES:
        raise unusable(
            "its cameras look away from each other, as they do where the poses have OpenCV's axes "
            "and not OpenGL's",
            "Turn each camera's y and z axis round (the second and third column of its matrix).",
        )


def _meeting(positions: Array, axes: Array) -> tuple[float, float]:
    """How cameras look at the point that is nearest to all of their axes.

    Args:
        positions: (n, 3) of the cameras.
        axes: (n, 3) along which they look.

    Returns:
        Part of the cameras that have it before them, and how far the axes pass it by, of its
        distance; 0.5 and infinity where there is no such point: they look in parallel.

    """
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    matrix = across.sum(0)
    if len(positions) < 3 or np.linalg.cond(matrix) > 1e4:
        return 0.5, np.inf
    centre = np.linalg.solve(matrix, np.einsum("nij,nj->i", across, positions))
    depths = np.einsum("ni,ni->n", centre - positions, axes)
    past = np.linalg.norm(np.einsum("nij,nj->ni", across, centre - positions), axis=1)
    distance = float(np.median(np.abs(depths)))
    missed = float(np.median(past)) / distance if distance > 0 else np.inf
    return float((depths >= 0).mean()), missed
