"""The bound on connections before their handshake, and bodies that are discarded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
import time
from pathlib import Path

import httpx
import pytest

from server.serving.acceptor import Acceptor
from server.serving.connections import protocol_for
from server.settings import Limits
from tests.server.conftest import TOKEN
from tests.server.serving.test_exposure import certificate  # noqa: F401 - a fixture
from tests.server.web.test_limits import server

TIMEOUT_S = 5.0
"""Seconds for an answer; silent connections could block a server for 30 s."""


def address(url):
    host, port = url.partition("://")[2].split(":")
    return host, int(port)


def health(url):
    """Status of ``GET /v1/health`` within ``TIMEOUT_S``."""
    return httpx.get(url + "/v1/health", timeout=TIMEOUT_S, verify=False).status_code


def read_all(connection):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


@pytest.mark.skipif(os.name == "nt", reason="limits of files are of other systems")
@pytest.mark.parametrize("is_tls", [False, True])
def test_silent_connections_do_not_block_health(is_tls, tmp_path, request):
    limits = {"connections": 60, "header_s": 30.0, "files": 400}
    if is_tls:
        cert, key = request.getfixturevalue("certificate")
        limits["exposure"] = {"tls_cert": str(cert), "tls_key": str(key)}
    with server(tmp_path, **limits) as url, contextlib.ExitStack() as silent:
        for _ in range(600):
            silent.enter_context(socket.create_connection(address(url), timeout=TIMEOUT_S))
        assert [health(url) for _ in range(3)] == [200] * 3
    assert (tmp_path / "server.log").stat().st_size < 1000


def test_a_stalled_handshake_times_out(tmp_path, certificate):  # noqa: F811
    cert, key = certificate
    exposure = {"tls_cert": str(cert), "tls_key": str(key)}
    with server(tmp_path, exposure=exposure, header_s=1.0) as url:
        connection = socket.create_connection(address(url), timeout=10)
        connection.sendall(b"\x16\x03\x01\x02")
        assert read_all(connection) == b""


def test_tls_clients_without_a_shutdown_are_closed_for_others(tmp_path, certificate):  # noqa: F811
    cert, key = certificate
    exposure = {"tls_cert": str(cert), "tls_key": str(key)}
    context = ssl._create_unverified_context()
    with (
        server(tmp_path, exposure=exposure, header_s=60.0, connections=20) as url,
        contextlib.ExitStack() as connections,
    ):
        for _ in range(60):
            plain_socket = socket.create_connection(address(url), timeout=TIMEOUT_S)
            connection = connections.enter_context(context.wrap_socket(plain_socket))
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert health(url) == 200


def test_a_lack_of_file_descriptors_is_logged_once_and_retried(monkeypatch, caplog):
    monkeypatch.setattr("server.serving.acceptor._PAUSE_S", 0.05)

    async def main():
        loop, tries = asyncio.get_running_loop(), []

        async def accept(_listener):
            tries.append(time.monotonic())
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(loop, "sock_accept", accept)
        limits = Limits()
        acceptor = Acceptor(socket.socket(), lambda: None, protocol_for(limits), limits, None)
        acceptor.start()
        await asyncio.sleep(0.5)
        await acceptor.close()
        return len(tries)

    assert 2 <= asyncio.run(main()) <= 12
    assert [record.message for record in caplog.records] == [
        "no connection can be accepted just now (Too many open files)"
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with server(tmp_path_factory.mktemp("plain"), silence_s=6.0) as url:
        yield url


def send(url, line, *fields, body=b"", token=TOKEN):
    connection = socket.create_connection(address(url), timeout=30)
    head = [f"{line} HTTP/1.1", f"Authorization: Bearer {token}", *fields]
    if not any(field.startswith("Host:") for field in fields):
        head.append("Host: 127.0.0.1")
    with contextlib.suppress(ConnectionError):
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    return connection


HUGE = f"Content-Length: {100 * 2**20}"


@pytest.mark.parametrize(
    ("status", "line", "fields", "token"),
    [
        (401, "POST /v1/jobs", (HUGE,), "wrong"),
        (421, "POST /v1/jobs", (HUGE, "Host: evil.example"), TOKEN),
        (422, "POST /v1/jobs", (HUGE,), TOKEN),
        (413, f"PUT /v1/artifacts/{64 * 'a'}", (HUGE,), TOKEN),
        (404, f"PUT /v1/artifacts/{64 * 'x'}", (HUGE,), TOKEN),
        (404, "POST /v1/nowhere", (HUGE,), TOKEN),
        (405, "PATCH /v1/jobs", ("Transfer-Encoding: chunked",), TOKEN),
        (200, "GET /v1/health", (HUGE,), TOKEN),
    ],
)
def test_an_answer_before_the_end_of_the_body_closes_the_connection(
    plain, status, line, fields, token
):
    body = b"100\r\n" if "chunked" in fields[0] else bytes(100_000)
    began = time.monotonic()
    with send(plain, line, *fields, body=body, token=token) as connection:
        head = read_all(connection).partition(b"\r\n\r\n")[0].lower()
    assert time.monotonic() - began < TIMEOUT_S
    assert int(head.split()[1]) == status
    assert b"\r\nconnection: close" in head


def test_an_answer_after_the_body_keeps_the_connection(plain):
    connection = send(plain, "POST /v1/jobs", "Content-Length: 2", body=b"[]")
    head = connection.recv(65536)  # the body may come later
    assert head.startswith(b"HTTP/1.1 422 ")
    assert b"connection: close" not in head.lower()
    connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert b"HTTP/1.1 200 " in read_all(connection)
    connection.close()


def test_a_client_that_keeps_sending_after_the_answer_is_cut_off(plain):
    with send(plain, "POST /v1/jobs", HUGE, token="wrong") as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                connection.sendall(b"a")
                time.sleep(0.1)
        assert time.monotonic() - began < 12


def test_tiny_chunks_without_the_token_do_not_block_others(plain):
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            with (
                contextlib.suppress(OSError),
                send(plain, "POST /v1/jobs", "Transfer-Encoding: chunked", token="") as connection,
            ):
                while not stop.is_set():
                    connection.sendall(b"1\r\na\r\n" * 2000)

    threads = [threading.Thread(target=attack) for _ in range(15)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        assert [health(plain) for _ in range(3)] == [200] * 3
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("chunk", "count", "is_taken"),
    [(b"1\r\n \r\n", 3000, False), (b"1\r\n \r\n", 900, True), (b"200\r\n%b\r\n" % (512 * b" "), 3000, True)],
)  # fmt: skip
def test_many_tiny_chunks_are_refused_with_the_token_too(plain, chunk, count, is_taken):
    fields = ("Transfer-Encoding: chunked", "Connection: close")
    body = chunk * count + b"2\r\n[]\r\n0\r\n\r\n"
    with send(plain, "POST /v1/jobs", *fields, body=body) as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert (b"chunks of the body" in answer) is not is_taken


def test_requests_that_are_not_http_are_not_logged(tmp_path):
    with server(tmp_path) as url:
        for text in (
            b"GARBAGE\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ):
            with socket.create_connection(address(url), timeout=30) as connection:
                connection.sendall(text)
                assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert (tmp_path / "server.log").read_text() == ""


def test_stalled_uploads_take_little_memory(tmp_path):
    with server(tmp_path) as url:
        before = resident(tmp_path)
        with contextlib.ExitStack() as stalled:
            for number in range(150):
                line, body = f"PUT /v1/artifacts/{number:064x}", os.urandom(2**20 - 1)
                stalled.enter_context(send(url, line, "Content-Length: 2000000", body=body))
            time.sleep(1)
            assert resident(tmp_path) - before < 60 * 2**20


def resident(folder):
    """Resident memory of a server process, by its folder, bytes (Linux)."""
    process = Path("/proc", (folder / "pid").read_text())
    if not process.is_dir():
        pytest.skip("needs /proc")
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
