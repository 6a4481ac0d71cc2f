# SPDX-License-Identifier: GPL-3.0-or-later
"""The session: one run as the scene sees it.  Main thread only.

``Run`` (its own thread) posts messages; a timer of Blender's drains them here, writes the state
to the scene and puts results into it.  A timer, not a modal operator: Blender postpones its
autosave for as long as a modal operator runs, and a job takes minutes.  Without a window there
are no timers: ``wait`` drains in a loop.
"""

from __future__ import annotations

import json
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import ledger, placing, settings, windows
from .link.client import Server
from .link.errors import AddonError
from .link.run import Message, Run
from .request import Request
from .scene import files, playback
from .ui.cancel_button import CancelButton

INTERVAL_S = 0.2


class Session:
    """Follows one run and keeps one scene up to date."""

    def __init__(self, scene: bpy.types.Scene, server: Server, request: Request) -> None:
        plan = request.plan
        self.plan = plan
        self.frames = request.frames
        self.began = self._moved = time.monotonic()
        self.cancel_button = CancelButton()
        self.cancelling = self.ended = False
        self.pictures: list[str] = []
        """Paths of the frames so far, in the order of their views."""
        self._server_report = "The server answers"
        self._scene_uid = scene.session_uid
        self._results: list[Message] = []
        self._waiting_since, self._obstacle = 0.0, ""
        self._pending = list(plan.kinds)
        before = ledger.run(scene)
        goes_on = bool(plan.views or plan.resume_job or before["run_id"] == plan.run_id)
        # A new run that is cancelled or fails leaves the results before it chosen.
        self._before = ledger.result_fields(before) if not goes_on and before["folder"] else {}
        known = before if goes_on else ledger.blank(scene)
        views = "views" in plan.kinds
        self._state: dict[str, Any] = {
            **known,
            **ledger.NO_ERROR,
            "run_id": plan.run_id,
            "title": request.title,
            "folder": files.stored(plan.folder),
            "frames": ",".join(map(str, request.frames)) if views else known["frames"],
            "engine": request.engine,
            "seed": request.seed,
            "job_id": plan.resume_job,
            "job_kind": plan.kinds[0] if plan.resume_job and plan.kinds else "",
            "target": files.stored(plan.playback) if plan.playback is not None else "",
            "state": "running",
            "kind": plan.kinds[0] if plan.kinds else "",
            "number": 1,
            "count": max(1, len(plan.kinds)),
            "stage": "",
            "step": 0,
            "of": 1,
            "eta_s": -1.0,
            "elapsed_s": 0,
            "message": "Talking to the server",
        }
        self._run = Run(server, plan)
        self._run.start()
        self._mirror()

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene, looked up each time: undo and renaming invalidate references."""
        for scene in bpy.data.scenes:
            if scene.session_uid == self._scene_uid:
                return scene
        return None

    @property
    def age_s(self) -> float:
        """Seconds since the run was started."""
        return time.monotonic() - self.began

    def cancel(self) -> None:
        """Ask the server to stop the job."""
        self.cancelling = True
        self._state["message"] = "Cancelling"
        self._run.cancel()
        self._mirror()

    def abandon(self) -> None:
        """Stop watching; the job goes on."""
        self._run.abandon()
        self.ended = True

    def drain(self) -> bool:
        """Take in the messages that arrived; whether the session goes on."""
        if self.scene is None:
            self.abandon()  # its scene was deleted: nobody is left to tell
        while not self.ended and not self._run.messages.empty():
            self._take(self._run.messages.get())
        waited = time.monotonic() - self._waiting_since
        self._obstacle = windows.obstacle(waited) if self._results else ""
        if self._results and not self._obstacle:
            self._apply()
        if self._run.is_alive() or self._results or not self._run.messages.empty():
            self._state["elapsed_s"] = int(time.monotonic() - self._moved)
            self._mirror()
            return not self.ended
        self.ended = True
        self._mirror()
        return False

    # -- messages ----------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        take: Callable[[Message], None] | None = getattr(self, f"_take_{message['type']}", None)
        if take is not None:
            take(message)

    def _take_kind(self, message: Message) -> None:
        self._moved = time.monotonic()
        self._state.update(kind=message["kind"], number=message["number"], count=message["of"])
        self._state.update(stage="", step=0, of=1, eta_s=-1.0)
        if message["kind"] in ("views", "render"):
            self.pictures.clear()

    def _take_job(self, message: Message) -> None:
        job = message["job"]
        if not settings.SERVER_REPORT:
            settings.SERVER_REPORT[:] = [self._server_report]
        self._state.update(job_id=str(job["id"]), job_kind=str(job["kind"]))
        if job.get("state") == "queued":
            self._state["message"] = "Waiting for the server to begin"
        if job.get("stage"):
            self._take_progress(job)

    def _take_progress(self, message: Message) -> None:
        eta = message.get("eta_s")
        moved = {
            "stage": str(message.get("stage") or ""),
            "step": int(message.get("step") or 0),
            "of": max(1, int(message.get("of") or 1)),
        }
        if any(self._state[name] != value for name, value in moved.items()):
            self._moved = time.monotonic()
        # Whole seconds: Blender keeps single precision, and a difference would redraw for ever.
        self._state.update(moved, eta_s=-1.0 if eta is None else float(round(eta)))
        if not self.cancelling:
            self._state["message"] = str(message.get("message") or "")

    def _take_notice(self, message: Message) -> None:
        self._state["message"] = message["message"]
        settings.SERVER_REPORT.clear()  # until it answers again

    def _take_engines(self, message: Message) -> None:
        from .ui import engine_options

        engine_options.refresh(message["engines"])

    def _take_server(self, message: Message) -> None:
        self._server_report = f"dp3d {message['version']} answers"
        settings.SERVER_REPORT[:] = [self._server_report]

    def _take_portrait(self, message: Message) -> None:
        windows.redraw()

    def _take_frame(self, message: Message) -> None:
        path = message["path"]
        if "masks" in Path(path).parts[-2:]:
            return
        number = Path(path).name
        same_view = [i for i, known in enumerate(self.pictures) if Path(known).name == number]
        if not same_view:
            self.pictures.append(path)
            self.pictures.sort(key=lambda picture: Path(picture).name)
        elif "rgba" in Path(path).parts[-2:]:
            self.pictures[same_view[0]] = path
        windows.redraw()

    def _take_stored(self, message: Message) -> None:
        self._state["views"] = message["views"]

    def _take_views(self, message: Message) -> None:
        self._state.update(
            views=message["views"],
            warnings="\n".join(message["warnings"]),
            portrait_report=json.dumps(message["report"]),
        )
        self._done("views", message)

    def _take_fit(self, message: Message) -> None:
        preset = str(self.plan.params.get("fit", {}).get("preset", ""))
        self._state.update(
            fit=message["fit"], scores=json.dumps(message["scores"]), fit_preset=preset
        )
        self._warn(message["warnings"])
        self._done("fit", None)

    def _take_mesh(self, message: Message) -> None:
        self._state.update(mesh=files.stored(message["path"]), stats=json.dumps(message["stats"]))
        self._done("mesh", message)

    def _take_render(self, message: Message) -> None:
        self._state.update(
            playback=files.stored(message["folder"]),
            video=files.stored(message["video"]),
            target="",
        )
        self._warn(message["warnings"])
        self._done("render", message)

    def _take_save_fit(self, message: Message) -> None:
        self._state["message"] = f"The fit is in {message['folder']}"
        self._done("save_fit", None)

    def _take_failed(self, message: Message) -> None:
        self._state.update(state="failed", eta_s=-1.0)
        self._error(message["code"], message["problem"], message["remedy"])
        if message["code"].startswith("server."):
            settings.SERVER_REPORT.clear()  # no longer true
        # A server that went away still has the job: it can be watched again.
        if message["code"] != "server.unreachable" or not self._state["job_id"]:
            self._drop_job()

    def _take_cancelled(self, message: Message) -> None:
        self._state.update(state="cancelled", message="Cancelled", eta_s=-1.0)
        self._drop_job()

    def _take_finished(self, message: Message) -> None:
        if self._state["state"] == "running":
            self._state.update(state="succeeded", eta_s=-1.0, message=self._summary())

    def _summary(self) -> str:
        """One line for the panel: what came, and what can be done next."""
        last = self.plan.kinds[-1] if self.plan.kinds else ""
        views = len(self.pictures)
        count = f"{views} view{'' if views == 1 else 's'}" if views else "Views"
        return {
            "views": f"{count} in the scene; the head in the 3D view is the nearest of them. Next: "
            "Import Mesh, or look through the views",
            "fit": "The field is fitted. Next: Import Mesh or Play Back",
            "mesh": "The textured head stands at the anchor. Next: Play Back, or pick its look",
            "render": self._about_playback(count),
            "save_fit": self._state["message"],
        }.get(last, "Done")

    def _about_playback(self, count: str) -> str:
        """Where the frames are, and that the mesh steps aside (``placing.place_playback``)."""
        scene = self.scene
        show = "FILES" if scene is None else scene.dp3d.playback_show
        where = {
            "FILES": "Their folder: Frames under Play Back",
            "BEHIND": "Look through the camera (Numpad 0), Space plays",
        }.get(show, "They stand at the head, Space plays")
        hides = show != "FILES" and self._state["mesh"]
        hidden = "; the mesh, which would cover them, is hidden" if hides else ""
        return f"{count} of the field. {where}{hidden}"

    def _warn(self, warnings: list[str]) -> None:
        kept = [w for w in self._state["warnings"].split("\n") if w]
        self._state["warnings"] = "\n".join(kept + [w for w in warnings if w not in kept])

    def _done(self, kind: str, result: Message | None) -> None:
        self._pending = [k for k in self._pending if k != kind]
        self._state.update(job_id="", job_kind="")
        if result is not None:
            self._results.append(result)
            self._waiting_since = time.monotonic()
        # Known from now on, also where it has to wait before it comes into the scene.
        if (scene := self.scene) is not None:
            self._enter(scene)

    def _drop_job(self) -> None:
        self._state.update(job_id="", job_kind="")
        self._pending = []
        if not self._state["views"]:
            self._state.update(self._before)

    def _error(self, code: str, problem: str, remedy: str) -> None:
        self._state.update(error_code=code, error_problem=problem, error_remedy=remedy)

    # -- into the scene ----------------------------------------------------------------------

    def _apply(self) -> None:
        results, self._results = self._results, []
        scene = self.scene
        if scene is None:
            return
        for result in results:
            try:
                if result["type"] == "views":
                    placing.place_views(scene, self._state)
                elif result["type"] == "mesh":
                    placing.place_mesh(scene, self._state)
                else:
                    self._warn(placing.place_playback(scene, self._state, self.frames))
            except AddonError as error:
                self._error(error.code, error.problem, error.remedy)
            except Exception as error:
                traceback.print_exc()
                reason = f"{type(error).__name__}: {error}"
                self._error(
                    "internal",
                    f"The result could not be put into the scene ({reason}).",
                    "Its files are in the run's folder; report this with the console's text.",
                )
        self._enter(scene)
        if not bpy.app.background:
            # Otherwise the next undo would take the results away with the user's own step.
            with windows.context_of(scene):
                bpy.ops.ed.undo_push(message="Head Views")

    def _enter(self, scene: bpy.types.Scene) -> None:
        """Enter the run into the scene's list of results."""
        self._mirror()
        values = {"created": _now()}
        if entry := ledger.result(scene, self.plan.run_id):
            values["created"] = entry["created"]
        else:
            values["source"] = "generated"
        ledger.add_result(scene, **values)

    def _mirror(self) -> None:
        scene = self.scene
        if scene is None:
            return
        shown = {**self._state, "pending": ",".join(self._pending)}
        if self._results:  # not done before they are in the scene
            shown.update(state="running", message=self._obstacle)
        if ledger.set_run(scene, **shown):
            windows.redraw()


