"""Metrics of a view set, alone and against a reference, for ``dp3d evaluate``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.cameras.trajectories import neighbours
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation import learned
from dp3d_core.evaluation.consistency import ValidMask, block_edges, reprojection, seam_ratio
from dp3d_core.evaluation.poses import pose_error
from dp3d_core.evaluation.scores import score
from dp3d_core.evaluation.textured import open_surface
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.models.config import WINDOW
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.viewsets.viewset import ViewSet

WITH_REFERENCE = ("psnr", "ssim", "sharpness", "lpips", "dists", "fid", "id")
"""Metrics that compare with a reference."""
ALONE = ("pose", "seam", "reprojection")
"""Metrics of a view set alone."""
_MIN_SIDE = 7
"""Least side of frames, pixels: the window of SSIM."""
_GREY = 128
"""Grey level of pixels that are not valid, in both sets, for the learned metrics."""
_SAME_POSE = 1e-3
"""Absolute tolerance of the elements of equal poses."""
METRICS = (*WITH_REFERENCE, *ALONE)
"""All metrics."""


@dataclass
class Evaluation:
    """Values of metrics, and errors of those that could not be computed."""

    values: dict[str, float] = field(default_factory=dict)
    """Metric to value."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further JSON-ready figures."""
    missing: dict[str, Dp3dError] = field(default_factory=dict)
    """Metric to the reason why it has no value."""
    notes: list[str] = field(default_factory=list)
    """Sentences on how the two sets were matched."""


