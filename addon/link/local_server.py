# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds, starts, follows and stops the server on this computer.  No bpy here.

The server ends with Blender, however Blender ends: ``dp3d serve --follow-stdin`` stops when the
pipe to it closes.  A server that was started elsewhere is used and never stopped.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from . import programs
from .client import Client, Server, is_loopback
from .dp3d_process import (
    POLL_S,
    WatchedProcess,
    failure_in,
    parse_line,
    pump,
    start_process,
    unexpected,
)
from .errors import AddonError

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
_CONTEST_S = 5.0
"""Seconds to wait for the answer of a server that took the port first."""


@dataclass(frozen=True)
class Order:
    """What to start."""

    server: Server
    """Address of the preferences, and what is needed to ask who answers there."""
    chosen: str = ""
    """Path of the preferences to dp3d (see :func:`programs.find`)."""
    token: str = ""
    """Token of the preferences; the server then uses it as well."""
    keep: bool = False
    """Whether the server outlives Blender."""
    log: Path = field(default_factory=lambda: programs.folder() / "server.log")
    """File for what the server prints; the one before becomes ``*.1``."""
    host: tuple[str, ...] = ()
    """Folders of Blender, for :func:`programs.clean_environment`."""


def startable(url: str) -> bool:
    """Whether a server of this address can be started here."""
    try:
        return urlsplit(url).scheme == "http" and is_loopback(url) and urlsplit(url).port != 0
    except ValueError:
        return False


