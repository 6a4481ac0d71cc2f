"""Checks shapes of arrays while tests run, with jaxtyping and beartype.

``tests/conftest.py`` imports this module before any module of dp3d.  Separate processes (the
server, its worker, the NeRF interpreter) run unchecked, as for a user.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isclass
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook

CHECKED = (
    "dp3d_core.cameras.camera",
    "dp3d_core.cameras.lenses",
    "dp3d_core.cameras.trajectories",
    "dp3d_core.meshes.mesh",
    "dp3d_core.meshes.raycast",
    "dp3d_core.models",
    "dp3d_core.pipelines.denoise",
    "dp3d_core.pipelines.multi_view",
    "dp3d_core.pipelines.schedule",
    "dp3d_core.pipelines.windows",
    "dp3d_core.evaluation.scores",
    "nerf_export.child.contrast",
    "nerf_export.child.field",
    "nerf_export.child.grids",
    "nerf_export.shape",
    "nerf_export.views.registration",
)
"""Modules and packages whose shapes are checked at each call."""

_TYPES = BeartypeConf(is_pep484_tower=True)  # an int is a float, as for mypy


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check shapes of parameters and result at each call; mypy checks all other types."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if _has_shape(hint)}
    checked: Callable[..., Any] = beartype(conf=_TYPES)(function)
    return checked


def _has_shape(hint: Any) -> bool:
    if isclass(hint):
        return issubclass(hint, AbstractArray)
    return any(_has_shape(part) for part in get_args(hint))


install_import_hook(CHECKED, f"{__name__}.check")
