"""``dp3d bench synth``: time to build and render synthetic heads."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Annotated

from dp3d_core.limits import PRESET_SIDE, SUBJECT, Range
from dp3d_core.progress import Stage
from server.cli.arguments import check_numbers, number
from server.cli.console import Console, Outcome

_DIRECTIONS = 6
"""Cameras for each subject, on a full orbit."""
_COUNT = Range(1, 100_000)
"""Range of ``--count``."""


@dataclass
class Synth:
    """Seconds to build a synthetic head, and to render a view of the head with its ground truth."""

    count: Annotated[int, number("Number of subjects, each rendered from six sides", _COUNT)] = 6
    size: Annotated[int, number("Width and height of the views, pixels", PRESET_SIDE)] = 256
    seed: Annotated[int, number("The first subject's number", SUBJECT)] = 0

    def run(self, console: Console) -> Outcome:
        """Build and render each subject."""
        from dp3d_core.cameras.trajectories import full_orbit
        from dp3d_core.synthetic.rendering import SyntheticHead
        from dp3d_core.synthetic.subjects import random_subject

        check_numbers("bench.bad_option", self)
        cameras = full_orbit(_DIRECTIONS, size=self.size)
        SyntheticHead(random_subject(self.seed)).render(
            cameras[0]
        )  # one-time set-up of the process
        build_seconds, render_seconds = [], []
        stage = Stage("synth", self.count, console.progress, console.cancel)
        for seed in range(self.seed, self.seed + self.count):
            started = time.perf_counter()
            head = SyntheticHead(random_subject(seed))
            build_seconds.append(time.perf_counter() - started)
            for camera in cameras:
                started = time.perf_counter()
                head.render(camera)
                render_seconds.append(time.perf_counter() - started)
            stage.advance()
        data = {
            "head_s": round(statistics.median(build_seconds), 3),
            "view_s": round(statistics.median(render_seconds), 4),
            "slowest_view_s": round(max(render_seconds), 4),
        }
        lines = [
            f"a head {data['head_s']:.2f} s, a view of {self.size} pixels {data['view_s']:.3f} s "
            f"(median; slowest {data['slowest_view_s']:.3f} s)"
        ]
        return Outcome(data, lines)