def evaluate(
    views: ViewSet,
    reference: ViewSet | None,
    *,
    metrics: Sequence[str] = METRICS,
    window: int | None = None,
    surface: Path | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Evaluation:
    """Compute metrics; a metric without its weights does not prevent the others.

    Args:
        views: the view set to evaluate.
        reference: true views from equal cameras; None leaves out :data:`WITH_REFERENCE`.
        metrics: names among :data:`METRICS`.
        window: views of a block, for the seam ratio; None takes the windows that the view set
            records, else blocks of the networks' window.
        surface: mesh file in head space, for the reprojection error; None leaves it out.
        progress: stage ``evaluate``.
        cancel: polled between metrics.

    Raises:
        Dp3dError: ``metrics.mismatch``, ``metrics.bad_option``, ``mesh.unreadable``.

    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise Dp3dError(
            "metrics.bad_option",
            f"There is no metric called {unknown[0]!r}.",
            f"Choose among: {', '.join(METRICS)}.",
        )
    if window is not None and window < 2:
        raise Dp3dError(
            "metrics.bad_option",
            f"A window of {window} has no neighbouring views inside.",
            "Give the number of views that were generated together, at least 2.",
        )
    frames = [views.frame(i) for i in range(len(views))]
    order = [] if reference is None else _matching(views, reference)
    truth = None if reference is None else [reference.frame(i) for i in order]
    caster = None if surface is None else RayCaster(open_surface(surface))
    pairs = neighbours(views.cameras)
    edges = None if window is not None else _recorded_edges(views)
    if edges is None:
        edges = block_edges(pairs, window or WINDOW)
    own_valid = [views.valid_mask(i) for i in range(len(views))]
    valid = (
        own_valid
        if reference is None
        else _intersection(own_valid, [reference.valid_mask(i) for i in order])
    )
    evaluation = Evaluation()
    if order != sorted(order):
        evaluation.notes.append(
            "The reference has these cameras in another order: views are compared by their poses."
        )
    if any(mask is not None for mask in valid):
        valid_fraction = np.mean([1.0 if mask is None else mask.mean() for mask in valid])
        evaluation.details["known"] = round(float(valid_fraction), 4)
    masked, masked_truth = _with_invalid_grey(frames, truth, valid)

    def basic(name: str) -> float:
        assert truth is not None
        if min(min(frame.shape[:2]) for frame in frames) < _MIN_SIDE:
            raise _missing(name, f"the frames are smaller than {_MIN_SIDE} x {_MIN_SIDE} pixels")
        if "basic" not in evaluation.details:
            if not any(mask is None or mask.any() for mask in valid):
                raise _missing(name, "no pixel is valid in both sets")
            evaluation.details["basic"] = score(frames, truth, valid).to_dict()
        return float(evaluation.details["basic"][name])

    def pose() -> float:
        error = pose_error(frames, views.cameras)
        evaluation.details["pose"] = {
            "worst_deg": error.worst_deg,
            "found": error.detected,
            "asked": error.frontal,
        }
        return error.median_deg

    def seam() -> float:
        if len({frame.shape for frame in frames}) > 1:
            raise _missing("seam", "the frames differ in size")
        return seam_ratio(frames, pairs, edges, own_valid)

    def reprojected() -> float:
        assert caster is not None
        result = reprojection(frames, views.cameras, caster, pairs, own_valid)
        evaluation.details["reprojection"] = {"seen": result.overlap}
        return result.psnr

    compute: dict[str, Callable[[], float]] = {
        "pose": pose,
        "seam": seam,
    }
    if caster is not None:
        compute["reprojection"] = reprojected
    if truth is not None and masked_truth is not None:
        compute |= {
            "psnr": lambda: basic("psnr"),
            "ssim": lambda: basic("ssim"),
            "sharpness": lambda: basic("sharpness"),
            "lpips": lambda: learned.lpips(masked, masked_truth),
            "dists": lambda: learned.dists(masked, masked_truth),
            "fid": lambda: learned.fid(masked, masked_truth),
            "id": lambda: learned.identity(masked, masked_truth),
        }
    stage = Stage("evaluate", len(metrics), progress, cancel, "Evaluating")
    for name in metrics:
        try:
            if name not in compute:
                raise _without_input(name)
            value = compute[name]()
            if math.isnan(value):
                raise _without_value(name)
            evaluation.values[name] = value
        except Dp3dError as error:
            if error.code not in {"metrics.missing", "portrait.model_missing"}:
                raise
            evaluation.missing[name] = error
        stage.advance(name)
    return evaluation


def _recorded_edges(views: ViewSet) -> list[tuple[int, int]] | None:
    """Window edges that the view set records; None if it records none, or invalid ones."""
    recorded, count = views.meta.parameters.get("window_edges"), len(views)
    if not isinstance(recorded, list):
        return None
    edges = []
    for pair in recorded:
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(i, int) and 0 <= i < count for i in pair):
            return None
        edges.append((pair[0], pair[1]))
    return edges


def _intersection(first: Sequence[ValidMask], second: Sequence[ValidMask]) -> list[ValidMask]:
    """Valid masks of views combined with those of their references."""
    combined: list[ValidMask] = []
    for pair in zip(first, second, strict=True):
        masks = [mask for mask in pair if mask is not None]
        combined.append(np.logical_and.reduce(masks) if masks else None)
    return combined


def _with_invalid_grey(
    frames: list[Pixels], truth: list[Pixels] | None, valid: Sequence[ValidMask]
) -> tuple[list[Pixels], list[Pixels] | None]:
    """Both sets with invalid pixels grey, for the learned metrics, which need whole images.

    Grey areas agree, which makes these metrics too favourable; the valid fraction is reported.
    """

    def greyed(pictures: list[Pixels]) -> list[Pixels]:
        return [
            picture
            if mask is None
            else np.where(mask[..., None], picture, np.uint8(_GREY)).astype(np.uint8)
            for picture, mask in zip(pictures, valid, strict=True)
        ]

    return greyed(frames), None if truth is None else greyed(truth)


def _missing(name: str, why: str) -> Dp3dError:
    return Dp3dError(
        "metrics.missing",
        f"{name} cannot be computed: {why}.",
        "Give other views, or leave the metric out.",
    )


def _without_input(name: str) -> Dp3dError:
    problem, remedy = (
        ("there is no reference", "Name one with --against.")
        if name in WITH_REFERENCE
        else ("there is no surface", "Name a mesh in head space with --mesh.")
    )
    return Dp3dError("metrics.missing", f"{name} cannot be computed: {problem}.", remedy)


def _without_value(name: str) -> Dp3dError:
    why = {
        "seam": "there are no neighbouring views both inside windows and across their edges",
        "pose": "no face was found in the frontal views",
        "id": "no view shows a face in both sets",
        "reprojection": "no camera sees the surface; is the mesh in head space?",
    }
    return _missing(name, why.get(name, "it has no value here"))


def _matching(views: ViewSet, reference: ViewSet) -> list[int]:
    """Index of each view in the reference.

    Raises:
        Dp3dError: ``metrics.mismatch`` if cameras differ.

    """

    def refuse(why: str) -> Dp3dError:
        return Dp3dError(
            "metrics.mismatch",
            f"The views cannot be compared: {why}.",
            "Make both sets with the same cameras file.",
        )

    if len(views) != len(reference):
        raise refuse(f"one set has {len(views)} views, the other {len(reference)}")
    order = _by_pose(views, reference)
    for i, ours in enumerate(views.cameras):
        theirs = reference.cameras[order[i]]
        if (ours.width, ours.height) != (theirs.width, theirs.height):
            raise refuse(f"view {i} differs in size")
        if not np.allclose(ours.c2w, theirs.c2w, atol=_SAME_POSE):
            raise refuse(f"view {i} has another camera pose")
        if not np.allclose(ours.K, theirs.K, atol=1e-3 * ours.width):
            raise refuse(f"view {i} has another lens")
    return order


def _by_pose(views: ViewSet, reference: ViewSet) -> list[int]:
    """Index of each view in the reference, matched by pose, else in order.

    Exports and folders of other tools may hold the views in another order.  If a pose has no
    counterpart, all views are paired in order.
    """
    ours, theirs = (np.array([c.c2w for c in s.cameras]) for s in (views, reference))
    order: list[int] = []
    for i, pose in enumerate(ours):
        matches = np.isclose(theirs, pose, atol=_SAME_POSE).all((1, 2))
        matches[order] = False
        if not matches.any():
            return list(range(len(views)))
        order.append(i if matches[i] else int(np.flatnonzero(matches)[0]))
    return order
