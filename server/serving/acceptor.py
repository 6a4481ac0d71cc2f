"""Accepts connections: each is counted from its first moment, before any handshake of TLS.

asyncio's own servers know a connection when its handshake is over, and take as many as the system
lets them; out of file descriptors, they log each attempt.
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

_REFUSED_AT_ONCE = 32
"""Connections beyond the limit that get an answer; more are closed without one."""
_PAUSE_S = 0.5
"""Seconds until the next attempt when the system has no connection to give."""
_LOG_EVERY_S = 60.0


class Acceptor:
    """Takes the connections of one listening socket.

    Args:
        listener: bound and listening; it is closed with the acceptor.
        make_protocol: makes what handles a connection, an object of ``protocol``.
        protocol: class that knows the connections that are open.
        limits: their number, and how long a handshake may take.
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
        self._listener, self._make, self._protocol = listener, make_protocol, protocol
        self._limits, self._tls = limits, tls
        self._handshakes: dict[asyncio.Task[None], float] = {}
        """When each began (monotonic, seconds), oldest first; for a moment also plain ones."""
        self._task: asyncio.Task[None] | None = None
        self._logged = -inf

    def start(self) -> None:
        """Begin to accept, in the running event loop."""
        self._listener.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Accept no more; connections without a handshake are ended, the others stay."""
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
            except ConnectionError:  # it was gone before it was taken
                pass
            except OSError as error:  # no file descriptor or memory is left
                self._report(error)
                self._make_room()
                await asyncio.sleep(_PAUSE_S)
            else:
                self._take(connection)
            await asyncio.sleep(0)  # however many wait, others have their turn between two

    def _report(self, error: OSError) -> None:
        if time.monotonic() - self._logged >= _LOG_EVERY_S:
            self._logged = time.monotonic()
            log.warning("no connection can be accepted just now (%s)", error.strerror)

    def _open(self) -> int:
        return len(self._protocol.connected) + len(self._handshakes)

    def _take(self, connection: socket.socket) -> None:
        limit = self._limits.connections
        if self._open() >= limit:
            self._make_room()
        if self._open() >= limit + _REFUSED_AT_ONCE:
            connection.close()
            return
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._handshakes[task] = time.monotonic()
        task.add_done_callback(lambda task: self._handshakes.pop(task, None))

    async def _connect(self, connection: socket.socket) -> None:
        """Make a connection of a socket; one whose handshake fails is closed."""
        seconds = self._limits.header_s if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError as error:  # those of TLS are, too
            log.debug("a connection was not made: %s", error)

    def _make_room(self) -> None:
        """End what has waited longest, a handshake or a connection without a request."""
        oldest = next(iter(self._handshakes), None) if self._tls is not None else None
        since = inf if oldest is None else self._handshakes[oldest]
        if not self._protocol.make_room(before=since) and oldest is not None:
            del self._handshakes[oldest]
            oldest.cancel()
