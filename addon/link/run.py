# SPDX-License-Identifier: GPL-3.0-or-later
"""A run: the jobs that a button starts on the server, followed in a thread.

``Plan`` lists the jobs.  ``Run`` creates them over HTTP and posts ``messages`` to a queue, which
``run_view`` reads on Blender's main thread.  No bpy here: the thread must not touch Blender.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import storage
from .client import Client, Server
from .errors import AddonError
from .messages import (
    ENDED,
    EnginesListed,
    Failed,
    FitDone,
    FitSaved,
    FrameArrived,
    HeadArrived,
    Job,
    JobChanged,
    KindBegan,
    MeshArrived,
    Message,
    Noticed,
    PlaybackArrived,
    PortraitArrived,
    Progress,
    Progressed,
    RunCancelled,
    RunFinished,
    ServerAnswered,
    ViewsArrived,
    ViewsStored,
)

PATIENCE_S = 120.0
"""Seconds without a server after which a run gives up (its job goes on, or resumes)."""
_POLL_S = 1.0
_MOMENTARY = ("server.unreachable", "server.database_busy", "server.database_damaged")
"""Failures of a request that pass by themselves."""

KINDS = ("views", "fit", "mesh", "render", "save_fit", "head")
"""What a run can do, in this order: jobs of the server, and ``save_fit``, a fit's files to disk."""

VIEW_FILES = ("cameras.json", "meta.json", "frames/", "masks/", "known/")
"""Files of a view set that a fit needs."""
PLAYBACK_FILES = ("cameras.json", "meta.json", "rgba/", "depth/")
"""Files of a rendered field that a scene needs."""


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    run_id: str
    """Names the results in the scene and the folder; later fits and meshes share it."""
    kinds: tuple[str, ...]
    """Steps still to do, some of ``KINDS``, in order."""
    folder: Path
    """Folder of the results."""
    portrait: Path | None = None
    further: dict[str, Path] = field(default_factory=dict)
    """Further photos of the person by the side of the head that they show."""
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parameters of each kind, without the results of the kinds before."""
    views: str = ""
    """SHA-256 of the view set's tree, when the server has it."""
    fit: str = ""
    """SHA-256 of the fit's tree, when it exists already."""
    resume_job: str = ""
    """Job of the first kind that runs on the server already."""
    playback: Path | None = None
    """Folder of the frames that a ``render`` brings."""


class _Cancelled(Exception):
    pass


class _Abandoned(Exception):
    pass


