"""The NeRF environment: an interpreter of its own, with nerfstudio in it.

nerfstudio pins packages that would freeze ours, so it lives apart and is called as a child
process.  ``locks/nerf.txt`` names every package it needs here; nerfstudio and torchvision are
installed without their dependencies (``locks/nerf-nodeps.txt``), which leaves out five
gigabytes of what we never import.
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
_STAMP = "dp3d-lock.sha256"
"""Written last: an environment without it is half built."""
_POLL_S = 0.5
_TELL_S = 3.0


def environment_folder() -> Path:
    """Where ``dp3d setup nerf`` builds the environment."""
    return dp3d_home() / "envs" / "nerf"


def nerf_python() -> Path:
    """The interpreter that runs nerfstudio: ``DP3D_NERF_PYTHON``, else the one we built.

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
    """Half a sentence: what mends an environment that does not work."""
    if os.environ.get("DP3D_NERF_PYTHON"):
        return "correct DP3D_NERF_PYTHON, or remove it and run 'dp3d setup nerf'"
    return "'dp3d setup nerf --force' rebuilds its environment"


def setup_environment(progress: ProgressCallback, cancel: CancelCheck, force: bool = False) -> Path:
    """Build the environment, unless it is there already.

    It is marked as finished only at the end, by the hash of the lock it was built from: half
    of one is rebuilt from the start, and one of another lock is brought up to date.

    Args:
        progress: stage ``setup``.
        cancel: polled twice a second; pip is stopped.
        force: build anew even if it is there.

    Returns:
        Its interpreter.

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
        return _setup(folder, progress, cancel, force)
    finally:
        lock.release()


def _not_writable(folder: Path, error: OSError) -> Dp3dError:
    return Dp3dError(
        refusal_code(error),
        f"The folder of the NeRF environment, {folder}, cannot be changed ({error.strerror}).",
        "Close what uses it and check its rights, or set DP3D_HOME to another folder.",
    )


def _setup(folder: Path, progress: ProgressCallback, cancel: CancelCheck, force: bool) -> Path:
    stamp, wanted = folder / _STAMP, _lock_hash()
    stage = Stage("setup", 4, progress, cancel, "Looking for the NeRF environment")

    def run(command: list[str]) -> None:
        _run(command, log, cancel, lambda line: progress(Progress("setup", stage.step, 4, line)))

    python = _python_of(folder)
    if not force and stamp.is_file() and stamp.read_text().strip() == wanted and python.is_file():
        stage.advance("The NeRF environment is there already", steps=4)
        return python
    log = folder.parent / "nerf-setup.log"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        if folder.exists() and (force or not stamp.is_file()):
            shutil.rmtree(folder)
        # From here on it counts as half built.
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
    write_atomic(stamp, (wanted + "\n").encode())
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


def _run(command: list[str], log: Path, cancel: CancelCheck, tell: Callable[[str], None]) -> None:
    """Run a step with its output in the log; pass on what it says; stop it on cancel."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
        )
    told = time.monotonic()
    try:
        while process.poll() is None:
            check_cancel(cancel, "The setup")
            time.sleep(_POLL_S)
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                tell(_last_line(log))
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
    if process.returncode != 0:
        said = log.read_bytes()[-4000:].decode("utf-8", "replace")
        if os.strerror(errno.ENOSPC).lower() in said.lower():
            raise Dp3dError(
                "storage.full",
                f"The disk of {log.parent} is full: the NeRF environment takes 3 GB.",
                "Make room, or set DP3D_HOME to another disk, and run 'dp3d setup nerf' again.",
                said,
            )
        raise Dp3dError(
            "nerf.setup_failed",
            "A step of the installation of the NeRF environment failed.",
            f"Read the end of {log}, check the network connection and free space (3 GB), "
            "and run 'dp3d setup nerf' again.",
            said,
        )


def _last_line(log: Path) -> str:
    """What pip is busy with: the last package it names."""
    lines = log.read_bytes()[-2000:].decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        if line.startswith(("Collecting", "Installing", "Successfully", "Building")):
            return line[:80]
    return "Working"
