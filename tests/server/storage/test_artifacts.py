"""The artifact store and trees."""

from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest

from dp3d_core.errors import Dp3dError
from server.storage.artifacts import ArtifactStore, check_tree_name, parse_tree


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "store")


def code_of(call, *arguments):
    with pytest.raises(Dp3dError) as caught:
        call(*arguments)
    return caught.value.code


def fill(folder):
    (folder / "frames").mkdir(parents=True)
    (folder / "frames" / "0000.png").write_bytes(b"frame")
    (folder / "meta.json").write_bytes(b"{}")
    return folder


def test_bytes_and_files_of_equal_content_have_one_hash(store, tmp_path):
    (tmp_path / "file").write_bytes(b"hello")
    assert store.add_file(tmp_path / "file") == store.add_bytes(b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert store.find(sha256).read_bytes() == b"hello"


def test_a_stored_file_does_not_change_with_its_source(store, tmp_path):
    source = tmp_path / "file"
    source.write_bytes(b"hello")
    stored = store.add_file(source)
    with source.open("ab") as file:
        file.write(b"more")
    assert store.find(stored.sha256).read_bytes() == b"hello"


def test_a_folder_survives_a_round_trip(store, tmp_path):
    folder = fill(tmp_path / "views")
    (folder / ".0001.png.x.tmp").write_bytes(b"unfinished")
    tree = store.add_tree(folder)
    out = store.materialise(tree.sha256, tmp_path / "out")
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert files == ["frames/0000.png", "meta.json"]
    assert (out / "frames/0000.png").read_bytes() == b"frame"


def test_changes_of_a_copy_do_not_reach_the_store(store, tmp_path):
    tree = store.add_tree(fill(tmp_path / "views"))
    out = store.materialise(tree.sha256, tmp_path / "out")
    with (out / "meta.json").open("ab") as file:
        file.write(b"changed")
    assert store.find(store.read_tree(tree.sha256)["meta.json"].sha256).read_bytes() == b"{}"


def test_materialise_resumes(store, tmp_path):
    tree = store.add_tree(fill(tmp_path / "views"))
    out = store.materialise(tree.sha256, tmp_path / "out")
    (out / "frames/0000.png").unlink()
    written_at = (out / "meta.json").stat().st_mtime_ns
    store.materialise(tree.sha256, out)
    assert (out / "frames/0000.png").read_bytes() == b"frame"
    assert (out / "meta.json").stat().st_mtime_ns == written_at


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_a_link_is_not_followed(store, tmp_path):
    folder = fill(tmp_path / "views")
    (folder / "passwd").symlink_to("/etc/passwd")
    assert code_of(store.add_tree, folder) == "artifact.bad_tree"


def test_an_upload_with_the_wrong_hash_leaves_nothing(store):
    upload = store.receive(64 * "0")
    upload.write(b"data")
    assert code_of(upload.commit) == "artifact.hash_mismatch"
    upload.abort()
    assert not list(store.incoming.iterdir())


def test_an_upload_stops_at_the_limit(store):
    upload = store.receive(64 * "0", limit=10)
    upload.write(b"0123456789")
    assert code_of(upload.write, b"x") == "artifact.too_large"
    upload.abort()


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, 7, None])
def test_invalid_hashes_are_refused(store, text):
    assert code_of(store.path, text) == "artifact.not_found"


@pytest.mark.parametrize("name", ["a", "frames/0000.png", "a b+c-d_e.f", "a/b/c/d", "_x"])
def test_valid_file_names_are_accepted(name):
    assert check_tree_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "a/", "/a", "..", "../a", "a/../b", "./a", "a//b", ".a", "a/.b", "~/a"),
        *("a\\b", "C:a", "C:/a", "a:b", "a\0b", "a\nb", "é", "con", "aux.txt", "a/NUL", "a.", "a "),
        *("x" * 121, "/".join("abcdefghi"), None, 5, ["a"]),
    ],
)
def test_invalid_file_names_are_refused(name):
    assert code_of(check_tree_name, name) == "artifact.bad_tree"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"schema": "dp3d.tree/2", "files": {}}',
        b'{"schema": "dp3d.tree/1", "files": []}',
        b'{"schema": "dp3d.tree/1", "files": {"a": {}}}',
        b'{"schema": "dp3d.tree/1", "files": {"a": {"sha256": "x", "size": 1}}}',
        b'{"schema": "dp3d.tree/1", "files": {"a": {"sha256": "%s", "size": -1}}}' % (64 * b"0"),
        b'{"schema": "dp3d.tree/1", "files": {"a": {"sha256": "%s", "size": true}}}' % (64 * b"0"),
    ],
)
def test_invalid_tree_documents_are_refused(document):
    assert code_of(parse_tree, document) == "artifact.bad_tree"


@pytest.mark.parametrize("names", [["a", "A"], ["a", "a/b"], ["a/b/c", "A/b"]])
def test_clashing_names_are_refused(names):
    entry = {"sha256": 64 * "0", "size": 0}
    document = {"schema": "dp3d.tree/1", "files": dict.fromkeys(names, entry)}
    assert code_of(parse_tree, json.dumps(document).encode()) == "artifact.bad_tree"


def test_a_tree_must_have_its_files_and_their_sizes(store):
    stored = store.add_bytes(b"x")
    for sha256, size, code in (
        (64 * "0", 1, "artifact.not_found"),
        (stored.sha256, 2, "artifact.bad_tree"),
    ):
        document = {
            "schema": "dp3d.tree/1",
            "files": {"a": {"sha256": sha256, "size": size}},
        }
        tree = store.add_bytes(json.dumps(document).encode())
        assert code_of(store.read_tree, tree.sha256) == code


def test_a_file_under_many_names_is_stored_once(store, tmp_path):
    blob = store.add_bytes(os.urandom(100_000))
    entries = {f"frames/{i:04d}.png": blob.to_dict() for i in range(40)}
    tree = store.add_bytes(json.dumps({"schema": "dp3d.tree/1", "files": entries}).encode())
    out = store.materialise(tree.sha256, tmp_path / "out")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 40
    assert all(hashlib.sha256(f.read_bytes()).hexdigest() == blob.sha256 for f in files)
    assert len({path.stat().st_ino for path in files}) == 1
    files[0].write_bytes(b"changed in place")
    assert len(store.find(blob.sha256).read_bytes()) == 100_000


def test_a_tree_of_more_than_the_limit_is_refused(store):
    blob = {"sha256": 64 * "0", "size": 64 * 1024**2}
    entries = {f"{i}": blob for i in range(20_000)}
    document = json.dumps({"schema": "dp3d.tree/1", "files": entries}).encode()
    assert code_of(parse_tree, document) == "artifact.bad_tree"


def test_a_repeated_name_is_refused():
    entry = json.dumps({"sha256": 64 * "0", "size": 0})
    document = '{"schema": "dp3d.tree/1", "files": {' + f'"a": {entry}, "a": {entry}' + "}}"
    assert code_of(parse_tree, document.encode()) == "artifact.bad_tree"


def test_a_full_disk_has_its_own_code(store, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    upload = store.receive(64 * "0")
    upload._file.close()
    upload._file = Full()
    assert code_of(upload.write, b"x") == "storage.full"
    upload.abort()
    assert not list(store.incoming.iterdir())
