"""Whether what the diffusion engines need is installed; imports none of it."""

from __future__ import annotations

from importlib.util import find_spec

from dp3d_core.errors import Dp3dError

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
