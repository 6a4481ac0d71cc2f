"""Handlers of the kinds of jobs: read artifacts, call an engine or exporter, store artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.arrays import Pixels
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback, Stage
from server.jobs.params import (
    JOB_PARAMS,
    FitParams,
    HeadParams,
    MeshParams,
    PersonParams,
    ReferenceParams,
    RenderParams,
    ViewsParams,
)
from server.json_ready import json_ready
from server.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.viewsets.viewset import ViewSet


@dataclass(frozen=True)
class JobContext:
    """Resources of one job."""

    work: Path
    """Folder of the job, with the files of earlier attempts at it."""
    artifacts: ArtifactStore
    progress: ProgressCallback
    cancel: CancelCheck
    announce: Callable[[str, str, int], None]
    """Called with name, SHA-256 and size in bytes of an artifact that clients can already fetch."""


def run_views(context: JobContext, params: ViewsParams) -> dict[str, Any]:
    """Generate a view set from the photos of a person and cameras.

    Missing face models are downloaded first.  The report picture of the portrait is announced when
    the head is placed, and each frame (RGB and RGBA) when it is finished.
    """
    from dp3d_core.engines.photos import person_warnings
    from dp3d_core.engines.registry import cameras_for, check_photo_count, get_engine

    engine = get_engine(params.engine)
    engine.check(params.options)  # before any computation
    check_photo_count(params.engine, engine.info().references, 1 + len(params.references))
    portrait, picture = _load_person(context, params)
    out = context.work / "views"
    pictures = _PictureAnnouncer(out, ("frames", "rgba"), context)
    views = engine.generate(
        portrait,
        cameras_for(engine, params.cameras),
        params.options,
        out=out,
        seed=params.seed,
        progress=pictures.progress,
        cancel=context.cancel,
    )
    pictures.announce()
    report = json_ready(portrait.report)
    return {
        "views": context.artifacts.add_tree(views.root).sha256,
        "portrait_report": report,
        "portrait_picture": picture,
        "photos": json_ready(views.meta.photos),
        "choices": json_ready(views.meta.choices),
        "warnings": person_warnings(portrait) + views.meta.warnings,
    }


def _load_person(context: JobContext, params: PersonParams) -> tuple[Portrait, dict[str, Any]]:
    """The portrait with its further photos, and its report picture, which is announced.

    Missing face models are downloaded first.
    """
    from dp3d_core.portraits.pose import HeadAngles
    from dp3d_core.portraits.references import PhotoSource, load_person
    from dp3d_core.portraits.report_picture import report_picture
    from dp3d_core.portraits.required_files import fetch_missing
    from dp3d_core.viewsets.viewset import encode_png

    fetch_missing(context.progress, context.cancel)
    context.progress(Progress("portrait", 0, 1, "Reading the portrait"))
    portrait = load_person(
        context.artifacts.find(params.portrait),
        [
            PhotoSource(context.artifacts.find(photo.portrait), photo.side, _photo_name(i, photo))
            for i, photo in enumerate(params.references, 2)
        ],
        params.crop_window,
        HeadAngles(params.yaw_deg, params.pitch_deg, params.roll_deg),
        cancel=context.cancel,
    )
    picture = {
        "name": "portrait.png",
        **context.artifacts.add_bytes(encode_png(report_picture(portrait))).to_dict(),
    }
    context.announce(picture["name"], picture["sha256"], picture["size"])
    context.progress(Progress("portrait", 1, 1, "The head is placed"))
    return portrait, picture


def _photo_name(number: int, photo: ReferenceParams) -> str:
    """Name of a further photo in messages: its number, and its side where that is known."""
    return f"Photo {number}" if photo.side == "auto" else f"Photo {number} ({photo.side})"


class _PictureAnnouncer:
    """Stores and announces the pictures of a view set while it is written, each once.

    Args:
        root: folder of the view set.
        folders: its subfolders with pictures to announce.
        context: of the job.

    """

    def __init__(self, root: Path, folders: tuple[str, ...], context: JobContext) -> None:
        self._root, self._folders, self._context = root, folders, context
        self._announced: set[str] = set()

    def announce(self) -> None:
        """Announce new pictures of finished views."""
        for frame in sorted((self._root / "frames").glob("[0-9]*.png")):
            for folder in self._folders:
                name, path = f"{folder}/{frame.name}", self._root / folder / frame.name
                if name not in self._announced and path.is_file():
                    self._announced.add(name)
                    stored = self._context.artifacts.add_file(path)
                    self._context.announce(name, stored.sha256, stored.size)

    def progress(self, event: Progress) -> None:
        """Announce new pictures, then pass the event on."""
        self.announce()
        self._context.progress(event)


def run_fit(context: JobContext, params: FitParams) -> dict[str, Any]:
    """Fit a radiance field to a view set."""
    from nerf_export.field.fit import fit_views
    from server.face_points import face_points

    views = context.artifacts.materialise(params.views, context.work / "views")
    fit = fit_views(
        views,
        context.work / "fit",
        preset=params.preset,
        steps=params.steps,
        seed=params.seed,
        poses=params.poses,
        points_of=face_points(),
        progress=context.progress,
        cancel=context.cancel,
    )
    meta = json_ready(fit.meta)
    return {
        "fit": context.artifacts.add_tree(fit.root).sha256,
        "scores": meta["scores"],
        "warnings": meta["warnings"],
    }


def run_mesh(context: JobContext, params: MeshParams) -> dict[str, Any]:
    """Extract a textured mesh from a fit."""
    from nerf_export.mesh.textured_mesh import build_mesh

    fit = context.artifacts.materialise(params.fit, context.work / "fit")
    out = context.work / "head.glb"
    stats = build_mesh(
        fit,
        out,
        faces=params.faces,
        texture_size=params.texture_size,
        progress=context.progress,
        cancel=context.cancel,
    )
    mesh = {"name": out.name, **context.artifacts.add_file(out).to_dict()}
    context.announce(mesh["name"], mesh["sha256"], mesh["size"])
    return {"mesh": mesh, "stats": json_ready(stats)}


def run_head(context: JobContext, params: HeadParams) -> dict[str, Any]:
    """Fit a head to the photos of a person and rig it.

    The report picture of the portrait is announced when the head is placed, and the GLB when it is
    written.
    """
    from dp3d_core.engines.options import parse_options
    from dp3d_core.engines.photos import (
        person_warnings,
        photo_records,
        photo_warnings,
        used_hashes,
    )
    from dp3d_core.preview.choices import choice_warnings, choices_to_dict
    from dp3d_core.preview.engine import PreviewOptions
    from dp3d_core.preview.kept_heads import fitted_head
    from dp3d_core.rigged.asset import RIG_STEPS, rig_summary, rigged_head, write_rig

    options = parse_options(PreviewOptions, params.options)  # before any computation
    portrait, picture = _load_person(context, params)
    head = fitted_head(
        portrait, params.seed, choices=options.choices,
        progress=context.progress, cancel=context.cancel,
    )  # fmt: skip
    formats = ("glb",) if params.format == "glb" else ("glb", "obj")
    steps = RIG_STEPS + len(formats)
    stage = Stage("rig", steps, context.progress, context.cancel, "Rigging the head")
    photos = json_ready(photo_records(portrait, head.photos))
    rig = rigged_head(
        head, params.texture_size, photo_sha256=portrait.sha256,
        further_sha256=used_hashes(photos), seed=params.seed, on_step=stage.begin,
    )  # fmt: skip
    for form in formats:
        stage.begin(f"Writing the {form.upper()}")
        folder = context.work / form
        folder.mkdir(exist_ok=True)
        write_rig(rig, folder / f"head.{form}", params.detail, delit=not options.lit)
    glb = {
        "name": "head.glb",
        **context.artifacts.add_file(context.work / "glb" / "head.glb").to_dict(),
    }
    context.announce(glb["name"], glb["sha256"], glb["size"])
    stage.end("The head is rigged")
    return {
        "glb": glb,
        "obj": context.artifacts.add_tree(context.work / "obj").sha256
        if params.format == "obj"
        else None,
        **rig_summary(rig, params.detail),
        "portrait_report": json_ready(portrait.report),
        "portrait_picture": picture,
        "photos": photos,
        "choices": json_ready(choices_to_dict(head.chosen)),
        "warnings": [
            *person_warnings(portrait),
            *choice_warnings(head.chosen),
            *photo_warnings(photos),
        ],
    }


def run_render(context: JobContext, params: RenderParams) -> dict[str, Any]:
    """Render frames with alpha and depth from a fit; each frame is announced when finished."""
    from dp3d_core.viewsets.video import save_video
    from nerf_export.field.fit import Fit
    from nerf_export.field.render import render_cameras, render_fit, render_warnings

    fit_folder = context.artifacts.materialise(params.fit, context.work / "fit")
    out = context.work / "render"
    pictures = _PictureAnnouncer(out, ("rgba",), context)
    fit = Fit.open(fit_folder)
    cameras, notes = render_cameras(fit, params.cameras)
    views = render_fit(
        fit,
        cameras,
        out,
        progress=pictures.progress,
        cancel=context.cancel,
    )
    pictures.announce()
    video = None
    if params.video is not None:
        path = context.work / f"render.{params.video}"
        save_video(path, _frames(views, context), params.fps)
        video = {"name": path.name, **context.artifacts.add_file(path).to_dict()}
        context.announce(video["name"], video["sha256"], video["size"])
    return {
        "views": context.artifacts.add_tree(views.root).sha256,
        "count": len(views),
        "video": video,
        "warnings": notes + render_warnings(views, fit),
    }


def _frames(views: ViewSet, context: JobContext) -> Iterator[Pixels]:
    """Frames of a view set for a video, with progress and cancel."""
    stage = Stage("video", len(views), context.progress, context.cancel, "Writing the video")
    for i in range(len(views)):
        yield views.frame(i)
        stage.advance()


_HANDLERS: dict[str, Callable[[JobContext, Any], dict[str, Any]]] = {
    "views": run_views,
    "fit": run_fit,
    "render": run_render,
    "mesh": run_mesh,
    "head": run_head,
}
"""Handler of each kind of job."""


def run_job(context: JobContext, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Run a job of any kind.

    Args:
        context: resources of the job.
        kind: a key of :data:`~server.jobs.params.JOB_PARAMS`.
        params: parameters as stored; those that a job of an older version lacks are the defaults.

    Returns:
        The job's result, JSON-ready.

    """
    return _HANDLERS[kind](context, JOB_PARAMS[kind].model_validate(params))
