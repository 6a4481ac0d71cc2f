"""The socket that the server listens on."""

from __future__ import annotations

import socket

from server.serving.serve import _listen


def test_small_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY only where the protocol is named; 40 ms per answer otherwise."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
