"""``dp3d evaluate``: metrics of a view set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dp3d_core.viewset import ViewSet
from server.cli.session import Common, Outcome, Session

_MEANING = {
    "psnr": "dB, higher is nearer",
    "ssim": "1: the same",
    "sharpness": "1: as sharp as the reference",
    "lpips": "0: the same",
    "dists": "0: the same",
    "fid": "0: the same; depends on the number of views",
    "id": "1: the same face",
    "pose": "degrees between found and given directions, median; single photos: about 4",
    "seam": "1: windows of views cannot be told",
    "reprojection": "dB, agreement of neighbours on the surface",
}


@dataclass
class Evaluate(Common):
    """Metrics of a view set, alone and against a reference from the same cameras."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """The view set."""
    against: Path | None = None
    """True views, or those of another engine, from the same cameras."""
    mesh: Path | None = None
    """Mesh in head space, as 'dp3d mesh' writes it: for the reprojection of neighbours."""
    metrics: tuple[str, ...] = ()
    """Which: psnr ssim sharpness lpips dists fid id pose seam reprojection; all without."""
    window: int | None = None
    """For the seam ratio: blocks of so many views, instead of the windows that the view set
    names."""

    def run(self, session: Session) -> Outcome:
        """Compute all that can be computed here."""
        from dp3d_core.evaluation.compare import METRICS, evaluate

        found = evaluate(
            ViewSet.open(self.views),
            None if self.against is None else ViewSet.open(self.against),
            metrics=self.metrics or METRICS,
            window=self.window,
            surface=self.mesh,
            progress=session.progress,
            cancel=session.cancel,
        )
        lines = [
            f"{name:14}{value:10.4f}   {_MEANING[name]}" for name, value in found.values.items()
        ]
        lines += [
            f"{name:14}{'-':>10}   {error.problem} {error.remedy}"
            for name, error in found.missing.items()
        ]
        data = {
            "metrics": {name: round(value, 6) for name, value in found.values.items()},
            "details": found.details,
            "missing": {name: error.to_dict() for name, error in found.missing.items()},
        }
        return Outcome(data, lines)
