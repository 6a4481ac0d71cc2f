"""Errors that are shown to users: one class and one catalogue of stable codes.

Every failure that reaches a user carries a ``code`` that never changes, one sentence on what is
wrong (``problem``) and one on what to do next (``remedy``).  Command line, HTTP body and Blender
panel show all three.  ``docs/errors.md`` lists the codes for readers; a test compares it with
:data:`CATALOGUE`.

Standard library only, so that every room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Process exit codes of the ``dp3d`` command line."""

    OK = 0
    UNEXPECTED = 1
    """A defect of dp3d, to be reported."""
    USAGE = 2
    """The command line is wrong: unknown flag, missing argument."""
    BAD_INPUT = 3
    """An input file or value cannot be used."""
    MISSING_COMPONENT = 4
    """An environment, weights or a program must be installed first."""
    JOB_FAILED = 5
    """The job was started and failed."""
    BACKEND = 6
    """The server cannot be reached, or refused the request."""
    CANCELLED = 130
    """Stopped on request (as a shell reports Ctrl-C)."""


@dataclass(frozen=True)
class ErrorKind:
    """Title, HTTP status and exit code of an error code."""

    title: str
    http_status: int
    exit_code: ExitCode


_BAD, _MISSING, _FAILED, _BACKEND = (
    ExitCode.BAD_INPUT,
    ExitCode.MISSING_COMPONENT,
    ExitCode.JOB_FAILED,
    ExitCode.BACKEND,
)

