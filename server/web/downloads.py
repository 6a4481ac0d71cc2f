"""Sends a stored file, or a part of it, from a handle: what is removed meanwhile arrives whole."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from email.utils import formatdate
from typing import IO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CHUNK = 64 * 1024
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")


def parse_range(header: str, size: int) -> range | None:
    """Positions of the bytes that a ``Range`` header names; None where it names none of ``size``.

    Args:
        header: with one range.
        size: bytes of the file.

    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = (int(text) if text else None for text in match.groups())
    if first is None:
        part = range(max(size - (suffix or 0), 0), size)
    else:
        part = range(first, size if last is None else min(last + 1, size))
    return part if part else None


class OpenFileResponse(Response):
    """The bytes of an open file, which is closed afterwards.

    Args:
        file: opened for reading.
        part: positions of the bytes that are sent; None for the whole file.
        headers: of the answer, besides those of length and range.
        threads: where the file is read.

    """

    def __init__(
        self, file: IO[bytes], part: range | None, headers: Mapping[str, str], threads: Executor
    ) -> None:
        status = os.fstat(file.fileno())
        self._file, self._threads = file, threads
        self._part = range(status.st_size) if part is None else part
        super().__init__(
            status_code=200 if part is None else 206,
            headers={
                "Accept-Ranges": "bytes",
                "Last-Modified": formatdate(status.st_mtime, usegmt=True),
                **headers,
            },
            media_type="application/octet-stream",
        )
        self.headers["Content-Length"] = str(len(self._part))
        if part is not None:
            self.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{status.st_size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or as much as the client waits for."""
        gone = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            left = 0 if scope["method"] == "HEAD" else len(self._part)
            at = self._part.start
            while left and not gone.done():
                chunk = await self._read(at, min(_CHUNK, left))
                if not chunk:  # shortened by another program: the client sees that it is not whole
                    return
                at, left = at + len(chunk), left - len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not left:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._file.close()

    async def _read(self, at: int, size: int) -> bytes:
        def read() -> bytes:
            self._file.seek(at)
            return self._file.read(size)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
