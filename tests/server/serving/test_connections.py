"""Connections: heartbeats, disconnected clients, a locked database, a stop, reconnects."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time

import httpx
import pytest

from dp3d_core.errors import Dp3dError
from tests.server.conftest import TOKEN, small_views, wait_until


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")
def test_a_silent_stream_sends_heartbeats(server_process, photo):
    with server_process.client() as client:
        portrait = client.put_file(photo)
        wait_until(lambda: client.health()["worker"] == "idle")
        pid = server_process.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            job = client.create_job("views", **small_views(portrait))
            beats: list[str] = []
            ready = threading.Event()

            def listen():
                with httpx.stream(
                    "GET",
                    f"{server_process.url}/v1/jobs/{job['id']}/events",
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    timeout=30,
                ) as response:
                    for line in response.iter_lines():
                        # a comment, or the last progress again
                        if line.startswith((":", "data:")):
                            beats.append(line)
                        if len(beats) == 5:
                            ready.set()
                            return

            threading.Thread(target=listen, daemon=True).start()
            assert ready.wait(30)
        finally:
            os.kill(pid, signal.SIGCONT)
        client.wait(job["id"])


def test_a_disconnected_upload_leaves_no_file(shared_server, client):
    host, port = shared_server.url.removeprefix("http://").split(":")
    incoming = shared_server.data / "artifacts" / "incoming"
    with socket.create_connection((host, int(port))) as connection:
        head = [
            f"PUT /v1/artifacts/{64 * 'b'} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Authorization: Bearer {TOKEN}",
            "Content-Length: 5000000",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + bytes(2_000_000))
        wait_until(lambda: list(incoming.iterdir()))
    wait_until(lambda: not list(incoming.iterdir()))
    log = (shared_server.folder / "server.log").read_text()
    assert "Traceback" not in log
    assert client.health()["product"] == "dp3d"


def test_a_damaged_view_set_fails_its_job_with_a_reason(client, tmp_path):
    for name in ("cameras.json", "meta.json"):
        (tmp_path / name).write_text("hello")
    job = client.create_job("fit", views=client.put_tree(tmp_path))
    with pytest.raises(Dp3dError) as caught:
        client.wait(job["id"])
    assert caught.value.code == "viewset.invalid"


def test_a_locked_database_does_not_block_artifacts(server_process, photo):
    """Forty new jobs wait for the database and fill all threads for jobs."""
    with server_process.client() as client, contextlib.ExitStack() as waiting:
        portrait = client.put_file(photo)
        wait_until(lambda: client.health()["worker"] == "idle")
        lock_holder = waiting.enter_context(
            contextlib.closing(
                sqlite3.connect(server_process.data / "jobs.sqlite", isolation_level=None)
            )
        )
        lock_holder.execute("BEGIN IMMEDIATE")
        host, port = server_process.url.removeprefix("http://").split(":")
        for seed in range(40):
            params = small_views(portrait, seed=seed)
            body = json.dumps({"kind": "views", "params": params}).encode()
            lines = [
                *("POST /v1/jobs HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {TOKEN}"),
                *(f"Content-Length: {len(body)}", "", ""),
            ]
            connection = waiting.enter_context(socket.create_connection((host, int(port))))
            connection.sendall("\r\n".join(lines).encode() + body)
        time.sleep(1)  # until the requests are parsed
        began = time.monotonic()
        client.put_bytes(b"meanwhile")
        assert client.get_bytes(portrait) == photo.read_bytes()
        assert client.health()["product"] == "dp3d"
        assert time.monotonic() - began < 2.0, "the artifacts waited for the database"


def test_a_stop_ends_a_long_request_without_a_traceback(server_process):
    host, port = server_process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        lines = ["POST /v1/jobs HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {TOKEN}"]
        connection.sendall("\r\n".join([*lines, "Content-Length: 100000", "", ""]).encode() + b"{")
        time.sleep(0.5)
        assert server_process.stop() == 0
        assert b"503 " in connection.recv(65536).partition(b"\r\n")[0]
    assert "Traceback" not in (server_process.folder / "server.log").read_text()


def event_ids(url, job_id, last, limit):
    """Ids of up to ``limit`` events after ``last``, and whether the stream ended."""
    ids = []
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": str(last)} if last else {})
    with httpx.stream(
        "GET", f"{url}/v1/jobs/{job_id}/events", headers=headers, timeout=30
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("id: "):
                ids.append(int(line[4:]))
                if len(ids) == limit:
                    return ids, False
    return ids, True


def test_a_reconnecting_client_gets_every_event_once(shared_server, client, photo):
    job = client.create_job("views", **small_views(client.put_file(photo), views=12), fresh=True)
    received, is_over = [], False
    while not is_over:
        last = received[-1] if received else 0
        ids, is_over = event_ids(shared_server.url, job["id"], last, limit=3)
        received += ids
    assert received == [event.id for event in client.events(job["id"])]
    assert received == sorted(set(received))