CATALOGUE: dict[str, ErrorKind] = {
    # portrait and cameras
    "portrait.not_found": ErrorKind("Portrait not found", 404, _BAD),
    "portrait.unreadable": ErrorKind("Portrait cannot be read", 422, _BAD),
    "portrait.too_small": ErrorKind("Portrait is too small", 422, _BAD),
    "portrait.too_large": ErrorKind("Portrait is too large", 422, _BAD),
    "portrait.too_slow": ErrorKind("Portrait takes too long to decode", 422, _BAD),
    "portrait.decoder_failed": ErrorKind(
        "Process that decodes pictures does not run", 500, _FAILED
    ),
    "portrait.package_missing": ErrorKind(
        "Package for this kind of photo is missing", 424, _MISSING
    ),
    "portrait.bad_crop": ErrorKind("Manual crop is not usable", 422, _BAD),
    "heads.bad_shape": ErrorKind("Head cannot be shaped like that", 422, _BAD),
    "heads.no_shape": ErrorKind("Fitted head was kept without its shape", 422, _BAD),
    "heads.bad_request": ErrorKind("Synthetic heads asked for wrongly", 422, _BAD),
    "heads.unreadable": ErrorKind("Fitted head cannot be read", 422, _BAD),
    "portrait.bad_turn": ErrorKind("Manual turn of the head is not usable", 422, _BAD),
    "portrait.too_many_photos": ErrorKind("There are too many photos of the person", 422, _BAD),
    "heads.data_missing": ErrorKind("Head data is not installed", 424, _MISSING),
    "portrait.model_missing": ErrorKind("Face model is not installed", 424, _MISSING),
    "capture.not_found": ErrorKind("Face capture not found", 404, _BAD),
    "capture.unreadable": ErrorKind("Face capture cannot be read", 422, _BAD),
    "capture.too_large": ErrorKind("Face capture is too long", 422, _BAD),
    "capture.bad_option": ErrorKind("Face capture cannot be played like that", 422, _BAD),
    "camera.invalid": ErrorKind("Camera is not valid", 422, _BAD),
    "camera.not_perspective": ErrorKind("Camera is not a perspective camera", 422, _BAD),
    "camera.anchor_not_uniform": ErrorKind("Head anchor is sheared or unevenly scaled", 422, _BAD),
    "camera.file_invalid": ErrorKind("Camera file cannot be used", 422, _BAD),
    # view sets
    "viewset.not_found": ErrorKind("View set not found", 404, _BAD),
    "viewset.invalid": ErrorKind("View set is damaged", 422, _BAD),
    "viewset.incomplete": ErrorKind("View set is incomplete", 409, _BAD),
    "viewset.no_faces": ErrorKind("Views show too few faces", 422, _BAD),
    "viewset.mismatch": ErrorKind("Folder holds another view set", 409, _BAD),
    # engines
    "engine.unknown": ErrorKind("No such engine", 422, _BAD),
    "engine.bad_option": ErrorKind("Engine option is not usable", 422, _BAD),
    "engine.packages_missing": ErrorKind("Packages of the engine are missing", 424, _MISSING),
    "packages.missing": ErrorKind("Packages are missing", 424, _MISSING),
    "packages.broken": ErrorKind("Package cannot be loaded", 424, _MISSING),
    "engine.too_little_memory": ErrorKind("Too little device memory", 422, _BAD),
    "seed.out_of_range": ErrorKind("Seed is out of range", 422, _BAD),
    "engine.bad_input": ErrorKind("Pictures do not fit the engine", 422, _BAD),
    "metrics.missing": ErrorKind("Metric cannot be computed here", 424, _MISSING),
    "metrics.bad_option": ErrorKind("Metrics cannot be asked for like that", 422, _BAD),
    "metrics.mismatch": ErrorKind("Views cannot be compared", 422, _BAD),
    # weights of the diffusion engines
    "weights.missing": ErrorKind("Weights are not installed", 424, _MISSING),
    "weights.download_failed": ErrorKind("Weights cannot be downloaded", 502, _MISSING),
    "weights.not_found": ErrorKind("Weights not found", 404, _BAD),
    "weights.placeholder": ErrorKind("File only stands for the weights", 422, _BAD),
    "weights.web_page": ErrorKind("Web page in place of the weights", 422, _BAD),
    "weights.incomplete": ErrorKind("Weights are not whole", 422, _BAD),
    "weights.archive": ErrorKind("Weights lie in an archive", 422, _BAD),
    "weights.other_format": ErrorKind("File is of another format", 422, _BAD),
    "weights.damaged": ErrorKind("Weights cannot be read", 422, _BAD),
    "weights.unsafe": ErrorKind("Weights file could run programs", 422, _BAD),
    "weights.unknown": ErrorKind("Weights are none that we know", 422, _BAD),
    "weights.mismatch": ErrorKind("Weights do not fit the networks", 422, _BAD),
    "parity.invalid": ErrorKind("Golden set cannot be used", 422, _BAD),
    # nerf_export
    "nerf.environment_missing": ErrorKind("NeRF environment is not installed", 424, _MISSING),
    "nerf.setup_failed": ErrorKind("NeRF environment could not be built", 500, _FAILED),
    "nerf.child_failed": ErrorKind("NeRF process failed", 500, _FAILED),
    "nerf.child_killed": ErrorKind("NeRF process was ended from outside", 500, _FAILED),
    "nerf.too_little_memory": ErrorKind("Too little memory for the fit", 422, _BAD),
    "nerf.package_missing": ErrorKind("Package is not in the NeRF environment", 424, _MISSING),
    "nerf.poses_changed": ErrorKind("nerfstudio changed the poses", 500, _FAILED),
    "fit.bad_option": ErrorKind("Option of the fit is not usable", 422, _BAD),
    "fit.not_found": ErrorKind("Fit not found", 404, _BAD),
    "fit.invalid": ErrorKind("Fit is damaged", 422, _BAD),
    "mesh.empty": ErrorKind("The field has no surface", 500, _FAILED),
    "mesh.bad_option": ErrorKind("Option of the mesh is not usable", 422, _BAD),
    "mesh.bad_format": ErrorKind("Mesh cannot be written like that", 422, _BAD),
    "mesh.unreadable": ErrorKind("Mesh cannot be read", 422, _BAD),
    "video.bad_option": ErrorKind("Video cannot be made like that", 422, _BAD),
    "export.bad_format": ErrorKind("No such format to export", 422, _BAD),
    # measurements
    "bench.bad_option": ErrorKind("Option of the measurement is not usable", 422, _BAD),
    "bench.unsupported": ErrorKind("Measurement cannot run on this system", 422, _BAD),
    "bench.no_commit": ErrorKind("Another commit cannot be measured", 422, _BAD),
    "bench.engine_failed": ErrorKind("Engine of another commit failed", 500, _FAILED),
    # output
    "output.not_writable": ErrorKind("Output cannot be written", 500, _BAD),
    "output.occupied": ErrorKind("Output folder holds other files", 409, _BAD),
    "output.in_use": ErrorKind("Output folder is being written to", 409, _BAD),
    # installation
    "setup.bad_option": ErrorKind("Option of the installation is not usable", 422, _BAD),
    # server and its clients
    "server.unauthorized": ErrorKind("Token missing or wrong", 401, _BACKEND),
    "server.unreachable": ErrorKind("Server cannot be reached", 503, _BACKEND),
    "server.not_ours": ErrorKind("Another service answers at this address", 502, _BACKEND),
    "server.version_mismatch": ErrorKind("Server speaks another API version", 502, _BACKEND),
    "server.bad_address": ErrorKind("Address cannot be listened on", 500, _BACKEND),
    "server.port_taken": ErrorKind("Port is taken", 500, _BACKEND),
    "server.bad_request": ErrorKind("Request is not valid", 422, _BAD),
    "server.bad_option": ErrorKind("Option of the server is not usable", 422, _BAD),
    "server.wrong_host": ErrorKind("Host name is not allowed", 421, _BACKEND),
    "server.no_such_address": ErrorKind("No such address", 404, _BACKEND),
    "server.already_running": ErrorKind("Another server uses this folder", 409, _BACKEND),
    "server.database_busy": ErrorKind("Job database cannot be used just now", 503, _BACKEND),
    "server.database_damaged": ErrorKind("Job database is damaged", 503, _BACKEND),
    "server.database_foreign": ErrorKind("Job database is of another version", 500, _BACKEND),
    "server.worker_down": ErrorKind("Worker process is not running", 503, _BACKEND),
    "server.busy": ErrorKind("Server has too much to do", 503, _BACKEND),
    "server.timeout": ErrorKind("Request arrives too slowly", 408, _BACKEND),
    "server.not_protected": ErrorKind("Server would be open to the network", 403, _BACKEND),
    "server.bad_tls": ErrorKind("TLS certificate cannot be used", 500, _BACKEND),
    "storage.quota": ErrorKind("Quota of the server is used up", 507, _BACKEND),
    "storage.full": ErrorKind("Disk is full", 507, _BAD),
    "artifact.not_found": ErrorKind("Artifact not found", 404, _BAD),
    "artifact.hash_mismatch": ErrorKind("Artifact does not match its hash", 422, _BAD),
    "artifact.too_large": ErrorKind("Artifact is too large", 413, _BAD),
    "artifact.bad_tree": ErrorKind("Folder artifact is not usable", 422, _BAD),
    "artifact.in_use": ErrorKind("Artifact is in use", 409, _BAD),
    "artifact.bad_range": ErrorKind("Range of bytes is not usable", 416, _BAD),
    "job.not_found": ErrorKind("Job not found", 404, _BAD),
    "job.not_ended": ErrorKind("Job has not ended", 409, _BAD),
    "job.queue_full": ErrorKind("Too many jobs wait", 429, _BACKEND),
    "job.cancelled": ErrorKind("Job was cancelled", 409, ExitCode.CANCELLED),
    "job.damaged": ErrorKind("Job cannot be read any more", 500, _FAILED),
    "job.worker_died": ErrorKind("Worker process died", 500, _FAILED),
    "internal": ErrorKind("Unexpected error", 500, ExitCode.UNEXPECTED),
}