class Run(threading.Thread):
    """Follows a plan to its end."""

    def __init__(self, server: Server, plan: Plan) -> None:
        super().__init__(name=f"dp3d-{plan.run_id[:8]}", daemon=True)
        self.plan = plan
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._client = Client(server)
        self._cancel, self._abandon = threading.Event(), threading.Event()
        self._job_id = self._kind = ""
        self._views, self._fit = plan.views, plan.fit

    def cancel(self) -> None:
        """Stop the job on the server and end; returns at once."""
        self._cancel.set()
        # The thread may sit in a read until the server's next sign of life.
        threading.Thread(target=self._delete_job, name="dp3d-cancel", daemon=True).start()

    def abandon(self) -> None:
        """Stop listening; the job goes on at the server and can be watched again."""
        self._abandon.set()

    # -- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """Thread body: handshake, then each job in turn."""
        try:
            self._greet()
            for number, kind in enumerate(self.plan.kinds):
                self._check()
                self._post(KindBegan(kind, number + 1, len(self.plan.kinds)))
                getattr(self, f"_do_{kind}")()
            self._post(RunFinished())
        except _Cancelled:
            self._post(RunCancelled())
        except _Abandoned:
            pass
        except AddonError as error:
            self._fail(error)
        except Exception as error:
            traceback.print_exc()
            self._fail(
                AddonError(
                    "internal",
                    f"The add-on failed unexpectedly ({type(error).__name__}: {error}).",
                    "Report this with the text in Blender's system console.",
                )
            )

    def _greet(self) -> None:
        health = self._client.handshake()
        self._post(ServerAnswered(str(health.get("version", ""))))
        try:
            self._post(EnginesListed(self._client.engines()))
        except AddonError as error:
            # A worker that is still starting is no reason to give up a job.
            if error.code != "server.worker_down" or not self.plan.kinds:
                raise

    def _post(self, message: Message) -> None:
        self.messages.put(message)

    def _fail(self, error: AddonError) -> None:
        self._post(Failed(error.code, error.problem, error.remedy))

    def _check(self) -> None:
        if self._abandon.is_set():
            raise _Abandoned
        if self._cancel.is_set():
            raise _Cancelled

    def _delete_job(self) -> None:
        job_id = self._job_id
        if not job_id:
            return
        try:
            self._client.cancel(job_id)
        except AddonError:  # _follow asks again as soon as the server answers
            self._post(Noticed("Cancel could not be sent; trying again"))

    # -- jobs --------------------------------------------------------------------------------

    def _do_views(self) -> None:
        params = dict(self.plan.params.get("views", {}))
        if not self._resuming("views"):
            params |= self._upload_photos()
            storage.write_atomic(self.plan.folder / storage.RECIPE, self._recipe())
        result = self._job("views", params)
        self._views = str(result["views"])
        self._fetch_tree(self._views, self.plan.folder)
        self._post(ViewsArrived(self._views, self._portrait_report(result), _sentences(result)))

    def _do_head(self) -> None:
        """The rigged head of the photos."""
        params = dict(self.plan.params.get("head", {}))
        if not self._resuming("head"):
            params |= self._upload_photos()
            storage.write_atomic(self.plan.folder / storage.RECIPE, self._recipe())
        result = self._job("head", params)
        path = self._fetch_result(result["glb"], self.plan.folder)
        self._post(HeadArrived(str(path), self._portrait_report(result), _sentences(result)))

    def _portrait_report(self, result: dict[str, Any]) -> dict[str, Any]:
        """Report of a job's portrait, after fetching the picture of it."""
        if isinstance(picture := result.get("portrait_picture"), dict):
            self._fetch("portrait.png", str(picture.get("sha256", "")))
        return result.get("portrait_report") or {}

    def _recipe(self) -> bytes:
        """What repeats this run: the photos' paths and the parameters of each kind."""
        recipe = {
            "portrait": str(self.plan.portrait),
            "further": {side: str(path) for side, path in self.plan.further.items()},
            "params": self.plan.params,
        }
        return json.dumps(recipe, indent=1).encode()

    def _do_fit(self) -> None:
        params = {**self.plan.params.get("fit", {}), "views": self._stored_views()}
        result = self._job("fit", params)
        self._fit = str(result["fit"])
        self._post(FitDone(self._fit, result.get("scores") or {}, _sentences(result)))

    def _do_mesh(self) -> None:
        params = {**self.plan.params.get("mesh", {}), "fit": self._fit}
        result = self._job("mesh", params)
        path = self._fetch_result(result["mesh"], self.plan.folder)
        self._post(MeshArrived(str(path), result.get("stats") or {}))

    def _do_render(self) -> None:
        """Frames of the field along a path, into the plan's playback folder."""
        folder = self._folder_of("render")
        params = {**self.plan.params.get("render", {}), "fit": self._fit}
        result = self._job("render", params)
        self._fetch_tree(str(result["views"]), folder, PLAYBACK_FILES)
        video = ""
        if isinstance(made := result.get("video"), dict):
            video = str(self._fetch_result(made, folder))
        self._post(PlaybackArrived(str(folder), video, _sentences(result)))

    def _do_save_fit(self) -> None:
        """The fit's folder to disk, as ``dp3d render`` and ``dp3d mesh`` take it."""
        folder = self.plan.folder / "fit"
        names = self._fetch_tree(self._fit, folder, report="Saving the fit")
        storage.keep_only(folder, names)
        self._post(FitSaved(str(folder)))

    def _folder_of(self, kind: str) -> Path:
        """Folder that the frames of a kind go to."""
        if kind == "render":
            return self.plan.playback or self.plan.folder / "playback"
        return self.plan.folder

    def _stored_views(self) -> str:
        """The view set's hash, after sending it where the server does not have it."""
        if self._resuming("fit") or (self._views and self._client.has(self._views)):
            return self._views
        folder = self.plan.folder
        if not (folder / "cameras.json").is_file():
            raise AddonError(
                "artifact.not_found",
                "Neither the server nor this computer has the views any more.",
                "Generate the views again.",
            )
        names = [
            path.relative_to(folder).as_posix()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).as_posix().startswith(VIEW_FILES)
        ]
        files: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(names):
            self._check()
            self._post(Progressed(Progress("send", number, len(names), "Sending the views")))
            path = folder / name
            sha256 = storage.sha256_file(path)
            self._client.upload(path, sha256)
            files[name] = {"sha256": sha256, "size": path.stat().st_size}
        self._views = self._client.store_tree(files)
        self._post(ViewsStored(self._views))
        return self._views

    def _upload_photos(self) -> dict[str, Any]:
        """Send the portrait and the further photos; returns the parameters that name them."""
        portrait, further = self.plan.portrait, self.plan.further
        if portrait is None:
            raise ValueError("a plan with views or a head needs a portrait")
        count = 1 + len(further)
        self._post(Progressed(Progress("portrait", 0, count, "Sending the portrait")))
        photos: dict[str, Any] = {"portrait": self._upload(portrait)}
        references = []
        for number, (side, path) in enumerate(further.items(), 1):
            self._check()
            message = f"Sending the photo from the {side}"
            self._post(Progressed(Progress("portrait", number, count, message)))
            references.append({"portrait": self._upload(path), "side": side})
        if references:
            photos["references"] = references
        return photos

    def _upload(self, photo: Path) -> str:
        """Send a photo; returns its hash."""
        try:
            sha256 = storage.sha256_file(photo)
            self._client.upload(photo, sha256)
        except OSError as error:
            raise AddonError(
                "portrait.not_found",
                f"The photo {photo} cannot be read ({error}).",
                "Choose a picture file that exists.",
            ) from error
        return sha256

    def _resuming(self, kind: str) -> bool:
        return bool(self.plan.resume_job) and kind == self.plan.kinds[0]

    def _job(self, kind: str, params: dict[str, Any]) -> dict[str, Any]:
        """Create (or find) a job, follow it to its end, return its result."""
        self._check()
        if self._resuming(kind):
            job = Job.from_dict(self._client.job(self.plan.resume_job))
        else:
            job = self._create_job(kind, params)
        self._job_id, self._kind = job.id, kind
        self._post(JobChanged(job))
        if self._cancel.is_set():  # pressed while the job was being created
            self._delete_job()
        job = self._follow(self._job_id)
        self._job_id = ""
        if job.state == "cancelled":
            raise _Cancelled
        if job.state == "failed":
            error = job.error or Failed.from_dict({})
            raise AddonError(error.code, error.problem, error.remedy)
        return job.result

    def _create_job(self, kind: str, params: dict[str, Any]) -> Job:
        """A new job, asked for again while the server's database cannot be used."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return Job.from_dict(self._client.create_job(kind, params))
            except AddonError as error:
                if error.code not in _MOMENTARY[1:] or time.monotonic() > deadline:
                    raise
                self._post(Noticed(error.problem))
            self._check()
            if self._abandon.wait(_POLL_S):
                raise _Abandoned

    # -- following a job ---------------------------------------------------------------------

    def _follow(self, job_id: str) -> Job:
        """The job once it has ended.

        Listens to its events, reconnects after the last one seen, and asks for the job itself
        whenever a stream ends or fails, so that a server that cannot stream is merely slower.
        """
        after, silent_since, pause = "", None, 0.0
        while True:
            try:
                for event in self._client.events(job_id, after):
                    self._check_abandon()
                    silent_since, pause = None, 0.0
                    if event is not None:
                        after = event.id or after
                        self._take(event.name, event.data)
            except AddonError as error:
                if error.code in ("server.unauthorized", "job.not_found"):
                    raise
            try:
                job = Job.from_dict(self._client.job(job_id))
                silent_since = None
                self._post(JobChanged(job))
                if job.state in ENDED:
                    return job
                if self._cancel.is_set():
                    self._client.cancel(job_id)
            except AddonError as error:
                if error.code not in _MOMENTARY:
                    raise
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > PATIENCE_S:
                    raise
                unreachable = error.code == "server.unreachable"
                why = "The server does not answer; trying again" if unreachable else error.problem
                self._post(Noticed(why))
            pause = min(3.0, pause + _POLL_S)
            if self._abandon.wait(pause):
                raise _Abandoned

    def _check_abandon(self) -> None:
        if self._abandon.is_set():
            raise _Abandoned

    def _take(self, name: str, text: str) -> None:
        try:
            data = json.loads(text)
        except ValueError:
            return
        if not isinstance(data, dict):
            return
        if name == "state":
            self._post(JobChanged(Job.from_dict(data)))
        elif name == "progress":
            self._post(Progressed(Progress.from_dict(data)))
        elif name == "artifact":
            self._fetch(str(data.get("name", "")), str(data.get("sha256", "")))

    # -- files -------------------------------------------------------------------------------

    def _fetch(self, name: str, sha256: str) -> None:
        """Fetch one finished picture while the others are being made."""
        if self._kind == "render" and not name.startswith("rgba/"):
            return
        if not name.startswith(("frames/", "rgba/", "masks/")) and name != "portrait.png":
            return
        path = storage.inside(self._folder_of(self._kind), name)
        if not storage.has_content(path, sha256):
            storage.write_atomic(path, self._client.download(sha256))
        if name == "portrait.png":
            self._post(PortraitArrived(str(path)))
        else:
            self._post(FrameArrived(str(path)))

    def _fetch_tree(
        self, sha256: str, folder: Path, only: tuple[str, ...] = ("",), report: str = ""
    ) -> list[str]:
        """Bring a tree's files to disk; those that are there with their content stay.

        Args:
            sha256: of the tree.
            folder: where to.
            only: beginnings of the names that are wanted.
            report: message of the progress to post, if any.

        Returns:
            Names of the wanted files.

        """
        files = self._client.tree(sha256)
        # cameras.json last: where it is, everything it speaks of is there too.
        names = sorted(
            (n for n in files if n.startswith(only)), key=lambda n: (n == "cameras.json", n)
        )
        for number, name in enumerate(names):
            self._check_abandon()
            if report:
                self._check()
                self._post(Progressed(Progress("save", number, len(names), report)))
            path = storage.inside(folder, name)
            if not storage.has_content(path, files[name]):
                storage.write_atomic(path, self._client.download(files[name]))
        return names

    def _fetch_result(self, described: dict[str, Any], folder: Path) -> Path:
        """Bring one file that a job's result describes (name, sha256) to disk."""
        path = storage.inside(folder, str(described["name"]))
        storage.write_atomic(path, self._client.download(str(described["sha256"])))
        return path


def _sentences(result: dict[str, Any]) -> list[str]:
    """Warnings of a job's result."""
    return [str(w) for w in result.get("warnings") or []]
