"""The HTTP API as docs/http-api.md promises it, against a real server."""

from __future__ import annotations

import hashlib
import io
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import httpx
import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.viewset import ViewSet
from nerf_export.poses import POSES
from server.serve import _listen
from server.web.requests import FitParams
from tests.server.conftest import TOKEN, small_views, wait_until

JOB_FIELDS = [
    "id", "kind", "state", "params", "created_at", "started_at", "finished_at", "attempt",
    "stage", "step", "of", "eta_s", "message", "result", "error",
]  # fmt: skip


def raw(server, method, path, **arguments):
    headers = {"Authorization": f"Bearer {TOKEN}"} | arguments.pop("headers", {})
    return httpx.request(method, server.url + path, headers=headers, timeout=30, **arguments)


def problem(response):
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["problem"]
    assert body["remedy"]
    return response.status_code, body["code"]


@pytest.fixture(scope="module")
def portrait(shared_server, photo):
    with shared_server.client() as client:
        return client.put_file(photo)


@pytest.fixture(scope="module")
def done(shared_server, portrait):
    """A finished job: as created, its events, as it ended."""
    with shared_server.client() as client:
        job = client.create_job("views", **small_views(portrait, views=4))
        events = list(client.events(job["id"]))
        return job, events, client.job(job["id"])


class TestWhoMayCall:
    def test_health_needs_no_token(self, shared_server):
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
    def test_everything_else_does(self, shared_server, method, path, headers):
        response = httpx.request(method, shared_server.url + path, headers=headers)
        assert problem(response) == (401, "server.unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example:80", "127.0.0.1:80, evil.example", "", "[::2]"],
    )
    def test_a_foreign_host_name_is_refused(self, shared_server, host):
        response = raw(shared_server, "GET", "/v1/health", headers={"Host": host})
        assert problem(response) == (421, "server.wrong_host")

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8765"])
    def test_loopback_names_are_welcome(self, shared_server, host):
        assert raw(shared_server, "GET", "/v1/jobs", headers={"Host": host}).status_code == 200

    def test_no_cors(self, shared_server):
        response = raw(
            shared_server, "OPTIONS", "/v1/jobs", headers={"Origin": "http://evil.example"}
        )
        assert not [name for name in response.headers if name.startswith("access-control")]

    def test_unknown_address_and_method(self, shared_server):
        assert problem(raw(shared_server, "GET", "/nope")) == (404, "server.no_such_address")
        assert problem(raw(shared_server, "PATCH", "/v1/jobs")) == (405, "server.no_such_address")


class TestArtifacts:
    def test_put_head_get(self, shared_server):
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

    def test_empty_file(self, client):
        assert client.get_bytes(client.put_bytes(b"")) == b""

    def test_wrong_hash_is_refused_and_leaves_nothing(self, shared_server):
        path = "/v1/artifacts/" + hashlib.sha256(b"right").hexdigest()
        response = raw(shared_server, "PUT", path, content=b"wrong")
        assert problem(response) == (422, "artifact.hash_mismatch")
        assert raw(shared_server, "HEAD", path).status_code == 404
        assert not list((shared_server.data / "artifacts" / "incoming").iterdir())

    @pytest.mark.parametrize("declared", [True, False])
    def test_too_large(self, shared_server, declared):
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
    def test_what_is_no_hash_is_not_found(self, shared_server, method, name):
        assert raw(shared_server, method, f"/v1/artifacts/{name}").status_code == 404


class TestEngines:
    def test_preview_is_listed_with_its_options(self, client):
        engines = {engine["name"]: engine for engine in client.engines()}
        members = {"name", "title", "available", "problem", "options", "error"}
        assert all(set(engine) == members for engine in engines.values())
        assert engines["preview"]["error"] is None
        members = {
            *("name", "type", "default", "description"),
            *("choices", "minimum", "maximum", "step"),
        }
        for engine in engines.values():
            assert all(set(option) == members for option in engine["options"])

    def test_one_that_cannot_run_is_refused_at_once(self, client, shared_server, portrait):
        """The server of the tests has a home without weights."""
        engine = next(e for e in client.engines() if e["name"] == "diffportrait360")
        assert not engine["available"]
        before = client.jobs()
        body = {"kind": "views", "params": small_views(portrait, engine="diffportrait360")}
        response = raw(shared_server, "POST", "/v1/jobs", json=body)
        assert problem(response) == (424, engine["error"]["code"])
        assert response.json()["remedy"] == engine["error"]["remedy"]
        assert response.json()["code"] in {"engine.packages_missing", "weights.missing"}
        assert client.jobs() == before


