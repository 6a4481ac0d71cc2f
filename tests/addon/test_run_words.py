# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in words: progress, time, origin and scores as the panel shows them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

RUN = {
    "kind": "views",
    "number": 1,
    "count": 1,
    "stage": "views",
    "step": 3,
    "of": 24,
    "message": "View 3 of 24",
    "eta_s": -1.0,
    "elapsed_s": 0,
    "engine": "preview",
    "seed": 7,
    "frames": "1,2,3",
    "scores": "",
    "stats": "",
}


def run_with(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**RUN, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Views, view 3 of 24"),
        ({"number": 1, "count": 2}, "Views (1 of 2), view 3 of 24"),
        ({"of": 1, "stage": "portrait"}, "Views, reading the photo"),
        ({"of": 1, "stage": ""}, "Views"),
        ({"kind": "", "stage": "", "of": 1}, "Starting"),
        ({"kind": "new", "stage": "newer"}, "new, newer 3 of 24"),
    ],
)
def test_progress(addon, changes: dict[str, Any], text: str) -> None:
    assert addon("ui.run_words").progress_text(run_with(**changes)) == text


def test_a_message_that_repeats_the_progress(addon) -> None:
    words = addon("ui.run_words")
    assert words.message_repeats_progress(run_with())
    assert not words.message_repeats_progress(run_with(message="Waiting for the server to begin"))


@pytest.mark.parametrize(
    ("eta_s", "elapsed_s", "text"),
    [
        (124.6, 9, "2 min 5 s left in this step"),
        (-1.0, 59, "59 s so far"),
        (-1.0, 2, ""),
    ],
)
def test_time(addon, eta_s: float, elapsed_s: int, text: str) -> None:
    words = addon("ui.run_words")
    assert words.time_text(run_with(eta_s=eta_s, elapsed_s=elapsed_s)) == text


def test_origin(addon) -> None:
    words = addon("ui.run_words")
    assert words.origin_text(run_with()) == "Made with Preview, seed 7, 3 frames"
    assert words.origin_text(run_with(engine="", seed=0, frames="")) == "Views"


@pytest.mark.parametrize(
    ("psnr", "word"),
    [(32.0, "Very good fit"), (26.0, "Good fit"), (20.0, "Soft fit"), (19.9, "Poor fit")],
)
def test_scores(addon, psnr: float, word: str) -> None:
    scores = json.dumps({"foreground_psnr": psnr, "held_out_views": 3})
    stats = json.dumps({"faces": 120000, "vertices": 60002})
    assert addon("ui.run_words").score_lines(run_with(scores=scores, stats=stats)) == [
        f"{word}: {psnr:.1f} dB on 3 views left out",
        "120,000 triangles, 60,002 vertices",
    ]


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "null"])
def test_scores_that_cannot_be_read_are_left_out(addon, text: str) -> None:
    words = addon("ui.run_words")
    assert words.foreground_psnr(text) == 0.0
    assert words.score_lines(run_with(scores=text, stats=text)) == []