class Dp3dError(Exception):
    """A failure that is shown to the user.

    Args:
        code: a key of :data:`CATALOGUE`; any other raises ``KeyError``.
        problem: one sentence on what is wrong.
        remedy: one sentence on what to do next.
        detail: further text for a log or a bug report, not needed to act.

    """

    def __init__(self, code: str, problem: str, remedy: str, detail: str = "") -> None:
        self.kind = CATALOGUE[code]
        self.code = code
        self.problem = problem
        self.remedy = remedy
        self.detail = detail
        super().__init__(f"{problem} {remedy} [{code}]")

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the command line for this error."""
        return self.kind.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Members of RFC 9457, as HTTP bodies, ``--json`` and events carry them."""
        return {
            "type": f"urn:dp3d:error:{self.code}",
            "title": self.kind.title,
            "status": self.kind.http_status,
            "code": self.code,
            "problem": self.problem,
            "remedy": self.remedy,
            "detail": self.detail,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Dp3dError:
        """Rebuild an error that crossed a process or the network (inverse of :meth:`to_dict`)."""
        code = str(data.get("code", "internal"))
        if code not in CATALOGUE:
            code = "internal"
        return cls(
            code,
            str(data.get("problem", "Something failed.")),
            str(data.get("remedy", "See the log.")),
            str(data.get("detail", "")),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own pickling would call __init__ with the one formatted message.
        return (Dp3dError, (self.code, self.problem, self.remedy, self.detail))


class Cancelled(Dp3dError):
    """The work was stopped on request; finished results stay on disk."""

    def __init__(self, what: str = "The job") -> None:
        super().__init__(
            "job.cancelled",
            f"{what} was cancelled.",
            "Start it again to go on from what is already there.",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (Cancelled, ())
