# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the plan of a run from the panel's settings and the scene.  Main thread only."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from . import engine_options, portrait_file, run_records, settings
from .limits import (
    DEFAULT_ENGINE,
    FPS,
    HEAD_PITCH_DEG,
    HEAD_ROLL_DEG,
    HEAD_YAW_DEG,
    PATH_VIEWS,
    SEED,
)
from .link.errors import AddonError
from .link.run import KINDS, Plan
from .link.storage import RECIPE
from .scene import anchor as head_anchor
from .scene import camera_check, camera_path, files, viewing
from .scene import playback as playback_scene

_ANGLES = {"yaw": HEAD_YAW_DEG, "pitch": HEAD_PITCH_DEG, "roll": HEAD_ROLL_DEG}
"""Ranges of the head's angles that may be given by hand, degrees."""


class Request(NamedTuple):
    """A plan for the server, and the fields of the run that the scene records."""

    plan: Plan
    frames: list[int]
    """Scene frame of each view; empty: the views play from frame 1."""
    title: str
    """Name of the run's collection and of its result."""
    engine: str
    seed: int
    source: str = "generated"


def new_views(context: bpy.types.Context) -> Request:
    """Request of *Generate Head Views*.

    Raises:
        AddonError: for anything the panel's settings lack (see ``camera_path`` and below).

    """
    scene = context.scene
    chosen = scene.dp3d
    photo = portrait_file.resolve_portrait(scene)
    further = portrait_file.further_photos(scene)
    head_anchor.check(_world(context, head_anchor.required(scene)))
    engine = chosen.engine or DEFAULT_ENGINE
    check_engine(engine)
    cameras, frames = requested_cameras(context)
    _draw_seed(chosen)
    run_id = uuid.uuid4().hex
    views: dict[str, Any] = {
        "cameras": cameras,
        "engine": engine,
        "options": engine_options.values(scene),
        "seed": chosen.seed,
        **_place_in_photo(chosen),
    }
    plan = Plan(
        run_id=run_id,
        kinds=KINDS[:3] if chosen.then_mesh else KINDS[:1],
        folder=output_folder(chosen.output, run_id),
        portrait=photo,
        further=further,
        params={"views": views, **_later(chosen)},
    )
    title = run_records.free_title(scene, photo.stem)
    return Request(plan, frames, title, views["engine"], chosen.seed)


def rigged_head(context: bpy.types.Context) -> Request:
    """Request of *Import Rigged Head*: the head of the chosen photos, with keys and bones.

    A result with a rigged head of these photos is renewed; other photos make a new result.

    Raises:
        AddonError: for a portrait or an anchor that is missing or cannot be used.

    """
    scene = context.scene
    chosen = scene.dp3d
    photo = portrait_file.resolve_portrait(scene)
    further = portrait_file.further_photos(scene)
    head_anchor.check(_world(context, head_anchor.required(scene)))
    _draw_seed(chosen)
    of_preview = (chosen.engine or DEFAULT_ENGINE) == DEFAULT_ENGINE
    head: dict[str, Any] = {
        "options": engine_options.values(scene) if of_preview else {},
        "seed": chosen.seed,
        **_place_in_photo(chosen),
    }
    earlier = _rigged_from(scene, photo, further)
    if earlier:
        run_records.choose(scene, earlier["run_id"])  # else its fields would begin anew
    run_id = earlier["run_id"] if earlier else uuid.uuid4().hex
    plan = Plan(
        run_id=run_id,
        kinds=("head",),
        folder=run_records.absolute(earlier["folder"])
        if earlier
        else output_folder(chosen.output, run_id),
        portrait=photo,
        further=further,
        params={"head": head},
    )
    title = earlier["title"] if earlier else run_records.free_title(scene, photo.stem)
    return Request(plan, [], title, DEFAULT_ENGINE, chosen.seed)


def _rigged_from(
    scene: bpy.types.Scene, photo: Path, further: dict[str, Path]
) -> dict[str, Any] | None:
    """The latest result with a rigged head alone, made from some photos; None without one."""
    entry: dict[str, Any]
    for entry in reversed(run_records.results(scene)):
        if not entry["rig"] or entry["views"]:
            continue
        try:
            recipe = _recipe(entry)
        except AddonError:
            continue
        if (recipe.portrait, recipe.further) == (photo, further):
            return entry
    return None


def _draw_seed(chosen: Any) -> None:
    """Draw the seed of a new run, where the user does not keep it."""
    if not chosen.seed_lock:
        chosen.seed = random.randint(int(SEED.low), int(SEED.high))


