"""``dp3d models``: the published weights on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.models.packages import require_packages
from server.cli.session import Common, Outcome, Session

if TYPE_CHECKING:
    from dp3d_core.checkpoints.store import Weights

_Name = Literal["diffportrait3d", "diffportrait360", "diffportrait360-back"]


@dataclass
class List:
    """What is installed, and where the rest is had."""

    def run(self, session: Session) -> Outcome:
        """List all variants."""
        from dp3d_core.checkpoints.store import SOURCES, find_weights, how

        data, lines = {}, []
        for variant, source in SOURCES.items():
            found = find_weights(variant)
            data[str(variant)] = {
                "installed": found is not None,
                "folder": None if found is None else str(found.folder),
                "source": source.file,
                "source_sha256": None if found is None else found.source_sha256,
                "source_revision": None if found is None else found.source_revision,
                "page": source.page,
            }
            told = how(variant) if found is None else f"{found.folder} (of {found.source_name})"
            lines.append(f"{variant:22}{'installed' if found else 'missing':11}{told}")
        return Outcome({"weights": data}, lines)


@dataclass
class Import:
    """Convert a published checkpoint file into dp3d's store."""

    file: tyro.conf.Positional[Path]
    """The file as its authors published it."""
    half: bool = False
    """Store float16: half the space, and what a GPU computes with anyway."""

    def run(self, session: Session) -> Outcome:
        """Import it."""
        require_packages()
        from dp3d_core.checkpoints.store import import_weights

        found = import_weights(
            self.file, half=self.half, progress=session.progress, cancel=session.cancel
        )
        return _imported(found)


def _imported(found: Weights) -> Outcome:
    commit = found.source_revision
    return Outcome(
        {
            "variant": str(found.config.variant),
            "folder": str(found.folder),
            "source_sha256": found.source_sha256,
            "source_revision": commit,
        },
        [
            f"{found.config.variant} is installed in {found.folder}",
            *(
                [f"from commit {commit}; '--revision {commit}' gives the same again"]
                if commit
                else []
            ),
        ],
    )


@dataclass
class Install:
    """Download published weights and import them."""

    name: tyro.conf.Positional[_Name]
    """Which; 'diffportrait360' also needs 'diffportrait360-back' for a full orbit."""
    half: bool = False
    """Store float16: half the space, and what a GPU computes with anyway."""
    revision: str | None = None
    """Commit, tag or branch on the hub; without one the newest, or offline what is here."""

    def run(self, session: Session) -> Outcome:
        """Download (or go on, or take it from the cache), then import."""
        require_packages()
        from dp3d_core.checkpoints.download import downloads_folder, fetch
        from dp3d_core.checkpoints.store import import_weights

        fetched = fetch(
            Variant(self.name),
            self.revision,
            progress=session.progress,
            cancel=session.cancel,
        )
        try:
            found = import_weights(
                fetched.path,
                half=self.half,
                expected_sha256=fetched.sha256,
                revision=fetched.commit,
                progress=session.progress,
                cancel=session.cancel,
            )
        except Dp3dError as error:
            if error.code == "weights.damaged" and fetched.path.parent == downloads_folder():
                fetched.path.unlink(missing_ok=True)  # the next install fetches it anew
            raise
        outcome = _imported(found)
        outcome.lines.append(f"the download is kept: {fetched.path}")
        return outcome


@dataclass
class Verify:
    """Compare installed weights with the hashes they had when they were imported."""

    name: tyro.conf.Positional[_Name | None] = None
    """Which; all that are installed without."""

    def run(self, session: Session) -> Outcome:
        """Hash every file."""
        from dp3d_core.checkpoints.store import SOURCES, find_weights, verify_weights

        chosen = (
            [Variant(self.name)]
            if self.name is not None
            else [variant for variant in SOURCES if find_weights(variant) is not None]
        )
        good = [
            verify_weights(variant, progress=session.progress, cancel=session.cancel)
            for variant in chosen
        ]
        data = {str(w.config.variant): {"files": len(w.files), "good": True} for w in good}
        lines = [f"{w.config.variant}: {len(w.files)} files are as imported" for w in good]
        return Outcome({"weights": data}, lines or ["No weights are installed."])


_Action = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Install, tyro.conf.subcommand("install")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
)


@dataclass
class Models(Common):
    """The published weights of the diffusion engines on this machine."""

    what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[_Action]] = field(
        default=tyro.MISSING
    )

    def run(self, session: Session) -> Outcome:
        """Do it."""
        return self.what.run(session)
