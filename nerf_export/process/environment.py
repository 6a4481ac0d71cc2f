"""The NeRF environment: a separate interpreter with nerfstudio, for child processes.

nerfstudio pins versions that would restrict our own dependencies, so it gets an environment of its
own.  ``locks/nerf.txt`` lists every package that is imported there; nerfstudio and torchvision are
installed without their dependencies (``locks/nerf-nodeps.txt``), which saves five gigabytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, Progress, ProgressCallback, Stage, check_cancel
from dp3d_core.storage.files import refusal_code, write_atomic
from dp3d_core.storage.locks import try_lock
from dp3d_core.storage.paths import dp3d_home

_LOCKS = Path(__file__).parents[1] / "locks"
"""Folder of the files that pin the environment's packages."""
_STAMP = "dp3d-lock.sha256"
"""File with the hash of the lock, written last: an environment without it is incomplete."""
_POLL_S = 0.5
"""Seconds between polls of the cancel check."""
_REPORT_INTERVAL_S = 3.0
"""Seconds between progress messages from a step's log."""


def environment_folder() -> Path:
    """Folder in which ``dp3d setup nerf`` builds the environment."""
    return dp3d_home() / "envs" / "nerf"


def nerf_python() -> Path:
    """Path of nerfstudio's interpreter: ``DP3D_NERF_PYTHON``, else that of ``dp3d setup nerf``.

    Raises:
        Dp3dError: ``nerf.environment_missing``.

    """
    chosen = os.environ.get("DP3D_NERF_PYTHON")
    if chosen:
        if Path(chosen).is_file():
            return Path(chosen)
        raise Dp3dError(
            "nerf.environment_missing",
            f"DP3D_NERF_PYTHON names {chosen}, which does not exist.",
            "Correct the variable, or remove it and run 'dp3d setup nerf'.",
        )
    folder = environment_folder()
    if not (folder / _STAMP).is_file() or not _python_of(folder).is_file():
        raise Dp3dError(
            "nerf.environment_missing",
            "The NeRF environment is not installed.",
            "Run 'dp3d setup nerf'.",
        )
    return _python_of(folder)


def repair_hint() -> str:
    """Half a sentence that says how to repair an environment that does not work."""
    if os.environ.get("DP3D_NERF_PYTHON"):
        return "correct DP3D_NERF_PYTHON, or remove it and run 'dp3d setup nerf'"
    return "'dp3d setup nerf --force' rebuilds its environment"


def setup_environment(progress: ProgressCallback, cancel: CancelCheck, force: bool = False) -> Path:
    """Build the NeRF environment, unless it is complete and up to date.

    A complete environment holds the hash of the lock that it was built from.  An incomplete one is
    rebuilt from the start, one of another lock is updated.

    Args:
        progress: stage ``setup``.
        cancel: polled twice a second; a running pip is stopped.
        force: rebuild a complete environment too.

    Returns:
        Path of the environment's interpreter.

    Raises:
        Dp3dError: ``nerf.setup_failed`` (names the log), ``job.cancelled``.

    """
    folder = environment_folder()
    try:
        while (lock := try_lock(folder.parent / "nerf.lock", timeout_s=_POLL_S)) is None:
            check_cancel(cancel, "The setup")
            progress(Progress("setup", 0, 4, "Waiting for another setup to end"))
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        return _build_environment(folder, progress, cancel, force)
    finally:
        lock.release()


def _not_writable(folder: Path, error: OSError) -> Dp3dError:
    return Dp3dError(
        refusal_code(error),
        f"The folder of the NeRF environment, {folder}, cannot be changed ({error.strerror}).",
        "Close what uses it and check its rights, or set DP3D_HOME to another folder.",
    )


def _build_environment(
    folder: Path, progress: ProgressCallback, cancel: CancelCheck, force: bool
) -> Path:
    stamp, lock_hash = folder / _STAMP, _lock_hash()
    stage = Stage("setup", 4, progress, cancel, "Looking for the NeRF environment")

    def run(command: list[str]) -> None:
        _run_step(
            command, log, cancel, lambda line: progress(Progress("setup", stage.step, 4, line))
        )

    python = _python_of(folder)
    if (
        not force
        and stamp.is_file()
        and stamp.read_text().strip() == lock_hash
        and python.is_file()
    ):
        stage.advance("The NeRF environment is there already", steps=4)
        return python
    log = folder.parent / "nerf-setup.log"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        if folder.exists() and (force or not stamp.is_file()):
            shutil.rmtree(folder)
        # without the stamp the environment counts as incomplete
        stamp.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    if not python.is_file():
        run([sys.executable, "-m", "venv", str(folder)])
    stage.advance("Installing torch and the packages nerfstudio needs (about 2 GB, minutes)")
    pip = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    run([*pip, "-r", str(_LOCKS / "nerf.txt")])
    stage.advance("Installing nerfstudio")
    run([*pip, "--no-deps", "-r", str(_LOCKS / "nerf-nodeps.txt")])
    stage.advance("Trying it out")
    run([str(python), str(Path(__file__).parents[1] / "child" / "launch.py"), "check"])
    write_atomic(stamp, (lock_hash + "\n").encode())
    stage.advance("The NeRF environment is ready")
    return python


def _python_of(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def _lock_hash() -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for name in ("nerf.txt", "nerf-nodeps.txt"):
        digest.update((_LOCKS / name).read_bytes())
    return digest.hexdigest()


def _run_step(
    command: list[str], log: Path, cancel: CancelCheck, report: Callable[[str], None]
) -> None:
    """Run a step of the setup with its output in the log; stop it on cancel.

    Args:
        command: program and arguments.
        log: file that the output is appended to.
        cancel: polled twice a second.
        report: called with the last progress line of the log, every three seconds.

    Raises:
        Dp3dError: ``storage.full``, ``nerf.setup_failed``, ``job.cancelled``.

    """
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
        )
    reported_at = time.monotonic()
    try:
        while process.poll() is None:
            check_cancel(cancel, "The setup")
            time.sleep(_POLL_S)
            if time.monotonic() - reported_at > _REPORT_INTERVAL_S:
                reported_at = time.monotonic()
                report(_last_line(log))
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
    if process.returncode != 0:
        output_end = log.read_bytes()[-4000:].decode("utf-8", "replace")
        if os.strerror(errno.ENOSPC).lower() in output_end.lower():
            raise Dp3dError(
                "storage.full",
                f"The disk of {log.parent} is full: the NeRF environment takes 3 GB.",
                "Make room, or set DP3D_HOME to another disk, and run 'dp3d setup nerf' again.",
                output_end,
            )
        raise Dp3dError(
            "nerf.setup_failed",
            "A step of the installation of the NeRF environment failed.",
            f"Read the end of {log}, check the network connection and free space (3 GB), "
            "and run 'dp3d setup nerf' again.",
            output_end,
        )


def _last_line(log: Path) -> str:
    """The last line of the log in which pip names a package."""
    lines = log.read_bytes()[-2000:].decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        if line.startswith(("Collecting", "Installing", "Successfully", "Building")):
            return line[:80]
    return "Working"
