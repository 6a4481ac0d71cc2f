"""Token, Host header, addresses, methods and query parameters."""

from __future__ import annotations

import httpx
import pytest

from tests.server.conftest import TOKEN
from tests.server.web.conftest import problem, raw


def test_health_needs_no_token(shared_server):
    body = httpx.get(shared_server.url + "/v1/health").json()
    assert set(body) == {"product", "api", "version", "worker"}
    assert (body["product"], body["api"]) == ("dp3d", 1)
    assert body["worker"] in ("starting", "idle", "busy")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": ""}],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/engines"),
        ("PUT", "/v1/artifacts/" + 64 * "0"),
        ("GET", "/v1/nowhere"),
        ("GET", "/v1/health/"),
    ],
)
def test_all_other_routes_need_a_token(shared_server, method, path, headers):
    response = httpx.request(method, shared_server.url + path, headers=headers)
    assert problem(response) == (401, "server.unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:80", "127.0.0.1:80, evil.example", "", "[::2]"],
)
def test_a_foreign_host_name_is_refused(shared_server, host):
    response = raw(shared_server, "GET", "/v1/health", headers={"Host": host})
    assert problem(response) == (421, "server.wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8765"])
def test_loopback_names_are_accepted(shared_server, host):
    assert raw(shared_server, "GET", "/v1/jobs", headers={"Host": host}).status_code == 200


def test_no_cors_headers_are_sent(shared_server):
    response = raw(shared_server, "OPTIONS", "/v1/jobs", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_unknown_addresses_and_methods_are_refused(shared_server):
    assert problem(raw(shared_server, "GET", "/nope")) == (404, "server.no_such_address")
    assert problem(raw(shared_server, "GET", "/v1/jobs/")) == (404, "server.no_such_address")
    for method, path, allowed in (
        ("PATCH", "/v1/jobs", "GET, HEAD, POST"),
        ("POST", "/v1/health", "GET, HEAD"),
        ("PUT", "/v1/jobs/x", "DELETE, GET, HEAD"),
        ("POST", "/v1/artifacts/x", "DELETE, GET, HEAD, PUT"),
    ):
        response = raw(shared_server, method, path)
        assert problem(response) == (405, "server.no_such_address")
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    ["health?x=1", "jobs?limit=1&limit=1", "jobs?Limit=1", "jobs/x?purge=1", "engines?=", "jobs?limit=%00",
     "jobs?before=-1", "jobs?after=9223372036854775808", "jobs?state=asleep", "jobs?state="],
)  # fmt: skip
def test_odd_query_parameters_are_refused(shared_server, path):
    assert problem(raw(shared_server, "GET", f"/v1/{path}")) == (422, "server.bad_request")


@pytest.mark.parametrize("path", ["health", "engines", "jobs", "openapi.json"])
def test_head_is_get_without_the_body(shared_server, path):
    got, head = (raw(shared_server, m, f"/v1/{path}") for m in ("GET", "HEAD"))
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
