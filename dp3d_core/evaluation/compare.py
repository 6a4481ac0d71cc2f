"""``dp3d evaluate``: all that can be said of a view set, alone and beside another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation import learned
from dp3d_core.evaluation.consistency import Known, block_edges, reprojection, seam_ratio
from dp3d_core.evaluation.poses import pose_error
from dp3d_core.evaluation.scores import score
from dp3d_core.evaluation.textured import open_surface
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.raycast import RayCaster
from dp3d_core.trajectories import neighbours
from dp3d_core.viewset import ViewSet

Pixels = NDArray[np.uint8]

WITH_REFERENCE = ("psnr", "ssim", "sharpness", "lpips", "dists", "fid", "id")
ALONE = ("pose", "seam", "reprojection")
_WINDOW = 8
_LEAST_SIDE = 7
"""Of the windows of SSIM."""
_GREY = 128
METRICS = (*WITH_REFERENCE, *ALONE)


@dataclass
class Evaluation:
    """Values by metric, and why others have none."""

    values: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, Dp3dError] = field(default_factory=dict)
    """Metrics that cannot be computed here."""


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
    """Compute metrics; one that lacks its weights does not keep the others.

    Args:
        views: the result.
        reference: true views from the same cameras; None leaves out what compares.
        metrics: names of :data:`METRICS`.
        window: views of a block, for the seam ratio; None: where the view set says that its
            windows end, else blocks of 8.
        surface: mesh file in head space, for reprojection; None leaves it out.
        progress: stage ``evaluate``.
        cancel: polled between metrics.

    Raises:
        Dp3dError: ``metrics.mismatch``, ``engine.bad_option``, ``mesh.unreadable``.

    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no metric called {unknown[0]!r}.",
            f"Choose among: {', '.join(METRICS)}.",
        )
    if window is not None and window < 2:
        raise Dp3dError(
            "engine.bad_option",
            f"Windows of {window} have no inside.",
            "Give the number of views that were generated together, at least 2.",
        )
    frames = [views.frame(i) for i in range(len(views))]
    truth = None if reference is None else _matching(views, reference)
    caster = None if surface is None else RayCaster(open_surface(surface))
    pairs = neighbours(views.cameras)
    edges = None if window is not None else _own_edges(views)
    if edges is None:
        edges = block_edges(pairs, window or _WINDOW)
    own = [views.known(i) for i in range(len(views))]
    known = own if reference is None else _both(own, reference)
    found = Evaluation()
    if any(part is not None for part in known):
        shown = np.mean([1.0 if part is None else part.mean() for part in known])
        found.details["known"] = round(float(shown), 4)
    grey, grey_truth = _only_known(frames, truth, known)

    def basic(name: str) -> float:
        assert truth is not None
        if min(min(frame.shape[:2]) for frame in frames) < _LEAST_SIDE:
            raise _missing(name, f"the frames have less than {_LEAST_SIDE} pixels a side")
        if "basic" not in found.details:
            if not any(part is None or part.any() for part in known):
                raise _missing(name, "no pixel is known in both sets")
            found.details["basic"] = score(frames, truth, known).to_dict()
        return float(found.details["basic"][name])

    def pose() -> float:
        error = pose_error(frames, views.cameras)
        found.details["pose"] = {
            "worst_deg": error.worst_deg,
            "found": error.found,
            "asked": error.asked,
        }
        return error.median_deg

    def seam() -> float:
        if len({frame.shape for frame in frames}) > 1:
            raise _missing("seam", "the frames differ in size")
        return seam_ratio(frames, pairs, edges, own)

    def reprojected() -> float:
        assert caster is not None
        result = reprojection(frames, views.cameras, caster, pairs, own)
        found.details["reprojection"] = {"seen": result.seen}
        return result.psnr

    compute: dict[str, Callable[[], float]] = {
        "pose": pose,
        "seam": seam,
    }
    if caster is not None:
        compute["reprojection"] = reprojected
    if truth is not None and grey_truth is not None:
        compute |= {
            "psnr": lambda: basic("psnr"),
            "ssim": lambda: basic("ssim"),
            "sharpness": lambda: basic("sharpness"),
            "lpips": lambda: learned.lpips(grey, grey_truth),
            "dists": lambda: learned.dists(grey, grey_truth),
            "fid": lambda: learned.fid(grey, grey_truth),
            "id": lambda: learned.identity(grey, grey_truth),
        }
    stage = Stage("evaluate", len(metrics), progress, cancel, "Evaluating")
    for name in metrics:
        try:
            if name not in compute:
                raise _not_given(name)
            value = compute[name]()
            if math.isnan(value):
                raise _nothing_found(name)
            found.values[name] = value
        except Dp3dError as error:
            if error.code not in {"metrics.missing", "portrait.model_missing"}:
                raise
            found.missing[name] = error
        stage.advance(name)
    return found


