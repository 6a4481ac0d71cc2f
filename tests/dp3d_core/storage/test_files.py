"""Files and output folders: atomic writes, limited reads, and files of other origin."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.storage import files
from dp3d_core.storage.files import (
    check_folder,
    hash_file,
    is_file,
    is_folder,
    not_writable,
    output_folder,
    read_limited,
    write_atomic,
)

MARKERS = ("meta.json",)


def refusal(folder: Path, **options) -> str:
    with pytest.raises(Dp3dError) as caught, output_folder(folder, MARKERS, **options):
        pytest.fail("the folder was taken")
    return caught.value.code


@pytest.mark.parametrize("names", [None, (), (".DS_Store",), ("Thumbs.db",), ("meta.json", "x")])
def test_folders_without_foreign_files_are_accepted(
    tmp_path: Path, names: tuple[str, ...] | None
) -> None:
    folder = tmp_path / "a" / "b"
    for name in names or ():
        write_atomic(folder / name, b"1")
    if names == ():
        folder.mkdir(parents=True)
    check_folder(folder, MARKERS)
    with output_folder(folder, MARKERS):
        write_atomic(folder / "meta.json", b"2")
    assert (folder / "meta.json").read_bytes() == b"2"


def test_files_of_other_origin_are_left_alone(tmp_path: Path) -> None:
    photo = tmp_path / "portrait.png"
    photo.write_bytes(b"mine")
    assert refusal(tmp_path) == "output.occupied"
    assert [p.name for p in tmp_path.iterdir()] == ["portrait.png"]
    assert photo.read_bytes() == b"mine"


def test_a_source_among_the_results_is_refused(tmp_path: Path) -> None:
    write_atomic(tmp_path / "meta.json", b"{}")
    write_atomic(tmp_path / "photos" / "me.png", b"mine")
    assert refusal(tmp_path, sources=(tmp_path / "photos" / "me.png",)) == "output.occupied"
    with output_folder(tmp_path, MARKERS, (tmp_path.parent / "other.png",)):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "views"
    path.write_text("x")
    assert refusal(path) == "output.occupied"
    assert refusal(path / "below") == "output.not_writable"


def test_a_second_command_in_the_folder_is_refused(tmp_path: Path) -> None:
    with output_folder(tmp_path / "out", MARKERS):
        program = (
            "import sys; from pathlib import Path; from dp3d_core.storage.files import output_folder\n"
            "with output_folder(Path(sys.argv[1]), ('meta.json',)): pass"
        )
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "[output.in_use]" in other.stderr
    with output_folder(tmp_path / "out", MARKERS):
        pass


def test_a_failed_command_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), output_folder(tmp_path / "out", MARKERS):
        raise ValueError("no")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_an_error_of_ours() -> None:
    error = not_writable(OSError(errno.ENOSPC, "No space left on device", "/tmp/x"))
    assert error is not None
    assert error.code == "storage.full"
    assert "/tmp/x" in error.problem
    # reading is refused like this, too, and other errors have no number at all
    assert not_writable(PermissionError(errno.EACCES, "Permission denied", "x")) is None
    assert not_writable(OSError("something else")) is None
    assert not_writable(ValueError("x")) is None


def test_an_impossible_file_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    assert refusal(path) == "output.not_writable"
    assert not is_file(path)
    assert not is_folder(path)


def test_larger_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(ValueError, match="a has more than"):
        read_limited(path, 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(OSError, match=kind):
            read_limited(path, 100)


def test_a_hash_is_that_of_all_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "file").write_bytes(data)
    monkeypatch.setattr(files, "HASH_CHUNK", 4096)
    chunks: list[None] = []
    assert hash_file(tmp_path / "file", lambda: chunks.append(None)) == sha256(data).hexdigest()
    assert len(chunks) == 3
