"""Files in place of weights: errors name the kind of file and a remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from dp3d_core.checkpoints.file_kinds import check_weights_file
from dp3d_core.errors import Dp3dError
from tests.conftest import shared_path

STATE = {f"model.diffusion_model.{i}.weight": torch.zeros(40, 50) for i in range(10)}


def torch_bytes(state=STATE, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def safetensors_bytes(folder: Path) -> bytes:
    save_file(STATE, folder / "whole.safetensors")
    return (folder / "whole.safetensors").read_bytes()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w{mode}") as archive:
        info = tarfile.TarInfo("model.th")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"12345"))
    return buffer.getvalue()


def refusal(path: Path, data: bytes | None = None) -> Dp3dError:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(Dp3dError) as caught:
        check_weights_file(path)
    return caught.value


@pytest.mark.parametrize("shape", [[-1, 4], [2.5], "4", [True]])
def test_impossible_shapes_are_refused(tmp_path, shape) -> None:
    header = {"a.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 400]}}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(400)
    error = refusal(tmp_path / "model.safetensors", data)
    assert error.code == "weights.damaged"
    assert "a.weight has the shape" in error.problem


@pytest.mark.parametrize("name", ["weights.th", "weights.safetensors", "weights.zip", "weights"])
def test_weights_whatever_their_name(tmp_path, name) -> None:
    path = tmp_path / name
    for data, container in (
        (torch_bytes(), "zip"),
        (torch_bytes(_use_new_zipfile_serialization=False), "pickle"),
        (safetensors_bytes(tmp_path), "safetensors"),
    ):
        path.write_bytes(data)
        assert check_weights_file(path) == container


def test_a_pointer_of_git_lfs() -> None:
    error = refusal(shared_path("data/field_reports/w01_lfs_pointer/model_state-540000.th"))
    assert error.code == "weights.placeholder"
    assert "Git LFS" in error.problem
    assert "4.3 GB" in error.problem
    assert "git lfs pull" in error.remedy


PLACEHOLDERS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\r\noid sha256:0\r\nsize 9\r\n",
    "git-annex": b"/annex/objects/SHA256E-s11--0123.th\n",
    "torrent": b"d8:announce35:udp://tracker.example:6969/announce4:infod6:lengthi11e4:name1:xee",
    "link": b"[InternetShortcut]\r\nURL=https://example.org/model.th\r\n",
    "link to": b"https://drive.google.com/file/d/1x2y3z/view?usp=sharing\n",
    "a link": b"magnet:?xt=urn:btih:0123456789&dn=model.th",
    "link to a": b"<?xml version='1.0'?>\n<metalink xmlns='urn:ietf:params:xml:ns:metalink'/>",
    "DVC": b"outs:\n- md5: 0123\n  size: 11000000000\n  path: model.th\n",
}


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_placeholders_are_named(tmp_path, kind) -> None:
    error = refusal(tmp_path / "model.th", PLACEHOLDERS[kind])
    assert error.code == "weights.placeholder"
    assert kind in error.problem


VIRUS = (
    b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    b"<p>Google Drive can't scan this file for viruses.</p><form id=download-form></form>"
)
PAGES = [
    (VIRUS, "Virus scan warning", "Download anyway"),
    (b"\xef\xbb\xbf\r\n  <html><title>Google Drive - Quota exceeded</title>", "Quota", "tomorrow"),
    (
        b"<!doctype HTML>\n<html lang=en><title>\n Log in \n</title>" + b" " * 9000,
        "Log in",
        "Log in",
    ),
    (b"<html><head><title>Sign in - Google Accounts</title>", "Sign in", "Log in"),
    (b"<!-- x --><html><title>404 Not Found</title>", "404", "address"),
    (b"<html><title>Just a moment...</title>", "Just a moment", "browser"),
    (b"<html><title>502 Bad Gateway</title>", "502", "later"),
    (b"<html><body>hello", "web page", "browser"),
    ("<html><title>Anmeldung: login</title>".encode("utf-16"), "login", "Log in"),
    (b'{"error":"Invalid username or password."}', "Invalid username", "Log in"),
    (
        b'{"error": "Access to model x is restricted. You must be authenticated"}',
        "restricted",
        "terms",
    ),
    (b'{"message":"Not Found","documentation_url":"x"}', "Not Found", "address"),
    (b"Invalid username or password.", "Invalid username", "Log in"),
    (b"Entry not found", "Entry not found", "address"),
    (b"Repository not found\n", "Repository", "address"),
    (b"HTTP/1.1 403 Forbidden\r\nServer: nginx\r\n\r\n", "403", "Log in"),
    (b"HTTP/2 200\r\ncontent-type: x\r\n\r\nPK\3\4", "headers", "again"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied", "Log in"),
    (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "NoSuchKey", "address"),
]


@pytest.mark.parametrize(("data", "called", "remedy"), PAGES, ids=range(len(PAGES)))
def test_pages_in_place_of_weights(tmp_path, data, called, remedy) -> None:
    error = refusal(tmp_path / "model.safetensors", data)
    assert error.code == "weights.web_page"
    assert called in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize("part", [0.05, 0.5, 0.99])
@pytest.mark.parametrize(
    "name", ["m.th", "m.th.part", "m.th.crdownload", "Unconfirmed 1.crdownload"]
)
def test_torch_files_that_are_cut_off(tmp_path, name, part) -> None:
    data = torch_bytes()
    error = refusal(tmp_path / name, data[: int(part * len(data))])
    assert error.code == "weights.incomplete"
    all_tensors_are_there = part > 0.95  # what is missing is the end of the archive
    part_of_problem = "82.8 KB are there, and its end" if all_tensors_are_there else "of 80.0 KB"
    assert part_of_problem in error.problem


@pytest.mark.parametrize("left", [9, 200, 3000, -1])
def test_safetensors_that_are_cut_off(tmp_path, left) -> None:
    data = safetensors_bytes(tmp_path)
    error = refusal(tmp_path / "m.th", data[:left])
    assert error.code == "weights.incomplete"
    if left in {3000, -1}:
        assert f"of {len(data) / 1000:.1f} KB" in error.problem


@pytest.mark.parametrize("data", [b"", b"P", b"PK\3\4", b"\0" * 100_000, b"\x80"])
def test_beginnings_of_nothing(tmp_path, data) -> None:
    assert refusal(tmp_path / "model.th", data).code in {"weights.incomplete", "weights.damaged"}
    if data != b"\x80":
        assert refusal(tmp_path / "model.th", data).code == "weights.incomplete"


def test_a_download_that_goes_on_is_seen_beside_the_name(tmp_path) -> None:
    (tmp_path / "model.th.crdownload").write_bytes(torch_bytes()[:5000])
    assert refusal(tmp_path / "model.th").code == "weights.incomplete"
    whole = tmp_path / "whole.th"  # its place is taken at once, pieces come in any order
    whole.write_bytes(torch_bytes())
    (tmp_path / "whole.th.aria2").write_bytes(b"\0\1\0\0")
    assert "aria2" in refusal(whole).problem


def test_a_whole_file_with_the_name_of_a_part_is_taken(tmp_path) -> None:
    (tmp_path / "m.th.part").write_bytes(torch_bytes())
    assert check_weights_file(tmp_path / "m.th.part") == "zip"


ARCHIVES = {
    "zip": zipped(folder__model_state__th=b"x"),
    "tar": tarred(""),
    "gzip": tarred(":gz"),
    "xz": lzma.compress(b"x" * 100),
    "bzip2": bz2.compress(b"x" * 100),
    "7-Zip": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100),
    "RAR": b"Rar!\x1a\x07\1\0" + bytes(100),
    "Zstandard": b"\x28\xb5\x2f\xfd" + bytes(range(100)),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(tmp_path, kind) -> None:
    error = refusal(tmp_path / "model.th", ARCHIVES[kind])
    assert error.code == "weights.archive"
    assert kind in error.problem
    if kind == "zip":
        assert "folder.model_state.th" in error.problem + error.remedy


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


OTHERS = {
    "GGUF": b"GGUF\3\0\0\0" + bytes(100),
    "ONNX": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "NumPy": arrays(),
    "PNG": picture(),
    "PDF": b"%PDF-1.7\n\xe2\xe3\0" + bytes(100),
    "Windows program": b"MZ\x90\0" + bytes(100),
    "text": b"Weights are on the drive, ask Anna.\n",
    "JSON": json.dumps({"architectures": ["X"]}).encode(),
    "index": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode(),
    "TorchScript": zipped(m_data_data__pkl=b"x", m__pkl=b"x").replace(
        b"m_data_data", b"m_data/data"
    ),
}


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind != "TorchScript"])
def test_files_of_other_formats(tmp_path, kind) -> None:
    error = refusal(tmp_path / "model.th", OTHERS[kind])
    assert error.code == "weights.other_format"
    assert kind in error.problem


def test_torchscript(tmp_path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    error = refusal(tmp_path / "m.pt")
    assert (error.code, "TorchScript" in error.problem) == ("weights.other_format", True)


def test_missing_files_and_folders_are_refused(tmp_path) -> None:
    assert refusal(tmp_path / "nothing.th").code == "weights.not_found"
    (tmp_path / "model_state-340000.th").write_bytes(torch_bytes())
    error = refusal(tmp_path)
    assert (error.code, "folder" in error.problem) == ("weights.not_found", True)
    assert "model_state-340000.th" in error.remedy
    if hasattr(os, "mkfifo"):  # links need rights on Windows
        (tmp_path / "link.th").symlink_to(tmp_path / "gone")
        assert "link" in refusal(tmp_path / "link.th").problem
        os.mkfifo(tmp_path / "pipe.th")
        assert refusal(tmp_path / "pipe.th").code == "weights.not_found"


class Harmful:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_reading_the_sizes_of_a_cut_file_runs_nothing(tmp_path, capfd) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"a": Harmful(), "b": [Harmful()] * 3}))
        archive.writestr("m/data/0", bytes(5000))
    error = refusal(tmp_path / "m.th", buffer.getvalue()[:4000])
    assert error.code == "weights.incomplete"
    assert "never be printed" not in capfd.readouterr().out


def test_any_beginning_and_any_damage_ends_in_a_code(tmp_path) -> None:
    """Bytes of every kind, cut and changed at random: a refusal with its code, or a container."""
    random = np.random.default_rng(3)
    sources = [
        *(torch_bytes(), torch_bytes(_use_new_zipfile_serialization=False)),
        *(safetensors_bytes(tmp_path), gzip.compress(b"x" * 300), VIRUS),
        *PLACEHOLDERS.values(), *ARCHIVES.values(), *OTHERS.values(),
    ]  # fmt: skip
    path = tmp_path / "odd.th"
    for data in sources:
        for _ in range(12):
            spoilt = bytearray(data[: random.integers(1, len(data) + 1)])
            for at in random.integers(0, min(len(spoilt), 400), random.integers(0, 4)):
                spoilt[at] = random.integers(256)
            path.write_bytes(spoilt)
            with suppress(Dp3dError):
                assert check_weights_file(path) in {"zip", "pickle", "safetensors"}
