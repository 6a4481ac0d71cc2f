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


class House:
    """A data folder with a database, artifacts and what keeps them in order."""

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
def house(tmp_path):
    house = House(tmp_path / "data")
    yield house
    house.store.close()


def code_of(call, *arguments):
    with pytest.raises(Dp3dError) as caught:
        call(*arguments)
    return caught.value.code


def test_what_jobs_refer_to_is_kept_and_the_rest_goes(house):
    photo, frame, mesh, shown, lost = (house.file(x) for x in (b"p", b"f", b"m", b"s", b"l"))
    views = house.tree(frame)
    house.ended({"portrait": photo}, {"views": views, "mesh": {"sha256": mesh, "size": 1}})
    house.store.create("views", {})
    house.store.add_artifact(house.store.claim_next().id, {"name": "a", "sha256": shown, "size": 1})
    queued = house.file(b"q")
    house.store.create("fit", {"views": queued})
    assert house.retention.collect() > 0
    assert house.has(photo, frame, views, mesh, shown, queued) == [True] * 6
    assert house.has(lost) == [False]
    assert house.retention.collect() == 0


def test_a_fresh_upload_and_the_files_of_a_fresh_tree_are_kept(house):
    frame, fresh = house.file(b"frame"), house.file(b"fresh", age_s=10)
    tree = house.tree(frame, age_s=10)
    house.retention.collect()
    assert house.has(frame, fresh, tree) == [True] * 3
    house.age(tree)
    house.retention.collect()
    assert house.has(frame, fresh, tree) == [False, True, False]


def test_a_file_that_is_asked_for_counts_as_fresh(house):
    frame = house.file(b"frame")
    tree = house.tree(frame)
    house.artifacts.use_tree(tree)
    again = house.file(b"again")
    house.artifacts.add_bytes(b"again")
    house.retention.collect()
    assert house.has(frame, tree, again) == [True] * 3


def test_a_file_that_is_asked_for_while_it_is_removed_stays(house, monkeypatch):
    sha256 = house.file(b"data")
    (stored,) = house.retention._scan()
    house.artifacts.use(sha256)  # after it was looked at, before it is removed
    assert not house.retention._remove(stored)
    assert house.has(sha256) == [True]


def test_artifacts_of_a_lost_database_are_kept(house):
    """A database that was made anew knows no jobs; that says nothing of what was there before."""
    old = house.file(b"old")
    house.store.close()
    for path in house.settings.data.glob("jobs.sqlite*"):
        path.unlink()
    store = JobStore(house.settings.database_url)
    retention = Retention(house.settings, store, house.artifacts)
    assert retention.collect() == 0
    assert house.has(old) == [True]
    store.close()


def test_jobs_beyond_the_number_that_is_kept_are_deleted_with_their_results(tmp_path):
    house = House(tmp_path / "data", kept_jobs=2)
    results = [house.file(bytes([i])) for i in range(4)]
    jobs = [house.ended(result={"views": sha256}) for sha256 in results]
    (house.settings.work / jobs[0]).mkdir(parents=True)
    waiting = house.store.create("views", {}).id
    house.retention.collect()
    left = [job["id"] for job in queries.summaries(house.store.engine, 10)]
    assert left == [waiting, jobs[3], jobs[2]]
    assert house.has(*results) == [False, False, True, True]
    assert not (house.settings.work / jobs[0]).exists()
    house.store.close()


def test_only_an_ended_job_is_deleted(house):
    job = house.store.create("views", {})
    assert code_of(house.retention.delete_job, job.id) == "job.not_ended"
    house.store.claim_next()
    assert code_of(house.retention.delete_job, job.id) == "job.not_ended"
    house.store.finish(job.id, JobState.CANCELLED)
    house.retention.delete_job(job.id)
    assert code_of(house.store.get, job.id) == "job.not_found"
    assert code_of(house.retention.delete_job, job.id) == "job.not_found"
    assert events_after(house.store, job.id, 0) == []


def test_an_artifact_in_use_is_not_deleted(house):
    frame = house.file(b"frame")
    tree = house.tree(frame)
    job = house.ended(result={"views": tree})
    assert code_of(house.retention.delete_artifact, frame) == "artifact.in_use"
    assert code_of(house.retention.delete_artifact, tree) == "artifact.in_use"
    house.retention.delete_job(job)
    house.retention.delete_artifact(frame)
    house.retention.delete_artifact(tree)
    assert house.has(frame, tree) == [False, False]
    assert code_of(house.retention.delete_artifact, tree) == "artifact.not_found"


def test_a_tree_that_is_sent_again_keeps_its_files(house):
    frame = house.file(b"frame")
    tree = house.tree(frame)
    document = house.artifacts.path(tree).read_bytes()
    house.ended(result={"views": tree})
    house.artifacts.path(tree).unlink()
    house.retention.in_use()
    house.artifacts.add_bytes(document)
    house.retention.collect()
    assert house.has(frame, tree) == [True, True]


