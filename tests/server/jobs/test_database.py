"""The file of the job database: locked, damaged, older, foreign, read-only."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3

import pytest

from dp3d_core.errors import Dp3dError
from server.jobs import database
from server.jobs.model import JobState
from server.jobs.store import JobStore
from tests.support.job_reading import events_after, recent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.sqlite"


def open_store(path):
    return JobStore(f"sqlite:///{path}")


MANY = 120


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A closed database of jobs in all states, and their ids."""
    file = tmp_path_factory.mktemp("example") / "jobs.sqlite"
    store = open_store(file)
    ids = [store.create("views", {"n": n, "text": "x" * 900}).id for n in range(MANY)]
    for _ in range(MANY // 3):
        store.finish(store.claim_next().id, JobState.SUCCEEDED, result={"views": "y"})
    store.claim_next()
    store.close()
    return file, ids


@pytest.fixture
def ids(example, path):
    """Ids of the jobs of the example, which is copied to ``path``."""
    shutil.copyfile(example[0], path)
    return example[1]


def test_a_locked_database_is_busy_until_it_is_released(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    store = open_store(path)
    job = store.create("views", {})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert store.get(job.id).state == "queued"  # readers do not wait
        for change in (lambda: store.create("views", {}), store.claim_next):
            with pytest.raises(Dp3dError) as caught:
                change()
            assert caught.value.code == "server.database_busy"
            assert "another program holds it" in caught.value.problem
        other.execute("ROLLBACK")
    assert store.claim_next().id == job.id
    store.close()


def scribble(path, seed, part):
    """Overwrite a fraction ``part`` of the pages after the first with random bytes."""
    generator = random.Random(seed)
    data = bytearray(path.read_bytes())
    pages = range(2, len(data) // 4096)
    for page in generator.sample(pages, max(1, int(part * len(pages)))):
        data[page * 4096 : (page + 1) * 4096] = generator.randbytes(4096)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(3))
def test_repair_keeps_readable_rows_and_the_backup(path, ids, seed):
    database.back_up(path)
    store = open_store(path)
    later = store.create("views", {"later": True}).id
    store.close()
    scribble(path, seed, part=0.3)
    store = open_store(path)
    jobs = {job.id: job for job in recent(store, 1000)}
    assert set(ids) <= set(jobs)
    assert set(jobs) <= {*ids, later}
    assert sum(job.state == "succeeded" for job in jobs.values()) == MANY // 3
    store.recover()
    assert store.claim_next().params["n"] == MANY // 3, "the running job was not requeued"
    store.close()
    assert list(path.parent.glob("jobs.damaged-*.sqlite"))


@pytest.mark.parametrize(
    "content", [b"no database" * 1000, b"SQLite format 3\0" + bytes(5000)], ids=["text", "zeros"]
)
def test_a_file_that_is_no_database_is_replaced_by_the_backup(path, ids, content):
    database.back_up(path)
    path.write_bytes(content)
    store = open_store(path)
    assert {job.id for job in recent(store, MANY)} == set(ids)
    store.close()


@pytest.mark.parametrize("lost", ["deleted", "emptied"])
def test_a_deleted_or_emptied_database_is_restored_from_the_backup(path, ids, lost):
    database.back_up(path)
    if lost == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"")
    store = open_store(path)
    assert {job.id for job in recent(store, MANY)} == set(ids)
    store.close()


def test_an_empty_database_does_not_replace_a_backup_with_jobs(path, ids):
    database.back_up(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE job (number INTEGER)")
    database.back_up(path)
    path.unlink()
    store = open_store(path)
    assert len(recent(store, MANY)) == MANY
    store.close()


def test_events_of_a_repaired_database_have_new_ids(path, ids):
    database.back_up(path)
    store = open_store(path)
    seen = events_after(store, store.create("views", {}).id, 0)[-1].id
    store.close()
    path.write_bytes(b"no database" * 1000)
    store = open_store(path)
    assert events_after(store, store.create("views", {}).id, 0)[0].id > seen
    store.close()


def test_without_a_backup_rows_are_read_from_the_damaged_file(path, ids):
    scribble(path, 0, part=0.1)
    store = open_store(path)
    assert len({job.id for job in recent(store, 1000)} & set(ids)) > 0.6 * len(ids)
    store.close()


def test_damage_is_repaired_without_a_restart(path, ids):
    database.back_up(path)
    store = open_store(path)
    scribble(path, 1, part=0.9)
    with pytest.raises(Dp3dError) as caught:
        [events_after(store, job.id, 0) for job in recent(store, 1000)]
    assert caught.value.code == "server.database_damaged"
    store.repair()
    assert len(recent(store, 1000)) == MANY
    store.close()


def test_a_damaged_database_is_not_backed_up(path, ids):
    database.back_up(path)
    good = database.backup_path(path).read_bytes()
    scribble(path, 2, part=0.5)
    database.back_up(path)
    assert database.backup_path(path).read_bytes() == good


def test_a_file_of_an_older_version_gets_the_new_columns(path, ids):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for column in ("crashes", "kills"):
            connection.execute(f"ALTER TABLE job DROP COLUMN {column}")
        connection.execute("PRAGMA user_version=0")
        connection.commit()
    store = open_store(path)
    assert [job.id for job in recent(store, MANY)] == ids[::-1]
    assert recent(store)[0].crashes == 0
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "PRAGMA user_version=99",
        "ALTER TABLE job ADD COLUMN owner TEXT",
        "ALTER TABLE job DROP COLUMN params",
    ],
)
def test_a_file_of_another_version_is_refused_and_unchanged(path, ids, change):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(Dp3dError) as caught:
        open_store(path)
    assert caught.value.code == "server.database_foreign"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (MANY,)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anything")
def test_a_read_only_folder_is_refused(path, ids):
    path.parent.chmod(0o500)
    path.chmod(0o400)
    try:
        with pytest.raises(Dp3dError) as caught:
            open_store(path)
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    assert caught.value.code == "output.not_writable"


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir()
    with pytest.raises(Dp3dError) as caught:
        open_store(path)
    assert caught.value.code == "output.not_writable"
