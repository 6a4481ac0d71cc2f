"""Downloads, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

pytest.importorskip("huggingface_hub", reason="the extra 'diffusion' is not installed")

from dp3d_core.checkpoints.download import downloads_folder, fetch
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.weights.installed import SOURCES

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 4096


class Hub(BaseHTTPRequestHandler):
    """One file of one repository."""

    ranges: list[str | None]
    tokens: list[str | None]
    served = CONTENT
    elsewhere = ""
    """Address that the contents are to be fetched from."""

    def do_HEAD(self) -> None:
        if self.elsewhere:
            self._headers(302, 0)
        else:
            self._headers(200, len(CONTENT))

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        self.tokens.append(self.headers.get("Authorization"))
        first = int(asked.split("=")[1].split("-")[0]) if asked else 0
        self._headers(206 if asked else 200, len(CONTENT) - first)
        self.wfile.write(self.served[first:])

    def _headers(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(CONTENT)))
        if status == 302:
            self.send_header("Location", f"{self.elsewhere}/contents")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served():
    handler = type("Handler", (Hub,), {"ranges": [], "tokens": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with served() as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "client"))


CALLS = {"progress": no_progress, "cancel": never_cancel}
VARIANT = Variant.DIFFPORTRAIT360


def test_a_file_comes_with_its_commit_and_hash(hub):
    address, handler = hub
    found = fetch(VARIANT, endpoint=address, **CALLS)
    assert found.path.read_bytes() == CONTENT
    assert found.path.name == SOURCES[VARIANT].file
    assert found.commit == COMMIT
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert len(handler.ranges) == 1
    # again: what is here
    assert fetch(VARIANT, endpoint=address, **CALLS) == found
    assert len(handler.ranges) == 1


def test_a_download_that_was_cancelled_goes_on(hub, monkeypatch):
    monkeypatch.setattr("dp3d_core.checkpoints.download._CHUNK", 1 << 18)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 18)
    address, handler = hub
    steps = []
    calls = {"progress": lambda e: steps.append(e.step), "cancel": lambda: len(steps) > 2}
    with pytest.raises(Cancelled):
        fetch(VARIANT, endpoint=address, **calls)
    [part] = downloads_folder().glob("*.part")
    done = part.stat().st_size
    assert 0 < done < len(CONTENT)
    events = []
    found = fetch(VARIANT, endpoint=address, progress=events.append, cancel=never_cancel)
    assert found.path.read_bytes() == CONTENT
    assert handler.ranges == [None, f"bytes={done}-"]
    assert events[0].step == done >> 18
    assert events[-1].step == events[-1].of
    assert not list(downloads_folder().glob("*.part"))


def test_a_connection_that_breaks_is_told_and_loses_nothing(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits between its attempts
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    address, handler = hub
    handler.served = CONTENT[:400_000]
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "weights.download_failed"
    assert "goes on" in caught.value.remedy
    handler.served = CONTENT
    handler.ranges.clear()
    assert fetch(VARIANT, endpoint=address, **CALLS).path.read_bytes() == CONTENT
    assert handler.ranges == [f"bytes={400_000 >> 16 << 16}-"]


def test_without_a_network_what_is_here_serves(hub):
    address, _ = hub
    found = fetch(VARIANT, endpoint=address, **CALLS)
    gone = "http://127.0.0.1:9"
    assert fetch(VARIANT, endpoint=gone, **CALLS) == found
    assert fetch(VARIANT, COMMIT, endpoint=gone, **CALLS) == found
    assert fetch(VARIANT, "main", endpoint=gone, **CALLS) == found
    for variant, revision in ((VARIANT, "b" * 40), (Variant.BACK_VIEW, "main")):
        with pytest.raises(Dp3dError) as caught:
            fetch(variant, revision, endpoint=gone, **CALLS)
        assert caught.value.code == "weights.download_failed"
        assert "by hand" in caught.value.remedy


def test_what_the_hubs_own_client_has_is_used(tmp_path):
    cache = tmp_path / "client/models--gym890--diffportrait360"
    snapshot, blob = cache / "snapshots" / COMMIT, cache / "blobs" / ("a" * 64)
    snapshot.mkdir(parents=True)
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    (snapshot / "model_state-340000.th").symlink_to(blob)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    found = fetch(VARIANT, endpoint="http://127.0.0.1:9", **CALLS)
    assert found.path.read_bytes() == b"weights"
    assert (found.commit, found.sha256) == (COMMIT, "a" * 64)


def test_a_disk_without_room(hub, monkeypatch):
    address, handler = hub
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "storage.full"
    assert not handler.ranges


def test_a_file_that_its_host_does_not_hand_out():
    with pytest.raises(Dp3dError) as caught:
        fetch(Variant.DIFFPORTRAIT3D, **CALLS)
    assert caught.value.code == "weights.missing"
    assert "github.com" in caught.value.remedy


def test_spoilt_contents_are_fetched_anew(hub):
    address, handler = hub
    handler.served = bytes(len(CONTENT))
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "weights.damaged"
    assert not [p for p in downloads_folder().iterdir() if not p.name.endswith(".lock")]
    handler.served = CONTENT
    assert fetch(VARIANT, endpoint=address, **CALLS).path.read_bytes() == CONTENT


def test_a_replaced_file_leaves_no_old_part(hub):
    address, _ = hub
    old = downloads_folder() / f"{SOURCES[VARIANT].file}.0123456789ab.part"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of another file")
    fetch(VARIANT, endpoint=address, **CALLS)
    assert not old.exists()


def test_the_token_stays_with_the_hub(hub, monkeypatch):
    address, handler = hub
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    fetch(VARIANT, endpoint=address, **CALLS)
    assert handler.tokens == ["Bearer hf_secret"]
    with served() as (elsewhere, network):
        handler.elsewhere = elsewhere
        assert fetch(Variant.BACK_VIEW, endpoint=address, **CALLS).path.read_bytes() == CONTENT
    assert network.tokens == [None]


def test_a_home_that_cannot_be_written(hub, tmp_path, monkeypatch):
    address, _ = hub
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "file"))
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "output.not_writable"
