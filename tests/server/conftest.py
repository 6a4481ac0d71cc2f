"""A real server in a separate process, with a real worker, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp3d_core.portraits.photo_file import default_photo
from server.client import Client

TOKEN = "a-token-for-the-tests-of-dp3d"


class ServerProcess:
    """``dp3d serve`` on a data folder; can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        # Shared by the servers of a test run, so that the photo's head is fitted once.
        self.home = folder.parent / "home"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, *options: str) -> ServerProcess:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
                    *("--token", TOKEN, "--data", str(self.data), *options),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"DP3D_HOME": str(self.home), "OMP_NUM_THREADS": "1"},
            )
        line = self.process.stdout.readline()
        assert line, (self.folder / "server.log").read_text()
        self.url = json.loads(line)["result"]["url"]
        return self

    def client(self) -> Client:
        return Client(self.url, TOKEN)

    def kill(self) -> None:
        """Kill the process, with SIGKILL on POSIX."""
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.stdout.close()
        return self.process.wait()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers of this data folder (Linux)."""
        pids = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().decode(errors="replace").split("\0")
                state = (entry.parent / "stat").read_text().rpartition(")")[2].split()[0]
                if "server.worker" in words and str(self.data) in words and state != "Z":
                    pids.append(int(entry.parent.name))
        return pids


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path).start()
    yield process
    if process.process.poll() is None:
        process.stop()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of a module."""
    process = ServerProcess(tmp_path_factory.mktemp("server")).start()
    yield process
    process.stop()


@pytest.fixture
def client(shared_server: ServerProcess) -> Iterator[Client]:
    with shared_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def photo() -> Path:
    """The default portrait, a photograph among scikit-image's data."""
    pytest.importorskip("skimage")
    return default_photo()


def small_views(portrait: str, views: int = 3, **params: Any) -> dict[str, Any]:
    """Parameters of a quick ``views`` job."""
    return {
        "portrait": portrait,
        "cameras": {"preset": "orbit", "views": views, "size": 64},
        **params,
    }


def wait_until(condition: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """Poll ``condition`` until it is true and return its value; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("the condition was not met in time")
