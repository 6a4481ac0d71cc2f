"""Listens to many event streams: ``python -m server.cli.bench.listeners URL TOKEN JOBS N``.

At the end it prints the number of events, and of listeners that did not get every event once and
in order.
"""

from __future__ import annotations

import asyncio
import json
import sys


async def main(url: str, token: str, job_ids: list[str], count: int) -> None:
    """Listen until standard input ends; then print the summary as one line of JSON.

    Args:
        url: of the server.
        token: of the server.
        job_ids: jobs to follow, each by several listeners in turn.
        count: number of listeners.

    """
    received: list[tuple[str, list[int]]] = []
    host, port = url.removeprefix("http://").split(":")
    tasks = []
    for i in range(count):
        ids: list[int] = []
        received.append((job_ids[i % len(job_ids)], ids))
        tasks.append(asyncio.create_task(_listen(host, int(port), token, received[-1][0], ids)))
    while not all(ids for _, ids in received):  # until each stream has its first event
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(summary(received)), flush=True)


def summary(received: list[tuple[str, list[int]]]) -> dict[str, int]:
    """Numbers of listeners, of events, and of listeners with a lost, repeated or misplaced event.

    Args:
        received: job id and event ids of each listener.

    """
    faulty = 0
    for job_id, ids in received:
        # Streams end at different events: compare each with the start of the job's longest one.
        longest = max((other for job, other in received if job == job_id), key=len)
        faulty += ids != longest[: len(ids)] or ids != sorted(set(ids))
    return {
        "listeners": len(received),
        "events": sum(len(ids) for _, ids in received),
        "faulty": faulty,
    }


async def _listen(host: str, port: int, token: str, job_id: str, ids: list[int]) -> None:
    """Add the ids of a job's events to ``ids`` until the stream ends."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    try:
        while line := await reader.readline():
            if line.startswith(b"id: "):
                ids.append(int(line[4:]))
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])))
