"""Fitted heads on disk: kept bit by bit, and written as textured meshes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.cameras.trajectories import canonical_camera, full_orbit
from dp3d_core.engines.registry import get_engine
from dp3d_core.errors import Dp3dError
from dp3d_core.portraits import face_models
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview import kept_heads
from dp3d_core.preview.asset import textured_parts, write_asset
from dp3d_core.preview.choices import ALL_AUTO, HeadChoices
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.kept_heads import fitted_head
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.storage import paths
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png

pytestmark = pytest.mark.skipif(not face_models.installed(), reason="dp3d setup models")

CAMERA = canonical_camera(35.0, 5.0, 192)


@pytest.fixture(scope="module")
def portrait():
    subject = random_subject(20)
    spec = dataclasses.replace(subject.spec, hair="crop", hat=None, glasses=None)
    view = SyntheticHead(dataclasses.replace(subject, spec=spec)).render(
        canonical_camera(8.0, 2, 480, focal=2.8)
    )
    return load_portrait(encode_png(view.rgb))


@pytest.fixture(scope="module")
def head(portrait):
    return PreviewHead(portrait, repeat_photo=False, choices=HeadChoices(beard="full"))


def test_a_head_comes_back_bit_by_bit(head, tmp_path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(kept_heads.head_bytes(head))
    again = kept_heads.read_head(path)
    again.appearance.repeat_photo = False
    first, second = head.render(CAMERA), again.render(CAMERA)
    np.testing.assert_array_equal(first.composite((9, 9, 9)), second.composite((9, 9, 9)))
    assert again.chosen == head.chosen


def test_a_kept_head_is_unlit_as_the_fresh_one(head, tmp_path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(kept_heads.head_bytes(head))
    again = kept_heads.read_head(path)
    lit = again.render(CAMERA).composite((9, 9, 9))
    pictures = []
    for one in (head, again):
        one.appearance.lit = False
        pictures.append(one.render(CAMERA).composite((9, 9, 9)))
        one.appearance.lit = True
    np.testing.assert_array_equal(*pictures)
    assert np.abs(pictures[0].astype(int) - lit).max() > 10


def test_light_from_one_side_is_taken_out_of_what_continues_the_photo(portrait) -> None:
    x = np.linspace(1.0, 0.55, portrait.image.shape[1])[None, :, None]
    shaded = dataclasses.replace(portrait, image=(portrait.image * x).astype(np.uint8))
    head = PreviewHead(shaded, repeat_photo=False)
    back = canonical_camera(180.0, 0.0, 192)
    ratio = {}
    for lit in (True, False):
        head.appearance.lit = lit
        view = head.render(back)
        grey, half = view.rgb.mean(-1), view.alpha.shape[1] // 2
        solid = view.alpha == 1
        solid[140:] = False
        # the camera behind has the lit side on the right
        left, right = (
            np.median(grey[:, :half][solid[:, :half]]),
            np.median(grey[:, half:][solid[:, half:]]),
        )
        ratio[lit] = right / left
    assert ratio[True] > 1.03
    assert abs(ratio[False] - 1) < 0.6 * abs(ratio[True] - 1)


def test_a_damaged_head_is_refused(head, tmp_path) -> None:
    path = tmp_path / "head.npz"
    for data in (b"", b"PK\3\4 no archive", kept_heads.head_bytes(head)[:-2000]):
        path.write_bytes(data)
        with pytest.raises(Dp3dError) as caught:
            kept_heads.read_head(path)
        assert caught.value.code == "heads.unreadable"


def test_a_photo_that_comes_again_is_not_fitted_anew(portrait, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    calls = {"progress": no_progress, "cancel": never_cancel}
    first = fitted_head(portrait, **calls)
    (kept,) = paths.heads_folder().iterdir()
    monkeypatch.setattr(PreviewHead, "__init__", None)  # whoever fits now fails
    second = fitted_head(portrait, **calls)
    np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
    monkeypatch.undo()
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    keys = {
        kept_heads.head_key(portrait, seed, choices)
        for seed in (0, 1)
        for choices in (ALL_AUTO, HeadChoices(hair="bald"))
    }
    assert len(keys) == 4
    assert kept.stem in keys
    kept.write_bytes(b"damaged")
    assert kept_heads.find_kept(kept.stem) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_kept_heads_are_the_users_alone(head, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    heads = paths.heads_folder()

    def modes() -> list[int]:
        return [path.stat().st_mode & 0o777 for path in (heads, *sorted(heads.iterdir()))]

    kept_heads.keep("first", head)
    assert modes() == [0o700, 0o600]
    for path, mode in ((heads, 0o755), (heads / "first.npz", 0o644)):  # of an earlier version
        path.chmod(mode)
    assert kept_heads.find_kept("first") is not None
    assert modes() == [0o700, 0o600]


def test_a_damaged_kept_head_is_made_anew(portrait, head, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    engine, cameras = get_engine("preview"), full_orbit(2, size=48)
    kept_heads.keep(kept_heads.head_key(portrait, 0, ALL_AUTO), head)
    (kept,) = paths.heads_folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:5000])
    engine.generate(portrait, cameras, {}, out=tmp_path / "b")
    for path in (kept, tmp_path / "b" / kept_heads.HEAD_FILE):
        kept_heads.read_head(path)
    # what another run left in a folder without frames
    for frame in (tmp_path / "b" / "frames").iterdir():
        frame.unlink()
    (tmp_path / "b" / kept_heads.HEAD_FILE).write_bytes(b"another")
    engine.generate(portrait, cameras, {}, out=tmp_path / "b")
    kept_heads.read_head(tmp_path / "b" / kept_heads.HEAD_FILE)


@pytest.fixture(scope="module")
def written(head, tmp_path_factory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("asset")
    parts = textured_parts(head, 512)
    return {end: write_asset(parts, folder / f"me{end}") for end in (".glb", ".obj")}


@pytest.mark.parametrize("ending", [".glb", ".obj"])
def test_a_head_is_read_by_others(written, head, ending) -> None:
    scene = trimesh.load_scene(written[ending][0])
    assert len(scene.geometry) == 2
    vertices = np.concatenate([part.vertices for part in scene.geometry.values()])
    surface = head.mesh.vertices[np.unique(head.mesh.faces)]
    low, high = surface.min(0), surface.max(0)
    np.testing.assert_allclose(vertices.min(0), low, atol=0.02)
    np.testing.assert_allclose(vertices.max(0), high, atol=0.02)
    for part in scene.geometry.values():
        assert 0 <= part.visual.uv.min() <= part.visual.uv.max() <= 1
    names = {path.name for path in written[".obj"]}
    assert names == {"me.obj", "me.mtl", "me_head.png", "me_hair.png"}


def test_the_texture_shows_what_the_views_show(head) -> None:
    parts = {part.name: part for part in textured_parts(head, 1024)}
    assert set(parts) == {"head", "hair"}
    face = parts["head"]
    front = face.normals[:, 2] > 0.8
    front &= face.vertices[:, 2] > 0.15
    texel = np.clip((face.uv[front] * [1024, -1024] + [0, 1024]).astype(int), 0, 1023)
    painted = face.texture[texel[:, 1], texel[:, 0]] / 255.0
    camera = canonical_camera(0.0, 0.0, 512)
    view = head.render(camera)
    uv, depth = camera.project(face.vertices[front])
    at = uv.astype(int)
    shown = np.abs(view.depth[at[:, 1], at[:, 0]] - depth) < 0.004
    seen = view.rgb[at[:, 1], at[:, 0]]
    assert shown.sum() > 500
    assert np.abs(painted - seen)[shown].mean() < 0.03


def test_another_ending_is_refused(head, tmp_path) -> None:
    with pytest.raises(Dp3dError) as caught:
        write_asset([], tmp_path / "head.fbx")
    assert caught.value.code == "mesh.bad_format"
    assert not list(tmp_path.iterdir())
