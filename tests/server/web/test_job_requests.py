"""Requests for jobs that are refused, or whose job fails: status and code."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import POSE_POLICIES
from server.jobs.params import FitParams
from tests.server.conftest import small_views
from tests.server.web.conftest import problem, raw


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 422, "server.bad_request"),
        (b"[" * 100_000, 422, "server.bad_request"),
        (b"[]", 422, "server.bad_request"),
        (b"{}", 422, "server.bad_request"),
        (b'{"kind": "dance"}', 422, "server.bad_request"),
        (b'{"kind": ["views"]}', 422, "server.bad_request"),
        (b'{"kind": "views", "extra": 1}', 422, "server.bad_request"),
        (b'{"kind": "views", "params": []}', 422, "server.bad_request"),
        (b'{"kind": "views", "params": {}}', 422, "server.bad_request"),
        (b'{"kind": "mesh", "params": {"fit": "../../etc"}}', 404, "artifact.not_found"),
        (
            b'{"kind": "fit", "params": {"views": "%s", "poses": "mine"}}' % (64 * b"0"),
            422,
            "server.bad_request",
        ),
        (
            b'{"kind": "fit", "params": {"views": "%s"}}' % (64 * b"0"),
            404,
            "artifact.not_found",
        ),
    ],
)
def test_invalid_bodies_are_refused(shared_server, body, status, code):
    assert problem(raw(shared_server, "POST", "/v1/jobs", content=body)) == (status, code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"portrait": 64 * "0"}, "artifact.not_found"),
        ({"portrait": "/etc/passwd"}, "artifact.not_found"),
        ({"cameras": {"preset": "spiral"}}, "camera.invalid"),
        ({"cameras": {"preset": "orbit", "views": 0}}, "camera.invalid"),
        ({"cameras": {}}, "camera.file_invalid"),
        ({"cameras": []}, "server.bad_request"),
        ({"engine": "magic"}, "engine.unknown"),
        ({"seed": -1}, "server.bad_request"),
        ({"seed": True}, "server.bad_request"),
        ({"crop": [1, 2]}, "server.bad_request"),
        ({"options": {"x": 1e999}}, "server.bad_request"),
        ({"options": {"\ud800": 1}}, "server.bad_request"),
        ({"path": "/etc/passwd"}, "server.bad_request"),
        ({"references": [{"portrait": 64 * "0"}]}, "artifact.not_found"),
        ({"references": [{"portrait": 64 * "0", "side": "below"}]}, "server.bad_request"),
        ({"references": [{"portrait": "x", "name": "/etc/passwd"}]}, "server.bad_request"),
        ({"references": 8 * [{"portrait": 64 * "0"}]}, "server.bad_request"),
    ],
)
def test_bad_parameters(shared_server, portrait, changes, code):
    params = small_views(portrait) | changes
    body = json.dumps({"kind": "views", "params": params}).encode()
    response = raw(shared_server, "POST", "/v1/jobs", content=body)
    assert problem(response)[1] == code


def test_a_long_body_is_refused(shared_server):
    body = b'{"kind": "' + b"x" * (9 * 1024 * 1024) + b'"}'
    response = raw(shared_server, "POST", "/v1/jobs", content=body)
    assert problem(response) == (422, "server.bad_request")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_job(shared_server, method):
    assert problem(raw(shared_server, method, "/v1/jobs/none")) == (404, "job.not_found")


def test_events_of_an_unknown_job(shared_server):
    assert problem(raw(shared_server, "GET", "/v1/jobs/none/events")) == (404, "job.not_found")


def test_a_failed_job_has_its_error(client):
    text = client.put_bytes(b"this is no picture")
    job = client.create_job("views", **small_views(text))
    with pytest.raises(Dp3dError) as caught:
        client.wait(job["id"])
    assert caught.value.code == "portrait.unreadable"
    assert client.job(job["id"])["error"]["remedy"]


def test_an_unknown_option_fails_with_the_code_of_the_engine(client, photo):
    job = client.create_job("views", **small_views(client.put_file(photo), options={"no": 1}))
    with pytest.raises(Dp3dError) as caught:
        client.wait(job["id"])
    assert caught.value.code == "engine.bad_option"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "a/../../b",
        "a\\..\\b",
        "C:evil",
        "con",
        "a//b",
        "",
        ".hidden",
        "a/.",
    ],
)
def test_a_tree_that_leaves_its_folder_is_refused(client, name):
    blob = client.put_bytes(b"x")
    tree = {"schema": "dp3d.tree/1", "files": {name: {"sha256": blob, "size": 1}}}
    sha256 = client.put_bytes(json.dumps(tree).encode())
    for kind, params in (("fit", {"views": sha256}), ("mesh", {"fit": sha256})):
        with pytest.raises(Dp3dError) as caught:
            client.create_job(kind, **params)
        assert caught.value.code == "artifact.bad_tree"


def test_pose_policies_are_those_of_fits():
    assert get_args(FitParams.model_fields["poses"].annotation) == POSE_POLICIES


def test_a_tree_of_the_wrong_kind_is_refused(client):
    blob = client.put_bytes(b"x")
    tree = {"schema": "dp3d.tree/1", "files": {"notes.txt": {"sha256": blob, "size": 1}}}
    sha256 = client.put_bytes(json.dumps(tree).encode())
    for kind, name, code in (
        ("fit", "views", "viewset.not_found"),
        ("mesh", "fit", "fit.not_found"),
    ):
        with pytest.raises(Dp3dError) as caught:
            client.create_job(kind, **{name: sha256})
        assert caught.value.code == code
        assert "/" not in caught.value.problem, "a path of the server"
