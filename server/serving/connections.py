"""HTTP connections with time-outs for every phase of a request, and a bound on their number.

uvicorn only limits the idle time between two requests.  Here a request's head must be complete
within a time limit, and a body and the reader of an answer must not stall.  Beyond the limit of
connections, the one that has waited longest without a request is closed.  An answer that leaves
the body of its request unread ends the connection; the rest of the body is discarded unparsed.
"""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from math import inf
from typing import Any, ClassVar, cast

import h11
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from dp3d_core.errors import Dp3dError
from server.settings import Limits
from server.web.guard import HAS_TOKEN
from server.web.problems import (
    MEDIA_TYPE,
    RETRY_AFTER_S,
    RETRY_CODES,
    bad_request,
    problem_document,
)

_MIN_BODY_RATE = 512
"""Least average rate of a body between two checks, bytes per second."""
_FREE_CHUNKS = 1024
"""Chunks of a body that may have any size."""
_MIN_CHUNK_BYTES = 256
"""Least average size of further chunks, bytes: a small chunk costs as much as a large one."""
_QUIET_S = 1.0
"""Seconds without a byte after which a client whose body is discarded has stopped sending."""
_SMALL_READ = 16 * 1024
"""Bytes below which a read of a discarded body is followed by a pause."""
_SMALL_READ_PAUSE_S = 0.02
"""Length of that pause, seconds."""


def protocol_for(limits: Limits) -> type[BoundedProtocol]:
    """A protocol class for one server, with its limits and its own set of connections."""
    members = {"limits": limits, "connected": set()}
    return type("LimitedProtocol", (BoundedProtocol,), members)


class _Http(h11.Connection):
    """HTTP parser of one connection; refuses bodies of very many very small chunks."""

    has_tiny_chunks = False
    """Whether a body was refused for its tiny chunks."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self._chunks = self._chunk_bytes = 0

    def next_event(self) -> Any:
        """The next event; raises ``h11.RemoteProtocolError`` also for tiny chunks."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._chunk_bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._chunk_bytes += len(event.data)
            required = _MIN_CHUNK_BYTES * (self._chunks - _FREE_CHUNKS)
            if self._chunk_bytes < required:
                self.has_tiny_chunks = True
                raise h11.RemoteProtocolError("tiny chunks")
        return event


