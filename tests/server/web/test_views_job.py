"""A ``views`` job from its request to its result: fields, events, files."""

from __future__ import annotations

import contextlib
import io
import json
import os

import httpx
import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewSet
from tests.server.conftest import TOKEN, small_views, wait_until
from tests.server.web.conftest import EXIF_MARK, JOB_FIELDS, problem, raw


def test_job_has_the_fields_of_the_contract(done):
    created, _, ended = done
    assert list(created) == list(ended) == JOB_FIELDS
    assert created["state"] == "queued"
    assert created["params"] | {"portrait": None, "cameras": None} == {
        "portrait": None, "references": [], "cameras": None,
        "engine": "preview", "options": {}, "seed": 0, "crop": None,
        "yaw_deg": None, "pitch_deg": None, "roll_deg": None,
    }  # fmt: skip
    assert (ended["state"], ended["attempt"], ended["error"]) == ("succeeded", 1, None)
    assert created["created_at"] <= ended["started_at"] <= ended["finished_at"]
    assert ended["finished_at"].endswith("Z")


def test_the_event_stream_has_all_states_and_progress(done):
    job, events, _ = done
    states = [e.data["state"] for e in events if e.event == "state"]
    assert states == ["queued", "running", "succeeded"]
    assert [e.id for e in events] == sorted({e.id for e in events})
    assert events[-1].data["id"] == job["id"]
    progress = [e.data for e in events if e.event == "progress"]
    fields = {"stage", "step", "of", "message", "eta_s", "values"}
    assert all(set(p) == fields for p in progress)
    assert (progress[-1]["stage"], progress[-1]["step"], progress[-1]["of"]) == ("views", 4, 4)


def test_frames_are_announced_once_each_before_the_end(done, client):
    _, events, _ = done
    pictures = [e.data for e in events if e.event == "artifact"]
    names = [f"{folder}/{i:04d}.png" for i in range(4) for folder in ("frames", "rgba")]
    assert [p["name"] for p in pictures] == ["portrait.png", *names]
    for picture in pictures:
        assert len(client.get_bytes(picture["sha256"])) == picture["size"]


def test_the_photo_with_its_crop_comes_first(done, client):
    _, events, ended = done
    picture_artifact = ended["result"]["portrait_picture"]
    announced = next(e for e in events if e.event == "artifact")
    assert announced.data == picture_artifact
    placed = next(e for e in events if e.data.get("message") == "The head is placed")
    first_view = next(e for e in events if e.data.get("stage") == "views")
    assert announced.id < placed.id < first_view.id
    picture = Image.open(io.BytesIO(client.get_bytes(picture_artifact["sha256"])))
    assert picture.mode == "RGB"
    assert min(picture.size) >= 64


def test_result_is_a_complete_view_set(done, client, tmp_path):
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
    assert result["photos"] == []


