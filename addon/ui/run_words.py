# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of the panel about a run: progress, time, result and scores.

Every function reads the properties of a run (``settings.HeadViewsRun``) and returns text.
"""

from __future__ import annotations

import json
from typing import Any

_KINDS = {
    "views": "Views",
    "fit": "Fit",
    "mesh": "Mesh",
    "render": "Playback",
    "save_fit": "Saving the fit",
    "head": "Head",
}
"""Words for the kinds of job; other kinds are shown as they are."""

_STAGES = {
    "models": "fetching the models",
    "portrait": "reading the photo",
    "head": "fitting the head",
    "views": "view",
    "shape": "finding the shape",
    "fit": "training",
    "mesh": "building",
    "rig": "rigging",
    "render": "frame",
    "send": "sending",
    "save": "file",
}
"""Words for the stages of a job; other stages are shown as they are."""

_FIT_WORDS = ((32, "Very good fit"), (26, "Good fit"), (20, "Soft fit"))
"""Least foreground PSNR in dB, and the words for fits that reach it; below the last: "Poor fit"."""

_ELAPSED_SHOWN_FROM_S = 3
"""Seconds without a step after which the panel counts them, so that the user sees it move."""


def progress_text(run: Any) -> str:
    """Job kind, stage and step count of a running job, short enough for a narrow bar."""
    text = _KINDS.get(run.kind, run.kind) or "Starting"
    if run.count > 1:
        text += f" ({run.number} of {run.count})"
    stage = _STAGES.get(run.stage, run.stage)
    if run.of > 1:
        return f"{text}, {stage} {run.step} of {run.of}".replace(",  ", ", ")
    return f"{text}, {stage}" if stage else text


def message_repeats_progress(run: Any) -> bool:
    """Whether the message of a step says no more than ``progress_text``: "View 3 of 24"."""
    return bool(run.message.endswith(f" {run.step} of {run.of}"))


def time_text(run: Any) -> str:
    """Remaining time of the stage, or else the time since its last step; may be empty."""
    if run.eta_s >= 0:
        return f"{duration(round(run.eta_s))} left in this step"
    return f"{duration(run.elapsed_s)} so far" if run.elapsed_s >= _ELAPSED_SHOWN_FROM_S else ""


def duration(seconds: int) -> str:
    """Seconds in words: "45 s", "2 min 5 s"."""
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def origin_text(run: Any) -> str:
    """Engine, seed and number of frames of a result."""
    engine = run.engine.replace("BLENDER_", "").capitalize()
    parts = [f"Made with {engine}" if engine else "Views"]
    if run.seed:
        parts.append(f"seed {run.seed}")
    if run.frames:
        parts.append(f"{run.frames.count(',') + 1} frames")
    return ", ".join(parts)


def score_lines(run: Any) -> list[str]:
    """Scores of the fit and statistics of the mesh, a line each."""
    lines = []
    if psnr := foreground_psnr(run.scores):
        held_out = _json_fields(run.scores).get("held_out_views", 0)
        lines.append(f"{_fit_word(psnr)}: {psnr:.1f} dB on {held_out} views left out")
    stats = _json_fields(run.stats)
    if "faces" in stats:
        lines.append(f"{stats['faces']:,} triangles, {stats.get('vertices', 0):,} vertices")
    return lines


def foreground_psnr(scores: str) -> float:
    """Foreground PSNR of a fit's scores (JSON), dB; 0 where the scores have none."""
    return float(_json_fields(scores).get("foreground_psnr", 0.0))


def _fit_word(psnr: float) -> str:
    """How a fit with this foreground PSNR in dB looks beside its views."""
    return next((word for least, word in _FIT_WORDS if psnr >= least), "Poor fit")


def _json_fields(text: str) -> dict[str, Any]:
    """Fields of a JSON object; none where the text is empty or no such object."""
    try:
        return dict(json.loads(text or "{}"))
    except (ValueError, TypeError):
        return {}
