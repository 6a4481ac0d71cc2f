# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP service that misbehaves on request: what the client may meet in the world."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


def document(body: Any, status: int = 200) -> Answer:
    """An answer with a JSON body."""
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


HEALTH = document({"product": "dp3d", "api": 1, "version": "0.1.0", "worker": "idle"})


class OddServer:
    """Answers by a function from (method, path, headers); keeps what it was asked."""

    def __init__(self, answer: Callable[[str, str, Any], Answer | bytes]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if length:
                    self.rfile.read(length)
                outer.asked.append((self.command, self.path, dict(self.headers)))
                response = answer(self.command, self.path, self.headers)
                if isinstance(response, bytes):  # raw bytes on the wire, then the connection is cut
                    self.wfile.write(response)
                    self.close_connection = True
                    return
                status, headers, body = response
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self) -> OddServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
