"""Commands of the child by name.  Each imports its module when it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress
from dp3d_core.storage.locks import try_lock
from nerf_export.child.parent_channel import ParentChannel
from nerf_export.field.child_messages import RenderRequest, SurfaceRequest, TrainRequest

_WAIT_S = 60.0
"""Seconds to wait for the lock of a fit."""


def _check(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    """Import the modules that a fit needs, and return the versions of their packages."""
    from nerf_export.child import train

    return {"versions": train.versions()}


def _train(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    # The child of a killed run may still be writing its last checkpoint.  The parent ends one that
    # does not respond, but cannot identify every such process.
    deadline = time.monotonic() + _WAIT_S
    while (lock := try_lock(Path(request["work"]) / "train.lock", timeout_s=1)) is None:
        if time.monotonic() > deadline:
            raise Dp3dError(
                "output.in_use",
                "Another process is still at work on this fit.",
                "Wait for it to end, or end it, and start again.",
            )
        parent.progress(Progress("fit", 0, 1, "Waiting for the process of an earlier run to end"))
    try:
        from nerf_export.child.train import train

        return train(TrainRequest.from_dict(request), parent).answer()
    finally:
        lock.release()


def _surface(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    from nerf_export.child.query import surface

    surface(SurfaceRequest.from_dict(request))
    return {}


def _render(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    from nerf_export.child.query import render

    render(RenderRequest.from_dict(request), parent)
    return {}


def _run_folder(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    from nerf_export.child.ns_commands import run_folder

    return run_folder(request, parent)


def _ns_check(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    from nerf_export.child.ns_commands import check_exporters

    check_exporters()
    return {}


def _ns_export(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    from nerf_export.child.ns_commands import ns_export

    return ns_export(request, parent)


COMMANDS: dict[str, Callable[[dict[str, Any], ParentChannel], dict[str, Any]]] = {
    "check": _check,
    "train": _train,
    "surface": _surface,
    "render": _render,
    "run_folder": _run_folder,
    "ns_check": _ns_check,
    "ns_export": _ns_export,
}
"""Functions of request and channel that return a JSON-ready answer."""
