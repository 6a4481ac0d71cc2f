import numpy as np
import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.heads import anatomy
from dp3d_core.heads.anatomy import HEAD_HEIGHT_MM, lip_line
from dp3d_core.heads.model import HeadSpec, build_head, piece
from dp3d_core.heads.shape import HIGH, LOW, NAMES, PARAMETERS, basis, coefficients


def test_there_are_thirty_parameters_with_names_of_their_own_and_a_range_around_zero():
    assert len(set(NAMES)) == len(NAMES) >= 30
    assert (LOW <= 0).all()
    assert (HIGH > 0).all()
    assert sum(parameter.expression for parameter in PARAMETERS) >= 5


def test_every_parameter_moves_the_head_by_a_visible_but_human_amount():
    moved = np.linalg.norm(piece("skin").basis, axis=2).max(1)
    assert (moved > 1.0).all(), dict(zip(NAMES, moved.round(1), strict=True))
    assert (moved < 30.0).all()


def test_displacements_are_symmetric():
    points = np.random.default_rng(0).uniform(-100, 100, (200, 3))
    flip = np.array([-1.0, 1, 1])
    np.testing.assert_allclose(basis(points * flip), basis(points) * flip, atol=1e-12)


def test_the_middle_plane_stays_in_the_middle():
    points = np.random.default_rng(0).uniform(-100, 100, (200, 3)) * [0, 1, 1]
    assert np.abs(basis(points)[..., 0]).max() == 0


def test_the_base_head_has_the_published_measures():
    skin = piece("skin").vertices
    assert skin[:, 1].max() == pytest.approx(anatomy.EYE[1] + HEAD_HEIGHT_MM / 2, abs=3)
    front = np.abs(skin[:, 0]) < 3
    chin = skin[front & (skin[:, 2] > 60) & (skin[:, 1] < -60), 1].min()
    assert skin[:, 1].max() - chin == pytest.approx(HEAD_HEIGHT_MM, abs=6)
    skull = skin[skin[:, 1] > 55]  # above the ears
    assert np.ptp(skull[:, 0]) == pytest.approx(152, abs=5)
    assert np.ptp(skull[:, 2]) == pytest.approx(192, abs=6)


def test_an_open_mouth_parts_the_lips_and_moves_nothing_above_them():
    skin = piece("skin")
    field = skin.basis[NAMES.index("mouth_open")]
    x, y, z = skin.vertices.T
    between = (np.abs(x) < 15) & (z > 84)
    upper = between & (y > lip_line(np.abs(x)) + 1) & (y < -34)
    lower = between & (y < lip_line(np.abs(x)) - 1) & (y > -55)
    assert np.abs(field[upper]).max() < 0.5
    assert field[lower, 1].max() < -12


@pytest.mark.parametrize("values", [{"nose": 1.0}, {"nose_length": 9.0}, {"mouth_open": -1.0}])
def test_what_is_no_shape_is_refused_with_a_code(values):
    with pytest.raises(Dp3dError, match=r"nose|mouth_open") as caught:
        coefficients(values)
    assert caught.value.code == "heads.bad_shape"


def test_shapes_add_up():
    a, b = {"jaw_width": 1.0}, {"nose_length": -1.0}
    base, first, second, both = (
        build_head(HeadSpec(shape, clothes=None)).mesh.vertices for shape in ({}, a, b, {**a, **b})
    )
    np.testing.assert_allclose(both - base, (first - base) + (second - base), atol=1e-6)