@pytest.mark.parametrize("source", ["header", "query"])
def test_a_reconnecting_client_gets_exactly_the_missed_events(done, shared_server, source):
    job, events, _ = done
    for seen in (0, 1, len(events) // 2, len(events) - 1, len(events)):
        after = events[seen - 1].id if seen else 0
        arguments = (
            {"headers": {"Last-Event-ID": str(after)}}
            if source == "header"
            else {"params": {"after": after}}
        )
        response = raw(shared_server, "GET", f"/v1/jobs/{job['id']}/events", **arguments)
        assert response.headers["content-type"].startswith("text/event-stream")
        ids = [int(ln[4:]) for ln in response.text.splitlines() if ln.startswith("id: ")]
        assert ids == [e.id for e in events[seen:]]


@pytest.mark.parametrize(
    "last",
    ["x", "-1", "1.5", "+1", "0x1", "1 2", "1,2", "1_0", "1e3", "9223372036854775808", 400 * "9", b"\xb2", b"\xd9\xa1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_invalid_last_event_id_is_refused(done, shared_server, last, method):
    path = f"/v1/jobs/{done[0]['id']}/events"
    response = raw(shared_server, method, path, headers={"Last-Event-ID": last})
    assert response.status_code == 422


@pytest.mark.parametrize("last", ["", "0", "000", str(2**63 - 1)])
def test_a_last_event_id_without_an_event_is_accepted(done, shared_server, last):
    path = f"/v1/jobs/{done[0]['id']}/events"
    text = raw(shared_server, "GET", path, headers={"Last-Event-ID": last}).text
    assert text.count("id: ") == (0 if last.startswith("9") else len(done[1]))


def test_a_last_event_id_that_is_sent_twice_is_refused(done, shared_server):
    path = f"/v1/jobs/{done[0]['id']}/events"
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Last-Event-ID", "1")]
    url = shared_server.url + path
    response = httpx.get(url, headers=[*headers, ("Last-Event-ID", "2")], timeout=30)
    assert problem(response) == (422, "server.bad_request")


@pytest.mark.parametrize("after", ["-1", "9223372036854775808", "x", "1.5", ""])
def test_an_invalid_after_is_refused(done, shared_server, after):
    path = f"/v1/jobs/{done[0]['id']}/events?after={after}"
    assert problem(raw(shared_server, "GET", path)) == (422, "server.bad_request")


def test_no_exif_of_the_photo_is_in_a_result(done, client, shared_server, portrait):
    _, events, job = done
    tree = json.loads(client.get_bytes(job["result"]["views"]))
    hashes = {f["sha256"] for f in tree["files"].values()}
    hashes |= {e.data["sha256"] for e in events if e.event == "artifact"}
    assert len(hashes) > 8
    for data in (json.dumps(job).encode(), *map(client.get_bytes, hashes)):
        assert EXIF_MARK.encode() not in data
        assert b"Exif" not in data


def test_referenced_artifacts_are_not_deleted(done, client, portrait):
    views = done[2]["result"]["views"]
    frame = json.loads(client.get_bytes(views))["files"]["frames/0000.png"]["sha256"]
    for sha256 in (portrait, views, frame):
        with pytest.raises(Dp3dError) as caught:
            client.delete_artifact(sha256)
        assert caught.value.code == "artifact.in_use"


def test_the_work_folder_is_removed(done, shared_server):
    wait_until(lambda: not (shared_server.data / "work" / done[0]["id"]).exists())


def test_cancelling_an_ended_job_changes_nothing(done, shared_server):
    job, _, ended = done
    response = raw(shared_server, "DELETE", f"/v1/jobs/{job['id']}")
    assert (response.status_code, response.json()) == (200, ended)


def test_jobs_are_listed_newest_first(done, client, photo):
    second = client.create_job("views", **small_views(client.put_file(photo), views=1))
    jobs = [job["id"] for job in client.jobs()]
    assert jobs.index(second["id"]) < jobs.index(done[0]["id"])
    client.wait(second["id"])


def test_status_answers_while_a_job_runs(shared_server, client, photo):
    job = client.create_job("views", **small_views(client.put_file(photo), views=60))
    wait_until(lambda: client.job(job["id"])["state"] == "running")
    steps = set()
    while (current := client.job(job["id"]))["state"] == "running":
        steps.add(current["step"])
    assert len(steps) > 3, "the server did not answer while the job ran"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_the_data_folder_is_private(done, client, shared_server):
    no_photo = client.put_bytes(b"no photo")
    failed = client.create_job("views", **small_views(no_photo, views=1))
    assert list(client.events(failed["id"]))[-1].data["state"] == "failed"  # the log says why
    modes = {}
    for path in (shared_server.data, *shared_server.data.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # removed at the end of a job
            modes[path] = path.lstat().st_mode
    assert {"jobs.sqlite", "worker.log", "artifacts"} <= {path.name for path in modes}
    assert [path for path, mode in modes.items() if mode & 0o077] == []