class LocalServer(WatchedProcess):
    """The server of this computer, as this Blender knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "stopped"
        """stopped, starting, running (ours), connected (somebody else's), stopping or failed."""
        self.url = self.version = ""
        self.log = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._stdin_lock = threading.Lock()
        self._keep = self._released = False

    @property
    def pid(self) -> int:
        """Id of the process of the server that was started here; 0 without one."""
        return self._process.pid if self._process is not None else 0

    def start(self, order: Order) -> None:
        """Begin to start (or to find) the server; nothing happens while one is at work.

        Raises:
            AddonError: ``addon.not_local`` for an address that no server here can have.

        """
        if self.busy:
            return
        if not startable(order.server.url):
            raise AddonError(
                "addon.not_local",
                f"A server for {order.server.url} cannot be started on this computer.",
                "Give an address such as http://127.0.0.1:8765 in the preferences, or start the "
                "server there.",
            )
        self._stop.clear()
        self._keep, self._released = order.keep, False
        self._set("starting")
        self._begin(lambda: self._run(order), "dp3d-server")

    def stop(self) -> None:
        """Stop the server that was started here; returns at once."""
        if self.busy and self.state in ("starting", "running"):
            self._set("stopping")
            self._stop.set()
        elif self.state in ("connected", "failed"):
            self._set("stopped")

    def keep(self, keep: bool) -> None:
        """Choose whether the server that was started here outlives Blender."""
        self._keep = keep
        self._say("keep" if keep else "follow")

    def forget(self) -> None:
        """Take a failure away, or a server of somebody else."""
        if not self.busy:
            self.code = self.problem = self.remedy = ""
            self._set("stopped")

    def release(self, timeout_s: float = 0.0) -> None:
        """Blender or the add-on ends: the server ends, or stays when it is to be kept.

        Args:
            timeout_s: how long to wait for its end.

        """
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._released = True
        self._say("keep" if self._keep else "stop")
        with suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        if not self._keep and timeout_s:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)

    # -- the thread --------------------------------------------------------------------------

    def _run(self, order: Order) -> None:
        try:
            if not self._connect(order.server, 0.0):
                self._serve(order)
        except AddonError as error:
            self._fail(error)
            self._set("failed")
        except Exception as error:
            self._fail(unexpected(error))
            self._set("failed")
        finally:
            self._process = None

    def _connect(self, server: Server, patience_s: float) -> bool:
        """Whether a dp3d server answers at the address already."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                health = Client(server).handshake()
            except AddonError as error:
                if error.code == "server.not_ours":
                    raise _port_taken(server.url) from error
                if error.code != "server.unreachable":
                    raise
            else:
                self.url, self.version = server.url, str(health.get("version", ""))
                self._set("connected")
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)

    def _serve(self, order: Order) -> None:
        environment = programs.clean_environment(os.environ, order.host, order.token)
        self.program = programs.find(order.chosen, environment)
        self._changed()
        address = urlsplit(order.server.url)
        arguments = ["serve", "--json", "--follow-stdin", "--port", str(address.port or 80)]
        if address.hostname not in ("localhost", "127.0.0.1"):
            arguments += ["--host", str(address.hostname)]
        with _new_log(order.log) as log:
            self._process = process = start_process(
                [*self.program.command, *arguments], environment, subprocess.PIPE, log
            )
        self.log = order.log
        if self._keep:
            self._say("keep")
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(
            target=pump, args=(process.stdout, answers.put), name="dp3d-server-out", daemon=True
        ).start()
        with order.log.open("rb") as printed:
            self._await_start(process, answers, printed, order.server)
            if self.state == "connected":
                return
            while process.poll() is None and not self._stop.is_set():
                if self._released:
                    self._set("stopped")
                    return
                time.sleep(POLL_S)
                self._read_log(printed)
            if self._stop.is_set():
                self._end(process)
                self._read_log(printed)
                self._set("stopped")
                return
            self._read_log(printed)
        raise AddonError(
            "addon.server_ended",
            f"The server ended unexpectedly ({_exit(process)}).",
            f"Start it again: unfinished jobs go on. Its log is {order.log}.",
        )

    def _await_start(
        self,
        process: subprocess.Popen[bytes],
        answers: queue.SimpleQueue[bytes],
        printed: IO[bytes],
        server: Server,
    ) -> None:
        """Wait for the first line, which says where the server is, or why there is none."""
        deadline = time.monotonic() + START_TIMEOUT_S
        answer = None
        while answer is None and not self._stop.is_set() and not self._released:
            ended = process.poll() is not None
            with suppress(queue.Empty):
                answer = parse_line(answers.get(timeout=1.0 if ended else POLL_S))
            self._read_log(printed)
            if answer is None and (ended or time.monotonic() > deadline):
                break
        if answer is not None and answer.get("ok"):
            self.url = server.url
            with suppress(AddonError):
                self.version = str(Client(server).handshake().get("version", ""))
            if not self._stop.is_set():
                self._set("running")
            return
        if self._stop.is_set() or self._released:
            return
        programs.end(process)
        error = failure_in(answer)
        if error is None:
            what = f"did not start ({_exit(process)})"
            if not ended:
                what = f"does not answer within {START_TIMEOUT_S:.0f} s"
            error = AddonError(
                "addon.server_failed",
                f"The server {what}.",
                f"Its last lines say more; its log is {self.log}.",
            )
        if error.code in ("server.already_running", "server.port_taken"):
            # Another Blender may have been faster, with a server that will do.
            if self._connect(server, _CONTEST_S):
                return
            if error.code == "server.port_taken":
                error = _port_taken(server.url)
            else:
                error = AddonError(
                    error.code,
                    error.problem,
                    "Give its address in the add-on's preferences, or stop it first.",
                )
        raise error

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._say("stop")
        with suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        for measure in (lambda _process: None, programs.ask_to_end, programs.end):
            measure(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S if measure is not programs.ask_to_end else 3.0)
                return

    def _say(self, word: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with self._stdin_lock, suppress(OSError, ValueError):
            process.stdin.write(word.encode() + b"\n")
            process.stdin.flush()

    def _read_log(self, printed: IO[bytes]) -> None:
        with suppress(OSError):
            if data := printed.read(1 << 16):
                self._add_lines(data.decode("utf-8", "replace").splitlines())

    def _set(self, state: str) -> None:
        self.state = state
        self._changed()


def _port_taken(url: str) -> AddonError:
    port = urlsplit(url).port or 80
    return AddonError(
        "server.port_taken",
        f"Another program uses port {port} of this computer.",
        f"Give another one in the server's address, such as http://127.0.0.1:{port + 1}.",
    )


def _new_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # none yet, or in use by a server that was kept
            path.replace(path.with_name(path.name + ".1"))
        return path.open("wb")
    except OSError as error:
        raise AddonError(
            "output.not_writable",
            f"The server's log {path} cannot be written ({error.strerror}).",
            "Check free space and rights of that folder.",
        ) from error


def _exit(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(2.0)
        return f"signal {-code}" if code < 0 else f"exit code {code}"
    return "no exit code"
