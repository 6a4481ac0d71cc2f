"""Parts of a rigged head: quads, levels of detail, weights, texture coordinates."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.bust import BustRegion, bust
from dp3d_core.heads.people import prior
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.meshes.mesh import vertex_normals
from dp3d_core.rigged.layout import skin_layout
from dp3d_core.rigged.lips import lip_rims
from dp3d_core.rigged.rig import BONES, DETAILS
from dp3d_core.rigged.shell import Shell
from dp3d_core.rigged.topology import PARTS, part_topology, skin_twins
from dp3d_core.rigged.worn import _vertex_hairness
from tests.support.rig_checks import random_keys

NAMES = {*PARTS}


def test_parts_are_meshes_of_their_own(plain, rig) -> None:
    assert {part.name for part in plain.parts} == NAMES
    assert {part.name for part in rig.parts} >= NAMES | {"hair", "clothes"}
    assert {part.material for part in rig.parts} == set(rig.materials)


def test_levels_of_detail_are_quads_of_fewer_faces(rig) -> None:
    for part in rig.parts:
        counts = {detail: len(part.faces[detail].quads) for detail in DETAILS}
        assert counts["full"] > counts["half"] >= counts["quarter"] > 0, part.name
        for detail in DETAILS:
            faces = part.faces[detail]
            assert faces.quads.shape == faces.quad_uv.shape
            assert faces.quads.max() < len(part.vertices)
            assert faces.quad_uv.max() < len(part.uv)
            if part.name not in ("hair", "headwear"):  # whose crown is a fan of triangles
                assert (np.diff(np.sort(faces.quads, 1), axis=1) > 0).all()
    skin = rig.part("skin").faces
    assert len(skin["full"].quads) > 17_000
    assert 4_000 < len(skin["half"].quads) < 5_000
    assert 1_500 < len(skin["quarter"].quads) < 2_400


def test_quads_at_the_cut_are_split_from_the_middle_one_of_three_corners_there() -> None:
    topology = part_topology("skin")
    height = (topology.refine @ prior().mean)[:, 1] / MM
    for quads in (topology.quads, topology.cage_quads):
        above = height[quads] >= BUST_CUT_MM
        one_above = above[above.sum(1) == 1]
        assert len(one_above) > 0
        assert not one_above[:, [1, 3]].any()


@pytest.mark.parametrize("detail", DETAILS)
def test_skin_is_a_manifold(plain, detail) -> None:
    quads = plain.part("skin").faces[detail].quads
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2


def test_weights_sum_to_one(rig) -> None:
    bones = list(BONES)
    for part in rig.parts:
        assert part.weights.shape == (len(part.vertices), len(bones))
        assert part.weights.min() >= 0
        np.testing.assert_allclose(part.weights.sum(1), 1, atol=1e-9)
    for part, bone in (
        ("eye_left", "eye.L"),
        ("eye_right", "eye.R"),
        ("lower_teeth", "jaw"),
        ("upper_teeth", "head"),
    ):
        assert (rig.part(part).weights[:, bones.index(bone)] == 1).all()
    skin = rig.part("skin")
    crown = skin.vertices[:, 1].argmax()
    assert skin.weights[crown, bones.index("head")] > 0.95
    chin = np.flatnonzero((np.abs(skin.vertices[:, 0]) < 10 * MM) & (skin.vertices[:, 2] > 80 * MM))
    chin = chin[skin.vertices[chin, 1].argmin()]
    assert skin.weights[chin, bones.index("jaw")] > 0.5


def test_bones_lie_where_they_should(rig) -> None:
    root, neck, head, jaw, left, right = rig.bones / MM
    assert root[1] < neck[1] < head[1] < left[1]
    assert left[0] > 20
    assert right[0] < -20
    assert abs(jaw[0]) < 3


def test_the_face_has_two_fifths_of_the_texels() -> None:
    topology, uv = part_topology("skin"), skin_layout()
    twin = skin_twins()
    region = np.where(twin >= 0, bust().region[twin], -1)
    face = np.isin(region[topology.quads], (BustRegion.FACE, BustRegion.FOREHEAD)).all(1)
    face &= topology.island == 0
    a, b, c, d = (uv[topology.quad_uv[:, k]] for k in range(4))
    area = _cross(c - a, d - b) / 2
    assert (area > 0).all()  # nothing is mirrored or folded
    assert area[face].sum() >= 0.40
    assert uv.min() >= 0
    assert uv.max() <= 1


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def test_neutral_lips_meet(person) -> None:
    neutral, _ = person
    skin = neutral.vertices["skin"]
    rim = np.flatnonzero(np.isin(skin_twins(), bust().lips))
    middle = rim[np.abs(skin[rim, 0]) < 8 * MM]
    assert np.ptp(skin[middle, 1]) < 4 * MM


def test_hair_has_the_normals_of_the_skull_where_it_shows_skin(fitted, rig) -> None:
    hair = rig.part("hair")
    np.testing.assert_allclose(np.linalg.norm(hair.normals, axis=1), 1, atol=1e-9)
    of_faces = vertex_normals(hair.vertices, hair.faces["full"].triangles()[0])
    cosine = np.einsum("ni,ni->n", hair.normals, of_faces)
    shell = Shell.of(fitted)
    assert shell is not None
    hairness = _vertex_hairness(fitted, shell)
    drawn = np.linalg.norm(of_faces, axis=1) > 0.5
    behind = hair.vertices[:, 2] < 0
    assert cosine[drawn & behind & (hairness > 0.999)].min() > 0.999
    assert (cosine[drawn & (hairness < 0.1)] < 0.99).any()


@pytest.mark.parametrize("seed", range(3))
def test_upper_teeth_stand_close_behind_the_lip(seed) -> None:
    _, keys = random_keys(seed)
    skin, teeth = keys.vertices["skin"], keys.vertices["upper_teeth"]
    rim = skin[lip_rims()[0]]
    middle = [points[np.abs(points[:, 0]) < 6 * MM] for points in (rim, teeth)]
    behind = (middle[0][:, 2].min() - middle[1][:, 2].max()) / MM
    assert 2 < behind < 8  # farther behind they are grey in the shadow of the lips
