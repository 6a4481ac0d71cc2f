"""``dp3d synth``: renders synthetic heads with exact cameras, depth, normals and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dp3d_core.limits import PRESET_SIDE, PRESET_VIEWS, SUBJECT, Range
from dp3d_core.storage.files import output_folder
from server.cli.arguments import check_numbers, number
from server.cli.console import Common, Console, Outcome

_COUNT = Range(1, 100_000)
"""Range of ``--count``."""


@dataclass
class Synth(Common):
    """Synthetic heads: multi-view pictures with their ground truth."""

    out: Path = Path("out/synth")
    """Folder of the data set; an interrupted run is resumed."""
    count: Annotated[int, number("Number of subjects", _COUNT)] = 4
    views: Annotated[
        int, number("Cameras per subject, the first before the face", PRESET_VIEWS)
    ] = 8
    size: Annotated[int, number("Width and height of the pictures, pixels", PRESET_SIDE)] = 256
    seed: Annotated[int, number("The first subject's number; the others follow", SUBJECT)] = 0

    def run(self, console: Console) -> Outcome:
        """Make the data set."""
        check_numbers("heads.bad_request", self)
        from dp3d_core.synthetic.dataset import DATASET_MARKER, dataset_sheet, write_subjects
        from dp3d_core.viewsets.sheets import save_png

        with output_folder(self.out, (DATASET_MARKER,)):
            folders = write_subjects(
                self.count, self.views, self.size, self.seed, self.out,
                progress=console.progress, cancel=console.cancel,
            )  # fmt: skip
            sheet = self.out / "contact_sheet.png"
            save_png(sheet, dataset_sheet(folders))
        return Outcome(
            {"out": str(self.out), "subjects": [f.name for f in folders], "sheet": str(sheet)},
            [f"{len(folders)} subjects with {self.views} views each in {self.out}"],
        )
