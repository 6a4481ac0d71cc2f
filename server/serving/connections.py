"""Connections with an end: time-outs for every phase of a request, and a bound on their number.

uvicorn limits only how long a connection may idle between two requests.  Here a head must be
complete in time however its bytes trickle in, a body and the reader of an answer must move on, and
of too many connections the one that has waited longest without a request makes room.  An answer
that left the body of its request unread ends the connection: the rest is thrown away unparsed.
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

_LEAST_PER_S = 512
"""Bytes a second that a body must have on average between two looks."""
_FREE_CHUNKS = 1024
"""Chunks of a body that may be of any size."""
_LEAST_PER_CHUNK = 256
"""Bytes that more chunks than those must have on average: each costs as much as a long one."""
_QUIET_S = 1.0
"""Seconds without a byte after which a client whose body is not read has stopped to send."""
_SMALL_READ = 16 * 1024
_SMALL_READ_PAUSE_S = 0.02
"""Pause after a read of fewer bytes than that, of a body that nobody reads."""


def protocol_for(limits: Limits) -> type[BoundedProtocol]:
    """The protocol class of a server with some limits."""
    members = {"limits": limits, "connected": set()}
    return type("LimitedProtocol", (BoundedProtocol,), members)


class _Http(h11.Connection):
    """HTTP of one connection; refuses bodies of very many very small chunks."""

    has_tiny_chunks = False

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self._chunks = self._in_chunks = 0

    def next_event(self) -> Any:
        """The next event; raises ``h11.RemoteProtocolError`` also for tiny chunks."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._in_chunks = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._in_chunks += len(event.data)
            least = _LEAST_PER_CHUNK * (self._chunks - _FREE_CHUNKS)
            if self._in_chunks < least:
                self.has_tiny_chunks = True
                raise h11.RemoteProtocolError("tiny chunks")
        return event


