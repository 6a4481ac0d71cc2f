"""Runs the preview engine of another commit in a separate process, for comparisons.

``git worktree`` checks the commit out into a temporary folder.  ``beside_child.py`` runs there,
with the packages and face models of this installation.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

import numpy as np

from dp3d_core.cameras.camera import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.preview_benchmark import GREY, EngineResult
from dp3d_core.storage.paths import dp3d_home, models_folder

_CHILD = Path(__file__).with_name("beside_child.py")
"""Program that runs in the other commit."""
_MAX_ERROR_LINES = 20
"""Last lines of the child's standard error that an error quotes."""


class OtherCommit:
    """The preview engine of a commit: a context manager, callable as an engine of the benchmark.

    Attributes:
        commit: full hash.
        subject: first line of the commit message.

    """

    def __init__(self, commit: str, clone: Path | None = None) -> None:
        """Look up the commit.

        Args:
            commit: any revision that git knows.
            clone: folder of the project's clone; None for the clone that contains this file.

        Raises:
            Dp3dError: ``bench.no_commit``.

        """
        self._clone = clone or Path(__file__).parents[3]
        if not (self._clone / ".git").exists():
            raise Dp3dError(
                "bench.no_commit",
                "This installation is no clone of the project, so it has no other commits.",
                "Clone the project with git, and run the measurement from there.",
            )
        if commit.startswith("-"):
            raise _no_such_commit(commit)
        try:
            self.commit = self._git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
            self.subject = self._git("log", "-1", "--format=%s", self.commit)
        except subprocess.CalledProcessError as error:
            raise _no_such_commit(commit, str(error.stderr)) from error
        except FileNotFoundError as error:
            raise Dp3dError(
                "bench.no_commit",
                "git is not installed, so no other commit can be checked out.",
                "Install git, and run the measurement again.",
            ) from error
        self._child: subprocess.Popen[str] | None = None
        self._errors: deque[str] = deque(maxlen=_MAX_ERROR_LINES)

    def _git(self, *arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(self._clone), *arguments], capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    def __enter__(self) -> OtherCommit:
        self._temporary = tempfile.TemporaryDirectory(prefix="dp3d-beside-")
        self._tree = Path(self._temporary.name) / "tree"
        try:
            self._git("worktree", "add", "--detach", str(self._tree), self.commit)
            self._start()
        except subprocess.CalledProcessError as error:
            self._remove_worktree()
            raise Dp3dError(
                "bench.no_commit",
                f"Commit {self.commit[:10]} cannot be checked out.",
                "Look at the detail; a full clone without local locks is needed.",
                str(error.stderr),
            ) from error
        except BaseException:
            self._remove_worktree()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove_worktree()

    def _remove_worktree(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        subprocess.run(
            ["git", "-C", str(self._clone), "worktree", "remove", "--force", str(self._tree)],
            capture_output=True,
            check=False,
        )
        self._temporary.cleanup()

    def _start(self) -> None:
        home = Path(self._temporary.name) / "home"
        home.mkdir()
        # older versions look for the face models only in DP3D_HOME
        if models_folder() != dp3d_home() / "models" and models_folder().is_dir():
            (home / "models").symlink_to(models_folder(), target_is_directory=True)
        else:
            home = dp3d_home()
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._tree,
            env=os.environ | {"PYTHONPATH": str(self._tree), "DP3D_HOME": str(home)},
        )
        Thread(target=self._collect_errors, args=(self._child,), daemon=True).start()
        package = Path(self._reply()["package"]).resolve()
        if self._tree.resolve() not in package.parents:
            raise self._engine_failed(f"the engine was imported from {package}")

    def _collect_errors(self, child: subprocess.Popen[str]) -> None:
        if child.stderr is not None:
            self._errors.extend(child.stderr)

    def _reply(self) -> dict[str, Any]:
        """Read the next reply of the child; raises ``bench.engine_failed``."""
        if self._child is None or self._child.stdout is None:
            raise self._engine_failed("it is not running")
        line = self._child.stdout.readline()
        if not line:
            self._child.wait()
            raise self._engine_failed("the process ended")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise self._engine_failed(reply["error"])
        return reply

    def _engine_failed(self, detail: str) -> Dp3dError:
        return Dp3dError(
            "bench.engine_failed",
            f"The engine of commit {self.commit[:10]} failed.",
            "Name another commit; ce0c737 and later ones are known to run.",
            "\n".join([detail, *self._errors]),
        )

    def __call__(self, png: bytes, cameras: list[Camera]) -> EngineResult:
        """Fit a head to a photo and render it.

        Args:
            png: bytes of the photo.
            cameras: of the views.

        Raises:
            Dp3dError: ``bench.engine_failed``.

        """
        if self._child is None or self._child.stdin is None:
            raise self._engine_failed("it is not running")
        out = Path(self._temporary.name) / "answer.npz"
        request = {
            "photo": base64.b64encode(png).decode(),
            "cameras": [[c.c2w.tolist(), c.K.tolist(), c.width, c.height] for c in cameras],
            "background": GREY,
            "out": str(out),
        }
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self._engine_failed(str(error)) from error
        seconds = float(self._reply()["seconds"])
        with np.load(out, allow_pickle=False) as answer:
            return EngineResult(
                answer["c2w"], answer["vertices"], answer["faces"], list(answer["views"]), seconds
            )


def _no_such_commit(commit: str, detail: str = "") -> Dp3dError:
    return Dp3dError(
        "bench.no_commit",
        f"git knows no commit {commit!r} here.",
        "Name a commit, tag or branch of this clone; git log lists them.",
        detail,
    )
