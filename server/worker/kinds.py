"""What each kind of job does: artifacts in, a call into the right room, artifacts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp3d_core.progress import CancelCheck, Progress, ProgressCallback
from server.artifacts import ArtifactStore
from server.plain import plain


@dataclass(frozen=True)
class JobContext:
    """What a job may use."""

    work: Path
    """Its own folder; what it finds there is from an earlier attempt at the same job."""
    artifacts: ArtifactStore
    progress: ProgressCallback
    cancel: CancelCheck
    announce: Callable[[str, str, int], None]
    """Called with name, hash and size of a result that can be fetched already."""


def run_views(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Portrait and cameras to a view set; every frame is announced as soon as it is there."""
    from dp3d_core.alignment import Turn
    from dp3d_core.engines import cameras_for, get_engine
    from dp3d_core.portrait import load_portrait

    context.progress(Progress("portrait", 0, 1, "Reading the portrait"))
    crop = params["crop"]
    portrait = load_portrait(
        context.artifacts.find(params["portrait"]),
        tuple(crop) if crop else None,
        Turn(params["yaw_deg"], params["pitch_deg"], params["roll_deg"]),
    )
    context.progress(Progress("portrait", 1, 1, "The head is placed"))
    out = context.work / "views"
    frames = _FrameAnnouncer(out, context)

    def progress(event: Progress) -> None:
        frames.announce()
        context.progress(event)

    engine = get_engine(params["engine"])
    views = engine.generate(
        portrait,
        cameras_for(engine, params["cameras"]),
        params["options"],
        out=out,
        seed=params["seed"],
        progress=progress,
        cancel=context.cancel,
    )
    frames.announce()
    report = plain(portrait.report)
    return {
        "views": context.artifacts.add_tree(views.root).sha256,
        "portrait_report": report,
        "warnings": report.get("warnings", []) + views.meta.warnings,
    }


class _FrameAnnouncer:
    """Stores and announces the frames of a growing view set, each once."""

    def __init__(self, root: Path, context: JobContext) -> None:
        self._root, self._context = root, context
        self._done: set[str] = set()

    def announce(self) -> None:
        for path in sorted((self._root / "frames").glob("[0-9]*.png")):
            if path.name not in self._done:
                self._done.add(path.name)
                stored = self._context.artifacts.add_file(path)
                self._context.announce(f"frames/{path.name}", stored.sha256, stored.size)


def run_fit(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """A view set to a fitted radiance field."""
    from nerf_export.fit import fit_views
    from server.face_points import face_points

    views = context.artifacts.materialise(params["views"], context.work / "views")
    fit = fit_views(
        views,
        context.work / "fit",
        preset=params["preset"],
        steps=params["steps"],
        seed=params["seed"],
        poses=params.get("poses", "auto"),  # jobs from before there was a choice have none
        points_of=face_points(),
        progress=context.progress,
        cancel=context.cancel,
    )
    meta = plain(fit.meta)
    return {
        "fit": context.artifacts.add_tree(fit.root).sha256,
        "scores": meta["scores"],
        "warnings": meta["warnings"],
    }


def run_mesh(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """A fit to a textured mesh."""
    from nerf_export.mesh import build_mesh

    fit = context.artifacts.materialise(params["fit"], context.work / "fit")
    out = context.work / "head.glb"
    stats = build_mesh(
        fit,
        out,
        faces=params["faces"],
        texture_size=params["texture_size"],
        progress=context.progress,
        cancel=context.cancel,
    )
    mesh = {"name": out.name, **context.artifacts.add_file(out).to_dict()}
    context.announce(mesh["name"], mesh["sha256"], mesh["size"])
    return {"mesh": mesh, "stats": plain(stats)}


KINDS: dict[str, Callable[[JobContext, dict[str, Any]], dict[str, Any]]] = {
    "views": run_views,
    "fit": run_fit,
    "mesh": run_mesh,
}
