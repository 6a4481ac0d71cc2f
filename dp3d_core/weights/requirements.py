"""Packages and devices that the diffusion engines need; imports no package to check for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp3d_core.errors import Dp3dError
from dp3d_core.packages import how_to_install, installed_version, is_absent

if TYPE_CHECKING:
    import torch

    from dp3d_core.weights.installed import Weights

_RUNNING: dict[str, tuple[int, ...]] = {
    "torch": (2, 6),
    "diffusers": (0, 42),
    "einops": (0, 8),
    "safetensors": (0, 5),
    "accelerate": (1, 2),
}
"""Packages that generating views needs, and their lowest versions."""
_TEXT_ENCODER: dict[str, tuple[int, ...]] = {"transformers": (5,)}
"""Packages that the import of weights needs to encode the empty prompt."""
_ONLY = {"diffusers": (0, 42)}
"""Packages that must have exactly this version prefix: results of later ones are not verified."""
HOW = how_to_install("diffusion")
"""Remedy for missing packages of the diffusion engines."""


def packages_problem() -> str | None:
    """Sentence on missing or wrong versions of the packages that generate views, or None."""
    return _problem(
        _RUNNING,
        "The packages of the diffusion engines are not installed",
        "The diffusion engines need",
    )


def text_encoder_problem() -> str | None:
    """Sentence on a missing or wrong version of the text encoder's package, or None."""
    return _problem(
        _TEXT_ENCODER, "The text encoder's package is not installed", "The text encoder needs"
    )


def require_packages() -> None:
    """Refuse to generate views where packages are missing.

    Raises:
        Dp3dError: ``engine.packages_missing``.

    """
    _require(packages_problem())


def require_import_packages() -> None:
    """Refuse to import weights where packages are missing.

    Raises:
        Dp3dError: ``engine.packages_missing``.

    """
    _require(
        _problem(
            _RUNNING | _TEXT_ENCODER,
            "The packages that import weights are not installed",
            "Importing weights needs",
        )
    )


def older_import_refusal(weights: Weights) -> Dp3dError | None:
    """Error for weights that store a text encoder which cannot run here; None for usable ones.

    Earlier imports store the text encoder and encode the empty prompt at each run.
    """
    if not weights.holds_text_encoder or (problem := text_encoder_problem()) is None:
        return None
    return Dp3dError(
        "engine.packages_missing",
        f"The weights {weights.config.variant} were imported by an older dp3d and still hold their "
        f"text encoder. {problem}",
        "Import them again where transformers is installed ('dp3d models import' or 'dp3d models "
        f"install'), and they run without it. {HOW}",
    )


def _problem(
    lowest_versions: dict[str, tuple[int, ...]], missing_text: str, version_text: str
) -> str | None:
    """Sentence on packages that are missing or of a wrong version, None where all fit.

    Args:
        lowest_versions: of each package.
        missing_text: beginning of the sentence on missing packages.
        version_text: beginning of the sentence on a wrong version.

    """
    missing = [name for name in lowest_versions if is_absent(name)]
    if missing:
        return f"{missing_text} ({', '.join(missing)})."
    for name, lowest in lowest_versions.items():
        installed = installed_version(name)
        if installed is None:  # no distribution states a version
            continue
        only = _ONLY.get(name)
        if installed < lowest or (only is not None and installed[: len(only)] != only):
            wanted = ".".join(map(str, only or lowest))
            or_later = "" if only else " or later"
            has = ".".join(map(str, installed))
            return f"{version_text} {name} {wanted}{or_later}, and {has} is installed."
    return None


def _require(problem: str | None) -> None:
    if problem is not None:
        raise Dp3dError("engine.packages_missing", problem, HOW)


def find_device(name: str) -> torch.device:
    """Device of a name for torch; ``auto`` prefers cuda, then mps, then cpu.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Dp3dError(
            "engine.bad_option",
            f"There is no device {name!r} here.",
            "Choose auto or cpu, or check the driver of the GPU.",
            str(error),
        ) from error
    return device
