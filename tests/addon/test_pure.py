# SPDX-License-Identifier: GPL-3.0-or-later
"""Small parts without Blender: event streams, file names, lens, token, addresses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dp3d_core.storage.paths import dp3d_home


def test_event_stream(addon) -> None:
    stream = (
        b": hello\n\n"
        b'id: 7\nevent: progress\ndata: {"a":\ndata: 1}\n\n'
        b"event: state\r\ndata:x\r\n\r\n"
        b"data: no name\n\n"
        b"event: nothing follows\n\n"
        b"id: 9\nevent: cut off\ndata: lost"
    )
    events = list(addon("link.sse").parse(stream.splitlines(keepends=True)))
    assert events == [
        None,
        ("7", "progress", '{"a":\n1}'),
        ("7", "state", "x"),
        ("7", "message", "no name"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "frames/../../x",
        "a\\b",
        "C:x",
        ".hidden",
        "a/b/c/d/e",
        "x\0y",
        "a b",
    ],
)
def test_file_names_from_outside_stay_inside(addon, tmp_path: Path, name: str) -> None:
    with pytest.raises(addon("link.errors").AddonError) as caught:
        addon("link.storage").inside(tmp_path, name)
    assert caught.value.code == "server.not_ours"


def test_usable_file_names(addon, tmp_path: Path) -> None:
    inside = addon("link.storage").inside
    assert inside(tmp_path, "frames/0001.png") == tmp_path / "frames" / "0001.png"
    assert inside(tmp_path, "cameras.json") == tmp_path / "cameras.json"


def test_atomic_write_leaves_one_file(addon, tmp_path: Path) -> None:
    storage = addon("link.storage")
    storage.write_atomic(tmp_path / "a" / "x.bin", b"one")
    storage.write_atomic(tmp_path / "a" / "x.bin", b"two")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.bin"]
    assert storage.has_content(tmp_path / "a/x.bin", hashlib.sha256(b"two").hexdigest())
    assert not storage.has_content(tmp_path / "a/x.bin", hashlib.sha256(b"one").hexdigest())
    assert not storage.has_content(tmp_path / "absent", "0" * 64)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(addon("link.errors").AddonError) as caught:
        storage.write_atomic(tmp_path / "file" / "x", b"")
    assert caught.value.code == "output.not_writable"


def test_the_second_click_of_a_double_click_cancels_nothing(addon, monkeypatch) -> None:
    module = addon("cancel_button")
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    button = module.CancelButton()
    assert not button.is_second_click(), "cancelled by search, before the button was seen"
    now[0] += 5.0  # a slow window draws it late
    button.drawn()
    now[0] += 0.3
    button.drawn()
    assert button.is_second_click()
    now[0] += module.SECOND_CLICK_S
    assert not button.is_second_click()


def test_lens_of_a_centred_camera(addon) -> None:
    K = [[4.2647 * 512, 0, 256], [0, 4.2647 * 512, 256], [0, 0, 1]]
    lens = addon("scene.lens").lens_from_intrinsics(K, 512, 512)
    np.testing.assert_allclose(lens, (4.2647 * 36, 0, 0, 1))


@pytest.mark.parametrize("variable", ["DP3D_HOME", "XDG_DATA_HOME", None])
def test_token_is_sought_where_the_server_keeps_it(addon, monkeypatch, tmp_path, variable) -> None:
    for name in ("DP3D_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert addon("link.storage").server_home() == dp3d_home()


def test_which_token_wins(addon, monkeypatch, tmp_path: Path) -> None:
    configured = addon("link.client").Server.configured
    local, remote = "http://127.0.0.1:8765", "https://gpu.example.org"
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    monkeypatch.delenv("DP3D_TOKEN", raising=False)
    assert configured(local, "", False).token == ""
    (tmp_path / "token").write_text("from-file\n")
    assert configured(local, "", False).token == "from-file"
    assert configured(remote, "", True).token == ""  # never sent to another computer
    assert configured(local, " typed ", False).token == "typed"
    monkeypatch.setenv("DP3D_TOKEN", "from-env")
    assert configured(remote, "typed", True).token == "from-env"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://localhost:1", True),
        ("http://[::1]:8765", True),
        ("http://127.8.9.1", True),
        ("http://127.0.0.1.example.org", False),
        ("http://192.168.0.4:8765", False),
        ("nonsense", False),
    ],
)
def test_loopback(addon, url: str, local: bool) -> None:
    assert addon("link.client").is_loopback(url) is local
