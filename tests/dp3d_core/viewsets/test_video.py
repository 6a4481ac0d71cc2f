"""WebM and MP4 videos."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.video import save_video
from dp3d_core.viewsets.video_limits import check_video
from tests.support.limits import largest_file


def ramp(count: int) -> list[np.ndarray]:
    return [np.full((48, 65, 3), (10 * i, 60, 200), np.uint8) for i in range(count)]


@pytest.mark.parametrize("name", ["turn.webm", "turn.mp4"])
def test_a_video_shows_its_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    save_video(path, iter(ramp(12)), fps=12)
    reader = cv2.VideoCapture(str(path))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert reader.get(cv2.CAP_PROP_FRAME_WIDTH) == 64, "the odd column is left out"
    colours = []
    while (read := reader.read())[0]:
        colours.append(read[1][..., ::-1].mean((0, 1)))
    assert len(colours) == 12
    assert colours[9] == pytest.approx((90, 60, 200), abs=12)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield from ramp(3)
        raise OSError("no picture")

    with pytest.raises(OSError, match="no picture"):
        save_video(tmp_path / "a.webm", broken())
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("name", ["turn.webm", "turn.mp4"])
def test_a_disk_that_fills_up_leaves_no_half_video(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 128, 128, 3), np.uint8)
    with largest_file(50_000), pytest.raises(Dp3dError) as caught:
        save_video(tmp_path / name, noise)
    assert caught.value.code == "output.not_writable"
    assert not list(tmp_path.iterdir())


def test_bad_videos_are_refused() -> None:
    check_video(Path("a.mp4"), 24, [(64, 64)] * 3)
    for path, fps, sizes in (
        ("a.avi", 24, [(64, 64)]),
        ("a", 24, [(64, 64)]),
        ("a.webm", 0, [(64, 64)]),
        ("a.webm", 24, [(64, 64), (64, 48)]),
    ):
        with pytest.raises(Dp3dError) as caught:
            check_video(Path(path), fps, sizes)
        assert caught.value.code == "video.bad_option"


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.webm").mkdir()
    for refused in (
        lambda: check_video(tmp_path / "a.webm", 24, [(64, 64)]),
        lambda: save_video(tmp_path / "a.webm", ramp(3)),
    ):
        with pytest.raises(Dp3dError) as caught:
            refused()
        assert caught.value.code == "output.not_writable"
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]
