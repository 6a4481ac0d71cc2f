"""Artifacts that are removed while clients read or upload them."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import httpx
import pytest

from server.storage.artifacts import ArtifactStore
from server.web.downloads import parse_range
from tests.server.conftest import TOKEN

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-3", range(4)), (" bytes=8- ", range(8, 10)), ("bytes=-2", range(8, 10)), ("bytes=-99", range(10)),
     ("bytes=5-99", range(5, 10)), ("bytes=9-9", range(9, 10)), ("bytes=10-", None), ("bytes=5-4", None),
     ("bytes=-0", None), ("bytes=-", None), ("bytes=1-2,4-5", None)],
)  # fmt: skip
def test_ranges(header, part):
    assert parse_range(header, 10) == part
    assert parse_range(header, 0) is None


def test_an_open_artifact_can_be_read_after_its_removal(tmp_path):
    store = ArtifactStore(tmp_path)
    sha256 = store.add_bytes(b"whole").sha256
    with store.open(sha256) as file:
        if os.name == "posix":
            store.path(sha256).unlink()
        assert file.read() == b"whole"


def test_concurrently_deleted_artifacts_are_complete_or_not_found(shared_server):
    """Clients read, store and delete one artifact; each answer has an allowed status."""
    data = os.urandom(200_000)
    url = f"{shared_server.url}/v1/artifacts/{hashlib.sha256(data).hexdigest()}"
    until, faults = time.monotonic() + 4.0, []

    def work(method, statuses):
        with httpx.Client(headers=HEADERS, timeout=30) as client:
            while time.monotonic() < until:
                content = data if method == "PUT" else None
                try:
                    answer = client.request(method, url, content=content)
                except httpx.HTTPError as error:
                    faults.append((method, repr(error)))
                    continue
                is_complete = method != "GET" or answer.status_code != 200 or answer.content == data
                if answer.status_code not in statuses or not is_complete:
                    faults.append((method, answer.status_code, answer.text[:300]))

    rounds = [
        ("GET", {200, 404}), ("GET", {200, 404}), ("HEAD", {200, 404}), ("PUT", {200, 201}), ("PUT", {200, 201}),
        ("DELETE", {204, 404, 409}),
    ]  # fmt: skip
    threads = [threading.Thread(target=work, args=arguments) for arguments in rounds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert "Traceback" not in (shared_server.folder / "server.log").read_text()
