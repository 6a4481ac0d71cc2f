"""Downloads from a local server that answers like the hub."""

from __future__ import annotations

import hashlib
import sys
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
    """Address that HEAD redirects to; empty: no redirect."""

    def do_HEAD(self) -> None:
        if self.elsewhere:
            self._headers(302, 0)
        else:
            self._headers(200, len(CONTENT))

    def do_GET(self) -> None:
        requested = self.headers.get("Range")
        self.ranges.append(requested)
        self.tokens.append(self.headers.get("Authorization"))
        first = int(requested.split("=")[1].split("-")[0]) if requested else 0
        self._headers(206 if requested else 200, len(CONTENT) - first)
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
    with served() as address_and_handler:
        yield address_and_handler


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "client"))


CALLS = {"progress": no_progress, "cancel": never_cancel}
VARIANT = Variant.DIFFPORTRAIT360


def test_a_file_comes_with_its_commit_and_hash(hub):
    address, handler = hub
    fetched = fetch(VARIANT, endpoint=address, **CALLS)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.path.name == SOURCES[VARIANT].file
    assert fetched.commit == COMMIT
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert len(handler.ranges) == 1
    # a second call uses the local file
    assert fetch(VARIANT, endpoint=address, **CALLS) == fetched
    assert len(handler.ranges) == 1


def test_a_cancelled_download_is_resumed(hub, monkeypatch):
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
    fetched = fetch(VARIANT, endpoint=address, progress=events.append, cancel=never_cancel)
    assert fetched.path.read_bytes() == CONTENT
    assert handler.ranges == [None, f"bytes={done}-"]
    assert events[0].step == done >> 18
    assert events[-1].step == events[-1].of
    assert not list(downloads_folder().glob("*.part"))


def test_a_broken_connection_is_an_error_and_keeps_the_part(hub, monkeypatch):
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


def test_without_a_network_a_local_file_is_used(hub):
    address, _ = hub
    fetched = fetch(VARIANT, endpoint=address, **CALLS)
    gone = "http://127.0.0.1:9"
    assert fetch(VARIANT, endpoint=gone, **CALLS) == fetched
    assert fetch(VARIANT, COMMIT, endpoint=gone, **CALLS) == fetched
    assert fetch(VARIANT, "main", endpoint=gone, **CALLS) == fetched
    for variant, revision in ((VARIANT, "b" * 40), (Variant.BACK_VIEW, "main")):
        with pytest.raises(Dp3dError) as caught:
            fetch(variant, revision, endpoint=gone, **CALLS)
        assert caught.value.code == "weights.download_failed"
        assert "by hand" in caught.value.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_cache_of_the_hubs_client_is_used(tmp_path):
    cache = tmp_path / "client/models--gym890--diffportrait360"
    snapshot, blob = cache / "snapshots" / COMMIT, cache / "blobs" / ("a" * 64)
    snapshot.mkdir(parents=True)
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    (snapshot / "model_state-340000.th").symlink_to(blob)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    fetched = fetch(VARIANT, endpoint="http://127.0.0.1:9", **CALLS)
    assert fetched.path.read_bytes() == b"weights"
    assert (fetched.commit, fetched.sha256) == (COMMIT, "a" * 64)


def test_a_full_disk_is_refused_before_the_download(hub, monkeypatch):
    address, handler = hub
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "storage.full"
    assert not handler.ranges


def test_a_file_for_download_by_hand_names_its_page():
    with pytest.raises(Dp3dError) as caught:
        fetch(Variant.DIFFPORTRAIT3D, **CALLS)
    assert caught.value.code == "weights.missing"
    assert "github.com" in caught.value.remedy


def test_damaged_contents_are_downloaded_again(hub):
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


def test_an_unwritable_home_is_refused(hub, tmp_path, monkeypatch):
    address, _ = hub
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "file"))
    with pytest.raises(Dp3dError) as caught:
        fetch(VARIANT, endpoint=address, **CALLS)
    assert caught.value.code == "output.not_writable"