def _place_in_photo(chosen: Any) -> dict[str, Any]:
    """Crop and angles of the head given by hand; None for those to be estimated."""
    return {
        "crop": list(chosen.crop) if chosen.use_crop else None,
        **{
            f"{angle}_deg": camera_path.degrees(getattr(chosen, f"head_{angle}"), limits)
            if getattr(chosen, f"use_head_{angle}")
            else None
            for angle, limits in _ANGLES.items()
        },
    }


def requested_cameras(context: bpy.types.Context) -> tuple[dict[str, Any], list[int]]:
    """Cameras in the server's format, and the scene frame of each (empty for a preset).

    Raises:
        AddonError: see ``camera_path`` and ``camera_check``.

    """
    scene = context.scene
    source = scene.dp3d.camera_source
    if source == "PRESET":
        return camera_path.preset(scene), []
    with viewing.own_settings(scene):
        if source == "SELECTED":
            return camera_check.selected_path(scene, context.view_layer), []
        frames = camera_path.frame_numbers(scene)
        return camera_check.scene_path(scene, context.view_layer, frames), frames


def check_engine(name: str) -> None:
    """Refuse an engine that the server listed as unavailable.

    Raises:
        AddonError: ``addon.engine_unavailable``.

    """
    for engine in settings.ENGINES:
        if engine["name"] == name and not engine.get("available", True):
            problem = str(engine.get("problem") or "It says no more.")
            raise AddonError(
                "addon.engine_unavailable",
                f"The engine {name} cannot run on the server.",
                problem,
            )


def later(scene: bpy.types.Scene, kinds: tuple[str, ...]) -> Request:
    """Request of *Fit*, *Import Mesh*, *Save Fit* or *Play Back* on the scene's chosen result.

    Raises:
        AddonError: ``addon.no_views`` before there are views.

    """
    run = run_records.run(scene)
    if not run["views"] and not has_views(run["folder"]):
        raise AddonError(
            "addon.no_views",
            "There are no views to fit yet.",
            "Generate or export the views first.",
        )
    head_anchor.required(scene)
    return _going_on(scene, kinds)


def has_views(folder: str) -> bool:
    """Whether a run's folder holds a view set."""
    return bool(folder) and (run_records.absolute(folder) / "cameras.json").is_file()


def missing_kinds(scene: bpy.types.Scene, wanted: str) -> tuple[str, ...]:
    """Steps for a mesh, playback or saved fit: with a fit where none of the preset exists."""
    run = run_records.run(scene)
    fits = run["fit"] and run["fit_preset"] in ("", scene.dp3d.fit_preset.lower())
    return (wanted,) if fits else ("fit", wanted)


def playback(context: bpy.types.Context) -> Request:
    """Request of *Play Back*: the chosen fit along the scene's camera over the scene's range.

    Raises:
        AddonError: ``addon.no_views``, and those of ``camera_path``.

    """
    scene = context.scene
    chosen = scene.dp3d
    request = later(scene, missing_kinds(scene, "render"))
    step = chosen.playback_step
    frames = list(range(scene.frame_start, scene.frame_end + 1, step))
    if len(frames) > PATH_VIEWS.high:
        raise AddonError(
            "addon.bad_range",
            f"The scene's frame range holds {len(frames)} frames; {PATH_VIEWS.high} can be played "
            "back.",
            "Raise Step under Play Back, or shorten the scene's frame range.",
        )
    with viewing.own_settings(scene):
        names = camera_check.camera_names(scene, context.view_layer, frames)
        cameras = camera_check.scene_path(scene, context.view_layer, frames, must_show_head=False)
    video = None if chosen.playback_video == "NONE" else chosen.playback_video
    rate = scene.render.fps / scene.render.fps_base / step
    render = {"cameras": cameras, "video": video, "fps": round(FPS.nearest(rate), 6)}
    plan = request.plan
    folder = _free_folder(plan.folder, "playback")
    plan = Plan(**{**vars(plan), "params": {**plan.params, "render": render}, "playback": folder})
    # Known from the start: the job may be taken up after the file was closed.
    playback_scene.write_frames(folder, frames, cameras=names)
    return request._replace(plan=plan, frames=frames)


