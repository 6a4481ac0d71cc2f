# SPDX-License-Identifier: GPL-3.0-or-later
"""dp3d's processes on this computer: the server, and one-off commands such as ``doctor``.

Each is looked after by a thread; the panels read its plain attributes.  No bpy here.

The server ends with Blender, however Blender ends: ``dp3d serve --follow-stdin`` stops when the
pipe to it closes.  A server that was started elsewhere is used and never stopped.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from . import programs
from .client import Client, Server, is_loopback
from .errors import AddonError
from .programs import Program

TAIL_LINES = 8
"""Last lines of a process that are kept for the panels."""
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
_POLL_S = 0.2
_LINE_LIMIT = 200
_CONTEST_S = 5.0
"""How long to wait for the answer of a server that was faster than ours."""


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


class _Watched:
    """What the panels read: written by the thread, each attribute replaced as a whole."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.lines: tuple[str, ...] = ()
        """Last lines the process printed."""
        self.code = self.problem = self.remedy = ""
        self.changes = 0
        """Grows with every change, so that a timer knows when to redraw."""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> None:
        """Stay until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def raise_failure(self) -> None:
        """Raise the failure, if there is one, as an ``AddonError``."""
        if self.code:
            raise AddonError(self.code, self.problem, self.remedy)

    def _changed(self) -> None:
        self.changes += 1

    def _add_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.strip():
                self._tail.append(line.rstrip()[:_LINE_LIMIT])
        self.lines = tuple(self._tail)
        self._changed()

    def _fail(self, error: AddonError) -> None:
        self.problem, self.remedy, self.code = error.problem, error.remedy, error.code
        self._changed()

    def _begin(self, body: Any, name: str) -> None:
        self.code = self.problem = self.remedy = ""
        self._tail.clear()
        self.lines = ()
        self._changed()
        self._thread = threading.Thread(target=body, name=name, daemon=True)
        self._thread.start()


def _unexpected(error: Exception) -> AddonError:
    traceback.print_exc()
    return AddonError(
        "internal",
        f"The add-on failed unexpectedly ({type(error).__name__}: {error}).",
        "Report this with the text in Blender's system console.",
    )


# -- the server ------------------------------------------------------------------------------


class LocalServer(_Watched):
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
        """Process of our server, 0 without one."""
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
        """Stop our server; returns at once."""
        if self.busy and self.state in ("starting", "running"):
            self._set("stopping")
            self._stop.set()
        elif self.state in ("connected", "failed"):
            self._set("stopped")

    def keep(self, keep: bool) -> None:
        """Let our server outlive Blender, or not."""
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
            self._fail(_unexpected(error))
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
            time.sleep(_POLL_S)

    def _serve(self, order: Order) -> None:
        environment = programs.clean_environment(os.environ, order.host, order.token)
        self.program = programs.find(order.chosen, environment)
        self._changed()
        address = urlsplit(order.server.url)
        arguments = ["serve", "--json", "--follow-stdin", "--port", str(address.port or 80)]
        if address.hostname not in ("localhost", "127.0.0.1"):
            arguments += ["--host", str(address.hostname)]
        with _new_log(order.log) as log:
            self._process = process = _popen(
                [*self.program.command, *arguments], environment, subprocess.PIPE, log
            )
        self.log = order.log
        if self._keep:
            self._say("keep")
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(
            target=_pump, args=(process.stdout, answers.put), name="dp3d-server-out", daemon=True
        ).start()
        with order.log.open("rb") as printed:
            self._await_start(process, answers, printed, order.server)
            if self.state == "connected":
                return
            while process.poll() is None and not self._stop.is_set():
                if self._released:
                    self._set("stopped")
                    return
                time.sleep(_POLL_S)
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
                answer = _json(answers.get(timeout=1.0 if ended else _POLL_S))
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
        error = _described(answer)
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


# -- one-off commands ------------------------------------------------------------------------


class Command(_Watched):
    """A command of dp3d that runs once: ``doctor``, ``setup nerf``, ``models install`` ..."""

    grace_s = 10.0
    """How long a cancelled command may take to stop in good order."""

    def __init__(self, arguments: tuple[str, ...], title: str = "") -> None:
        super().__init__()
        self.arguments, self.title = arguments, title or " ".join(arguments)
        self.state = "new"
        """new, running, cancelling, succeeded, failed or cancelled."""
        self.step, self.of, self.message = 0, 0, ""
        """Progress: ``of`` is 0 as long as there is none."""
        self.result: Any = None
        """``result`` of the command's JSON answer."""
        self._cancel = threading.Event()

    @property
    def fraction(self) -> float:
        """Part that is done, 0 to 1."""
        return min(1.0, max(0.0, self.step / self.of)) if self.of > 0 else 0.0

    def start(self, chosen: str, host: tuple[str, ...] = ()) -> None:
        """Begin.

        Args:
            chosen: path of the preferences to dp3d (see :func:`programs.find`).
            host: folders of Blender, for :func:`programs.clean_environment`.

        """
        self.state = "running"
        self._begin(lambda: self._run(chosen, host), "dp3d-command")

    def cancel(self) -> None:
        """Stop it; returns at once."""
        if self.busy:
            self.state = "cancelling"
            self._cancel.set()
            self._changed()

    def _run(self, chosen: str, host: tuple[str, ...]) -> None:
        try:
            environment = programs.clean_environment(os.environ, host)
            self.program = programs.find(chosen, environment)
            answer, code = self._follow(
                [*self.program.command, *self.arguments, "--json"], environment
            )
            error = _described(answer)
            if self._cancel.is_set() and (error is not None or answer is None):
                state = "cancelled"
            elif error is not None:
                raise error
            elif answer is None:
                raise AddonError(
                    "addon.command_failed",
                    f"'dp3d {' '.join(self.arguments)}' ended without a result (exit code {code}).",
                    "Its last lines say more; the same command can be run in a terminal.",
                )
            else:
                self.result, state = answer.get("result"), "succeeded"
        except AddonError as error:
            self._fail(error)
            state = "failed"
        except Exception as error:
            self._fail(_unexpected(error))
            state = "failed"
        self.state = state
        self._changed()

    def _follow(
        self, command: list[str], environment: Mapping[str, str]
    ) -> tuple[dict[str, Any] | None, int]:
        """Run it; its answer, if there was one, and its exit code."""
        if self._cancel.is_set():
            return None, 0
        process = _popen(command, environment, subprocess.DEVNULL, subprocess.PIPE)
        answers: list[dict[str, Any]] = []
        readers = [
            threading.Thread(target=_pump, args=pair, name="dp3d-command-out", daemon=True)
            for pair in (
                (process.stdout, lambda line: answers.append(_json(line) or {})),
                (process.stderr, self._printed),
            )
        ]
        for reader in readers:
            reader.start()
        deadline = None
        while process.poll() is None:
            if self._cancel.wait(_POLL_S):
                if deadline is None:
                    deadline = time.monotonic() + self.grace_s
                    programs.ask_to_end(process)
                elif time.monotonic() > deadline:
                    programs.end(process)
                time.sleep(_POLL_S)
        for reader in readers:
            reader.join(2.0)
        return next((a for a in reversed(answers) if "ok" in a), None), process.returncode

    def _printed(self, line: bytes) -> None:
        event = _json(line)
        if event is None or "stage" not in event:
            self._add_lines([line.decode("utf-8", "replace")])
            return
        with suppress(TypeError, ValueError):
            self.step, self.of = int(event.get("step") or 0), int(event.get("of") or 0)
        message = str(event.get("message") or "")
        if message != self.message:
            self.message = message[:_LINE_LIMIT]
            self._add_lines([message])
        self._changed()


# -- underneath ------------------------------------------------------------------------------


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


def _popen(
    command: list[str], environment: Mapping[str, str], stdin: int, stderr: Any
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            **programs.process_options(environment),
        )
    except (OSError, ValueError) as error:
        raise AddonError(
            "addon.program_broken",
            f"{command[0]} cannot be started ({getattr(error, 'strerror', None) or error}).",
            "Choose another dp3d in the add-on's preferences.",
        ) from error


def _pump(stream: IO[bytes], take: Any) -> None:
    with suppress(OSError, ValueError), stream:
        for line in stream:
            take(line)


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _described(answer: dict[str, Any] | None) -> AddonError | None:
    """The failure in an answer of dp3d's command line."""
    if answer is None or answer.get("ok") or not isinstance(answer.get("error"), dict):
        return None
    error = answer["error"]
    return AddonError(
        str(error.get("code") or "internal"),
        str(error.get("problem") or "dp3d failed."),
        str(error.get("remedy") or "Its last lines say more."),
    )


def _exit(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(2.0)
        return f"signal {-code}" if code < 0 else f"exit code {code}"
    return "no exit code"
