"""``dp3d bench official``: the preview engine beside published frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.cli.session import Outcome, Session


@dataclass
class Official:
    """The preview engine against the frames published with DiffPortrait3D."""

    data: Path
    """Folder of the published samples, NAME/portrait.png, generated/ and start/."""
    out: Path | None = None
    """Folder for contact sheets."""

    def run(self, session: Session) -> Outcome:
        """Compare sample after sample."""
        from dp3d_core.evaluation.official import compare_with_official, official_samples
        from dp3d_core.evaluation.scores import table
        from dp3d_core.pictures import contact_sheet, save_png

        scores, rows = {}, []
        for sample in official_samples(self.data):
            found = compare_with_official(sample, progress=session.progress, cancel=session.cancel)
            scores[sample.name] = {name: s.to_dict() for name, s in found.scores.items()}
            rows += [(f"{sample.name} {name}", s) for name, s in scores[sample.name].items()]
            if self.out is not None:
                save_png(self.out / f"{sample.name}.png", contact_sheet(found.frames))
        return Outcome({"scores": scores}, table(rows))