class BoundedProtocol(H11Protocol):
    """One connection."""

    limits = Limits()
    """Limits of the server."""
    connected: ClassVar[set[BoundedProtocol]] = set()
    """Connections of the server with an open socket, including those being closed."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.conn = self._http = _Http()
        self._application, self.app = self.app, self._run
        self._is_lingering = self._is_aborted = False
        self._linger_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_head = False
        self._reader_timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._waiting_since = time.monotonic()

    # -- called by the transport ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, or refuse it when there are too many."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.connected.add(self)
        self._await_head()
        if len(self.connections) > self.limits.connections and not self.close_longest_waiting(self):
            self._refuse(
                Dp3dError(
                    "server.busy",
                    f"The server has {self.limits.connections} open connections.",
                    "Close some, or try again in some seconds.",
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self.connected.discard(self)
        self._set_timer(None)
        self._cancel_reader_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take received bytes, and set the time-out of the current phase."""
        if self.transport.is_closing():  # refused: later bytes are ignored
            return
        if self._is_lingering:
            self._discard(len(data))
            return
        self._received += len(data)
        if self._timer is None and self.conn.their_state is h11.IDLE:
            self._await_head()
        super().data_received(data)
        self._follow_phase()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waiting_since = time.monotonic()
        if self._is_lingering:  # there is no next request
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        self._follow_phase()

    def pause_writing(self) -> None:
        """Start the time-out of a client that does not read."""
        super().pause_writing()
        if self._reader_timer is None:
            self._reader_timer = self.loop.call_later(self.limits.silence_s, self._abort)

    def resume_writing(self) -> None:
        """Cancel that time-out: the client reads again."""
        super().resume_writing()
        self._cancel_reader_timer()

    # -- answers ---------------------------------------------------------------------------

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        cycle = self.cycle
        self._waiting_since = time.monotonic()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self._has_unread_body():
                message = {**message, "headers": [*message.get("headers", ()), CLOSE_HEADER]}
                cycle.transport = cast(asyncio.Transport, _LingeringTransport(self))
            await send(message)

        try:
            await self._application(scope, receive, answer)  # type: ignore[arg-type, call-arg]
        except asyncio.CancelledError:  # the server stops, and the grace time is over
            self._refuse(
                Dp3dError(
                    "server.busy",
                    "The server was stopped before the request was answered.",
                    "Send the request again when the server runs.",
                )
            )
            cycle.disconnected = True

    def _has_unread_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    # -- phases ----------------------------------------------------------------------------

    def _follow_phase(self) -> None:
        if self._is_lingering:
            return
        phase = self.conn.their_state
        if phase is h11.SEND_BODY:
            if self._timer is None or self._timer_is_for_head:
                self._await_body()
        elif phase is not h11.IDLE:  # the request is complete; while IDLE the head's timer runs on
            self._set_timer(None)

    def _await_head(self) -> None:
        self._set_timer(self.loop.call_later(self.limits.header_s, self._time_out_head), True)

    def _await_body(self) -> None:
        received = self._received
        self._set_timer(
            self.loop.call_later(self.limits.silence_s, self._check_body_rate, received), False
        )

    def _time_out_head(self) -> None:
        self._set_timer(None)
        self._refuse(
            _timeout_error(
                f"The head of the request was not complete in {self.limits.header_s:g} s."
            )
        )

    def _check_body_rate(self, received: int) -> None:
        self._set_timer(None)
        if self.conn.their_state is not h11.SEND_BODY:
            return
        is_fast = self._received - received >= _MIN_BODY_RATE * self.limits.silence_s
        if is_fast or self.flow.read_paused:  # paused: the server does not read
            self._await_body()
        else:
            self._refuse(_timeout_error("The body of the request arrives too slowly."))

    def _set_timer(self, timer: asyncio.TimerHandle | None, is_for_head: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_is_for_head = timer, is_for_head

    def _cancel_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    # -- ends ------------------------------------------------------------------------------

    @classmethod
    def close_longest_waiting(
        cls, newcomer: BoundedProtocol | None = None, before: float = inf
    ) -> bool:
        """Close the connection that has waited longest without a request.

        Args:
            newcomer: a connection that is not closed.
            before: only a connection that waits since before this time (monotonic, seconds) is
                closed.

        Returns:
            whether a connection was closed.

        """
        waiting = [c for c in cls.connected if c is not newcomer and c._is_waiting()]
        oldest = min(waiting, key=lambda c: c._waiting_since, default=None)
        if oldest is None or oldest._waiting_since >= before:
            return False
        oldest._abort()
        return True

    def _is_waiting(self) -> bool:
        """Whether closing the connection loses no answer to a client with the token."""
        if self._is_aborted:
            return False
        if not self._has_token():
            return True
        if self._is_lingering or self.transport.is_closing():  # leave the answer time to arrive
            return time.monotonic() - self._waiting_since > _QUIET_S
        return bool(self.cycle.response_complete)

    def _has_token(self) -> bool:
        return self.cycle is not None and bool(self.scope.get("state", {}).get(HAS_TOKEN))

    def _abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._is_aborted = True
        self.connections.discard(self)
        self.transport.abort()

    def linger(self) -> None:
        """Close when the client has stopped sending; an earlier close would lose the answer."""
        if self._is_lingering or self.transport.is_closing():
            return
        self._is_lingering = True
        self._waiting_since = time.monotonic()
        # Clients with the token have no limit here, as for a body that is read.
        self._linger_until = inf if self._has_token() else time.monotonic() + self.limits.silence_s
        self.connections.discard(self)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._set_timer(self.loop.call_later(_QUIET_S, self._close))

    def _discard(self, size: int) -> None:
        if time.monotonic() > self._linger_until:
            self._abort()
            return
        self._set_timer(self.loop.call_later(_QUIET_S, self._close))
        if size < _SMALL_READ:  # slow senders are read at intervals
            self.flow.pause_reading()
            self.loop.call_later(_SMALL_READ_PAUSE_S, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _close(self) -> None:
        self._set_timer(None)
        self.transport.close()
        # A client that does not read would keep even a closed connection open.
        self.loop.call_later(self.limits.header_s, self.transport.abort)

    def _refuse(self, error: Dp3dError, status: int | None = None) -> None:
        """Answer an invalid or unfinished request with a problem, and close."""
        if self._is_lingering or self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            self.transport.write(self._answer(error, status))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # ends the application's wait for the body
            self.cycle.message_event.set()
        self.linger()

    @staticmethod
    def _answer(error: Dp3dError, status: int | None) -> bytes:
        document = problem_document(error, status)
        body = json.dumps(document).encode()
        head = [
            f"HTTP/1.1 {document['status']} {HTTPStatus(document['status']).phrase}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if error.code in RETRY_CODES:
            head.append(f"retry-after: {RETRY_AFTER_S}")
        return "\r\n".join([*head, "", ""]).encode() + body

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, or has a body in tiny chunks."""
        if self._http.has_tiny_chunks:
            self._refuse(
                bad_request(
                    f"The chunks of the body have fewer than {_MIN_CHUNK_BYTES} bytes on average.",
                    "Send it with Content-Length, or in larger chunks.",
                )
            )
            return
        self._refuse(
            Dp3dError(
                "server.bad_request",
                "The request is not HTTP/1.1, or its head is too long.",
                "Send one as docs/http-api.md has it.",
            ),
            400,
        )


class _LingeringTransport:
    """Transport for an answer that leaves the body of its request unread; its close lingers."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """Close; linger first while the body is still arriving."""
        if self._protocol._has_unread_body():
            self._protocol.linger()
        else:
            self._protocol.transport.close()


def _timeout_error(problem: str) -> Dp3dError:
    return Dp3dError("server.timeout", problem, "Send the request again over a faster connection.")
