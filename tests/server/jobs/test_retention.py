"""Quota, references, collection and deletion, on a real database and real files."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.jobs.model import JobState
from server.jobs.retention import Reservation, Retention
from server.jobs.store import JobStore
from server.settings import Limits, Settings
from server.storage import artifacts as artifacts_module
from server.storage.artifacts import ArtifactStore
from server.storage.disk_usage import bytes_under
from tests.support.job_reading import events_after

OLD_S = 10**6


class ServerData:
    """A data folder with a database, artifacts and their retention."""

    def __init__(self, folder, **limits):
        folder.mkdir(exist_ok=True)
        self.settings = Settings(folder, "t", limits=replace(Limits(), **limits))
        self.store = JobStore(self.settings.database_url)
        self.artifacts = ArtifactStore(self.settings.artifacts)
        with self.store.engine.begin() as connection:  # older than every artifact of a test
            queries.birth_time(self.store.engine)
            connection.exec_driver_sql("UPDATE databasebirth SET born = 0")
        self.retention = Retention(self.settings, self.store, self.artifacts)

    def retention_with(self, stored):
        settings = replace(self.settings, limits=replace(self.settings.limits, stored=stored))
        return Retention(settings, self.store, self.artifacts)

    def file(self, data, age_s=OLD_S):
        sha256 = self.artifacts.add_bytes(data).sha256
        self.age(sha256, age_s)
        return sha256

    def age(self, sha256, age_s=OLD_S):
        then = time.time() - age_s
        os.utime(self.artifacts.path(sha256), (then, then))

    def tree(self, *files, age_s=OLD_S):
        entries = {
            f"{i}.png": {"sha256": f, "size": self.artifacts.path(f).stat().st_size}
            for i, f in enumerate(files)
        }
        return self.file(json.dumps({"files": entries, "schema": "dp3d.tree/1"}).encode(), age_s)

    def ended(self, params=None, result=None):
        self.store.create("views", params or {})
        job = self.store.claim_next()
        self.store.finish(job.id, JobState.SUCCEEDED, result=result or {})
        return job.id

    def has(self, *hashes):
        return [self.artifacts.path(sha256).is_file() for sha256 in hashes]


@pytest.fixture
def server_data(tmp_path):
    server_data = ServerData(tmp_path / "data")
    yield server_data
    server_data.store.close()


def code_of(call, *arguments):
    with pytest.raises(Dp3dError) as caught:
        call(*arguments)
    return caught.value.code


def test_collection_removes_only_unreferenced_artifacts(server_data):
    photo, frame, mesh, announced, unused = (
        server_data.file(x) for x in (b"p", b"f", b"m", b"s", b"l")
    )
    views = server_data.tree(frame)
    server_data.ended({"portrait": photo}, {"views": views, "mesh": {"sha256": mesh, "size": 1}})
    server_data.store.create("views", {})
    server_data.store.add_artifact(
        server_data.store.claim_next().id, {"name": "a", "sha256": announced, "size": 1}
    )
    queued = server_data.file(b"q")
    server_data.store.create("fit", {"views": queued})
    assert server_data.retention.collect() > 0
    assert server_data.has(photo, frame, views, mesh, announced, queued) == [True] * 6
    assert server_data.has(unused) == [False]
    assert server_data.retention.collect() == 0


def test_recent_uploads_and_files_of_recent_trees_are_kept(server_data):
    frame, recent = server_data.file(b"frame"), server_data.file(b"recent", age_s=10)
    tree = server_data.tree(frame, age_s=10)
    server_data.retention.collect()
    assert server_data.has(frame, recent, tree) == [True] * 3
    server_data.age(tree)
    server_data.retention.collect()
    assert server_data.has(frame, recent, tree) == [False, True, False]


def test_use_makes_an_artifact_recent(server_data):
    frame = server_data.file(b"frame")
    tree = server_data.tree(frame)
    server_data.artifacts.use_tree(tree)
    again = server_data.file(b"again")
    server_data.artifacts.add_bytes(b"again")
    server_data.retention.collect()
    assert server_data.has(frame, tree, again) == [True] * 3


def test_an_artifact_used_during_its_removal_stays(server_data, monkeypatch):
    sha256 = server_data.file(b"data")
    (stored,) = server_data.retention._scan()
    server_data.artifacts.use(sha256)  # between the scan and the removal
    assert not server_data.retention._remove(stored)
    assert server_data.has(sha256) == [True]


def test_artifacts_of_a_lost_database_are_kept(server_data):
    """A new database has no jobs, but artifacts older than it may belong to lost ones."""
    old = server_data.file(b"old")
    server_data.store.close()
    for path in server_data.settings.data.glob("jobs.sqlite*"):
        path.unlink()
    store = JobStore(server_data.settings.database_url)
    retention = Retention(server_data.settings, store, server_data.artifacts)
    assert retention.collect() == 0
    assert server_data.has(old) == [True]
    store.close()


def test_jobs_beyond_kept_jobs_are_deleted_with_their_results(tmp_path):
    server_data = ServerData(tmp_path / "data", kept_jobs=2)
    results = [server_data.file(bytes([i])) for i in range(4)]
    jobs = [server_data.ended(result={"views": sha256}) for sha256 in results]
    (server_data.settings.work / jobs[0]).mkdir(parents=True)
    waiting = server_data.store.create("views", {}).id
    server_data.retention.collect()
    remaining = [job["id"] for job in queries.summaries(server_data.store.engine, 10)]
    assert remaining == [waiting, jobs[3], jobs[2]]
    assert server_data.has(*results) == [False, False, True, True]
    assert not (server_data.settings.work / jobs[0]).exists()
    server_data.store.close()


def test_only_an_ended_job_is_deleted(server_data):
    job = server_data.store.create("views", {})
    assert code_of(server_data.retention.delete_job, job.id) == "job.not_ended"
    server_data.store.claim_next()
    assert code_of(server_data.retention.delete_job, job.id) == "job.not_ended"
    server_data.store.finish(job.id, JobState.CANCELLED)
    server_data.retention.delete_job(job.id)
    assert code_of(server_data.store.get, job.id) == "job.not_found"
    assert code_of(server_data.retention.delete_job, job.id) == "job.not_found"
    assert events_after(server_data.store, job.id, 0) == []


def test_an_artifact_in_use_is_not_deleted(server_data):
    frame = server_data.file(b"frame")
    tree = server_data.tree(frame)
    job = server_data.ended(result={"views": tree})
    assert code_of(server_data.retention.delete_artifact, frame) == "artifact.in_use"
    assert code_of(server_data.retention.delete_artifact, tree) == "artifact.in_use"
    server_data.retention.delete_job(job)
    server_data.retention.delete_artifact(frame)
    server_data.retention.delete_artifact(tree)
    assert server_data.has(frame, tree) == [False, False]
    assert code_of(server_data.retention.delete_artifact, tree) == "artifact.not_found"


def test_a_tree_that_is_uploaded_again_keeps_its_files(server_data):
    frame = server_data.file(b"frame")
    tree = server_data.tree(frame)
    document = server_data.artifacts.path(tree).read_bytes()
    server_data.ended(result={"views": tree})
    server_data.artifacts.path(tree).unlink()
    server_data.retention.in_use()
    server_data.artifacts.add_bytes(document)
    server_data.retention.collect()
    assert server_data.has(frame, tree) == [True, True]


def test_references_are_read_despite_a_damaged_row(server_data):
    photo = server_data.file(b"p")
    server_data.ended({"portrait": photo})
    damaged = server_data.ended({"x": 1})
    with server_data.store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE job SET params = '[[[', error = '{{' WHERE id = '{damaged}'"
        )
    server_data.retention.collect()
    assert server_data.has(photo) == [True]
    assert len(queries.summaries(server_data.store.engine, 10)) == 2


def test_a_birth_time_in_the_future_is_corrected(server_data):
    with server_data.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE databasebirth SET born = {time.time() + OLD_S}")
    server_data.retention.collect()
    unused = server_data.file(b"unused", age_s=-10)
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + OLD_S)
        server_data.retention.collect()
    assert server_data.has(unused) == [False]


def test_the_quota_counts_stored_files_and_reservations(tmp_path):
    server_data = ServerData(tmp_path / "data", stored=0)
    server_data.file(b"x" * 4097, age_s=0)  # two blocks
    limit = bytes_under(server_data.settings.data) + 8 * 4096
    server_data.retention = server_data.retention_with(limit)
    first, second = Reservation(server_data.retention), Reservation(server_data.retention)
    first.grow(5 * 4096)
    first.grow(4 * 4096)
    second.grow(3 * 4096)
    assert code_of(second.grow, 3 * 4096 + 1) == "storage.quota"
    first.release()
    second.grow(8 * 4096)
    second.release()
    server_data.retention.check_space(8 * 4096)
    assert code_of(server_data.retention.check_space, 8 * 4096 + 1) == "storage.quota"
    server_data.store.close()


def test_unused_artifacts_are_removed_when_the_quota_is_used_up(tmp_path):
    server_data = ServerData(tmp_path / "data")
    unused, used = server_data.file(b"u", age_s=7200), server_data.file(b"k", age_s=7200)
    server_data.ended({"portrait": used})
    server_data.retention_with(bytes_under(server_data.settings.data) + 4096).check_space(2 * 4096)
    assert server_data.has(unused, used) == [False, True]
    server_data.store.close()


def test_work_in_progress_and_the_database_count(server_data):
    before = server_data.retention_with(0).used()
    assert before >= (server_data.settings.data / "jobs.sqlite").stat().st_size
    work = server_data.settings.work / "job" / "views"
    work.mkdir(parents=True)
    (work / "0000.png").write_bytes(b"x" * 5000)
    (work / "0001.png").hardlink_to(work / "0000.png")
    assert server_data.retention_with(0).used() == before + 2 * 4096


def test_purging_a_job_removes_its_results(server_data):
    photo, frame, shared = (
        server_data.file(b"photo"),
        server_data.file(b"frame"),
        server_data.file(b"shared"),
    )
    tree, other = server_data.tree(frame, shared), server_data.tree(shared)
    job = server_data.ended({"portrait": photo}, {"views": tree})
    server_data.ended({}, {"views": other})
    server_data.retention.purge_job(job)
    assert server_data.has(photo, frame, tree) == [True, False, False]
    assert server_data.has(shared, other) == [True, True]


def test_a_purge_keeps_the_photos_that_a_result_names(server_data):
    photo, back, frame = (server_data.file(text) for text in (b"photo", b"back", b"frame"))
    tree = server_data.tree(frame)
    params = {"portrait": photo, "references": [{"portrait": back, "side": "back"}]}
    job = server_data.ended(params, {"views": tree, "photos": [{"sha256": back}]})
    assert code_of(server_data.retention.delete_artifact, back) == "artifact.in_use"
    server_data.retention.purge_job(job)
    assert server_data.has(photo, back, frame, tree) == [True, True, False, False]


def test_possible_results_of_a_running_job_survive_a_jump_of_the_clock(server_data, monkeypatch):
    frame = server_data.file(b"frame")
    tree = server_data.tree(frame)
    job = server_data.ended(result={"views": tree})
    server_data.store.create("views", {})
    running = server_data.store.claim_next()
    server_data.artifacts.use_tree(tree)
    unused, now = server_data.file(b"unused"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + OLD_S)
    server_data.retention.purge_job(job)
    server_data.retention.collect()
    assert server_data.has(frame, tree, unused) == [True, True, False]
    assert code_of(server_data.retention.delete_artifact, frame) == "artifact.in_use"
    server_data.store.finish(running.id, JobState.SUCCEEDED, result={"views": tree})
    assert code_of(server_data.retention.purge_job, job) == "job.not_found"
    server_data.retention.purge_job(running.id)
    assert server_data.has(frame, tree) == [False, False]


def test_disk_space_is_checked_before_writing(server_data, monkeypatch, tmp_path):
    usage = artifacts_module.shutil.disk_usage(tmp_path)._replace(
        free=artifacts_module.MIN_FREE_BYTES + 10
    )
    sha256 = server_data.file(b"x" * 11)
    tree = server_data.tree(sha256)
    monkeypatch.setattr(artifacts_module.shutil, "disk_usage", lambda _: usage)
    server_data.retention.check_space(10)
    assert code_of(server_data.retention.check_space, 11) == "storage.full"
    assert code_of(server_data.artifacts.add_bytes, b"y" * 11) == "storage.full"
    assert code_of(server_data.artifacts.materialise, tree, tmp_path / "out") == "storage.full"
    assert not (tmp_path / "out").exists()


def test_the_queue_is_bounded(tmp_path):
    server_data = ServerData(tmp_path / "data", queued_jobs=2)
    for _ in range(2):
        server_data.retention.check_queue()
        server_data.store.create("views", {})
    assert code_of(server_data.retention.check_queue) == "job.queue_full"
    server_data.store.claim_next()
    server_data.retention.check_queue()
    server_data.store.close()
