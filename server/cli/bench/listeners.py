"""Many listeners of event streams in a process of their own: ``python -m ... URL TOKEN JOBS N``.

Counts what each hears and says at the end whether everybody heard every event once and in order.
"""

from __future__ import annotations

import asyncio
import json
import sys


async def main(url: str, token: str, job_ids: list[str], count: int) -> None:
    """Listen until standard input ends; then print one line of JSON."""
    heard: list[tuple[str, list[int]]] = []
    host, port = url.removeprefix("http://").split(":")
    tasks = []
    for i in range(count):
        ids: list[int] = []
        heard.append((job_ids[i % len(job_ids)], ids))
        tasks.append(asyncio.create_task(_listen(host, int(port), token, heard[-1][0], ids)))
    while not all(ids for _, ids in heard):  # each has its first event: the streams stand
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(summary(heard)), flush=True)


def summary(heard: list[tuple[str, list[int]]]) -> dict[str, int]:
    """Listeners, events, and how many listeners lack one, had one twice or out of order."""
    faulty = 0
    for job_id, ids in heard:
        # Streams were cut off at different events: one is compared up to its own end.
        longest = max((other for job, other in heard if job == job_id), key=len)
        faulty += ids != longest[: len(ids)] or ids != sorted(set(ids))
    return {
        "listeners": len(heard),
        "events": sum(len(ids) for _, ids in heard),
        "faulty": faulty,
    }


async def _listen(host: str, port: int, token: str, job_id: str, ids: list[int]) -> None:
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
