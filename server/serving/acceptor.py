"""Accepts connections and counts each one from the start, before its TLS handshake.

asyncio's own servers count a connection only after its handshake, have no limit, and log each
failed attempt when the file descriptors run out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from math import inf

from server.serving.connections import BoundedProtocol
from server.settings import Limits

log = logging.getLogger(__name__)

_MAX_REFUSALS = 32
"""Connections beyond the limit that get an answer; further ones are closed without an answer."""
_PAUSE_S = 0.5
"""Seconds until the next attempt when the system has no file descriptor or memory left."""
_LOG_EVERY_S = 60.0
"""Least seconds between two log lines about that."""


class Acceptor:
    """Accepts the connections of one listening socket.

    Args:
        listener: bound and listening; closed with the acceptor.
        make_protocol: makes an object of ``protocol`` for a connection.
        protocol: class of the connections, which lists the open ones in ``connected``.
        limits: number of connections, and seconds for a handshake (``header_s``).
        tls: None for plain HTTP.

    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], BoundedProtocol],
        protocol: type[BoundedProtocol],
        limits: Limits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listener, self._make_protocol, self._protocol = listener, make_protocol, protocol
        self._limits, self._tls = limits, tls
        self._handshakes: dict[asyncio.Task[None], float] = {}
        """Start of each handshake (monotonic, seconds), oldest first; briefly also plain ones."""
        self._task: asyncio.Task[None] | None = None
        self._logged_at = -inf

    def start(self) -> None:
        """Start to accept connections, in the running event loop."""
        self._listener.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Stop accepting: end unfinished handshakes and keep the open connections."""
        tasks = [*self._handshakes, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except ConnectionError:  # closed by the client before it was accepted
                pass
            except OSError as error:  # no file descriptor or memory left
                self._report(error)
                self._close_longest_waiting()
                await asyncio.sleep(_PAUSE_S)
            else:
                self._start_connecting(connection)
            await asyncio.sleep(0)  # other tasks run between two connections

    def _report(self, error: OSError) -> None:
        if time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.warning("no connection can be accepted just now (%s)", error.strerror)

    def _count_open(self) -> int:
        return len(self._protocol.connected) + len(self._handshakes)

    def _start_connecting(self, connection: socket.socket) -> None:
        limit = self._limits.connections
        if self._count_open() >= limit:
            self._close_longest_waiting()
        if self._count_open() >= limit + _MAX_REFUSALS:
            connection.close()
            return
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._handshakes[task] = time.monotonic()
        task.add_done_callback(lambda task: self._handshakes.pop(task, None))

    async def _connect(self, connection: socket.socket) -> None:
        """Turn a socket into a connection; it is closed when its handshake fails."""
        seconds = self._limits.header_s if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError as error:  # errors of TLS are OSErrors, too
            log.debug("a connection was not made: %s", error)

    def _close_longest_waiting(self) -> None:
        """End the handshake, or the connection without a request, that has waited longest."""
        oldest = next(iter(self._handshakes), None) if self._tls is not None else None
        since = inf if oldest is None else self._handshakes[oldest]
        if not self._protocol.close_longest_waiting(before=since) and oldest is not None:
            del self._handshakes[oldest]
            oldest.cancel()
