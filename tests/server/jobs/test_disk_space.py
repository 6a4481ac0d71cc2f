"""Jobs that could not write, and the reserve of the database."""

from __future__ import annotations

from server.jobs.disk_space import DiskGate, Reserve


def test_jobs_wait_while_a_folder_is_not_writable(tmp_path):
    data = tmp_path / "data"
    gate = DiskGate((data,))
    assert gate.hold("job", {"code": "output.not_writable"})  # the folder does not exist
    assert gate.waiting() == ["job"]
    data.mkdir()
    assert gate.waiting() == []


def test_failures_without_a_disk_problem_do_not_wait(tmp_path):
    gate = DiskGate((tmp_path,))
    assert not gate.hold("job", {"code": "output.not_writable"})
    assert not gate.hold("job", {"code": "portrait.unreadable"})
    assert gate.waiting() == []


def test_a_job_waits_at_most_60_times(tmp_path):
    gate = DiskGate((tmp_path,))
    waits = [gate.hold("job", {"code": "storage.full"}) for _ in range(100)]
    assert waits.count(True) == 60
    assert not any(waits[60:])
    gate.forget("job")
    assert gate.hold("job", {"code": "storage.full"})


def test_the_reserve_is_released_once(tmp_path):
    reserve = Reserve(tmp_path / "reserve")
    assert not reserve.release()
    reserve.keep()
    assert (tmp_path / "reserve").stat().st_size == 2**20
    assert reserve.release()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.release()
