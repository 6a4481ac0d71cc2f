# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows one run in its scene.  Main thread only.

``link.run.Run`` posts messages from its thread.  ``RunView.drain``, which ``run_watcher`` calls,
processes them, writes the run's state to the scene and adds its results.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import bpy

from . import engine_options, result_placement, run_records, settings, windows
from .cancel_button import CancelButton
from .link import messages
from .link.client import Server
from .link.errors import AddonError
from .link.run import Run
from .request import Request
from .scene import files


class RunView:
    """Follows one run and updates its scene."""

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
        self._results: list[messages.Arrived] = []
        self._waiting_since, self._obstacle = 0.0, ""
        self._pending = list(plan.kinds)
        before = run_records.run(scene)
        goes_on = bool(plan.views or plan.resume_job or before["run_id"] == plan.run_id)
        # A new run that is cancelled or fails leaves the results before it chosen.
        self._before = run_records.result_fields(before) if not goes_on and before["folder"] else {}
        known = before if goes_on else run_records.blank(scene)
        views = "views" in plan.kinds
        self._state: dict[str, Any] = {
            **known,
            **run_records.NO_ERROR,
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
        """The scene, looked up by id each time, since undo invalidates references."""
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
        """Stop following the run; the job goes on."""
        self._run.abandon()
        self.ended = True

    def drain(self) -> bool:
        """Process the messages so far; False once the run has ended."""
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

    def _take(self, message: messages.Message) -> None:
        self._TAKE[type(message)](self, message)

    def _take_kind(self, message: messages.KindBegan) -> None:
        self._moved = time.monotonic()
        self._state.update(kind=message.kind, number=message.number, count=message.of)
        self._state.update(stage="", step=0, of=1, eta_s=-1.0)
        if message.kind in ("views", "render"):
            self.pictures.clear()

    def _take_job(self, message: messages.JobChanged) -> None:
        job = message.job
        if not settings.SERVER_REPORT:
            settings.SERVER_REPORT[:] = [self._server_report]
        self._state.update(job_id=job.id, job_kind=job.kind)
        if job.state == "queued":  # for a disk that is full, say
            waiting = "Waiting for the server to begin"
            self._state["message"] = job.error.problem if job.error else waiting
        if job.progress.stage:
            self._show_progress(job.progress)

    def _take_progress(self, message: messages.Progressed) -> None:
        self._show_progress(message.progress)

    def _show_progress(self, progress: messages.Progress) -> None:
        eta = progress.eta_s
        moved = {"stage": progress.stage, "step": progress.step, "of": progress.of}
        if any(self._state[name] != value for name, value in moved.items()):
            self._moved = time.monotonic()
        # Whole seconds: Blender keeps single precision, and a difference would redraw for ever.
        self._state.update(moved, eta_s=-1.0 if eta is None else float(round(eta)))
        if not self.cancelling:
            self._state["message"] = progress.message

    def _take_notice(self, message: messages.Noticed) -> None:
        self._state["message"] = message.message
        settings.SERVER_REPORT.clear()  # until it answers again

    def _take_engines(self, message: messages.EnginesListed) -> None:
        engine_options.refresh(message.engines)

    def _take_server(self, message: messages.ServerAnswered) -> None:
        self._server_report = f"dp3d {message.version} answers"
        settings.SERVER_REPORT[:] = [self._server_report]

    def _take_portrait(self, message: messages.PortraitArrived) -> None:
        windows.redraw()

    def _take_frame(self, message: messages.FrameArrived) -> None:
        path = message.path
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

    def _take_stored(self, message: messages.ViewsStored) -> None:
        self._state["views"] = message.views

    def _take_views(self, message: messages.ViewsArrived) -> None:
        self._state.update(
            views=message.views,
            warnings="\n".join(message.warnings),
            portrait_report=json.dumps(message.report),
        )
        self._done("views", message)

    def _take_fit(self, message: messages.FitDone) -> None:
        preset = str(self.plan.params.get("fit", {}).get("preset", ""))
        self._state.update(fit=message.fit, scores=json.dumps(message.scores), fit_preset=preset)
        self._warn(message.warnings)
        self._done("fit", None)

    def _take_mesh(self, message: messages.MeshArrived) -> None:
        self._state.update(mesh=files.stored(message.path), stats=json.dumps(message.stats))
        self._done("mesh", message)

    def _take_head(self, message: messages.HeadArrived) -> None:
        self._state.update(
            rig=files.stored(message.path), portrait_report=json.dumps(message.report)
        )
        self._warn(message.warnings)
        self._done("head", message)

    def _take_render(self, message: messages.PlaybackArrived) -> None:
        self._state.update(
            playback=files.stored(message.folder),
            video=files.stored(message.video),
            target="",
        )
        self._warn(message.warnings)
        self._done("render", message)

    def _take_save_fit(self, message: messages.FitSaved) -> None:
        self._state["message"] = f"The fit is in {message.folder}"
        self._done("save_fit", None)

    def _take_failed(self, message: messages.Failed) -> None:
        self._state.update(state="failed", eta_s=-1.0)
        self._error(message.code, message.problem, message.remedy)
        if message.code.startswith("server."):
            settings.SERVER_REPORT.clear()  # no longer true
        # A server that went away still has the job: it can be watched again.
        if message.code != "server.unreachable" or not self._state["job_id"]:
            self._drop_job()

    def _take_cancelled(self, message: messages.RunCancelled) -> None:
        self._state.update(state="cancelled", message="Cancelled", eta_s=-1.0)
        self._drop_job()

    def _take_finished(self, message: messages.RunFinished) -> None:
        if self._state["state"] == "running":
            self._state.update(state="succeeded", eta_s=-1.0, message=self._summary())

    _TAKE: ClassVar[dict[type, Callable[..., None]]] = {
        messages.ServerAnswered: _take_server,
        messages.EnginesListed: _take_engines,
        messages.KindBegan: _take_kind,
        messages.JobChanged: _take_job,
        messages.Progressed: _take_progress,
        messages.Noticed: _take_notice,
        messages.PortraitArrived: _take_portrait,
        messages.FrameArrived: _take_frame,
        messages.ViewsStored: _take_stored,
        messages.ViewsArrived: _take_views,
        messages.FitDone: _take_fit,
        messages.MeshArrived: _take_mesh,
        messages.HeadArrived: _take_head,
        messages.PlaybackArrived: _take_render,
        messages.FitSaved: _take_save_fit,
        messages.Failed: _take_failed,
        messages.RunCancelled: _take_cancelled,
        messages.RunFinished: _take_finished,
    }

    def _summary(self) -> str:
        """One line for the panel: the outcome of the run, and possible next steps."""
        last = self.plan.kinds[-1] if self.plan.kinds else ""
        views = len(self.pictures)
        count = f"{views} view{'' if views == 1 else 's'}" if views else "Views"
        return {
            "views": f"{count} in the scene; the head in the 3D view is the nearest of them. Next: "
            "Import Mesh, or look through the views",
            "fit": "The field is fitted. Next: Import Mesh or Play Back",
            "mesh": "The textured head stands at the anchor. Next: Play Back, or pick its look",
            "render": self._about_playback(count),
            "save_fit": str(self._state["message"]),
            "head": "The rigged head stands at the anchor. Next: move its keys, or pick its look",
        }.get(last, "Done")

    def _about_playback(self, count: str) -> str:
        """Where the frames are shown, and whether the mesh was hidden for them."""
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

    def _done(self, kind: str, result: messages.Arrived | None) -> None:
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
        if not self._state["views"] and not self._state["rig"]:
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
                if isinstance(result, messages.ViewsArrived):
                    result_placement.place_views(scene, self._state)
                elif isinstance(result, messages.MeshArrived):
                    result_placement.place_mesh(scene, self._state)
                elif isinstance(result, messages.HeadArrived):
                    result_placement.place_head(scene, self._state)
                else:
                    self._warn(result_placement.place_playback(scene, self._state, self.frames))
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
        """Add the run to the scene's list of results, or update its result."""
        self._mirror()
        values = {"created": run_records.timestamp()}
        if entry := run_records.result(scene, self.plan.run_id):
            values["created"] = entry["created"]
        else:
            values["source"] = "generated"
        run_records.add_result(scene, **values)

    def _mirror(self) -> None:
        scene = self.scene
        if scene is None:
            return
        shown = {**self._state, "pending": ",".join(self._pending)}
        if self._results:  # not done before they are in the scene
            shown.update(state="running", message=self._obstacle)
        if run_records.set_run(scene, **shown):
            windows.redraw()
