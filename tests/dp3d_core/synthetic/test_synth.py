import json

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.decoding.png import read_png
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.synthetic.dataset import DEPTH_UNIT, read_png16, write_subject, write_subjects
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead, condition_image, random_cameras
from dp3d_core.synthetic.subjects import neutral_subject, random_subject
from dp3d_core.viewsets.viewset import ViewSet


@pytest.fixture(scope="module")
def neutral():
    return SyntheticHead(neutral_subject())


def test_subjects_follow_from_their_seed():
    assert random_subject(3).to_dict() == random_subject(3).to_dict()
    assert random_subject(3).to_dict() != random_subject(4).to_dict()


def test_subjects_are_many_kinds_of_people():
    people = [random_subject(k) for k in range(200)]
    assert len({p.spec.hair for p in people}) >= 12
    assert {p.spec.hat for p in people} >= {None, "beanie", "cap"}
    assert 0.1 < np.mean([p.spec.glasses is not None for p in people]) < 0.4
    brightness = [sum(p.materials.skin) / 3 for p in people]
    assert min(brightness) < 0.35
    assert max(brightness) > 0.75


def test_depth_normals_and_labels_agree_with_the_geometry(neutral):
    camera = canonical_camera(20, 5, 96, focal=3.0)
    view = neutral.render(camera)
    seen = np.isfinite(view.depth)
    assert 0.2 < seen.mean() < 0.8
    # the points that depth and camera give lie on the mesh: cast back from outside
    points = camera.position + (
        camera.directions(camera.pixel_centres())
        * (view.depth / (camera.directions(camera.pixel_centres()) @ camera.c2w[:3, 2]))[..., None]
    )
    towards = points[seen] - camera.position
    distance = np.linalg.norm(towards, axis=1)
    hits = neutral.caster.cast(camera.position, towards / distance[:, None])
    np.testing.assert_allclose(hits.distance, distance[hits.ray], atol=1e-4)
    facing = (view.normals[seen] * -towards / distance[:, None]).sum(1)
    assert (facing > -0.2).mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(view.normals[seen], axis=1), 1, atol=1e-5)
    assert ((view.labels > 0) == seen).all()
    assert {Label.SKIN, Label.LIPS, Label.BROWS, Label.EYES, Label.EARS, Label.HAIR} <= set(
        view.labels.ravel()
    )


def test_the_labels_lie_where_the_features_are(neutral):
    camera = canonical_camera(0, 0, 256, focal=3.0)
    labels = neutral.render(camera).labels

    def middle(label):
        rows, columns = np.nonzero(labels == label)
        return columns.mean(), rows.mean()

    (ex, ey), (lx, ly), (_, by), (_, hy) = map(
        middle, (Label.EYES, Label.LIPS, Label.BROWS, Label.HAIR)
    )
    assert abs(ex - 127.5) < 1
    assert abs(lx - 127.5) < 1
    assert hy < by < ey < ly


def test_views_without_gloss_agree_with_each_other(neutral):
    """A point of the face has one colour, wherever it is seen from."""
    first, second = (canonical_camera(yaw, 0, 192, focal=3.0) for yaw in (-12, 12))
    a, b = neutral.render(first), neutral.render(second)
    rays = first.directions(first.pixel_centres())
    points = first.position + rays * (a.depth / (rays @ first.c2w[:3, 2]))[..., None]
    chosen = (a.labels == Label.SKIN) & np.isfinite(a.depth) & (a.normals[..., 2] > 0.8)
    uv, depth = second.project(points[chosen])
    at = np.floor(uv).astype(int)
    same = np.abs(b.depth[at[:, 1], at[:, 0]] - depth) < 0.004
    difference = np.abs(a.rgb[chosen].astype(int) - b.rgb[at[:, 1], at[:, 0]].astype(int)).mean(1)[
        same
    ]
    assert same.mean() > 0.8
    assert np.median(difference) < 4


def test_the_condition_image_is_another_subject_at_the_same_camera():
    camera = canonical_camera(40, -10, 128)
    picture = condition_image(camera)
    assert picture.shape == (128, 128, 3)
    assert picture.dtype == np.uint8
    assert (picture == condition_image(camera)).all()
    other = condition_image(canonical_camera(-40, -10, 128))
    # shape and light are symmetric, only the texture is not: the views nearly mirror each other
    assert np.abs(picture.astype(int) - other[:, ::-1].astype(int)).mean() < 5


def test_a_subject_on_disk_is_complete_and_goes_on_where_it_stopped(tmp_path):
    subject, cameras = random_subject(5), random_cameras(3, 48, 5)
    calls = iter([False, False, True])
    with pytest.raises(Cancelled):
        write_subject(subject, cameras, tmp_path / "a", cancel=lambda: next(calls, True))
    done = sorted((tmp_path / "a" / "frames").iterdir())
    assert 1 <= len(done) < 3
    stamps = [path.stat().st_mtime_ns for path in done]
    views = write_subject(subject, cameras, tmp_path / "a")
    assert [path.stat().st_mtime_ns for path in done] == stamps
    write_subject(subject, cameras, tmp_path / "b")
    for i in range(3):
        for folder in ("frames", "masks", "rgba", "depth", "normals", "labels"):
            name = f"{folder}/{i:04d}.png"
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    depth = read_png16(tmp_path / "a" / "depth" / "0000.png") * DEPTH_UNIT
    mask = views.mask(0)
    assert 2.0 < depth[mask == 255].min() < depth.max() < 3.2
    assert (depth[mask == 0] == 0).all()
    labels = read_png(tmp_path / "a" / "labels" / "0000.png", "L")
    assert labels.max() <= max(Label)
    import trimesh

    mesh = next(iter(trimesh.load_scene(tmp_path / "a" / "head.glb").geometry.values()))
    assert mesh.extents[1] == pytest.approx(0.8, abs=0.15)
    assert mesh.visual.uv.shape == (len(mesh.vertices), 2)
    colours = mesh.visual.vertex_attributes["color"]
    assert len(np.unique(colours, axis=0)) > 100
    assert np.unique(mesh.vertex_attributes["_LABEL"]).size > 6


def test_a_data_set_names_its_subjects_and_labels(tmp_path):
    folders = write_subjects(2, 1, 32, 7, tmp_path)
    about = json.loads((tmp_path / "synth.json").read_text())
    assert about["subjects"] == ["00007", "00008"]
    assert about["labels"]["lips"] == Label.LIPS
    assert len(ViewSet.open(folders[1])) == 1

    # what is missing comes back, whatever it is
    lost = [folders[0] / "labels" / "0000.png", folders[1] / "head.glb"]
    for path in lost:
        path.unlink()
    write_subjects(2, 1, 32, 7, tmp_path)
    assert all(path.is_file() for path in lost)
    # more subjects extend the set, other views are refused and change nothing
    write_subjects(1, 1, 32, 20, tmp_path)
    about = (tmp_path / "synth.json").read_text()
    assert json.loads(about)["subjects"] == ["00007", "00008", "00020"]
    with pytest.raises(Dp3dError) as error:
        write_subjects(1, 2, 32, 7, tmp_path)
    assert error.value.code == "viewset.mismatch"
    assert (tmp_path / "synth.json").read_text() == about
