"""Starts a server: lock, socket, services, uvicorn."""

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
from server.serving.privacy import close_all, make_private, raise_file_limit
from server.settings import Settings
from server.storage.artifacts import ArtifactStore
from server.web.app import create_app
from server.web.services import Services

_SWITCH_S = 0.001
"""Seconds after which a thread that computes (cameras are read) lets the others answer."""
_OTHER_FILES = 256
"""Files that are open beside those of connections."""
_LEAST_CONNECTIONS = 16


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
        Dp3dError: ``server.already_running``, ``server.port_taken``, ``output.not_writable``, and
            those of :func:`server.serving.exposure.check_exposure`.

    """
    tls = check_exposure(settings)
    os.umask(0o077)  # also of the worker: portraits and results are their owner's alone
    sys.setswitchinterval(_SWITCH_S)
    # It warns of each request that is no HTTP: strangers could fill the disk with that.
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
    close_all(heads_folder())
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
                threading.Thread(target=_obey, args=(orders, server.stop), daemon=True).start()

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
    """The settings, with no more connections than the system lets this process have files for.

    A connection is one file, and another one while something is received or sent.
    """
    wanted = settings.limits.connections
    files = raise_file_limit(2 * wanted + _OTHER_FILES)
    bound = max(_LEAST_CONNECTIONS, min(wanted, (files - _OTHER_FILES) // 2))
    return replace(settings, limits=replace(settings.limits, connections=min(wanted, bound)))


class _Server(uvicorn.Server):
    """uvicorn with an acceptor of ours."""

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
        if self.started:  # only now does a signal stop it in good order
            self._acceptor.start()
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._acceptor.close()
        await super().shutdown(sockets)

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


def _url(listener: socket.socket, is_tls: bool) -> str:
    scheme = "https" if is_tls else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
