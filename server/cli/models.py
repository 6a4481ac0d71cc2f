"""``dp3d models``: lists, imports, downloads and verifies published weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.weights.requirements import require_import_packages
from server.cli.console import Common, Console, Outcome

if TYPE_CHECKING:
    from dp3d_core.weights.installed import Weights

_Name = Annotated[Variant, tyro.conf.EnumChoicesFromValues]
"""Argument with the name of a variant."""


@dataclass
class List:
    """What is installed, and how to get the rest."""

    def run(self, console: Console) -> Outcome:
        """List all variants."""
        from dp3d_core.weights.installed import SOURCES, find_weights, how

        data, lines = {}, []
        for variant, source in SOURCES.items():
            weights = find_weights(variant)
            data[str(variant)] = {
                "installed": weights is not None,
                "folder": None if weights is None else str(weights.folder),
                "source": source.file,
                "source_sha256": None if weights is None else weights.source_sha256,
                "source_revision": None if weights is None else weights.source_revision,
                "page": source.page,
                "published_gigabytes": source.gigabytes,
                "published_revision": source.revision,
            }
            state, text = "missing", how(variant)
            if weights is not None:
                state, text = "installed", f"{weights.folder} (of {weights.source_name})"
            lines.append(f"{variant:22}{state:11}{text}")
            commit = f", commit {source.revision}" if source.revision else ""
            lines.append(f"{'':22}published  {source.file}, {source.gigabytes:g} GB{commit}")
        return Outcome({"weights": data}, lines)


@dataclass
class Import:
    """Convert a published checkpoint file into dp3d's store."""

    file: tyro.conf.Positional[Path]
    """The file as its authors published it."""
    half: bool = False
    """Store float16: half the space, and what a GPU computes with anyway."""

    def run(self, console: Console) -> Outcome:
        """Import it."""
        from dp3d_core.checkpoints.file_kinds import check_weights_file

        check_weights_file(self.file)  # report a wrong file before asking for packages of 1 GB
        require_import_packages()
        from dp3d_core.checkpoints.importer import import_weights

        weights = import_weights(
            self.file, half=self.half, progress=console.progress, cancel=console.cancel
        )
        return _import_outcome(weights)


def _import_outcome(weights: Weights) -> Outcome:
    commit = weights.source_revision
    return Outcome(
        {
            "variant": str(weights.config.variant),
            "folder": str(weights.folder),
            "source_sha256": weights.source_sha256,
            "source_revision": commit,
        },
        [
            f"{weights.config.variant} is installed in {weights.folder}",
            *([f"from commit {commit}; '--revision {commit}' installs it again"] if commit else []),
        ],
    )


@dataclass
class Install:
    """Download published weights and import them."""

    name: tyro.conf.Positional[_Name]
    """Variant; 'diffportrait360' also needs 'diffportrait360-back' for a full orbit."""
    half: bool = False
    """Store float16: half the space, and what a GPU computes with anyway."""
    revision: str | None = None
    """Commit, tag or branch on the hub; by default the newest, or the downloaded one offline."""

    def run(self, console: Console) -> Outcome:
        """Download, resume a download or take it from the cache; then import."""
        require_import_packages()
        from dp3d_core.checkpoints.download import downloads_folder, fetch
        from dp3d_core.checkpoints.importer import import_weights

        fetched = fetch(
            Variant(self.name),
            self.revision,
            progress=console.progress,
            cancel=console.cancel,
        )
        try:
            weights = import_weights(
                fetched.path,
                half=self.half,
                expected_sha256=fetched.sha256,
                revision=fetched.commit,
                progress=console.progress,
                cancel=console.cancel,
            )
        except Dp3dError as error:
            if error.code == "weights.damaged" and fetched.path.parent == downloads_folder():
                fetched.path.unlink(missing_ok=True)  # the next install downloads it again
            raise
        outcome = _import_outcome(weights)
        outcome.lines.append(f"the download is kept: {fetched.path}")
        return outcome


@dataclass
class Verify:
    """Compare installed weights with the hashes they had when they were imported."""

    name: tyro.conf.Positional[_Name | None] = None
    """Variant; by default all that are installed."""

    def run(self, console: Console) -> Outcome:
        """Hash every file."""
        from dp3d_core.weights.installed import SOURCES, find_weights, verify_weights

        chosen = (
            [Variant(self.name)]
            if self.name is not None
            else [variant for variant in SOURCES if find_weights(variant) is not None]
        )
        verified = [
            verify_weights(variant, progress=console.progress, cancel=console.cancel)
            for variant in chosen
        ]
        data = {str(w.config.variant): {"files": len(w.files), "good": True} for w in verified}
        lines = [f"{w.config.variant}: {len(w.files)} files are as imported" for w in verified]
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

    def run(self, console: Console) -> Outcome:
        """Run the chosen action."""
        return self.what.run(console)