def _own_edges(views: ViewSet) -> list[tuple[int, int]] | None:
    """Where the view set says that its windows end; None when it says nothing of use."""
    told, count = views.meta.parameters.get("window_edges"), len(views)
    if not isinstance(told, list):
        return None
    edges = []
    for pair in told:
        whole = isinstance(pair, list) and len(pair) == 2
        if not whole or not all(isinstance(i, int) and 0 <= i < count for i in pair):
            return None
        edges.append((pair[0], pair[1]))
    return edges


def _both(own: Sequence[Known], reference: ViewSet) -> list[Known]:
    """Pixels that are known in a view and in its reference."""
    found: list[Known] = []
    for i, mine in enumerate(own):
        some = [part for part in (mine, reference.known(i)) if part is not None]
        found.append(np.logical_and.reduce(some) if some else None)
    return found


def _only_known(
    frames: list[Pixels], truth: list[Pixels] | None, known: Sequence[Known]
) -> tuple[list[Pixels], list[Pixels] | None]:
    """Both sets with the same grey where nothing is known, so that nothing there differs.

    For the learned metrics, which look at whole pictures: they are kinder than they should be then,
    and the part that is known is told.
    """

    def greyed(pictures: list[Pixels]) -> list[Pixels]:
        return [
            picture
            if part is None
            else np.where(part[..., None], picture, np.uint8(_GREY)).astype(np.uint8)
            for picture, part in zip(pictures, known, strict=True)
        ]

    return greyed(frames), None if truth is None else greyed(truth)


def _missing(name: str, why: str) -> Dp3dError:
    return Dp3dError(
        "metrics.missing",
        f"{name} cannot be computed: {why}.",
        "Give other views, or leave the metric out.",
    )


def _not_given(name: str) -> Dp3dError:
    what, how = (
        ("there is no reference", "Name one with --against.")
        if name in WITH_REFERENCE
        else ("there is no surface", "Name a mesh in head space with --mesh.")
    )
    return Dp3dError("metrics.missing", f"{name} cannot be computed: {what}.", how)


def _nothing_found(name: str) -> Dp3dError:
    why = {
        "seam": "there are no neighbours both within windows and across their boundaries",
        "pose": "no face was found in the views from the front",
        "id": "no pair of views shows two faces",
        "reprojection": "no camera sees the surface; is the mesh in head space?",
    }
    return _missing(name, why.get(name, "it has no value here"))


def _matching(views: ViewSet, reference: ViewSet) -> list[Pixels]:
    """The reference's frames, when they are of the same number and sizes."""

    def refuse(why: str) -> Dp3dError:
        return Dp3dError(
            "metrics.mismatch",
            f"The views cannot be compared: {why}.",
            "Make both sets with the same cameras file.",
        )

    if len(views) != len(reference):
        raise refuse(f"there are {len(views)} of the one and {len(reference)} of the other")
    for i, (ours, theirs) in enumerate(zip(views.cameras, reference.cameras, strict=True)):
        if (ours.width, ours.height) != (theirs.width, theirs.height):
            raise refuse(f"view {i} differs in size")
        if not np.allclose(ours.c2w, theirs.c2w, atol=1e-3):
            raise refuse(f"view {i} was taken from another place")
        if not np.allclose(ours.K, theirs.K, atol=1e-3 * ours.width):
            raise refuse(f"view {i} was taken through another lens")
    return [reference.frame(i) for i in range(len(reference))]
