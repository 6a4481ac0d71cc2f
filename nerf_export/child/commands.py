"""Names of the commands and what runs them; each module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.locks import FileLock
from nerf_export.child.talk import Talk


def _check(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """Import all that a fit needs and name the versions."""
    from nerf_export.child import train

    return {"versions": train.versions()}


def _train(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    # The child of a killed run may still be writing its last checkpoint.
    lock = FileLock(Path(request["work"]) / "train.lock")
    if not lock.acquire(timeout_s=60):
        raise Dp3dError(
            "output.in_use",
            "Another process is still at work on this fit.",
            "Wait for it to end, or end it, and start again.",
        )
    try:
        from nerf_export.child.train import train

        return train(request, talk)
    finally:
        lock.release()


def _surface(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    from nerf_export.child.query import surface

    return surface(request, talk)


def _render(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    from nerf_export.child.query import render

    return render(request, talk)


def _run_folder(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    from nerf_export.child.stock import run_folder

    return run_folder(request, talk)


def _ns_check(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    from nerf_export.child.stock import check_exporters

    check_exporters()
    return {}


def _ns_export(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    from nerf_export.child.stock import ns_export

    return ns_export(request, talk)


COMMANDS: dict[str, Callable[[dict[str, Any], Talk], dict[str, Any]]] = {
    "check": _check,
    "train": _train,
    "surface": _surface,
    "render": _render,
    "run_folder": _run_folder,
    "ns_check": _ns_check,
    "ns_export": _ns_export,
}
