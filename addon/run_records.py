# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of each scene's current run and of its results, unaffected by undo.  Main thread only.

Undo resets every property of a scene, including the place of a finished fit.  The records are
therefore kept in this module.  They are copied to ``scene.dp3d_run`` and ``scene.dp3d_results``,
where the .blend file and scripts find them, and copied again after each undo.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from .scene import files, tags

NO_ERROR = {"error_code": "", "error_problem": "", "error_remedy": ""}
"""Fields of a run without a failure."""
_runs: dict[int, dict[str, Any]] = {}
"""Fields of each scene's run, by the scene's ``session_uid``."""
_results: dict[int, list[dict[str, Any]]] = {}
"""Fields of each scene's results, oldest first, by the scene's ``session_uid``."""
_removed: dict[int, dict[str, dict[str, Any]]] = {}
"""Deleted results by scene and run id: an undo that restores their objects restores them too."""
PATHS = ("folder", "mesh", "rig", "playback", "video", "target")
"""Fields that hold paths, relative to the .blend where they lie below it."""


def result_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a run that its result has too."""
    shared = bpy.types.Scene.bl_rna.properties["dp3d_results"].fixed_type.properties
    return {name: value for name, value in values.items() if name in shared}


def _fields(group: Any) -> dict[str, Any]:
    """Values of a property group by name."""
    names = (p.identifier for p in group.bl_rna.properties)
    return {name: getattr(group, name) for name in names if name not in ("rna_type", "name")}


def run(scene: bpy.types.Scene) -> dict[str, Any]:
    """Fields of ``scene.dp3d_run``; read only."""
    key = scene.session_uid
    if key not in _runs:
        _runs[key] = _fields(scene.dp3d_run)
        _results[key] = [_fields(entry) for entry in scene.dp3d_results]
    return _runs[key]


def results(scene: bpy.types.Scene) -> list[dict[str, Any]]:
    """Fields of each of ``scene.dp3d_results``, oldest first; read only."""
    run(scene)
    return _results[scene.session_uid]


def result(scene: bpy.types.Scene, run_id: str) -> dict[str, Any] | None:
    """The result of a run; None where the run has none."""
    return next((entry for entry in results(scene) if entry["run_id"] == run_id), None)


def blank(scene: bpy.types.Scene) -> dict[str, Any]:
    """Fields of a run with their default values."""
    properties = scene.dp3d_run.bl_rna.properties
    return {name: properties[name].default for name in run(scene)}


def free_title(scene: bpy.types.Scene, wanted: str) -> str:
    """The wanted title, with a number where a result of the scene has that title."""
    taken = {entry["title"] for entry in results(scene)}
    number = 2
    title = wanted
    while title in taken:
        title, number = f"{wanted} {number}", number + 1
    return title


def set_run(scene: bpy.types.Scene, **values: Any) -> bool:
    """Change fields of the run and of its result; whether anything changed."""
    state = run(scene)
    changed = {name: value for name, value in values.items() if state[name] != value}
    state.update(changed)
    if entry := result(scene, state["run_id"]):
        entry.update(result_fields(state))
    return mirror(scene) or bool(changed)


def set_error(scene: bpy.types.Scene, code: str, problem: str, remedy: str) -> None:
    """Record a failure of the scene's run."""
    set_run(scene, error_code=code, error_problem=problem, error_remedy=remedy)


def clear_error(scene: bpy.types.Scene) -> None:
    """Clear the failure of the scene's run."""
    set_run(scene, **NO_ERROR)


def add_result(scene: bpy.types.Scene, **values: Any) -> None:
    """Add the run to the list of results, or update its result."""
    state = run(scene)
    entries = results(scene)
    fields = result_fields(state)
    if entry := result(scene, state["run_id"]):
        entry.update(fields, **values)
    else:
        blank = dict.fromkeys(("created", "source"), "")
        entries.append({**blank, **fields, **values})
    mirror(scene)


def timestamp() -> str:
    """Date and time for the list of results."""
    return datetime.now().strftime("%Y-%m-%d %H:%M")


def adopt_export(
    scene: bpy.types.Scene,
    folder: Path,
    frames: Sequence[int],
    title: str,
    engine: str,
    rendered: int,
) -> None:
    """Make an exported view set the chosen result, so that Fit and Import Mesh work on it.

    Args:
        scene: which was rendered.
        folder: of the view set.
        frames: scene frame of each view.
        title: name for the list of results.
        engine: render engine, as the list shows it.
        rendered: views that were rendered this time; 0: a fit of the export is still right.

    """
    known = next(
        (r for r in results(scene) if r["folder"] and absolute(r["folder"]) == folder), None
    )
    if known and not rendered:
        choose(scene, known["run_id"])
        return
    title = known["title"] if known else free_title(scene, title)
    fields: dict[str, Any] = {
        **blank(scene),
        "run_id": known["run_id"] if known else uuid.uuid4().hex,
        "title": title,
        "folder": files.stored(folder),
        "frames": ",".join(map(str, frames)),
        "engine": engine,
        "state": "succeeded",
        "message": "The views are exported. Next: press Fit or Import Mesh",
    }
    set_run(scene, **fields)
    add_result(scene, source="exported", created=timestamp())


