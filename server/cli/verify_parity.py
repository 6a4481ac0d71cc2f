"""``dp3d verify-parity``: compares networks with tensors of the original implementations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dp3d_core.errors import ExitCode
from dp3d_core.weights.requirements import require_packages
from server.cli.console import Common, Console, Outcome

_MAX_ROWS = 8
"""Rows of each kind that are printed when all is well; ``--all`` prints every one."""


@dataclass
class VerifyParity(Common):
    """Recompute golden tensors of the original implementations; exit code 1 if any differs."""

    prefixes: tyro.conf.Positional[tuple[Path, ...]] = field(default=tyro.MISSING)
    """Golden sets: paths without .json, .weights.safetensors and .tensors.safetensors."""
    all: bool = False
    """Print every tensor, not only the worst of each set."""

    def run(self, console: Console) -> Outcome:
        """Verify each set."""
        require_packages()
        from dp3d_core.checkpoints.parity import INPUT, TOLERANCE, verify_parity

        sets, lines, good = {}, [], True
        for prefix in self.prefixes:
            rows = verify_parity(prefix, progress=console.progress, cancel=console.cancel)
            compared = sorted(
                (row for row in rows if row.error is not None), key=lambda row: -(row.error or 0)
            )
            skipped = [row for row in rows if row.error is None]
            bad = [row for row in rows if not row.good]
            good &= not bad
            sets[str(prefix)] = {
                "good": not bad,
                "tensors": {row.name: {"error": row.error, "reason": row.reason} for row in rows},
            }
            lines += [
                f"{prefix}: {len(compared)} tensors recomputed, {len(skipped)} not, "
                f"{len(bad)} wrong (largest relative error allowed: {TOLERANCE:g})"
            ]
            shown = compared if self.all else compared[: max(_MAX_ROWS, len(bad))]
            lines += [f"  {row.error:10.2e}  {row.name}" for row in shown]
            lines += [
                f"  {row.reason or 'NOT COMPARED':>10}  {row.name}"
                for row in skipped
                if self.all or row.reason != INPUT
            ]
        return Outcome(
            {"good": good, "sets": sets}, lines, ExitCode.OK if good else ExitCode.UNEXPECTED
        )