def test_a_damaged_row_does_not_keep_the_others_from_being_kept(house):
    photo = house.file(b"p")
    house.ended({"portrait": photo})
    bad = house.ended({"x": 1})
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE job SET params = '[[[', error = '{{' WHERE id = '{bad}'"
        )
    house.retention.collect()
    assert house.has(photo) == [True]
    assert len(queries.summaries(house.store.engine, 10)) == 2


def test_a_database_that_was_born_in_the_future_does_not_keep_everything(house):
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE databasebirth SET born = {time.time() + OLD_S}")
    house.retention.collect()
    unused = house.file(b"unused", age_s=-10)
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + OLD_S)
        house.retention.collect()
    assert house.has(unused) == [False]


def test_the_quota_counts_what_is_stored_and_what_is_being_received(tmp_path):
    house = House(tmp_path / "data", stored=0)
    house.file(b"x" * 4097, age_s=0)  # two blocks
    limit = bytes_under(house.settings.data) + 8 * 4096
    house.retention = house.retention_with(limit)
    first, second = Reservation(house.retention), Reservation(house.retention)
    first.grow(5 * 4096)
    first.grow(4 * 4096)
    second.grow(3 * 4096)
    assert code_of(second.grow, 3 * 4096 + 1) == "storage.quota"
    first.release()
    second.grow(8 * 4096)
    second.release()
    house.retention.check_space(8 * 4096)
    assert code_of(house.retention.check_space, 8 * 4096 + 1) == "storage.quota"
    house.store.close()


def test_what_nobody_needs_makes_room_when_the_quota_is_used_up(tmp_path):
    house = House(tmp_path / "data")
    unused, kept = house.file(b"u", age_s=7200), house.file(b"k", age_s=7200)
    house.ended({"portrait": kept})
    house.retention_with(bytes_under(house.settings.data) + 4096).check_space(2 * 4096)
    assert house.has(unused, kept) == [False, True]
    house.store.close()


def test_work_in_progress_and_the_database_count(house):
    before = house.retention_with(0).used()
    assert before >= (house.settings.data / "jobs.sqlite").stat().st_size
    work = house.settings.work / "job" / "views"
    work.mkdir(parents=True)
    (work / "0000.png").write_bytes(b"x" * 5000)
    (work / "0001.png").hardlink_to(work / "0000.png")
    assert house.retention_with(0).used() == before + 2 * 4096


def test_what_a_purged_job_made_goes_at_once(house):
    photo, frame, shared = house.file(b"photo"), house.file(b"frame"), house.file(b"shared")
    tree, other = house.tree(frame, shared), house.tree(shared)
    job = house.ended({"portrait": photo}, {"views": tree})
    house.ended({}, {"views": other})
    house.retention.purge_job(job)
    assert house.has(photo, frame, tree) == [True, False, False]
    assert house.has(shared, other) == [True, True]


def test_what_a_running_job_may_have_made_is_kept_also_when_the_clock_jumps(house, monkeypatch):
    frame = house.file(b"frame")
    tree = house.tree(frame)
    job = house.ended(result={"views": tree})
    house.store.create("views", {})
    running = house.store.claim_next()
    house.artifacts.use_tree(tree)
    unused, now = house.file(b"unused"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + OLD_S)
    house.retention.purge_job(job)
    house.retention.collect()
    assert house.has(frame, tree, unused) == [True, True, False]
    assert code_of(house.retention.delete_artifact, frame) == "artifact.in_use"
    house.store.finish(running.id, JobState.SUCCEEDED, result={"views": tree})
    assert code_of(house.retention.purge_job, job) == "job.not_found"
    house.retention.purge_job(running.id)
    assert house.has(frame, tree) == [False, False]


def test_the_disk_is_asked_before_it_is_written_to(house, monkeypatch, tmp_path):
    usage = artifacts_module.shutil.disk_usage(tmp_path)._replace(
        free=artifacts_module.MIN_FREE_BYTES + 10
    )
    sha256 = house.file(b"x" * 11)
    tree = house.tree(sha256)
    monkeypatch.setattr(artifacts_module.shutil, "disk_usage", lambda _: usage)
    house.retention.check_space(10)
    assert code_of(house.retention.check_space, 11) == "storage.full"
    assert code_of(house.artifacts.add_bytes, b"y" * 11) == "storage.full"
    assert code_of(house.artifacts.materialise, tree, tmp_path / "out") == "storage.full"
    assert not (tmp_path / "out").exists()


def test_the_queue_is_bounded(tmp_path):
    house = House(tmp_path / "data", queued_jobs=2)
    for _ in range(2):
        house.retention.check_queue()
        house.store.create("views", {})
    assert code_of(house.retention.check_queue) == "job.queue_full"
    house.store.claim_next()
    house.retention.check_queue()
    house.store.close()