def _now() -> str:
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
    entries = ledger.results(scene)
    known = next(
        (r for r in entries if r["folder"] and ledger.absolute(r["folder"]) == folder), None
    )
    if known and not rendered:
        ledger.choose(scene, known["run_id"])
        windows.redraw()
        return
    title = known["title"] if known else ledger.free_title(scene, title)
    fields: dict[str, Any] = {
        **ledger.blank(scene),
        "run_id": known["run_id"] if known else uuid.uuid4().hex,
        "title": title,
        "folder": files.stored(folder),
        "frames": ",".join(map(str, frames)),
        "engine": engine,
        "state": "succeeded",
        "message": "The views are exported. Next: press Fit or Import Mesh",
    }
    ledger.set_run(scene, **fields)
    ledger.add_result(scene, source="exported", created=_now())
    windows.redraw()


def last_pictures(scene: bpy.types.Scene) -> list[str]:
    """Paths of the frames of the run that this scene watched last, in this session of Blender."""
    if _current is None or _current.scene != scene:
        return []
    return _current.pictures if _current.plan.run_id == ledger.run(scene)["run_id"] else []


# -- the one session -----------------------------------------------------------------------------

_current: Session | None = None


def current(scene: bpy.types.Scene | None = None) -> Session | None:
    """The session that runs now (in that scene, when one is given)."""
    if _current is None or _current.ended:
        return None
    if scene is not None and _current.scene != scene:
        return None
    return _current


