"""The socket that the server listens on."""

from __future__ import annotations

import socket

from server.serving.serve import _listen


def test_the_listener_allows_tcp_nodelay():
    """asyncio sets TCP_NODELAY only on a socket with this protocol; else an answer takes 40 ms."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
