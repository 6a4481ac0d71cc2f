"""``dp3d bench heads``: the preview engine on heads whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_core.errors import Dp3dError
from server.cli.session import Outcome, Session


@dataclass
class Heads:
    """The preview engine on synthetic heads whose pose, mesh and views are known."""

    count: int = 50
    """How many."""
    seed: int = 1
    """Of subjects and cameras."""
    out: Path | None = None
    """Folder for contact sheets."""

    def run(self, session: Session) -> Outcome:
        """Measure head after head."""
        from dp3d_core.evaluation.synthetic import evaluate_heads, summary, summary_lines
        from dp3d_core.pictures import save_png
        from dp3d_core.required_models import fetch_missing

        if not 1 <= self.count <= 10000 or self.seed < 0:
            raise Dp3dError(
                "server.bad_request",
                f"{self.count} heads of seed {self.seed} cannot be measured.",
                "Give a count from 1 to 10000 and a seed of at least 0.",
            )
        fetch_missing(session.progress, session.cancel)
        cases = evaluate_heads(
            self.count, self.seed, progress=session.progress, cancel=session.cancel
        )
        if self.out is not None:
            for case in cases:
                save_png(self.out / f"{case.seed:06d}.png", case.sheet)
        found = summary(cases)
        data = {"summary": found, "cases": [case.to_dict() for case in cases]}
        return Outcome(data, summary_lines(found))
