"""Weights of the diffusion engines on this machine: finding and verifying them, without torch.

Each variant is a folder in the layout of a diffusers pipeline.  ``weights.json`` names its source
and the hash of every file; it is written last and marks a complete import::

    DP3D_HOME/weights/diffportrait360/
      weights.json  model_index.json  unet/ reference_unet/ pose_controlnet/ vae/ empty_prompt/ ...

Earlier imports (``dp3d.weights/1``) have ``text_encoder/`` instead of ``empty_prompt/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import NetworkConfig, Variant
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import HASH_CHUNK, hash_file, read_json, refusal_code
from dp3d_core.storage.paths import dp3d_home

SCHEMA = "dp3d.weights/2"
"""Schema of ``weights.json`` of imports that store the embedding of the empty prompt."""
_WITH_TEXT_ENCODER = "dp3d.weights/1"
"""Schema of earlier imports, which store the text encoder; read, not written."""
MARKER = "weights.json"
"""File that marks a complete import."""


@dataclass(frozen=True)
class Source:
    """Where a published file can be downloaded."""

    file: str
    repository: str | None
    """Repository on the Hugging Face hub; None: the file must be downloaded by hand."""
    page: str
    """Web page of the file."""
    gigabytes: float
    """Size of the file, 10^9 bytes."""
    revision: str | None = None
    """Last commit of the repository when the size was read, abbreviated."""


SOURCES = {
    Variant.DIFFPORTRAIT3D: Source(
        "model_state-540000-001.th", None, "https://github.com/FreedomGu/DiffPortrait3D", 11.5
    ),
    Variant.DIFFPORTRAIT360: Source(
        "model_state-340000.th",
        "gym890/diffportrait360",
        "https://huggingface.co/gym890/diffportrait360",
        10.8,
        "474069d",
    ),
    Variant.BACK_VIEW: Source(
        "back_head-230000.th",
        "gym890/diffportrait360",
        "https://huggingface.co/gym890/diffportrait360",
        9.15,
        "474069d",
    ),
}
"""Published file of each variant."""


@dataclass(frozen=True)
class Weights:
    """Imported weights of a variant."""

    folder: Path
    config: NetworkConfig
    source_name: str
    source_sha256: str
    source_revision: str | None
    """Commit on the hub that the file was downloaded from; None: unknown."""
    files: dict[str, str]
    """SHA-256 of each file by its path in the folder."""
    holds_text_encoder: bool = False
    """Whether the text encoder is stored, and encodes the empty prompt at each run."""


def weights_folder() -> Path:
    """Folder that holds the imported weights of all variants."""
    return dp3d_home() / "weights"


def find_weights(variant: Variant) -> Weights | None:
    """The imported weights of a variant, None where it is not installed; reads ``weights.json``.

    Raises:
        Dp3dError: ``weights.damaged`` if ``weights.json`` is not readable.

    """
    folder = weights_folder() / variant
    if not (folder / MARKER).is_file():
        folder = old_folder(variant)  # an import was interrupted while exchanging folders
    if not (folder / MARKER).is_file():
        return None
    try:
        data = read_json(folder / MARKER)
        if data["schema"] not in (SCHEMA, _WITH_TEXT_ENCODER):
            raise ValueError(data["schema"])
        return Weights(
            folder,
            NetworkConfig.from_dict(data["config"]),
            str(data["source"]["name"]),
            str(data["source"]["sha256"]),
            data["source"].get("revision"),
            {str(name): str(sha256) for name, sha256 in data["files"].items()},
            data["schema"] == _WITH_TEXT_ENCODER,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise weights_damaged(variant, f"{MARKER} cannot be read") from error


def old_folder(variant: Variant) -> Path:
    """Folder that holds the previous weights while an import exchanges them."""
    return weights_folder() / f".{variant}.old"


def require_weights(variant: Variant) -> Weights:
    """The imported weights of a variant.

    Raises:
        Dp3dError: ``weights.missing`` with the commands that install them, ``weights.damaged``.

    """
    weights = find_weights(variant)
    if weights is None:
        raise Dp3dError(
            "weights.missing", f"The weights {variant} are not installed.", how(variant)
        )
    return weights


def how(variant: Variant) -> str:
    """Sentence that tells the user how to install a variant."""
    source = SOURCES[variant]
    if source.repository is not None:
        return f"Run 'dp3d models install {variant}' ({source.gigabytes:g} GB)."
    return (
        f"Fetch {source.file} by hand from the page {source.page}, whose host offers no interface, "
        f"and run 'dp3d models import {source.file}'."
    )


def verify_weights(variant: Variant, *, progress: ProgressCallback, cancel: CancelCheck) -> Weights:
    """Compare the hash of every file with that of the import.

    Raises:
        Dp3dError: ``weights.missing``, ``weights.damaged`` with the files that differ.

    """
    weights = require_weights(variant)
    stage = Stage("verify", len(weights.files), progress, cancel, f"Hashing {variant}")
    changed = []
    for name, sha256 in weights.files.items():
        file = weights.folder / name
        if not file.is_file() or hash_file(file) != sha256:
            changed.append(name)
        stage.advance(name)
    if changed:
        raise weights_damaged(variant, f"these files are not as imported: {', '.join(changed)}")
    return weights


def hash_with_progress(path: Path, progress: ProgressCallback, cancel: CancelCheck) -> str:
    """SHA-256 of a large file, hexadecimal; reports progress as stage ``hash``."""
    size = path.stat().st_size
    stage = Stage("hash", max(1, -(-size // HASH_CHUNK)), progress, cancel, f"Hashing {path.name}")
    return hash_file(path, stage.advance)


def make_folder(folder: Path) -> None:
    """Make a folder with its parents; raises ``output.not_writable`` or ``storage.full``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def not_writable(folder: Path, error: OSError) -> Dp3dError:
    """Error for a folder of weights that cannot be written."""
    code = refusal_code(error)
    why = "the disk is full" if code == "storage.full" else error.strerror or str(error)
    return Dp3dError(
        code,
        f"The weights cannot be written in {folder} ({why}).",
        "Check free space and rights there, or set DP3D_HOME to another disk.",
    )


def weights_damaged(variant: Variant, why: str, detail: str = "") -> Dp3dError:
    """Error for imported weights that cannot be used; ``why`` is half a sentence."""
    return Dp3dError(
        "weights.damaged",
        f"The installed weights {variant} cannot be used: {why}.",
        "Import them again with 'dp3d models import' or 'dp3d models install'.",
        detail,
    )
