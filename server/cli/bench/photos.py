"""``dp3d bench photos``: heads of one to four photos of synthetic people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dp3d_core.limits import SUBJECT, Range
from server.cli.arguments import check_numbers, number
from server.cli.console import Console, Outcome
from server.json_ready import json_ready

if TYPE_CHECKING:
    from dp3d_core.evaluation.photos_benchmark import PhotosCase

_RESULTS_FILE = "photos.json"
"""File of all figures, in ``--out``."""
_COUNT = Range(1, 10_000)
"""Range of ``--count``."""


@dataclass
class Photos:
    """Heads of one to four photos of synthetic people, whose poses the engine does not know."""

    count: Annotated[int, number("Number of people", _COUNT)] = 30
    seed: Annotated[int, number("Seed of the first person", SUBJECT)] = 1000
    out: Path | None = None
    """Folder for photos.json, all figures, and a contact sheet of each person."""

    def run(self, console: Console) -> Outcome:
        """Measure each person."""
        from dp3d_core.evaluation.photos_benchmark import evaluate_photos, photos_summary
        from dp3d_core.portraits.required_files import fetch_missing

        check_numbers("bench.bad_option", self)
        fetch_missing(console.progress, console.cancel)
        cases = evaluate_photos(
            self.count,
            self.seed,
            self._write_cases,
            progress=console.progress,
            cancel=console.cancel,
        )
        summary = photos_summary(cases)
        lines = _lines(summary)
        if self.out is not None:
            lines.append(f"all figures: {self.out / _RESULTS_FILE}")
        return Outcome({"summary": summary, "cases": [case.to_dict() for case in cases]}, lines)

    def _write_cases(self, cases: list[PhotosCase]) -> None:
        """Write the figures so far, so that an interrupted run leaves them."""
        from dp3d_core.evaluation.photos_benchmark import photos_summary
        from dp3d_core.storage.files import write_atomic
        from dp3d_core.viewsets.sheets import save_png

        if self.out is not None:
            save_png(self.out / f"{cases[-1].seed:06d}.png", cases[-1].sheet)
            results = {
                "summary": photos_summary(cases),
                "cases": [case.to_dict() for case in cases],
            }
            content = json.dumps(json_ready(results), indent=1)
            write_atomic(self.out / _RESULTS_FILE, content.encode())


def _lines(summary: dict[str, Any]) -> list[str]:
    """The summary as lines for people."""
    lines = []
    for name, unit in (("psnr", "PSNR, dB"), ("ssim", "SSIM")):
        for count, by_angle in summary[name].items():
            figures = ", ".join(f"{angle}: {value}" for angle, value in by_angle.items())
            lines.append(f"{unit}, {count} of 4 photos, by degrees from the portrait: {figures}")
    for name, what in (("mesh_percent", "head"), ("face_percent", "face")):
        figures = ", ".join(f"{value}" for value in summary[name].values())
        lines.append(f"shape error of the {what}, percent of its height, 1 to 4 photos: {figures}")
    pose = summary["pose_deg"]
    lines.append(f"poses of further photos: median {pose['median']}, 90 % {pose['p90']} degrees")
    lines.append(
        f"left out: {summary['strangers_left_out']} of {summary['people']} strangers, "
        f"{summary['own_left_out']} of {3 * summary['people']} own photos"
    )
    return lines
