"""``dp3d bench``: the measurements of ``docs/benchmarks.md`` that a user can repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from server.cli.bench.cancel import Cancel
from server.cli.bench.denoise import Denoise
from server.cli.bench.front import Front
from server.cli.bench.heads import Heads
from server.cli.bench.nerf import Nerf
from server.cli.bench.official import Official
from server.cli.bench.photos import Photos
from server.cli.bench.status import Status
from server.cli.bench.survival import Survival
from server.cli.bench.synth import Synth
from server.cli.console import Common, Console, Outcome

Measurement = (
    Annotated[Cancel, tyro.conf.subcommand("cancel")]
    | Annotated[Denoise, tyro.conf.subcommand("denoise")]
    | Annotated[Front, tyro.conf.subcommand("front")]
    | Annotated[Heads, tyro.conf.subcommand("heads")]
    | Annotated[Nerf, tyro.conf.subcommand("nerf")]
    | Annotated[Official, tyro.conf.subcommand("official")]
    | Annotated[Photos, tyro.conf.subcommand("photos")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Survival, tyro.conf.subcommand("survival")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
)
"""The measurements of ``dp3d bench``."""


@dataclass
class Bench(Common):
    """Measure something on this machine."""

    what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Measurement]] = field(
        default=tyro.MISSING
    )

    def run(self, console: Console) -> Outcome:
        """Measure."""
        return self.what.run(console)
