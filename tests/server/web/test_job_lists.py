"""The list of jobs: summaries, pages, filters, deletion."""

from __future__ import annotations

import pytest

from dp3d_core.errors import Dp3dError
from tests.server.conftest import small_views, wait_until
from tests.server.web.conftest import JOB_FIELDS, problem, raw


@pytest.fixture(scope="module")
def listed(done, shared_server, portrait):
    """Numbers of five jobs, newest first."""
    with shared_server.client() as client:
        made = [client.create_job("views", fresh=True, **small_views(portrait)) for _ in range(5)]
        for job in reversed(made):
            client.cancel(job["id"])
        jobs = client.jobs(5)
        assert [job["id"] for job in jobs] == [job["id"] for job in reversed(made)]
        return [job["number"] for job in jobs]


def test_summaries_have_neither_parameters_nor_results(listed, client):
    members = [name for name in JOB_FIELDS if name not in ("params", "result")]
    for job in client.jobs(1000):
        assert sorted(job) == sorted(["number", *members])


def test_pages_follow_each_other(listed, shared_server):
    seen, before = [], None
    while True:
        query = {"limit": 2} | ({"before": before} if before is not None else {})
        page = raw(shared_server, "GET", "/v1/jobs", params=query).json()
        assert len(page["jobs"]) <= 2
        seen += [job["number"] for job in page["jobs"]]
        before = page["next_before"]
        if before is None:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert set(listed) <= set(seen)


def test_lists_are_filtered(listed, client, done):
    assert [job["number"] for job in client.jobs(after=listed[2])] == listed[:2]
    assert [job["number"] for job in client.jobs(before=listed[0], after=listed[3])] == listed[1:3]
    assert done[0]["id"] in [job["id"] for job in client.jobs(1000, states=["succeeded"])]
    assert client.jobs(states=["queued", "running"], before=listed[0], after=listed[4]) == []


def test_a_deleted_job_is_gone(client, portrait, shared_server):
    job = client.create_job("views", fresh=True, **small_views(portrait))
    client.cancel(job["id"])
    wait_until(lambda: client.job(job["id"])["state"] == "cancelled")
    client.delete_job(job["id"])
    for path in ("", "/events"):
        response = raw(shared_server, "GET", f"/v1/jobs/{job['id']}{path}")
        assert problem(response) == (404, "job.not_found")


def test_a_running_job_is_not_deleted(client, portrait):
    job = client.create_job("views", fresh=True, **small_views(portrait, views=60))
    with pytest.raises(Dp3dError) as caught:
        client.delete_job(job["id"])
    assert caught.value.code == "job.not_ended"
    client.cancel(job["id"])
    wait_until(lambda: client.job(job["id"])["state"] == "cancelled")
