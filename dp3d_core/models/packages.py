"""Whether what the diffusion engines need is installed; imports none of it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from dp3d_core.errors import Dp3dError

if TYPE_CHECKING:
    import torch

_NEEDED = ("torch", "diffusers", "transformers", "safetensors", "accelerate")
HOW = "Install them: pip install 'dp3d[diffusion]', or 'make env-diffusion'."


def packages_problem() -> str | None:
    """One sentence on the packages that are missing, None when all are there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return None
    return f"The packages of the diffusion engines are not installed ({', '.join(missing)})."


def require_packages() -> None:
    """Say how to install what the diffusion engines need, when it is not there.

    Raises:
        Dp3dError: ``engine.packages_missing``.

    """
    problem = packages_problem()
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
