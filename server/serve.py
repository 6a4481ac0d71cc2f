"""Starts a server: lock, socket, services, uvicorn."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import IO

import uvicorn

from dp3d_core.errors import Dp3dError
from dp3d_core.locks import FileLock
from server.artifacts import ArtifactStore
from server.jobs.local import LocalExecutor
from server.jobs.store import JobStore
from server.settings import Settings
from server.web.app import create_app
from server.web.services import Services


def serve(
    settings: Settings, on_start: Callable[[str], None], orders: IO[str] | None = None
) -> None:
    """Run a server until it is told to stop (Ctrl-C, SIGTERM, the end of ``orders``).

    Args:
        settings: where and for whom.
        on_start: called once with the URL when the port is open.
        orders: what the program that started the server writes, usually standard input.  The
            line ``stop`` stops the server, and so does the end of the stream, however that
            program ended, unless its last word was ``keep``; ``follow`` takes that back.

    Raises:
        Dp3dError: ``server.already_running``, ``server.port_taken``, ``output.not_writable``.

    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(settings.data / "server.lock")
        locked = lock.acquire()
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"The data folder {settings.data} cannot be used ({error.strerror}).",
            "Choose another one with --data.",
        ) from error
    if not locked:
        raise Dp3dError(
            "server.already_running",
            f"Another dp3d server works in {settings.data}.",
            "Use that one, stop it first, or give this one its own folder with --data.",
        )
    listener = _listen(settings.host, settings.port)
    try:
        store = JobStore(settings.database_url)
        services = Services(
            settings,
            store,
            ArtifactStore(settings.artifacts),
            LocalExecutor(settings, store),
        )

        def started() -> None:
            on_start(_url(listener))
            if orders is not None:
                threading.Thread(target=_obey, args=(orders, server.stop), daemon=True).start()

        server = _Server(services, started)
        server.run(sockets=[listener])
        if not server.started:
            raise Dp3dError(
                "internal",
                "The server could not start.",
                "Please report it with what it printed.",
            )
    finally:
        listener.close()
        lock.release()


def _config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        ws="none",
    )


class _Server(uvicorn.Server):
    def __init__(self, services: Services, on_start: Callable[[], None]) -> None:
        super().__init__(_config(services))
        self._services, self._on_start = services, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:  # only now does a signal stop it in good order
            self._on_start()

    def stop(self) -> None:
        """Stop in good order; from any thread."""
        self._services.stopping.set()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn waits for open responses before it runs the lifespan's end; event streams
        # never finish by themselves.  Its own handler would also raise the signal again
        # afterwards, and a server that was told to stop has not failed.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()


def _obey(orders: IO[str], stop: Callable[[], None]) -> None:
    order = "follow"
    try:
        for line in orders:
            order = line.strip() or order
            if order == "stop":
                break
    except (OSError, ValueError):  # closed under us: the end as well
        pass
    if order != "keep":
        stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be named: asyncio sets TCP_NODELAY only then, and without it small
    # answers wait 40 ms for the other side's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would allow a second server on the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise Dp3dError(
                "server.bad_address",
                f"{host} is not an address of this machine.",
                "Leave --host away to listen on this machine only, or name one of its addresses.",
            ) from error
        taken = error.errno == errno.EADDRINUSE
        raise Dp3dError(
            "server.port_taken",
            f"Port {port} on {host} {'is taken' if taken else f'cannot be opened ({error})'}.",
            "Stop what runs there, or choose another with --port (0 takes any free one).",
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
