"""Sends an open file, or a range of its bytes; removal of the file meanwhile does no harm."""

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
"""Bytes that are read and sent at once."""
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")
"""Value of a ``Range`` header with one range."""


def parse_range(header: str, size: int) -> range | None:
    """Byte positions of a ``Range`` header; None when it is invalid or names no byte of the file.

    Args:
        header: value of the header, with one range.
        size: of the file, bytes.

    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = (int(text) if text else None for text in match.groups())
    if first is None:
        positions = range(max(size - (suffix or 0), 0), size)
    else:
        positions = range(first, size if last is None else min(last + 1, size))
    return positions if positions else None


class OpenFileResponse(Response):
    """Sends the bytes of an open file and closes it.

    Args:
        file: open for reading.
        part: byte positions to send; None for the whole file.
        headers: of the answer; length and range are added.
        threads: executor that reads the file.

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
        """Send the bytes until the client disconnects."""
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            remaining = 0 if scope["method"] == "HEAD" else len(self._part)
            position = self._part.start
            while remaining and not disconnect.done():
                chunk = await self._read(position, min(_CHUNK, remaining))
                if not chunk:  # the file was shortened: the client notices by Content-Length
                    return
                position, remaining = position + len(chunk), remaining - len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not remaining:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnect.cancel()
            self._file.close()

    async def _read(self, position: int, size: int) -> bytes:
        def read() -> bytes:
            self._file.seek(position)
            return self._file.read(size)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
