# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk many times in a row, each in a folder of its own; says how many passed.

    python -m tests.addon.gui.soak OUT --runs 10 --photo PHOTO --zip ZIP -- BLENDER [ARGS...]

OUT/summary.json is written after every walk, with the picture of each failure.
"""

from __future__ import annotations

import json
import shutil
import sys

from tests.addon.gui.walk import arguments, run


def main() -> int:
    """Command line."""
    options, blender = arguments(__doc__)
    rows = []
    for number in range(1, options.runs + 1):
        out = options.out / f"run_{number:02d}"
        shutil.rmtree(out, ignore_errors=True)
        report = run(options, out, blender)
        pictures = sorted(p.name for p in out.glob("*FAILED*.png"))
        row = {
            "run": number,
            "passed": report["passed"],
            "seconds": report["seconds"],
            "failed_at": report.get("failed_at", ""),
            "reason": report.get("failed", "").strip().splitlines()[-1:],
            "complaints": report["complaints"][:5],
            "clicks_lost": report.get("clicks_lost", 0),
            "slow_timers": report.get("slow_timers", []),
            "picture": pictures[-1:] and f"{out.name}/{pictures[-1]}",
        }
        rows.append(row)
        passed = sum(r["passed"] for r in rows)
        summary = {"passed": passed, "of": len(rows), "runs": rows}
        (options.out / "summary.json").write_text(json.dumps(summary, indent=1))
        print(f"run {number}: {'passed' if row['passed'] else row}, {passed} of {number}")
        sys.stdout.flush()
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
