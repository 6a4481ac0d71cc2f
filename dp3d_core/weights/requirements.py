"""Whether what the diffusion engines need is installed; imports none of it."""

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
"""Packages that generate views, and their lowest versions."""
_TEXT_ENCODER: dict[str, tuple[int, ...]] = {"transformers": (5,)}
"""Packages that encode the empty prompt when weights are imported."""
_ONLY = {"diffusers": (0, 42)}
"""Versions whose later ones are not known to give the same numbers."""
HOW = how_to_install("diffusion")


def packages_problem() -> str | None:
    """One sentence on the packages that are missing or of another version, None for none."""
    return _problem(
        _RUNNING,
        "The packages of the diffusion engines are not installed",
        "The diffusion engines need",
    )


def text_encoder_problem() -> str | None:
    """The sentence for the text encoder's package alone."""
    return _problem(
        _TEXT_ENCODER, "The text encoder's package is not installed", "The text encoder needs"
    )


def require_packages() -> None:
    """Say how to install what the diffusion engines need, when it is not there.

    Raises:
        Dp3dError: ``engine.packages_missing``.

    """
    _require(packages_problem())


def require_import_packages() -> None:
    """Say how to install what the import of weights needs, when it is not there.

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
    """The error for weights whose text encoder cannot run here; None where they can be used.

    Weights of earlier imports hold the text encoder, and encode the empty prompt at each run.
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


def _problem(least: dict[str, tuple[int, ...]], absent: str, need: str) -> str | None:
    """One sentence on packages that are missing or of another version, None for none.

    Args:
        least: the packages and their lowest versions.
        absent: how the sentence begins for those that are missing.
        need: how it begins for one of another version.

    """
    missing = [name for name in least if is_absent(name)]
    if missing:
        return f"{absent} ({', '.join(missing)})."
    for name, lowest in least.items():
        present = installed_version(name)
        if present is None:  # not from a distribution: nothing says its version
            continue
        only = _ONLY.get(name)
        if present < lowest or (only is not None and present[: len(only)] != only):
            wanted = ".".join(map(str, only or lowest))
            or_later = "" if only else " or later"
            has = ".".join(map(str, present))
            return f"{need} {name} {wanted}{or_later}, and {has} is installed."
    return None


def _require(problem: str | None) -> None:
    if problem is not None:
        raise Dp3dError("engine.packages_missing", problem, HOW)


def find_device(name: str) -> torch.device:
    """The device of a name, ``auto`` for the fastest.

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
