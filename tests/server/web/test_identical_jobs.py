"""Identical requests return the existing job, unless ``fresh`` is set."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.server.conftest import small_views
from tests.server.web.conftest import problem, raw


def post(server, params, **members):
    body = {"kind": "views", "params": params} | members
    response = raw(server, "POST", "/v1/jobs", json=body)
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
    return response.status_code, response.json()


def test_a_finished_identical_job_is_returned(done, shared_server, portrait):
    _, _, ended = done
    assert post(shared_server, small_views(portrait, views=4)) == (200, ended)
    spelled_out = small_views(portrait, views=4, seed=0, engine="preview")
    assert post(shared_server, spelled_out) == (200, ended)


def test_another_seed_or_fresh_is_a_new_job(done, shared_server, portrait, client):
    status, other = post(shared_server, small_views(portrait, views=4, seed=1))
    assert status == 201
    client.cancel(other["id"])
    fresh = client.create_job("views", fresh=True, **small_views(portrait, views=4))
    assert fresh["id"] not in {done[0]["id"], other["id"]}
    assert client.wait(fresh["id"])["views"] == done[2]["result"]["views"]
    assert post(shared_server, small_views(portrait, views=4))[1]["id"] == fresh["id"]


def test_a_result_with_a_missing_file_is_made_again(shared_server, portrait, client):
    params = small_views(portrait, views=1, seed=5)
    job = client.create_job("views", **params)
    tree = json.loads(client.get_bytes(client.wait(job["id"])["views"]))
    frame = tree["files"]["frames/0000.png"]["sha256"]
    (shared_server.data / "artifacts" / frame[:2] / frame).unlink()
    status, again = post(shared_server, params)
    assert status == 201
    client.wait(again["id"])
    assert len(client.get_bytes(frame)) > 0
    assert post(shared_server, params)[1]["id"] == again["id"]


def test_posts_at_the_same_time_make_one_job(shared_server, portrait, client):
    params = small_views(portrait, views=2, seed=6)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: post(shared_server, params), range(6)))
    assert sorted(status for status, _ in answers) == [200] * 5 + [201]
    assert len({job["id"] for _, job in answers}) == 1
    client.wait(answers[0][1]["id"])


def test_fresh_is_true_or_false(shared_server, portrait):
    body = {"kind": "views", "params": small_views(portrait), "fresh": 1}
    response = raw(shared_server, "POST", "/v1/jobs", json=body)
    assert problem(response) == (422, "server.bad_request")
