"""``dp3d evaluate``: computes metrics of a view set."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from server.cli.console import Common, Console, Outcome

_MEANING = {
    "psnr": "dB, higher is nearer",
    "ssim": "1: identical",
    "sharpness": "1: as sharp as the reference",
    "lpips": "0: identical",
    "dists": "0: identical",
    "fid": "0: identical; depends on the number of views",
    "id": "1: the same face",
    "pose": "degrees between the face's direction as estimated and as given, median; the "
    "estimate itself is off by about 4",
    "seam": "1: no visible seam between windows of views",
    "reprojection": "dB, agreement of neighbours on the surface",
}
"""Unit and best value of each metric."""


@dataclass
class Evaluate(Common):
    """Metrics of a view set, alone and against a reference from the same cameras."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """The view set, or a folder of another tool."""
    against: Path | None = None
    """Reference: true views, or views of another engine, from the same cameras."""
    mesh: Path | None = None
    """Mesh in head space, as 'dp3d mesh' writes it: for the reprojection of neighbours."""
    metrics: tuple[str, ...] = ()
    """Metrics among psnr ssim sharpness lpips dists fid id pose seam reprojection; by default all
    that can be computed.  A named one that cannot be computed makes the exit code 4."""
    window: int | None = None
    """Views per block for the seam ratio, instead of the windows recorded in the view set."""

    def run(self, console: Console) -> Outcome:
        """Compute the metrics whose inputs and packages are available."""
        from dp3d_core.evaluation.compare import METRICS, evaluate
        from nerf_export.folders.importing import open_views

        calls: dict[str, Any] = {"progress": console.progress, "cancel": console.cancel}
        folders = [self.views, *([] if self.against is None else [self.against])]
        with ExitStack() as stack:
            opened = [stack.enter_context(open_views(folder, **calls)) for folder in folders]
            sets = [views for views, _ in opened]
            warnings = [note for _, notes in opened for note in notes]
            results = evaluate(
                sets[0],
                None if self.against is None else sets[1],
                metrics=self.metrics or METRICS,
                window=self.window,
                surface=self.mesh,
                **calls,
            )
        warnings += results.notes
        console.warn(warnings)
        lines = [
            f"{name:14}{value:10.4f}   {_MEANING[name]}" for name, value in results.values.items()
        ]
        lines += [
            f"{name:14}{'-':>10}   {error.problem} {error.remedy}"
            for name, error in results.missing.items()
        ]
        data = {
            "metrics": {name: round(value, 6) for name, value in results.values.items()},
            "details": results.details,
            "warnings": warnings,
            "missing": {name: error.to_dict() for name, error in results.missing.items()},
        }
        failures = [error for name, error in results.missing.items() if name in self.metrics]
        return Outcome(data, lines, max((error.exit_code for error in failures), default=0))