def change_result(scene: bpy.types.Scene, run_id: str, **values: Any) -> None:
    """Change fields of a result, and of the run where that is the chosen one."""
    if entry := result(scene, run_id):
        entry.update(values)
    if run(scene)["run_id"] == run_id:
        run(scene).update(values)
    mirror(scene)


def highlighted(scene: bpy.types.Scene) -> str:
    """Id of the result that the list highlights; empty where it has none.

    A running run without results is not in the list, which then highlights another one.
    """
    entries, index = results(scene), scene.dp3d_result_index
    return str(entries[index]["run_id"]) if 0 <= index < len(entries) else ""


def choose(scene: bpy.types.Scene, run_id: str) -> None:
    """Make a result the one that Fit, Import Mesh and Play Back work on."""
    entry = result(scene, run_id)
    if entry is None or run(scene)["run_id"] == run_id:
        return
    set_run(
        scene,
        **{n: v for n, v in entry.items() if n in run(scene)},
        **NO_ERROR,
        state="",
        message="",
        pending="",
        job_id="",
        job_kind="",
    )


def remove(scene: bpy.types.Scene, run_id: str) -> None:
    """Remove a result; where it is the scene's run, the latest result takes its place."""
    entries = results(scene)
    if entry := result(scene, run_id):
        _removed.setdefault(scene.session_uid, {})[run_id] = entry
    entries[:] = [entry for entry in entries if entry["run_id"] != run_id]
    if run(scene)["run_id"] == run_id:
        _runs[scene.session_uid] = blank(scene)
        if entries:
            choose(scene, entries[-1]["run_id"])
    mirror(scene)


def absolute(text: str) -> Path:
    """A recorded path as an absolute one; an empty text is the working folder."""
    return Path(bpy.path.abspath(text)) if text else Path()


def store_paths(scene: bpy.types.Scene, blend: str) -> None:
    """Rewrite a scene's recorded paths for a .blend that is about to be saved at ``blend``."""
    for entry in (run(scene), *results(scene)):
        for name in PATHS:
            if entry.get(name):
                entry[name] = files.stored(absolute(entry[name]), blend)
    mirror(scene)


def mirror(scene: bpy.types.Scene) -> bool:
    """Copy the records to the scene's properties; whether any property differed."""
    changed = write(scene.dp3d_run, run(scene))
    entries = results(scene)
    collection = scene.dp3d_results
    while len(collection) > len(entries):
        collection.remove(len(collection) - 1)
        changed = True
    while len(collection) < len(entries):
        collection.add()
        changed = True
    for item, entry in zip(collection, entries, strict=True):
        changed = write(item, entry) or changed
    chosen = next((i for i, e in enumerate(entries) if e["run_id"] == run(scene)["run_id"]), None)
    if chosen is not None and scene.dp3d_result_index != chosen:
        scene.dp3d_result_index = chosen
        changed = True
    return changed


def write(group: Any, values: dict[str, Any]) -> bool:
    """Set properties of a group where they differ; whether any did."""
    changed = False
    for name, value in values.items():
        if getattr(group, name) != value:
            setattr(group, name, value)
            changed = True
    return changed


@persistent
def _after_undo(*_: Any) -> None:
    for scene in bpy.data.scenes:
        if scene.session_uid in _runs:
            removed = _removed.get(scene.session_uid, {})
            if removed:
                there = {thing.get(tags.RUN) for thing in scene.objects}
                for run_id in [r for r in removed if r in there]:
                    results(scene).append(removed.pop(run_id))
            mirror(scene)


@persistent
def _after_load(*_: Any) -> None:
    _forget()
    for scene in bpy.data.scenes:
        state = run(scene)
        if state["state"] == "running" and not state["job_id"]:
            set_run(scene, state="", message="", pending="")  # nothing is left to be watched


def _forget() -> None:
    _runs.clear()
    _results.clear()
    _removed.clear()


def attach() -> None:
    """Listen for undo, redo and file loads."""
    bpy.app.handlers.undo_post.append(_after_undo)
    bpy.app.handlers.redo_post.append(_after_undo)
    bpy.app.handlers.load_post.append(_after_load)


def detach() -> None:
    """Stop listening and drop the records; the scenes keep their copies."""
    for handlers, handler in (
        (bpy.app.handlers.undo_post, _after_undo),
        (bpy.app.handlers.redo_post, _after_undo),
        (bpy.app.handlers.load_post, _after_load),
    ):
        if handler in handlers:
            handlers.remove(handler)
    _forget()
