"""Starts a server: takes the lock, opens the socket, makes the services, runs uvicorn."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import IO

import uvicorn

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.locks import try_lock
from dp3d_core.storage.paths import heads_folder
from server.jobs.local import LocalExecutor
from server.jobs.store import JobStore
from server.serving.acceptor import Acceptor
from server.serving.connections import BoundedProtocol, protocol_for
from server.serving.exposure import check_exposure
from server.serving.privacy import make_private, make_tree_private, raise_file_limit
from server.settings import Settings
from server.storage.artifacts import ArtifactStore
from server.web.app import create_app
from server.web.services import Services

_THREAD_SWITCH_S = 0.001
"""Longest run of one Python thread before others get a turn, seconds; 5 ms is Python's default."""
_OTHER_FILES = 256
"""Open files reserved for uses other than connections."""
_MIN_CONNECTIONS = 16
"""Connections that are allowed however few files the system allows."""


def serve(
    settings: Settings, on_start: Callable[[str], None], orders: IO[str] | None = None
) -> None:
    """Run a server until Ctrl-C, SIGTERM, or the end of ``orders``.

    Args:
        settings: address, data folder, limits and protection.
        on_start: called once with the URL when the port is open.
        orders: stream of lines from the program that started the server, usually standard input.
            The line ``stop`` and the end of the stream stop the server.  After the line ``keep``
            the server outlives the end of the stream, until the line ``follow``.

    Raises:
        Dp3dError: ``server.already_running``, ``server.port_taken``, ``server.bad_address``,
            ``output.not_writable``, and the errors of
            :func:`server.serving.exposure.check_exposure`.

    """
    tls = check_exposure(settings)
    os.umask(0o077)  # also for the worker: only the owner reads portraits and results
    sys.setswitchinterval(_THREAD_SWITCH_S)
    # uvicorn warns about each request that is not HTTP: strangers could fill the disk with it.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno != logging.WARNING)
    settings = _within_file_limit(settings)
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        lock = try_lock(settings.data / "server.lock")
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"The data folder {settings.data} cannot be used ({error.strerror}).",
            "Choose another one with --data.",
        ) from error
    if lock is None:
        raise Dp3dError(
            "server.already_running",
            f"Another dp3d server works in {settings.data}.",
            "Use that one, stop it first, or give this one its own folder with --data.",
        )
    make_private(settings.data)
    make_tree_private(heads_folder())
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
            on_start(_url(listener, tls is not None))
            if orders is not None:
                threading.Thread(
                    target=_follow_orders, args=(orders, server.stop), daemon=True
                ).start()

        server = _Server(services, tls, listener, started)
        server.run(sockets=[])
        if not server.started:
            raise Dp3dError(
                "internal",
                "The server could not start.",
                "Please report it with what it printed.",
            )
    finally:
        listener.close()
        lock.release()


def _within_file_limit(settings: Settings) -> Settings:
    """The settings with the number of connections bounded by the limit of open files.

    A connection needs one file, and a second one while it receives or sends an artifact.
    """
    wanted = settings.limits.connections
    files = raise_file_limit(2 * wanted + _OTHER_FILES)
    bound = max(_MIN_CONNECTIONS, min(wanted, (files - _OTHER_FILES) // 2))
    return replace(settings, limits=replace(settings.limits, connections=min(wanted, bound)))


class _Server(uvicorn.Server):
    """uvicorn with :class:`Acceptor` in place of asyncio's server."""

    def __init__(
        self,
        services: Services,
        tls: ssl.SSLContext | None,
        listener: socket.socket,
        on_start: Callable[[], None],
    ) -> None:
        limits = services.settings.limits
        protocol = protocol_for(limits)
        super().__init__(
            uvicorn.Config(
                create_app(services),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                http=protocol,
                ws="none",
            )
        )
        self._services, self._on_start = services, on_start

        def make_protocol() -> BoundedProtocol:
            return protocol(self.config, self.server_state, self.lifespan.state)

        self._acceptor = Acceptor(listener, make_protocol, protocol, limits, tls)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:  # from now on a signal stops the server normally
            self._acceptor.start()
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._acceptor.close()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Stop the server normally; callable from any thread."""
        self._services.stopping.set()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn waits for open responses before the lifespan ends, and event streams never end
        # by themselves: stop() ends them.  uvicorn's own handler would raise the signal again
        # afterwards, and the exit code would be that of a failure.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()


def _follow_orders(orders: IO[str], stop: Callable[[], None]) -> None:
    """Read orders to the end of the stream, and stop the server if they say so."""
    order = "follow"
    try:
        for line in orders:
            order = line.strip() or order
            if order == "stop":
                break
    except (OSError, ValueError):  # the stream was closed meanwhile: counts as its end
        pass
    if order != "keep":
        stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Name the protocol: asyncio sets TCP_NODELAY only then.  Without TCP_NODELAY small answers wait
    # 40 ms for the other side's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # on Windows it would allow a second server on the port
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


def _url(listener: socket.socket, is_tls: bool) -> str:
    scheme = "https" if is_tls else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
