"""Which files a command may write: none that it reads, and none of another program."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.results import (
    MADE_BY,
    check_output_file,
    check_results,
    is_made_by_dp3d,
)
from dp3d_core.viewsets.sheets import save_gif, save_png
from dp3d_core.viewsets.viewset import encode_png

GREY = np.full((8, 8, 3), 128, np.uint8)


def glb(generator: str, size: int | None = None) -> bytes:
    text = json.dumps({"asset": {"version": "2.0", "generator": generator}}).encode()
    length = len(text) if size is None else size
    return b"glTF" + bytes(8) + length.to_bytes(4, "little") + b"JSON" + text


def gif_of(comment: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "GIF", comment=comment)
    return buffer.getvalue()


def refused(*arguments) -> str:
    with pytest.raises(Dp3dError) as caught:
        check_results(*arguments)
    return caught.value.code


def test_our_pictures_are_recognised(tmp_path) -> None:
    save_png(tmp_path / "a.png", GREY)
    save_gif(tmp_path / "a.gif", [GREY, GREY // 2])
    for name in ("a.png", "a.gif"):
        assert is_made_by_dp3d(tmp_path / name), name
        check_results([tmp_path / name], [])


@pytest.mark.parametrize(
    ("data", "is_ours"),
    [
        (glb("dp3d 1.2"), True),
        (glb("dp3d"), True),
        (glb("Khronos glTF Blender I/O v4.5"), False),
        (glb("dp3dlike"), False),
        (glb("dp3d 1.2", size=2**31), False),
        (b"glTF" + bytes(4), False),
        (f"# {MADE_BY}\nv 0 0 0\n".encode(), True),
        (b"# Blender\nv 0 0 0\n", False),
        (f"1\n2\n3\n{MADE_BY}\n".encode(), False),
        (encode_png(GREY), False),
        (encode_png(GREY, "GIMP"), False),
        (encode_png(GREY) + MADE_BY.encode(), False),
        (gif_of("hand-made"), False),
        (b"", False),
    ],
)
def test_a_file_is_ours_where_it_says_so(tmp_path, data, is_ours) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert is_made_by_dp3d(path) is is_ours
    if is_ours:
        check_results([path], [])
    else:
        assert refused([path], []) == "output.occupied"
    assert path.read_bytes() == data


def test_sources_are_never_replaced_though_we_wrote_them(tmp_path, monkeypatch) -> None:
    photo, link = tmp_path / "me.png", tmp_path / "link.png"
    save_png(photo, GREY)
    link.symlink_to(photo)
    monkeypatch.chdir(tmp_path)
    for result in (photo, Path("me.png"), link, tmp_path / "x" / ".." / "me.png"):
        assert refused([result], [photo]) == "output.occupied", result
    assert refused([tmp_path / "me.obj"], [photo], [photo]) == "output.occupied"
    check_results([tmp_path / "other.png"], [photo])


def test_two_results_need_two_paths(tmp_path) -> None:
    first, again = tmp_path / "a.glb", tmp_path / "b" / ".." / "a.glb"
    assert refused([first, again], []) == "output.occupied"
    assert refused([tmp_path / "a.obj", first], [], [again]) == "output.occupied"


def test_a_link_to_nowhere_is_not_replaced(tmp_path) -> None:
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "none")
    assert refused([link], []) == "output.occupied"


def test_paths_that_cannot_be_written_are_refused_without_traces(tmp_path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("x")
    assert refused([tmp_path / "folder.png"], []) == "output.occupied"
    for path in (tmp_path / "file" / "a.png", tmp_path / ("x" * 300 + ".png")):
        assert refused([path], []) == "output.not_writable", path
    check_output_file(tmp_path / "new" / "folder" / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.png", "file"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that root cannot write to, either")
def test_a_folder_without_room_for_files_is_refused() -> None:
    assert refused([Path("/proc/a.png")], []) == "output.not_writable"
