"""Killed servers, killed workers, cancelled jobs: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.locks import try_lock
from dp3d_core.viewsets.viewset import ViewSet
from tests.server.conftest import TOKEN, ServerProcess, small_views, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")

MANY = 40


def all_pictures():
    """Names of the artifacts that a job announces."""
    folders = ("frames", "rgba")
    return sorted(["portrait.png", *(f"{f}/{i:04d}.png" for f in folders for i in range(MANY))])


def frames_written(server, job_id):
    return len(list((server.data / "work" / job_id / "views" / "frames").glob("[0-9]*.png")))


def start_long_job(server, photo, at_least=5):
    """A job that is running and has written some of its frames."""
    with server.client() as client:
        params = small_views(client.put_file(photo), MANY)
        params["cameras"]["size"] = 128
        job = client.create_job("views", **params)
    wait_until(lambda: frames_written(server, job["id"]) >= at_least)
    return job["id"]


def test_a_killed_server_resumes_its_job_after_a_restart(server_process, photo, tmp_path):
    job_id = start_long_job(server_process, photo)
    server_process.kill()
    wait_until(lambda: not server_process.worker_pids(), 5)
    before = frames_written(server_process, job_id)
    assert 0 < before < MANY
    first = server_process.data / "work" / job_id / "views" / "frames" / "0000.png"
    written_at = first.stat().st_mtime_ns
    time.sleep(0.3)
    assert frames_written(server_process, job_id) == before, "an orphaned worker goes on writing"

    server_process.start()
    with server_process.client() as client:
        wait_until(lambda: client.job(job_id)["state"] == "running")
        assert first.stat().st_mtime_ns == written_at, "a finished frame was rendered again"
        result = client.wait(job_id)
        job = client.job(job_id)
        assert (job["state"], job["attempt"]) == ("succeeded", 2)
        assert len(ViewSet.open(client.get_tree(result["views"], tmp_path / "got"))) == MANY
        events = list(client.events(job_id))
        states = [e.data["state"] for e in events if e.event == "state"]
        assert states == ["queued", "running", "queued", "running", "succeeded"]
        names = [e.data["name"] for e in events if e.event == "artifact"]
        assert sorted(names) == all_pictures()


def test_a_stopped_server_returns_its_job_to_the_queue(server_process, photo):
    job_id = start_long_job(server_process, photo)
    assert server_process.stop() == 0
    assert not server_process.worker_pids()
    server_process.start()
    with server_process.client() as client:
        client.wait(job_id)
        assert client.job(job_id)["attempt"] == 1


def test_stopping_does_not_wait_for_open_event_streams(server_process, photo):
    job_id = start_long_job(server_process, photo)
    with server_process.client() as client:
        stream = client.events(job_id)
        next(stream)
        assert server_process.stop() == 0, "the server had to be killed"


def test_a_killed_worker_is_replaced_and_the_job_resumes(server_process, photo):
    job_id = start_long_job(server_process, photo)
    os.kill(server_process.worker_pids()[0], signal.SIGKILL)
    with server_process.client() as client:
        client.wait(job_id)
        assert client.job(job_id)["attempt"] == 2


def long_job(client, photo):
    """Parameters of a job that does not end while it is watched."""
    params = small_views(client.put_file(photo), 360)
    params["cameras"]["size"] = 512
    return params


def wait_for_attempt(client, job_id, attempt):
    wait_until(
        lambda: (job := client.job(job_id))["state"] == "running" and job["attempt"] == attempt
    )


def test_a_job_fails_after_three_crashes(server_process, photo):
    with server_process.client() as client:
        params = long_job(client, photo)
        job_id = client.create_job("views", **params)["id"]
        for attempt in (1, 2, 3):
            wait_for_attempt(client, job_id, attempt)
            os.kill(server_process.worker_pids()[0], signal.SIGSEGV)
        with pytest.raises(Dp3dError) as caught:
            client.wait(job_id)
        assert caught.value.code == "job.worker_died"
        # the next job is not affected
        client.wait(client.create_job("views", **small_views(params["portrait"]))["id"])


def test_repeated_kills_of_the_worker_do_not_fail_the_job(server_process, photo):
    with server_process.client() as client:
        job_id = client.create_job("views", **long_job(client, photo))["id"]
        for attempt in range(1, 6):
            wait_for_attempt(client, job_id, attempt)
            os.kill(server_process.worker_pids()[0], signal.SIGKILL)
        wait_for_attempt(client, job_id, 6)
        client.cancel(job_id)


def test_a_worker_that_cannot_start_is_reported(tmp_path):
    (tmp_path / "data" / "worker.lock").mkdir(parents=True)
    server = ServerProcess(tmp_path).start()
    with server.client() as client:
        with pytest.raises(Dp3dError) as caught:
            client.engines()
        assert caught.value.code == "server.worker_down"
        assert client.health()["worker"] == "down"
    server.stop()
    assert "worker.lock" in (tmp_path / "data" / "logs" / "worker.log").read_text()


def test_cancel_of_a_running_job(server_process, photo):
    job_id = start_long_job(server_process, photo)
    with server_process.client() as client:
        assert client.cancel(job_id)["state"] == "running"
        *_, last = client.events(job_id)
        assert (last.event, last.data["state"]) == ("state", "cancelled")
        assert frames_written(server_process, job_id) < MANY
        with pytest.raises(Dp3dError) as caught:
            client.wait(job_id)
        assert caught.value.code == "job.cancelled"
        wait_until(lambda: client.health()["worker"] == "idle")


def test_an_identical_job_resumes_a_cancelled_one(server_process, photo):
    job_id = start_long_job(server_process, photo)
    with server_process.client() as client:
        client.cancel(job_id)
        list(client.events(job_id))
        written = frames_written(server_process, job_id)
        job = client.job(job_id)
        again = client.create_job(job["kind"], **job["params"])
        events = list(client.events(again["id"]))
        views = [e.data for e in events if e.event == "progress" and e.data["stage"] == "views"]
        assert 5 <= written <= views[0]["step"]
        names = [e.data["name"] for e in events if e.event == "artifact"]
        assert sorted(names) == all_pictures()
        assert not (server_process.data / "work" / job_id).exists()


def test_folders_of_unknown_jobs_are_removed_at_the_next_start(server_process):
    stray = server_process.data / "work" / "stray"
    server_process.stop()
    stray.mkdir(parents=True)
    server_process.start()
    wait_until(lambda: not stray.exists())


def test_cancel_of_a_queued_job_is_immediate(server_process, photo):
    running = start_long_job(server_process, photo)
    with server_process.client() as client:
        waiting = client.create_job("views", **small_views(client.put_file(photo)))["id"]
        assert client.cancel(waiting)["state"] == "cancelled"
        states = [e.data["state"] for e in client.events(waiting)]
        assert states == ["queued", "cancelled"]
        assert client.job(waiting)["attempt"] == 0
        client.wait(running)


def test_a_stopped_worker_does_not_delay_a_cancel(server_process, photo):
    job_id = start_long_job(server_process, photo)
    stuck = server_process.worker_pids()[0]
    os.kill(stuck, signal.SIGSTOP)
    with server_process.client() as client:
        client.cancel(job_id)
        wait_until(lambda: client.job(job_id)["state"] == "cancelled", 5)
        client.wait(client.create_job("views", **small_views(client.put_file(photo)))["id"])
    assert stuck not in server_process.worker_pids()


def test_progress_is_repeated_while_the_worker_is_silent(server_process, photo):
    job_id = start_long_job(server_process, photo)
    pid = server_process.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    with server_process.client() as client:
        events = (event for event in client.events(job_id) if event.event == "progress")
        stages = (e.data["stage"] for e in events if "elapsed_s" in e.data["values"])
        assert "views" in stages
        client.cancel(job_id)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a separate disk of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "dp3d-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))


def assert_complete(client, job_id, folder):
    """Assert that the job succeeds with every view, each picture announced once."""
    result = client.wait(job_id)
    assert len(ViewSet.open(client.get_tree(result["views"], folder))) == MANY
    names = [e.data["name"] for e in client.events(job_id) if e.event == "artifact"]
    assert sorted(names) == all_pictures()


def test_a_job_resumes_when_a_full_disk_has_space_again(small_disk, photo, tmp_path):
    server = ServerProcess(tmp_path)
    server.data = small_disk / "data"
    server.start()
    try:
        job_id = start_long_job(server, photo, at_least=2)
        fill(small_disk)
        with server.client() as client:
            wait_until(lambda: client.job(job_id)["error"] is not None, 30)
            job = client.job(job_id)
            assert (job["state"], job["error"]["code"]) == ("queued", "storage.full")
            with pytest.raises(Dp3dError) as caught:
                client.put_bytes(os.urandom(2**20))
            assert caught.value.code == "storage.full"
            (small_disk / "filler").unlink()
            assert_complete(client, job_id, tmp_path / "got")
    finally:
        server.stop()


def test_a_job_resumes_when_the_quota_has_space_again(photo, tmp_path):
    server = ServerProcess(tmp_path).start("--quota-gib", "0.05")
    filler = server.data / "logs" / "filler"
    try:
        job_id = start_long_job(server, photo, at_least=2)
        filler.write_bytes(bytes(60 * 2**20))
        with server.client() as client:
            wait_until(lambda: client.job(job_id)["error"] is not None, 30)
            job = client.job(job_id)
            assert (job["state"], job["error"]["code"]) == ("queued", "storage.quota")
            assert job["message"] == "waiting for room on the disk"
            filler.unlink()
            assert_complete(client, job_id, tmp_path / "got")
    finally:
        server.stop()


def test_a_job_goes_on_after_a_database_lock(server_process, photo):
    job_id = start_long_job(server_process, photo)
    with contextlib.closing(
        sqlite3.connect(server_process.data / "jobs.sqlite", isolation_level=None)
    ) as other:
        other.execute("BEGIN EXCLUSIVE")
        with server_process.client() as client:
            with pytest.raises(Dp3dError) as caught:
                client.create_job("views", **small_views(client.put_file(photo)))
            assert caught.value.code == "server.database_busy"
            assert client.job(job_id)["state"] == "running"
            other.execute("ROLLBACK")
            client.wait(job_id)


def test_a_database_damaged_while_the_server_runs_is_repaired(server_process, photo):
    with server_process.client() as client:
        ended = client.create_job("views", **small_views(client.put_file(photo)))["id"]
        client.cancel(ended)
        wait_until(lambda: client.job(ended)["state"] == "cancelled")
        server_process.stop()
        server_process.start()  # writes a backup of the database
    with server_process.client() as client:
        wait_until(lambda: client.health()["worker"] == "idle")
        database = server_process.data / "jobs.sqlite"
        database.write_bytes(os.urandom(database.stat().st_size))

        codes = set()

        def is_back():
            try:
                return client.job(ended)["state"] == "cancelled"
            except Dp3dError as error:
                codes.add(error.code)
                return False

        wait_until(is_back, 60)
        new = ended

        def takes_jobs():
            nonlocal new
            try:
                new = client.create_job("views", **small_views(client.put_file(photo)), seed=5)[
                    "id"
                ]
            except Dp3dError as error:
                codes.add(error.code)
            return new != ended

        wait_until(takes_jobs, 60)
        assert codes <= {"server.database_damaged", "server.database_busy"}
        client.wait(new)


def test_a_cancel_survives_the_death_of_the_worker(server_process, photo):
    job_id = start_long_job(server_process, photo)
    pid = server_process.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)  # the worker cannot answer
    with server_process.client() as client:
        client.cancel(job_id)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: client.job(job_id)["state"] == "cancelled")


def test_a_worker_waits_for_the_end_of_the_previous_one(tmp_path, photo):
    server = ServerProcess(tmp_path)
    lock = try_lock(server.data / "worker.lock")
    assert lock is not None
    server.start()
    with server.client() as client:
        job = client.create_job("views", **small_views(client.put_file(photo)))
        wait_until(server.worker_pids)
        time.sleep(1)
        assert client.health()["worker"] == "starting"
        assert client.job(job["id"])["state"] == "queued"
        lock.release()
        client.wait(job["id"])
    assert server.stop() == 0


def start_refused(*arguments):
    """Standard error of a ``dp3d serve`` that must end with exit code 6."""
    run = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "serve", "--token", TOKEN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 6
    return run.stderr


def test_two_servers_do_not_share_a_data_folder(server_process):
    text = start_refused("--port", 0, "--data", server_process.data)
    assert "server.already_running" in text


def test_a_taken_port_is_reported(server_process, tmp_path):
    port = server_process.url.rpartition(":")[2]
    text = start_refused("--port", port, "--data", tmp_path / "other")
    assert f"Port {port}" in text
    assert "server.port_taken" in text


def test_partial_uploads_are_removed_at_the_next_start(tmp_path):
    server = ServerProcess(tmp_path)
    incoming = server.data / "artifacts" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "left.tmp").write_bytes(b"half")
    server.start()
    with server.client() as client:
        client.health()
        assert not list(incoming.iterdir())
    server.stop()
