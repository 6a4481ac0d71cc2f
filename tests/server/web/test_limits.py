"""Time-outs, bounds and TLS of a real server with small limits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

from server.client import Client
from tests.server.conftest import TOKEN, small_views, wait_until
from tests.server.serving.test_exposure import certificate  # noqa: F401 - a fixture
from tests.server.web.conftest import problem

START = """
import json, sys
from pathlib import Path
from server.serving.serve import serve
from server.settings import Exposure, Limits, Settings

options = json.loads(sys.argv[1])
if files := options.pop("files", 0):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
exposure = options.pop("exposure", {})
for name in ("tls_cert", "tls_key"):
    if name in exposure:
        exposure[name] = Path(exposure[name])
serve(
    Settings(
        Path(options.pop("data")), options.pop("token"), port=0, exposure=Exposure(**exposure),
        limits=Limits(**options),
    ),
    lambda url: print(url, flush=True),
)
"""


@contextlib.contextmanager
def server(folder, **options):
    """Start a server and yield its URL.

    Args:
        folder: for its data, its log and the file ``pid``.
        options: limits, ``exposure``, and ``files``, the limit of open files.

    """
    options |= {"data": str(folder / "data"), "token": TOKEN}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"DP3D_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        )
    (folder / "pid").write_text(str(process.pid))
    try:
        line = process.stdout.readline().strip()
        assert line, (folder / "server.log").read_text()
        yield line
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert "Traceback" not in (folder / "server.log").read_text()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    limits = {
        **{"header_s": 1.0, "silence_s": 1.5, "connections": 30, "streams": 2},
        **{"queued_jobs": 3, "stored": 40 * 2**20},
    }
    with server(tmp_path_factory.mktemp("small"), **limits) as url:
        yield url


def connect(url, *lines, body=b""):
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = [*lines, f"Host: {host}", f"Authorization: Bearer {TOKEN}"]
    connection.sendall("\r\n".join(head).encode() + body)
    return connection


def answer(connection):
    """Status and body of the answer after which the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    connection.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else (0, {})


def health(url):
    return httpx.get(url + "/v1/health", timeout=30).status_code


PUT = f"PUT /v1/artifacts/{64 * 'a'} HTTP/1.1"


def test_a_partial_head_times_out(small):
    connections = [connect(small, "GET /v1/jobs HTTP/1.1") for _ in range(10)]
    answers = [answer(connection) for connection in connections]
    assert [(status, body["code"]) for status, body in answers] == [(408, "server.timeout")] * 10


def test_a_trickling_head_times_out(small):
    connection = connect(small, "GET /v1/jobs HTTP/1.1")
    with contextlib.suppress(OSError):
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.05)
            if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                break
    assert answer(connection)[0] == 408


@pytest.mark.parametrize("line", [PUT, "POST /v1/jobs HTTP/1.1"])
def test_a_partial_body_times_out(small, line):
    connection = connect(small, line, "Content-Length: 100000", body=b"\r\n\r\nabc")
    status, body = answer(connection)
    assert (status, body["code"]) == (408, "server.timeout")


def test_a_slow_steady_body_is_accepted(small):
    data = os.urandom(60_000)
    sha256 = hashlib.sha256(data).hexdigest()

    def chunks():
        for start in range(0, len(data), 5000):
            time.sleep(0.2)
            yield data[start : start + 5000]

    response = httpx.put(
        f"{small}/v1/artifacts/{sha256}",
        content=chunks(),
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
    )
    assert response.status_code == 201


def test_a_client_that_does_not_read_is_disconnected(small):
    with Client(small, TOKEN) as client:
        sha256 = client.put_bytes(os.urandom(16 * 2**20))
    connection = connect(small, f"GET /v1/artifacts/{sha256} HTTP/1.1", body=b"\r\n\r\n")
    time.sleep(4)  # longer than a reader may be silent, with time to spare
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(2**20):
            received += len(chunk)
    assert received < 16 * 2**20


