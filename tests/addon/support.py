# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on's tests share: places, a clean environment, a real server, other programs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from dp3d_core.storage.paths import models_folder

REPOSITORY = Path(__file__).resolve().parents[2]
ADDON = REPOSITORY / "addon"
SCRIPTS = Path(__file__).parent / "blender"
RESULT = "@@RESULT@@"
TOKEN = "the-token-of-the-tests-of-the-addon"


def dp3d_home_in(home: Path) -> Path:
    """The dp3d folder of :func:`clean_environment`."""
    return home / "dp3d-home"


def clean_environment(home: Path) -> dict[str, str]:
    """Environment without our settings, and with Blender's own files in a private folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DP3D_", "PYTHON", "BLENDER_"))}
    env["DP3D_HOME"] = str(dp3d_home_in(home))
    env["DP3D_MODELS"] = str(models_folder())  # installed once, see the root conftest
    env["BLENDER_USER_RESOURCES"] = str(home / "blender")
    # An add-on that a script registered keeps exports here, and would see those of other tests.
    temporary = home / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    env["TMPDIR"] = str(temporary)
    return env


class ServerProcess:
    """A real ``dp3d serve`` on a free port, with its data in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.url, self.port = home, "", 0
        self.dp3d_home = dp3d_home_in(home)
        self.extra_env: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> ServerProcess:
        self.home.mkdir(parents=True, exist_ok=True)
        env = {**clean_environment(self.home), **self.extra_env}
        command = [sys.executable, "-m", "server.cli.main", "serve", "--json"]
        command += ["--port", str(self.port), "--token", TOKEN, "--data", str(self.home / "data")]
        with (self.home / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY, env=env
            )
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        assert line, (self.home / "server.log").read_text()
        self.url = json.loads(line)["result"]["url"]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, timeout_s: float = 40.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def program_of(folder: Path, body: str) -> str:
    """A program that names a version and then does something else than serving."""
    path = folder / "dp3d"
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"if sys.argv[1:] == ['--version']: print('dp3d 9.9'); sys.exit()\n{body}\n"
    )
    path.chmod(0o755)
    return str(path)
