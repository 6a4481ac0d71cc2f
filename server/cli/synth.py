"""``dp3d synth``: synthetic heads with exact cameras, depth, normals and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.files import output_folder
from server.cli.session import Common, Outcome, Session


@dataclass
class Synth(Common):
    """Synthetic heads: multi-view pictures with everything that is known of them."""

    out: Path = Path("out/synth")
    """Folder of the data set; a run that was stopped goes on in it."""
    count: int = 4
    """Number of subjects, 1 to 100000."""
    views: int = 8
    """Cameras per subject, 1 to 360; the first stands before the face."""
    size: int = 256
    """Width and height of the pictures, 16 to 2048 pixels."""
    seed: int = 0
    """The first subject's number; the others follow."""

    def run(self, session: Session) -> Outcome:
        """Make the data set."""
        for name, value, low, high in (
            ("count", self.count, 1, 100_000),
            ("views", self.views, 1, 360),
            ("size", self.size, 16, 2048),
            ("seed", self.seed, 0, 2**31 - 1),
        ):
            if not low <= value <= high:
                raise Dp3dError(
                    "heads.bad_request",
                    f"--{name} {value} is out of range.",
                    f"Give a number from {low} to {high}.",
                )
        from dp3d_core.pictures import save_png
        from dp3d_core.synthetic.dataset import DATASET_MARKER, dataset_sheet, write_subjects

        with output_folder(self.out, (DATASET_MARKER,)):
            folders = write_subjects(
                self.count, self.views, self.size, self.seed, self.out,
                progress=session.progress, cancel=session.cancel,
            )  # fmt: skip
            sheet = self.out / "contact_sheet.png"
            save_png(sheet, dataset_sheet(folders))
        return Outcome(
            {"out": str(self.out), "subjects": [f.name for f in folders], "sheet": str(sheet)},
            [f"{len(folders)} subjects with {self.views} views each in {self.out}"],
        )