class BoundedProtocol(H11Protocol):
    """One connection."""

    limits = Limits()
    connected: ClassVar[set[BoundedProtocol]] = set()
    """Connections of the server whose socket is open, also those that are being closed."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = self._http = _Http()
        self._application, self.app = self.app, self._run
        self._is_lingering = self._is_ended = False
        self._linger_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_head = False
        self._reader_timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._waiting_since = time.monotonic()

    # -- from the transport ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or refuse it when there are too many."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.connected.add(self)
        self._await_head()
        if len(self.connections) > self.limits.connections and not self.make_room(self):
            self._refuse(
                Dp3dError(
                    "server.busy",
                    f"The server has {self.limits.connections} open connections.",
                    "Close some, or try again in some seconds.",
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self.connected.discard(self)
        self._set_timer(None)
        self._reader_moves()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the phase they belong to decides how long may pass until the next."""
        if self.transport.is_closing():  # refused: what still comes is not read
            return
        if self._is_lingering:
            self._throw_away(len(data))
            return
        self._received += len(data)
        if self._timer is None and self.conn.their_state is h11.IDLE:
            self._await_head()
        super().data_received(data)
        self._follow_phase()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waiting_since = time.monotonic()
        if self._is_lingering:  # there is no next one
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        self._follow_phase()

    def pause_writing(self) -> None:
        """Start to wait for a client that does not read."""
        super().pause_writing()
        if self._reader_timer is None:
            self._reader_timer = self.loop.call_later(self.limits.silence_s, self._end)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._reader_moves()

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
        except asyncio.CancelledError:  # the server stops and has waited long enough
            self._refuse(
                Dp3dError(
                    "server.busy",
                    "The server was stopped before the request was answered.",
                    "Send the request again when it is started.",
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
        elif phase is not h11.IDLE:  # the request is complete; a head may take what it had left
            self._set_timer(None)

    def _await_head(self) -> None:
        self._set_timer(self.loop.call_later(self.limits.header_s, self._head_is_late), True)

    def _await_body(self) -> None:
        received = self._received
        self._set_timer(
            self.loop.call_later(self.limits.silence_s, self._look_at_body, received), False
        )

    def _head_is_late(self) -> None:
        self._set_timer(None)
        self._refuse(
            _late(f"The head of the request was not complete in {self.limits.header_s:g} s.")
        )

    def _look_at_body(self, received: int) -> None:
        self._set_timer(None)
        if self.conn.their_state is not h11.SEND_BODY:
            return
        enough = self._received - received >= _LEAST_PER_S * self.limits.silence_s
        if enough or self.flow.read_paused:  # paused: it is we who do not read
            self._await_body()
        else:
            self._refuse(_late("The body of the request arrives too slowly."))

    def _set_timer(self, timer: asyncio.TimerHandle | None, is_for_head: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_is_for_head = timer, is_for_head

    def _reader_moves(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    # -- ends ------------------------------------------------------------------------------

    @classmethod
    def make_room(cls, newcomer: BoundedProtocol | None = None, before: float = inf) -> bool:
        """End the connection that has waited longest without a request.

        Args:
            newcomer: the one that room is made for.
            before: only one that waits since before this time (monotonic, seconds) is ended.

        Returns:
            whether one was ended.

        """
        waiting = [c for c in cls.connected if c is not newcomer and c._is_waiting()]
        oldest = min(waiting, key=lambda c: c._waiting_since, default=None)
        if oldest is None or oldest._waiting_since >= before:
            return False
        oldest._end()
        return True

    def _is_waiting(self) -> bool:
        """Whether nobody who has the token loses an answer when the connection is closed."""
        if self._is_ended:
            return False
        if not self._has_token():
            return True
        if self._is_lingering or self.transport.is_closing():  # time for the answer to arrive
            return time.monotonic() - self._waiting_since > _QUIET_S
        return bool(self.cycle.response_complete)

    def _has_token(self) -> bool:
        return self.cycle is not None and bool(self.scope.get("state", {}).get(HAS_TOKEN))

    def _end(self) -> None:
        """Close at once, whatever waits to be sent."""
        self._is_ended = True
        self.connections.discard(self)
        self.transport.abort()

    def linger(self) -> None:
        """Close when the client has stopped to send: a close before would cost it the answer."""
        if self._is_lingering or self.transport.is_closing():
            return
        self._is_lingering = True
        self._waiting_since = time.monotonic()
        # Who has the token may take as long to send as for a body that is read.
        self._linger_until = inf if self._has_token() else time.monotonic() + self.limits.silence_s
        self.connections.discard(self)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._set_timer(self.loop.call_later(_QUIET_S, self._close))

    def _throw_away(self, size: int) -> None:
        if time.monotonic() > self._linger_until:
            self._end()
            return
        self._set_timer(self.loop.call_later(_QUIET_S, self._close))
        if size < _SMALL_READ:  # what trickles is read at intervals
            self.flow.pause_reading()
            self.loop.call_later(_SMALL_READ_PAUSE_S, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _close(self) -> None:
        self._set_timer(None)
        self.transport.close()
        # A client that does not read would keep even a closed connection open.
        self.loop.call_later(self.limits.header_s, self.transport.abort)

    def _refuse(self, error: Dp3dError, status: int | None = None) -> None:
        """Answer a request that was not understood or not finished, and close."""
        if self._is_lingering or self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            self.transport.write(self._answer(error, status))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application learns that nobody is there
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
        """Answer what is no HTTP, or a body in tiny chunks."""
        if self._http.has_tiny_chunks:
            self._refuse(
                bad_request(
                    f"The chunks of the body have fewer than {_LEAST_PER_CHUNK} bytes on average.",
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
    """What an answer is written to when the body of its request is not read: its close waits."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """Close later where the body is still coming."""
        if self._protocol._has_unread_body():
            self._protocol.linger()
        else:
            self._protocol.transport.close()


def _late(problem: str) -> Dp3dError:
    return Dp3dError("server.timeout", problem, "Send the request again over a faster connection.")
