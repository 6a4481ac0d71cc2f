"""Connections: streams that live, clients that hang up, services that are not ours."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading

import httpx
import pytest

from dp3d_core.errors import Dp3dError
from server.client import Client, parse_events
from tests.server.conftest import TOKEN, small_views, wait_until


def test_a_silent_stream_says_that_it_lives(server_process, photo):
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
                        if line.startswith(":"):
                            beats.append(line)
                        if len(beats) == 3:
                            ready.set()
                            return

            threading.Thread(target=listen, daemon=True).start()
            assert ready.wait(30)
        finally:
            os.kill(pid, signal.SIGCONT)
        client.wait(job["id"])


def test_client_names_the_wrong_service(tmp_path):
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with Client(f"http://127.0.0.1:{other.server_port}", "t") as client:
            with pytest.raises(Dp3dError) as caught:
                client.health()
            assert caught.value.code == "server.not_ours"
    finally:
        other.shutdown()


def test_client_says_when_nobody_answers():
    with Client("http://127.0.0.1:9", "t") as client, pytest.raises(Dp3dError) as caught:
        client.health()
    assert caught.value.code == "server.unreachable"


def test_a_client_that_hangs_up_leaves_nothing(shared_server, client):
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


def test_event_streams_are_read_with_comments_and_colons():
    lines = [": hello", "", "id: 3", "event: state", 'data: {"a": "b: c"}', "", ": beat", ""]
    (event,) = parse_events(iter(lines))
    assert (event.id, event.event, event.data) == (3, "state", {"a": "b: c"})


def test_a_folder_travels_both_ways(client, tmp_path):
    source = tmp_path / "source"
    (source / "frames").mkdir(parents=True)
    (source / "frames" / "0000.png").write_bytes(b"frame")
    (source / "meta.json").write_bytes(b"{}")
    back = client.get_tree(client.put_tree(source), tmp_path / "back")
    assert (back / "frames" / "0000.png").read_bytes() == b"frame"


def test_a_damaged_view_set_fails_its_job_with_a_reason(client, tmp_path):
    for name in ("cameras.json", "meta.json"):
        (tmp_path / name).write_text("hello")
    job = client.create_job("fit", views=client.put_tree(tmp_path))
    with pytest.raises(Dp3dError) as caught:
        client.wait(job["id"])
    assert caught.value.code == "viewset.invalid"
