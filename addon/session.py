# SPDX-License-Identifier: GPL-3.0-or-later
"""The session: one run as the scene sees it.  Main thread only.

``Run`` (its own thread) posts messages; a timer of Blender's drains them here, writes the state
to the scene and puts results into it.  A timer, not a modal operator: Blender postpones its
autosave for as long as a modal operator runs, and a job takes minutes.  Without a window there
are no timers: ``wait`` drains in a loop.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import settings
from .link.client import Server
from .link.errors import AddonError
from .link.run import Message, Plan, Run
from .scene import anchor as head_anchor
from .scene import mesh as scene_mesh
from .scene import views as scene_views

INTERVAL_S = 0.2
_NO_ERROR = {"error_code": "", "error_problem": "", "error_remedy": ""}


class Session:
    """Follows one run and keeps one scene up to date."""

    def __init__(
        self, scene: bpy.types.Scene, server: Server, plan: Plan, frames: list[int], title: str
    ) -> None:
        self.plan, self.frames, self.title = plan, frames, title
        self.cancelling = self.ended = False
        self._scene_uid, self._scene_name = scene.session_uid, scene.name
        self._results: list[Message] = []
        self._pending = list(plan.kinds)
        # A new run that comes to nothing leaves the views before it usable.
        self._before = {} if plan.views or plan.resume_job else _results_of(scene.dp3d_run)
        self._state: dict[str, Any] = {
            **_NO_ERROR,
            "run_id": plan.run_id,
            "title": title,
            "folder": str(plan.folder),
            "frames": ",".join(map(str, frames)),
            "job_id": plan.resume_job,
            "job_kind": plan.kinds[0] if plan.resume_job else "",
            "state": "running",
            "stage": "",
            "step": 0,
            "of": 1,
            "eta_s": -1.0,
            "message": "Talking to the server",
            "warnings": scene.dp3d_run.warnings if plan.views else "",
            "views": plan.views,
            "fit": plan.fit,
            "mesh": scene.dp3d_run.mesh if plan.views else "",
        }
        self._run = Run(server, plan)
        self._run.start()
        self._mirror()

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene, found anew each time: undo and renaming invalidate references."""
        for scene in bpy.data.scenes:
            if scene.session_uid == self._scene_uid:
                return scene
        return None

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
        """Take in what arrived; whether the session goes on."""
        if self.scene is None:
            self.abandon()  # its scene was deleted: nobody is left to tell
        while not self.ended and not self._run.messages.empty():
            self._take(self._run.messages.get())
        if self._results and _ready_for_objects():
            self._apply()
        if self._run.is_alive() or self._results or not self._run.messages.empty():
            self._mirror()
            return not self.ended
        self.ended = True
        self._mirror()
        return False

    # -- messages ----------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        kind = message["type"]
        state = self._state
        if kind == "job":
            job = message["job"]
            state["job_id"], state["job_kind"] = str(job["id"]), str(job["kind"])
            if job.get("state") == "queued":
                state["message"] = "Waiting for the server to begin"
            if job.get("stage"):
                self._progress(job)
        elif kind == "progress":
            self._progress(message)
        elif kind == "notice":
            state["message"] = message["message"]
        elif kind == "engines":
            settings.ENGINES[:] = message["engines"]
        elif kind == "views":
            state["views"] = message["views"]
            state["warnings"] = "\n".join(message["warnings"])
            self._done("views", message)
        elif kind == "fit":
            state["fit"] = message["fit"]
            kept = [w for w in state["warnings"].split("\n") if w]
            added = [w for w in message["warnings"] if w not in kept]
            state["warnings"] = "\n".join(kept + added)
            self._done("fit", None)
        elif kind == "mesh":
            state["mesh"] = message["path"]
            self._done("mesh", message)
        elif kind == "failed":
            state.update(state="failed", eta_s=-1.0)
            self._error(message["code"], message["problem"], message["remedy"])
            if message["code"].startswith("server."):
                settings.SERVER_REPORT.clear()  # no longer true
            # A server that went away still has the job: it can be watched again.
            if message["code"] != "server.unreachable" or not state["job_id"]:
                self._come_to_nothing()
        elif kind == "cancelled":
            state.update(state="cancelled", message="Cancelled", eta_s=-1.0)
            self._come_to_nothing()
        elif kind == "finished" and state["state"] == "running":
            state.update(state="succeeded", message="Done", eta_s=-1.0)

    def _progress(self, values: Message) -> None:
        eta = values.get("eta_s")
        self._state.update(
            stage=str(values.get("stage") or ""),
            step=int(values.get("step") or 0),
            of=max(1, int(values.get("of") or 1)),
            eta_s=-1.0 if eta is None else float(eta),
        )
        if not self.cancelling:
            self._state["message"] = str(values.get("message") or "")

    def _done(self, kind: str, result: Message | None) -> None:
        self._pending = [k for k in self._pending if k != kind]
        self._state.update(job_id="", job_kind="")
        if result is not None:
            self._results.append(result)

    def _come_to_nothing(self) -> None:
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
                    place_views(scene, self._state)
                else:
                    place_mesh(scene, self._state)
            except AddonError as error:
                self._error(error.code, error.problem, error.remedy)
        if not bpy.app.background:
            # Otherwise the next undo would take the results away with the user's own step.
            with _window_context(scene):
                bpy.ops.ed.undo_push(message="Head Views")

    def _mirror(self) -> None:
        scene = self.scene
        if scene is None:
            return
        shown = {**self._state, "pending": ",".join(self._pending)}
        if self._results:  # not done before they are in the scene
            shown.update(state="running", message="Leave the edit mode to bring the result in")
        run = scene.dp3d_run
        changed = False
        for name, value in shown.items():
            if getattr(run, name) != value:
                setattr(run, name, value)
                changed = True
        if changed:
            redraw()