def start(scene: bpy.types.Scene, server: Server, request: Request) -> Session:
    """Begin a run.

    Raises:
        AddonError: ``addon.busy`` while another one runs.

    """
    global _current  # noqa: PLW0603
    if current() is not None:
        raise AddonError(
            "addon.busy",
            "A run is going on already.",
            "Wait for it, or press Cancel in the scene it belongs to.",
        )
    _current = Session(scene, server, request)
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=INTERVAL_S)
    return _current


def wait(session: Session) -> None:
    """Follow a run to its end without a window.

    Raises:
        AddonError: the run's failure; ``job.cancelled`` when it was cancelled.

    """
    while session.drain():
        time.sleep(0.05)
    scene = session.scene
    if scene is None:
        return
    run = ledger.run(scene)
    if run["error_code"]:
        raise AddonError(run["error_code"], run["error_problem"], run["error_remedy"])
    if run["state"] == "cancelled":
        raise AddonError("job.cancelled", "The job was cancelled.", "Start it again.")


def leave() -> None:
    """Stop watching (file closes, add-on goes); the job itself goes on."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _current.abandon()
    _current = None


def _tick() -> float | None:
    session = current()
    try:
        goes_on = session is not None and session.drain()
    except Exception:
        # Blender drops a timer that raises; a session without one would be busy for ever.
        traceback.print_exc()
        leave()
        raise
    if not goes_on:
        windows.redraw()
        return None
    return INTERVAL_S


@persistent
def _before_load(*_: Any) -> None:
    leave()


@persistent
def _before_save(path: str = "", *_: Any) -> None:
    """Paths are kept for the new place; playbacks find a background that moved up."""
    for scene in bpy.data.scenes:
        playback.realign(scene)
        if path:
            ledger.store_paths(scene, path)


def attach() -> None:
    """Listen for file loads and saves."""
    bpy.app.handlers.load_pre.append(_before_load)
    bpy.app.handlers.save_pre.append(_before_save)


def detach() -> None:
    """Let go of everything that lives outside the scene."""
    leave()
    for handlers, handler in (
        (bpy.app.handlers.load_pre, _before_load),
        (bpy.app.handlers.save_pre, _before_save),
    ):
        if handler in handlers:
            handlers.remove(handler)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