def test_idle_connections_are_closed_for_new_requests(small):
    waiting = [connect(small, "GET /v1/jobs HTTP/1.1") for _ in range(60)]
    assert health(small) == 200
    for connection in waiting:
        connection.close()
    wait_until(lambda: health(small) == 200)


def test_busy_connections_beyond_the_limit_are_refused(small):
    line = ("Content-Length: 100000",)
    working = [connect(small, PUT, *line, body=b"\r\n\r\nabc") for _ in range(35)]
    statuses = sorted(answer(connection)[0] for connection in working)
    assert set(statuses) <= {0, 408, 503}
    assert statuses.count(408) <= 30
    wait_until(lambda: health(small) == 200)


def test_requests_that_are_not_http_get_a_problem(small):
    for text in (
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000,
        b"\x16\x03\x01\r\n\r\n",
    ):
        host, port = small.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=30)
        with contextlib.suppress(ConnectionError):
            connection.sendall(text)
        status, body = answer(connection)
        assert (status, body["code"], body["status"]) == (400, "server.bad_request", 400)


def test_streams_are_bounded_and_so_is_the_queue(small, photo):
    with Client(small, TOKEN) as client:
        portrait = client.put_file(photo)
        params = small_views(portrait, views=300)
        params["cameras"]["size"] = 512
        jobs = [client.create_job("views", fresh=True, **params)]
        wait_until(lambda: client.job(jobs[0]["id"])["state"] == "running")
        jobs += [client.create_job("views", fresh=True, **params) for _ in range(3)]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {"kind": "views", "params": params, "fresh": True}
        response = httpx.post(f"{small}/v1/jobs", json=body, headers=headers, timeout=30)
        assert problem(response) == (429, "job.queue_full")
        assert response.headers["retry-after"]
        body["fresh"] = False  # an identical job exists: nothing is queued
        response = httpx.post(f"{small}/v1/jobs", json=body, headers=headers, timeout=30)
        assert response.status_code == 200

        streams = [client.events(jobs[0]["id"]) for _ in range(2)]
        for stream in streams:
            next(stream)
        url = f"{small}/v1/jobs/{jobs[0]['id']}/events"
        response = httpx.get(url, headers=headers, timeout=30)
        assert problem(response) == (503, "server.busy")
        assert httpx.head(url, headers=headers, timeout=30).status_code == 200
        for stream in streams:
            stream.close()
        wait_until(lambda: stream_opens(url, headers))
        for job in reversed(jobs):
            client.cancel(job["id"])


def stream_opens(url, headers):
    with httpx.stream("GET", url, headers=headers, timeout=30) as response:
        return response.status_code == 200


def test_the_quota_refuses_uploads_and_jobs(small, photo):
    with Client(small, TOKEN) as client:
        portrait = client.put_file(photo)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    data = os.urandom(30 * 2**20)
    for declared in (True, False):
        content = data if declared else iter([data[: 2**20]] * 30)
        response = httpx.put(
            f"{small}/v1/artifacts/{hashlib.sha256(data).hexdigest()}",
            content=content,
            headers=headers,
            timeout=60,
        )
        assert problem(response) == (507, "storage.quota")
    del data
    assert portrait


def test_tls_works_and_proxy_headers_are_ignored(tmp_path, certificate):  # noqa: F811
    cert, key = certificate
    exposure = {
        **{"tls_cert": str(cert), "tls_key": str(key), "behind_proxy": "127.0.0.1"},
        "hosts": ["head.example.org"],
    }
    with server(tmp_path, exposure=exposure) as url:
        assert url.startswith("https://")
        with Client(url, TOKEN, certificate=cert) as client:
            assert client.jobs() == []
            for host, status in (("head.example.org", 200), ("evil.example.org", 421)):
                headers = {"Host": host, "X-Forwarded-Host": "head.example.org"}
                response = client._http.get("/v1/jobs", headers=headers)
                assert response.status_code == status


def test_only_the_proxy_may_connect(tmp_path):
    with server(tmp_path, exposure={"behind_proxy": "10.0.0.1"}) as url:
        headers = {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1"}
        response = httpx.get(url + "/v1/health", headers=headers, timeout=30)
        assert problem(response) == (403, "server.not_protected")
