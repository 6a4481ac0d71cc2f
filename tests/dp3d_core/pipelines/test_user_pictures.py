"""Condition and start images that the user brings, from folders."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

import numpy as np
from PIL import Image

from dp3d_core.cameras.trajectories import diffportrait3d_ellipse, frontal_arc, full_orbit
from dp3d_core.engines.registry import with_pictures
from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.user_pictures import read_user_pictures
from tests.dp3d_core.pipelines.conftest import generate
from tests.support.photos import pictures

pytestmark = pytest.mark.usefixtures("installed", "unpainted")


def test_a_users_condition_image_from_behind_serves_the_back_view(tmp_path, portrait, calls):
    folder = pictures(tmp_path / "c", 4)  # the third camera is behind
    engine = with_pictures("diffportrait360", folder)
    generate(engine, portrait, full_orbit(4, size=64), tmp_path / "v")
    back, views = calls
    assert torch.equal(back["conditions"][0], views["conditions"][2])


def test_pictures_are_taken_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (64, 64), (20 * i, 0, 0)).save(folder / f"view{i}.png")
    (folder / "._view0.png").write_bytes(b"of another system")
    read = read_user_pictures(folder, "condition images", 12, 64)
    assert [int(picture[0, 0, 0]) for picture in read] == [20 * i for i in range(12)]


def test_condition_and_start_images_from_folders(tmp_path, portrait):
    cameras = frontal_arc(2, size=64)
    plain = generate("diffportrait3d", portrait, cameras, tmp_path / "plain")
    made = []
    for name, folders in {
        "conditions": (pictures(tmp_path / "c", 2, 96), None),
        "start": (None, pictures(tmp_path / "s", 2)),
    }.items():
        engine = with_pictures("diffportrait3d", *folders)
        views = generate(engine, portrait, cameras, tmp_path / name)
        made.append(views)
        assert not np.array_equal(views.frame(0), plain.frame(0))
    assert "condition_images" in made[0].meta.parameters
    assert "start_images" in made[1].meta.parameters
    # other pictures are another view set
    Image.new("RGB", (64, 64)).save(tmp_path / "s/001.png")
    with pytest.raises(Dp3dError) as caught:
        generate(engine, portrait, cameras, tmp_path / "start")
    assert caught.value.code == "viewset.mismatch"


@pytest.mark.parametrize("wrong", ["absent", "empty", "few", "oblong", "text"])
def test_bad_folders_of_pictures_are_refused(tmp_path, portrait, wrong):
    folder = tmp_path / "c"
    if wrong != "absent":
        pictures(folder, {"empty": 0, "few": 1}.get(wrong, 2))
    if wrong == "oblong":
        Image.new("RGB", (64, 48)).save(folder / "001.png")
    if wrong == "text":
        (folder / "001.png").write_text("no picture")
    engine = with_pictures("diffportrait3d", folder)
    with pytest.raises(Dp3dError) as caught:
        generate(engine, portrait, frontal_arc(2, size=64), tmp_path / "v")
    assert caught.value.code == "engine.bad_input"
    assert not list((tmp_path / "v").rglob("*.png"))
    with pytest.raises(Dp3dError) as caught:
        with_pictures("preview", folder)
    assert caught.value.code == "engine.bad_option"


def test_the_official_pictures(tmp_path, portrait, official_outputs):
    """The authors' 16 condition and start images, at the cameras of their path."""
    engine = with_pictures(
        "diffportrait3d", official_outputs / "condition", official_outputs / "0000028/start"
    )
    views = generate(engine, portrait, diffportrait3d_ellipse(16, size=64), tmp_path / "v")
    assert len(views) == 16
    assert not any("off the face" in warning for warning in views.meta.warnings)
