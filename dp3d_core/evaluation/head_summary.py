"""Summary of the preview benchmark: median errors, mean scores, and lines to print."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array
from dp3d_core.evaluation.preview_benchmark import ANGLES, METHODS, Case, HeadErrors
from dp3d_core.evaluation.scores import Score

_FRONTAL_DEG = 20.5
"""Absolute yaw up to which a photo is frontal."""


def summary(cases: list[Case]) -> dict[str, Any]:
    """Medians of pose, mesh and face errors and seconds over the cases, and mean scores.

    ``beside`` holds the figures of the other engine; None without one.
    """
    yaw = np.abs([case.yaw_deg for case in cases])
    mean_face = np.array([case.mean_face_percent for case in cases])
    own = [
        HeadErrors(
            c.pose_deg, c.mesh_percent, c.face_percent, c.scores["preview"], c.seconds, c.profile
        )
        for c in cases
    ]
    beside = [case.beside for case in cases if case.beside is not None]
    profiles = np.array([case.true_profile for case in cases])
    figures = _summary_of(own, yaw, mean_face, profiles)
    figures["scores"] = {
        method: _mean_scores([case.scores[method] for case in cases]) for method in METHODS
    }
    figures["beside"] = None
    if beside:
        figures["beside"] = _summary_of(beside, yaw, mean_face, profiles)
        figures["beside"]["scores"] = _mean_scores([one.scores for one in beside])
    return {"count": len(cases), **figures}


def _summary_of(
    heads: list[HeadErrors], yaw: NDArray[np.floating], mean_face: Array, profiles: Array
) -> dict[str, Any]:
    """Medians of one engine's errors, given photos' yaws, the mean head's errors, true profiles."""
    pose = np.array([one.pose_deg for one in heads])
    nearer = 100 * (1 - np.array([one.face_percent for one in heads]) / mean_face)
    frontal = yaw <= _FRONTAL_DEG
    bands = {"0-20": (0, 20.5), "20-40": (20.5, 40.5), "40-60": (40.5, 61)}
    return {
        "pose_deg": {
            "median": round(float(np.median(pose)), 2),
            "p90": round(float(np.percentile(pose, 90)), 2),
            "worst": round(float(pose.max()), 2),
            **{
                f"median at yaw {name}": round(float(np.median(pose[(yaw >= a) & (yaw < b)])), 2)
                for name, (a, b) in bands.items()
                if ((yaw >= a) & (yaw < b)).any()
            },
        },
        "mesh_percent": round(float(np.median([one.mesh_percent for one in heads])), 2),
        "face_percent": round(float(np.median([one.face_percent for one in heads])), 3),
        "face_nearer_than_mean_percent": {
            "within 20 degrees": round(float(np.median(nearer[frontal])), 1)
            if frontal.any()
            else None,
            "all": round(float(np.median(nearer)), 1),
        },
        "profiles": profile_agreement(np.array([one.profile for one in heads]), profiles),
        "seconds": round(float(np.median([one.seconds for one in heads])), 2),
    }


def profile_agreement(fitted: Array, true: Array) -> dict[str, float | None]:
    """Agreement of the individual deviations of fitted profiles (n, k) with those of true ones.

    Returns:
        ``spread``, ratio of the standard deviations; ``correlation``.  None for fewer than three
        people.

    """
    if len(fitted) < 3:
        return {"spread": None, "correlation": None}
    is_finite = np.isfinite(fitted) & np.isfinite(true)
    pairs = [np.where(is_finite, values, np.nan) for values in (fitted, true)]
    fitted_deviation, true_deviation = (values - np.nanmean(values, axis=0) for values in pairs)
    a, b = fitted_deviation[is_finite], true_deviation[is_finite]
    return {
        "spread": round(float(a.std() / b.std()), 2),
        "correlation": round(float(np.corrcoef(a, b)[0, 1]), 2),
    }


def _mean_scores(scores: list[dict[int, Score]]) -> dict[str, dict[str, float]]:
    """Mean SSIM and PSNR at each angle."""
    return {
        str(angle): {
            "ssim": round(float(np.mean([s[angle].ssim for s in scores])), 3),
            "psnr": round(float(np.mean([s[angle].psnr for s in scores])), 2),
        }
        for angle in ANGLES
    }


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """Lines of the summary for the terminal."""
    lines = [
        f"{figures['count']} heads, {figures['seconds']} s each (median)",
        *_error_lines(figures),
    ]
    lines.append(f"{'SSIM / PSNR at':16}" + "".join(f"{angle:>15}" for angle in ANGLES))
    rows = dict(figures["scores"])
    other = figures["beside"]
    if other is not None:
        rows["beside"] = other["scores"]
    for method, by_angle in rows.items():
        cells = [f"{by_angle[str(a)]['ssim']:.3f} / {by_angle[str(a)]['psnr']:.2f}" for a in ANGLES]
        lines.append(f"{method:16}" + "".join(f"{cell:>15}" for cell in cells))
    if other is not None:
        lines += [f"beside: {other['seconds']} s each (median)", *_error_lines(other)]
    return lines


def _error_lines(figures: dict[str, Any]) -> list[str]:
    """Lines on the errors of one engine."""
    pose = ", ".join(f"{name} {value}" for name, value in figures["pose_deg"].items())
    nearer, profiles = figures["face_nearer_than_mean_percent"], figures["profiles"]
    lines = [
        f"pose error, degrees: {pose}",
        f"mesh error, median: {figures['mesh_percent']} % of head height",
        f"face surface nearer than the mean head's: {nearer['within 20 degrees']} % (photos within "
        f"20 degrees), {nearer['all']} % (all), median",
    ]
    if profiles["spread"] is not None:
        lines.append(
            f"profiles: differ {profiles['spread']} times as much as the true ones, "
            f"correlation {profiles['correlation']}"
        )
    return lines
