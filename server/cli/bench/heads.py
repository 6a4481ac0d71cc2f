"""``dp3d bench heads``: errors of the preview engine on synthetic heads."""

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
    from dp3d_core.evaluation.preview_benchmark import Case
    from server.cli.bench.beside import OtherCommit

_RESULTS_FILE = "heads.json"
"""File of all figures, in ``--out``."""

_COUNT = Range(1, 10_000)
"""Range of ``--count``."""


@dataclass
class Heads:
    """The preview engine on synthetic heads whose pose, mesh and views are known."""

    count: Annotated[int, number("Number of heads", _COUNT)] = 50
    seed: Annotated[int, number("Seed of subjects and cameras", SUBJECT)] = 1
    beside: str | None = None
    """Commit of this clone whose engine is measured on the same photos, for example ce0c737."""
    out: Path | None = None
    """Folder for heads.json, all figures, and a contact sheet of each head."""

    def run(self, console: Console) -> Outcome:
        """Measure each head."""
        from contextlib import nullcontext

        from dp3d_core.evaluation.head_summary import summary_lines
        from dp3d_core.evaluation.preview_benchmark import evaluate_heads
        from dp3d_core.portraits.required_files import fetch_missing
        from server.cli.bench.beside import OtherCommit

        check_numbers("bench.bad_option", self)
        other = None if self.beside is None else OtherCommit(self.beside)
        fetch_missing(console.progress, console.cancel)
        with other or nullcontext():
            cases = evaluate_heads(
                self.count,
                self.seed,
                other,
                lambda cases: self._write_cases(cases, other),
                progress=console.progress,
                cancel=console.cancel,
            )
        data = _results(cases, other)
        lines = summary_lines(data["summary"])
        if other is not None:
            lines.append(f"beside is commit {other.commit[:10]}: {other.subject}")
        if self.out is not None:
            lines.append(f"all figures: {self.out / _RESULTS_FILE}")
        return Outcome(data, lines)

    def _write_cases(self, cases: list[Case], other: OtherCommit | None) -> None:
        """Write the figures so far, so that an interrupted run leaves them."""
        from dp3d_core.storage.files import write_atomic
        from dp3d_core.viewsets.sheets import save_png

        if self.out is not None:
            save_png(self.out / f"{cases[-1].seed:06d}.png", cases[-1].sheet)
            content = json.dumps(json_ready(_results(cases, other)), indent=1)
            write_atomic(self.out / _RESULTS_FILE, content.encode())


def _results(cases: list[Case], other: OtherCommit | None) -> dict[str, Any]:
    from dp3d_core.evaluation.head_summary import summary

    figures = summary(cases)
    if other is not None:
        figures["beside"] |= {"commit": other.commit, "subject": other.subject}
    return {"summary": figures, "cases": [case.to_dict() for case in cases]}
