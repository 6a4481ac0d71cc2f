"""A server in a separate process, for measurements."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dp3d_core.errors import Dp3dError

if TYPE_CHECKING:
    from server.client import Client

TOKEN = "token-of-the-measurement"
"""Token of the server."""


class OwnServer:
    """``dp3d serve`` on a folder; can be killed and started again.

    Args:
        folder: for the data folder and the log.
        environment: further variables for the process.

    Attributes:
        data: data folder of the server.
        url: of the server, once started.

    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "data"
        self._folder, self._environment = folder, environment
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> OwnServer:
        """Start the server and wait until its port is open; raises ``server.unreachable``."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--json"),
                    *("--data", str(self.data)),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"DP3D_TOKEN": TOKEN} | self._environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Dp3dError(
                "server.unreachable",
                "The server of the measurement did not start.",
                "Try 'dp3d serve' to see why.",
                (self._folder / "server.log").read_text("utf-8", "replace")[-2000:],
            )
        self.url = str(json.loads(line)["result"]["url"])
        return self

    def client(self) -> Client:
        """A client of the server."""
        from server.client import Client

        return Client(self.url, TOKEN)

    def kill(self) -> None:
        """Kill the server process."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=30)

    def stop(self) -> None:
        """Stop the server normally; kill it after 30 s."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=30)
            self._process.kill()