def _results_of(run: Any) -> dict[str, str]:
    """What says where a run's results are, if it has any."""
    names = ("run_id", "title", "folder", "frames", "views", "fit", "mesh", "warnings")
    return {name: getattr(run, name) for name in names} if run.views else {}


def place_views(scene: bpy.types.Scene, run: dict[str, Any]) -> None:
    """Put a run's views (fields of ``HeadViewsRun``) at the scene's anchor."""
    scene_views.load(
        scene,
        head_anchor.required(scene),
        Path(bpy.path.abspath(run["folder"])),
        run["run_id"],
        run["title"],
        [int(f) for f in run["frames"].split(",") if f],
    )


def place_mesh(scene: bpy.types.Scene, run: dict[str, Any]) -> None:
    """Put a run's mesh at the scene's anchor."""
    with _window_context(scene):
        scene_mesh.load(
            scene,
            bpy.context.view_layer,
            head_anchor.required(scene),
            Path(bpy.path.abspath(run["mesh"])),
            run["run_id"],
            run["title"],
        )


def _window_context(scene: bpy.types.Scene) -> Any:
    """Context of a window that shows the scene: a timer has none, operators want one."""
    windows = bpy.context.window_manager.windows if bpy.context.window_manager else []
    for window in windows:
        if window.scene == scene:
            return bpy.context.temp_override(window=window)
    return bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0])


def _ready_for_objects() -> bool:
    """Whether objects can come in without tearing the user out of a mode or a drag."""
    if bpy.app.background:
        return True
    if bpy.app.is_job_running("RENDER"):
        return False
    for window in bpy.context.window_manager.windows:
        if len(getattr(window, "modal_operators", ())):
            return False
        active = window.view_layer.objects.active
        if active is not None and active.mode != "OBJECT":
            return False
    return True


def redraw() -> None:
    """Redraw sidebars and preferences; a whole viewport costs up to a second in software."""
    for window in bpy.context.window_manager.windows if bpy.context.window_manager else []:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


# -- the one session -----------------------------------------------------------------------------

_current: Session | None = None


def current(scene: bpy.types.Scene | None = None) -> Session | None:
    """The session that runs now (in that scene, when one is given)."""
    if _current is None or _current.ended:
        return None
    if scene is not None and _current.scene != scene:
        return None
    return _current


def start(
    scene: bpy.types.Scene, server: Server, plan: Plan, frames: list[int], title: str
) -> Session:
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
    _current = Session(scene, server, plan, frames, title)
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
    run = scene.dp3d_run
    if run.error_code:
        raise AddonError(run.error_code, run.error_problem, run.error_remedy)
    if run.state == "cancelled":
        raise AddonError("job.cancelled", "The job was cancelled.", "Start it again.")


def leave() -> None:
    """Stop watching (file closes, add-on goes); the job itself goes on."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _current.abandon()
    _current = None


def _tick() -> float | None:
    session = current()
    if session is None or not session.drain():
        redraw()
        return None
    return INTERVAL_S


@persistent
def _before_load(*_: Any) -> None:
    leave()


def attach() -> None:
    """Listen for file loads."""
    bpy.app.handlers.load_pre.append(_before_load)


def detach() -> None:
    """Let go of everything that lives outside the scene."""
    leave()
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
