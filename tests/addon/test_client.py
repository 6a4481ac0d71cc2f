# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the real server, and against what else may answer at an address."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.addon.odd_server import HEALTH, OddServer, document
from tests.addon.support import TOKEN, free_port


@pytest.fixture
def client(addon):
    module = addon("link.client")

    def make(url: str, token: str = TOKEN, online: bool = False):
        return module.Client(module.Server(url, token, "a test", online))

    return make


@pytest.fixture
def failure(addon):
    """Code and sentence of a call that must fail."""

    def call(work, *args):
        with pytest.raises(addon("link.errors").AddonError) as caught:
            work(*args)
        error = caught.value
        assert error.problem.endswith(".")
        assert error.remedy.endswith(".")
        return error.code

    return call


# -- the handshake has a sentence for everything ---------------------------------------------


def test_handshake_with_the_real_server(client, server) -> None:
    health = client(server.url).handshake()
    assert health["product"] == "dp3d"
    engines = client(server.url).engines()
    assert "preview" in [e["name"] for e in engines]


def test_no_server(client, failure) -> None:
    assert failure(client(f"http://127.0.0.1:{free_port()}").handshake) == "server.unreachable"


@pytest.mark.parametrize("token", ["wrong", "", "gr\u00fcn", "line\nbreak"])
def test_wrong_token(client, failure, server, token: str) -> None:
    other = client(server.url, token)
    other.handshake()
    assert failure(other.engines) == "server.unauthorized"


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, b"nothing here"),
        (200, {"Content-Type": "text/html"}, b"<html>a router</html>"),
        document({"product": "something else", "api": 1}),
        document(["a", "list"]),
        (500, {}, b""),
        (401, {"WWW-Authenticate": "Basic"}, b""),
        (302, {"Location": "http://127.0.0.1:9/"}, b""),
    ],
    ids=["404", "html", "product", "list", "500", "401", "redirect"],
)
def test_wrong_service(client, failure, answer) -> None:
    with OddServer(lambda *_: answer) as odd:
        assert failure(client(odd.url).handshake) == "server.not_ours"


def test_not_even_http(client, failure) -> None:
    with OddServer(lambda *_: b"SSH-2.0-OpenSSH_9.9\r\n") as odd:
        assert failure(client(odd.url).handshake) == "server.unreachable"


@pytest.mark.parametrize("api", [0, 2, None, "1"])
def test_wrong_version(client, failure, api) -> None:
    with OddServer(lambda *_: document({"product": "dp3d", "api": api})) as odd:
        assert failure(client(odd.url).handshake) == "server.version_mismatch"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "file:///etc/passwd", "ftp://127.0.0.1", "http://:80", "http://127.0.0.1:x"],
)
def test_bad_address(client, failure, url: str) -> None:
    assert failure(client(url).handshake) == "addon.bad_url"


def test_other_computers_need_blenders_online_access(client, failure) -> None:
    # 192.0.2.0/24 is set aside for documentation: nobody answers there
    assert failure(client("http://192.0.2.1:8765").handshake) == "addon.online_access_off"


# -- what goes over the wire --------------------------------------------------------------------


def test_token_goes_to_the_server_only(client, failure) -> None:
    with OddServer(lambda *_: document({"engines": []})) as thief:

        def answer(method, path, headers):
            if path == "/v1/health":
                return HEALTH
            return 307, {"Location": thief.url + path}, b""

        with OddServer(answer) as odd:
            client(odd.url).handshake()
            assert "Authorization" not in odd.asked[0][2]
            assert failure(client(odd.url).engines) == "server.not_ours"
            assert odd.asked[-1][2]["Authorization"] == f"Bearer {TOKEN}"
        assert thief.asked == []


def test_no_proxy_between(client, monkeypatch, server) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert client(server.url).handshake()["product"] == "dp3d"


def test_artifacts_both_ways(client, failure, server, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    c = client(server.url)
    c.upload(tmp_path / "x", sha)
    c.upload(tmp_path / "x", sha)  # there already: only asked for
    assert c.download(sha) == data
    assert failure(c.upload, tmp_path / "x", "0" * 64) == "artifact.hash_mismatch"
    assert failure(c.download, "1" * 64) == "artifact.not_found"
    assert failure(c.tree, sha) == "server.not_ours"
    assert failure(c.job, "no-such-job") == "job.not_found"


def test_damaged_download(client, failure) -> None:
    with OddServer(lambda *_: (200, {}, b"not what was asked for")) as odd:
        assert failure(client(odd.url).download, "0" * 64) == "artifact.hash_mismatch"


def test_cut_off_download(client, failure) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"
    with OddServer(lambda *_: cut) as odd:
        assert failure(client(odd.url).download, "0" * 64) == "server.unreachable"


def test_the_servers_own_sentences_are_shown(client, addon) -> None:
    body = {"code": "camera.invalid", "problem": "A camera is bad.", "remedy": "Mend it."}
    answer = (422, {}, json.dumps(body).encode())
    with (
        OddServer(lambda *_: answer) as odd,
        pytest.raises(addon("link.errors").AddonError) as caught,
    ):
        client(odd.url).create_job("views", {})
    assert str(caught.value) == "A camera is bad. Mend it. [camera.invalid]"