def _free_folder(parent: Path, name: str) -> Path:
    """The first of name-1, name-2, ... that does not exist, so no shown frame is overwritten."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def again(scene: bpy.types.Scene, run_id: str, new_seed: bool) -> Request:
    """Request that makes the views or the rigged head of a result again, in a new run.

    Args:
        scene: which has the result.
        run_id: of the result.
        new_seed: draw another seed instead of the result's.

    Raises:
        AddonError: ``addon.no_recipe`` when the run's folder does not say how it was made.

    """
    entry = run_records.result(scene, run_id)
    if entry is None:
        raise AddonError(
            "addon.no_recipe",
            "The scene has no result to run again.",
            "Choose a result in the list, or press Generate Head Views.",
        )
    if entry["source"] == "exported":
        raise AddonError(
            "addon.no_recipe",
            "This result is an export of the scene, not a run of the server.",
            "Press Export Orbit Renders again.",
        )
    recipe = _recipe(entry)
    for path in (recipe.portrait, *recipe.further.values()):
        if not path.is_file():
            raise AddonError(
                "portrait.not_found",
                f"There is no file {path}.",
                "Put the photo back, or choose it in the panel and generate anew.",
            )
    params = dict(recipe.params[recipe.kind])
    if new_seed:
        params["seed"] = random.randint(int(SEED.low), int(SEED.high))
    new_id = uuid.uuid4().hex
    plan = Plan(
        run_id=new_id,
        kinds=(recipe.kind,),
        folder=run_records.absolute(entry["folder"]).parent / new_id[:12],
        portrait=recipe.portrait,
        further=recipe.further,
        params={**recipe.params, recipe.kind: params},
    )
    frames = [int(f) for f in entry["frames"].split(",") if f]
    title = run_records.free_title(scene, recipe.portrait.stem)
    engine = str(params.get("engine", DEFAULT_ENGINE))
    return Request(plan, frames, title, engine, int(params["seed"]))


class _Recipe(NamedTuple):
    """How the views or the rigged head of a result were made."""

    portrait: Path
    further: dict[str, Path]
    params: dict[str, dict[str, Any]]
    """Parameters of each kind of job."""

    @property
    def kind(self) -> str:
        """Kind of the first job."""
        return "views" if "views" in self.params else "head"


def _recipe(entry: dict[str, Any]) -> _Recipe:
    """The recipe in the folder of a result.

    Raises:
        AddonError: ``addon.no_recipe``.

    """
    folder = run_records.absolute(entry["folder"])
    try:
        data = json.loads((folder / RECIPE).read_text("utf-8"))
        further = {str(k): Path(v) for k, v in dict(data.get("further") or {}).items()}
        params = {str(kind): dict(values) for kind, values in dict(data["params"]).items()}
        recipe = _Recipe(Path(data["portrait"]), further, params)
        params[recipe.kind]["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AddonError(
            "addon.no_recipe",
            f"The folder {folder} does not say how its views were made.",
            "Set the panel as it was and press Generate Head Views.",
        ) from error
    return recipe


def resumed(scene: bpy.types.Scene) -> Request:
    """Request that resumes the run recorded in the .blend.

    Raises:
        AddonError: ``addon.nothing_to_resume``.

    """
    run = run_records.run(scene)
    kinds = tuple(k for k in run["pending"].split(",") if k in KINDS)
    if not kinds or not run["job_id"] or run["job_kind"] != kinds[0]:
        raise AddonError(
            "addon.nothing_to_resume",
            "This scene remembers no job that could still be running.",
            "Press Generate Head Views to start one.",
        )
    return _going_on(scene, kinds, run["job_id"])


def _going_on(scene: bpy.types.Scene, kinds: tuple[str, ...], resume_job: str = "") -> Request:
    run = run_records.run(scene)
    target = run_records.absolute(run["target"]) if resume_job and run["target"] else None
    plan = Plan(
        run_id=run["run_id"],
        kinds=kinds,
        folder=run_records.absolute(run["folder"]),
        params=_later(scene.dp3d),
        views=run["views"],
        fit=run["fit"],
        resume_job=resume_job,
        playback=target,
    )
    frames = [int(f) for f in run["frames"].split(",") if f]
    if target is not None and "render" in kinds:
        frames = playback_scene.read_frames(target)
    return Request(plan, frames, run["title"], run["engine"], run["seed"])


def output_folder(chosen: str, run_id: str) -> Path:
    """Folder of a run: the chosen one, beside the .blend, or the extension's own, in this order."""
    if chosen:
        return files.chosen(chosen, "The output folder") / run_id[:12]
    if bpy.data.filepath:
        return Path(bpy.path.abspath("//")) / files.BESIDE / run_id[:12]
    return files.own("runs") / run_id[:12]


def _world(context: bpy.types.Context, thing: bpy.types.Object) -> Any:
    return thing.evaluated_get(context.evaluated_depsgraph_get()).matrix_world


def _later(chosen: Any) -> dict[str, dict[str, Any]]:
    return {
        "fit": {"preset": chosen.fit_preset.lower(), "seed": chosen.seed},
        "mesh": {"faces": chosen.faces, "texture_size": chosen.texture_size},
    }