class TestJobRequests:
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
    def test_bad_bodies(self, shared_server, body, status, code):
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
        ],
    )
    def test_bad_parameters(self, shared_server, portrait, changes, code):
        params = small_views(portrait) | changes
        body = json.dumps({"kind": "views", "params": params}).encode()
        response = raw(shared_server, "POST", "/v1/jobs", content=body)
        assert problem(response)[1] == code

    def test_too_long_a_body(self, shared_server):
        body = b'{"kind": "' + b"x" * (9 * 1024 * 1024) + b'"}'
        response = raw(shared_server, "POST", "/v1/jobs", content=body)
        assert problem(response) == (422, "server.bad_request")

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_unknown_job(self, shared_server, method):
        assert problem(raw(shared_server, method, "/v1/jobs/none")) == (404, "job.not_found")

    def test_events_of_an_unknown_job(self, shared_server):
        assert problem(raw(shared_server, "GET", "/v1/jobs/none/events")) == (404, "job.not_found")


class TestViewsJob:
    def test_job_has_the_fields_of_the_contract(self, done):
        created, _, ended = done
        assert list(created) == list(ended) == JOB_FIELDS
        assert created["state"] == "queued"
        assert created["params"] | {"portrait": None, "cameras": None} == {
            "portrait": None, "cameras": None, "engine": "preview", "options": {}, "seed": 0,
            "crop": None,
            "yaw_deg": None, "pitch_deg": None, "roll_deg": None,
        }  # fmt: skip
        assert (ended["state"], ended["attempt"], ended["error"]) == ("succeeded", 1, None)
        assert created["created_at"] <= ended["started_at"] <= ended["finished_at"]
        assert ended["finished_at"].endswith("Z")

    def test_event_stream_tells_the_story(self, done):
        job, events, _ = done
        states = [e.data["state"] for e in events if e.event == "state"]
        assert states == ["queued", "running", "succeeded"]
        assert [e.id for e in events] == sorted({e.id for e in events})
        assert events[-1].data["id"] == job["id"]
        progress = [e.data for e in events if e.event == "progress"]
        fields = {"stage", "step", "of", "message", "eta_s", "values"}
        assert all(set(p) == fields for p in progress)
        assert (progress[-1]["stage"], progress[-1]["step"], progress[-1]["of"]) == ("views", 4, 4)

    def test_frames_are_announced_once_each_before_the_end(self, done, client):
        _, events, _ = done
        pictures = [e.data for e in events if e.event == "artifact"]
        names = [f"{folder}/{i:04d}.png" for i in range(4) for folder in ("frames", "rgba")]
        assert [p["name"] for p in pictures] == ["portrait.png", *names]
        for picture in pictures:
            assert len(client.get_bytes(picture["sha256"])) == picture["size"]

    def test_the_photo_with_its_crop_comes_first(self, done, client):
        _, events, ended = done
        told = ended["result"]["portrait_picture"]
        announced = next(e for e in events if e.event == "artifact")
        assert announced.data == told
        placed = next(e for e in events if e.data.get("message") == "The head is placed")
        first_view = next(e for e in events if e.data.get("stage") == "views")
        assert announced.id < placed.id < first_view.id
        picture = Image.open(io.BytesIO(client.get_bytes(told["sha256"])))
        assert picture.mode == "RGB"
        assert min(picture.size) >= 64

    def test_result_is_a_complete_view_set(self, done, client, tmp_path):
        result = done[2]["result"]
        views = ViewSet.open(client.get_tree(result["views"], tmp_path))
        assert len(views) == 4
        assert views.frame(0).shape == (64, 64, 3)
        for i in range(4):
            with Image.open(views.rgba_path(i)) as picture:
                assert picture.mode == "RGBA"
                np.testing.assert_array_equal(np.asarray(picture), views.rgba(i))
        assert result["warnings"] == [*result["portrait_report"]["warnings"], *views.meta.warnings]
        assert result["choices"] == views.meta.choices
        assert set(result["choices"]) == {"hair", "hat", "clothes", "beard"}

    @pytest.mark.parametrize("way", ["header", "query"])
    def test_a_client_that_reconnects_gets_exactly_what_it_missed(self, done, shared_server, way):
        job, events, _ = done
        for seen in (0, 1, len(events) // 2, len(events) - 1, len(events)):
            after = events[seen - 1].id if seen else 0
            arguments = (
                {"headers": {"Last-Event-ID": str(after)}}
                if way == "header"
                else {"params": {"after": after}}
            )
            response = raw(shared_server, "GET", f"/v1/jobs/{job['id']}/events", **arguments)
            assert response.headers["content-type"].startswith("text/event-stream")
            ids = [int(ln[4:]) for ln in response.text.splitlines() if ln.startswith("id: ")]
            assert ids == [e.id for e in events[seen:]]

    def test_an_odd_last_event_id_is_refused(self, done, shared_server):
        path = f"/v1/jobs/{done[0]['id']}/events"
        response = raw(shared_server, "GET", path, headers={"Last-Event-ID": "x"})
        assert problem(response) == (422, "server.bad_request")

    def test_the_work_folder_is_gone(self, done, shared_server):
        wait_until(lambda: not (shared_server.data / "work" / done[0]["id"]).exists())

    def test_cancelling_an_ended_job_changes_nothing(self, done, shared_server):
        job, _, ended = done
        response = raw(shared_server, "DELETE", f"/v1/jobs/{job['id']}")
        assert (response.status_code, response.json()) == (200, ended)

    def test_jobs_are_listed_newest_first(self, done, client, photo):
        second = client.create_job("views", **small_views(client.put_file(photo), views=1))
        jobs = [job["id"] for job in client.jobs()]
        assert jobs.index(second["id"]) < jobs.index(done[0]["id"])
        client.wait(second["id"])


class TestIdenticalJobs:
    def post(self, server, params, **more):
        body = {"kind": "views", "params": params} | more
        response = raw(server, "POST", "/v1/jobs", json=body)
        assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
        return response.status_code, response.json()

    def test_a_finished_one_is_the_answer(self, done, shared_server, portrait):
        _, _, ended = done
        assert self.post(shared_server, small_views(portrait, views=4)) == (200, ended)
        spelled_out = small_views(portrait, views=4, seed=0, engine="preview")
        assert self.post(shared_server, spelled_out) == (200, ended)

    def test_another_seed_or_fresh_is_a_new_job(self, done, shared_server, portrait, client):
        status, other = self.post(shared_server, small_views(portrait, views=4, seed=1))
        assert status == 201
        client.cancel(other["id"])
        fresh = client.create_job("views", fresh=True, **small_views(portrait, views=4))
        assert fresh["id"] not in {done[0]["id"], other["id"]}
        assert client.wait(fresh["id"])["views"] == done[2]["result"]["views"]
        assert self.post(shared_server, small_views(portrait, views=4))[1]["id"] == fresh["id"]

    def test_a_result_with_a_missing_file_is_made_again(self, shared_server, portrait, client):
        params = small_views(portrait, views=1, seed=5)
        job = client.create_job("views", **params)
        tree = json.loads(client.get_bytes(client.wait(job["id"])["views"]))
        frame = tree["files"]["frames/0000.png"]["sha256"]
        (shared_server.data / "artifacts" / frame[:2] / frame).unlink()
        status, again = self.post(shared_server, params)
        assert status == 201
        client.wait(again["id"])
        assert len(client.get_bytes(frame)) > 0
        assert self.post(shared_server, params)[1]["id"] == again["id"]

    def test_posts_at_the_same_time_make_one_job(self, shared_server, portrait, client):
        params = small_views(portrait, views=2, seed=6)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: self.post(shared_server, params), range(6)))
        assert sorted(status for status, _ in answers) == [200] * 5 + [201]
        assert len({job["id"] for _, job in answers}) == 1
        client.wait(answers[0][1]["id"])

    def test_fresh_is_true_or_false(self, shared_server, portrait):
        body = {"kind": "views", "params": small_views(portrait), "fresh": 1}
        response = raw(shared_server, "POST", "/v1/jobs", json=body)
        assert problem(response) == (422, "server.bad_request")


def test_a_job_that_fails_says_why(client):
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


def test_poses_are_taken_as_fits_know_them():
    assert get_args(FitParams.model_fields["poses"].annotation) == POSES


def test_a_tree_of_something_else_is_refused_at_once(client):
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


def test_status_answers_while_a_job_runs(shared_server, client, photo):
    job = client.create_job("views", **small_views(client.put_file(photo), views=60))
    wait_until(lambda: client.job(job["id"])["state"] == "running")
    steps = set()
    while (now := client.job(job["id"]))["state"] == "running":
        steps.add(now["step"])
    assert len(steps) > 3, "the status was not told while the job ran"


def test_small_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY only where the protocol is named; 40 ms per answer otherwise."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
