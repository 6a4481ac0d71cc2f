"""Artifacts over HTTP: upload, ranges, validation by hash, deletion."""

from __future__ import annotations

import hashlib

import pytest

from dp3d_core.errors import Dp3dError
from tests.server.web.conftest import problem, raw


def test_put_head_get(shared_server):
    data = b"some bytes" * 300_000
    path = "/v1/artifacts/" + hashlib.sha256(data).hexdigest()
    assert raw(shared_server, "HEAD", path).status_code == 404
    first = raw(shared_server, "PUT", path, content=data)
    assert (first.status_code, first.json()) == (
        201,
        {"sha256": path.rpartition("/")[2], "size": len(data)},
    )
    again = raw(shared_server, "PUT", path, content=data)
    assert (again.status_code, again.json()) == (200, first.json())
    assert raw(shared_server, "HEAD", path).status_code == 200
    back = raw(shared_server, "GET", path)
    assert back.content == data
    assert back.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def ten_bytes(client):
    return "/v1/artifacts/" + client.put_bytes(b"0123456789")


@pytest.mark.parametrize(
    ("header", "body"),
    [("bytes=0-3", b"0123"), ("bytes=8-", b"89"), ("bytes=-2", b"89"), ("bytes=-99", b"0123456789"),
     ("bytes=5-99", b"56789"), ("bytes=0-1,3-4", None)],
)  # fmt: skip
def test_a_range(shared_server, ten_bytes, header, body):
    response = raw(shared_server, "GET", ten_bytes, headers={"Range": header})
    assert response.status_code == (200 if body is None else 206)
    assert response.content == (body or b"0123456789")


@pytest.mark.parametrize(
    "header",
    ["", "x", "bytes", "bytes=", "bytes=x-", "bytes=-", "bytes=-0", "bytes=10-", "bytes=5-2", "lines=1-2",
     "bytes=+1-2", "bytes=1-2-3", "bytes=" + 30 * "9" + "-", "bytes=0x1-", "bytes 0-1"],
)  # fmt: skip
def test_invalid_ranges_are_refused(shared_server, ten_bytes, header):
    response = raw(shared_server, "GET", ten_bytes, headers={"Range": header})
    assert problem(response) == (416, "artifact.bad_range")
    assert response.headers["content-range"] == "bytes */10"
    tag = {"Range": header, "If-Range": '"another"'}
    assert raw(shared_server, "GET", ten_bytes, headers=tag).status_code == 200


def test_a_cached_artifact_is_not_sent_again(shared_server, ten_bytes):
    tag = raw(shared_server, "GET", ten_bytes).headers["etag"]
    for header in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        response = raw(shared_server, "GET", ten_bytes, headers={"If-None-Match": header})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    for header in ("", '"x"', tag[1:-1], "**"):
        response = raw(shared_server, "GET", ten_bytes, headers={"If-None-Match": header})
        assert response.status_code == 200


def test_an_unused_artifact_is_deleted(client):
    sha256 = client.put_bytes(b"to be deleted")
    client.delete_artifact(sha256)
    for call in (client.get_bytes, client.delete_artifact):
        with pytest.raises(Dp3dError) as caught:
            call(sha256)
        assert caught.value.code == "artifact.not_found"


def test_empty_file(client):
    assert client.get_bytes(client.put_bytes(b"")) == b""


def test_wrong_hash_is_refused_and_leaves_nothing(shared_server):
    path = "/v1/artifacts/" + hashlib.sha256(b"right").hexdigest()
    response = raw(shared_server, "PUT", path, content=b"wrong")
    assert problem(response) == (422, "artifact.hash_mismatch")
    assert raw(shared_server, "HEAD", path).status_code == 404
    assert not list((shared_server.data / "artifacts" / "incoming").iterdir())


@pytest.mark.parametrize("declared", [True, False])
def test_too_large(shared_server, declared):
    path = "/v1/artifacts/" + 64 * "a"
    chunk = bytes(1024 * 1024)

    def chunks():
        for _ in range(65):
            yield chunk

    content = chunk * 65 if declared else chunks()
    response = raw(shared_server, "PUT", path, content=content)
    assert problem(response) == (413, "artifact.too_large")
    assert not list((shared_server.data / "artifacts" / "incoming").iterdir())


@pytest.mark.parametrize("name", ["abc", "A" * 64, "..%2f..%2fjobs.sqlite", "0" * 63 + "g"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_invalid_hash_is_not_found(shared_server, method, name):
    assert raw(shared_server, method, f"/v1/artifacts/{name}").status_code == 404
