"""The film between the lips, and the bust around it."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads import base_files
from dp3d_core.heads.bust import BustPart, bust
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster

pytestmark = pytest.mark.skipif(not base_files.installed(), reason="dp3d setup models")


def opened(jaw: float) -> np.ndarray:
    """(n, 3) vertices, head units, of the average head with its jaw open."""
    return bust().vertices(prior().mean + expression_offsets({"jawOpen": jaw}))


def test_the_film_is_a_line_between_closed_lips() -> None:
    shape = bust()
    film = shape.rest[shape.film]
    assert np.ptp(film[:, 1]) < 4
    assert np.abs(film[:, 0]).max() < 25


def test_the_film_closes_an_open_mouth_behind_the_teeth() -> None:
    shape, vertices = bust(), opened(0.6)
    caster = RayCaster(Mesh.of(vertices, shape.faces, shape.part))
    lips = vertices[shape.lips]
    middle = np.array([0.0, (lips[:, 1].min() + lips[:, 1].max()) / 2, 1.0])
    hits = caster.cast(middle[None], np.array([[0.0, 0.0, -1.0]]))
    corners = shape.faces[hits.face[0]]
    assert np.isin(corners, shape.film).all()
    assert hits.normals[0, 2] > 0.8  # it looks forward, so that the photo is believed there
    behind = lips[np.abs(lips[:, 0]) < 5 * MM, 2].mean() - hits.points[0, 2]
    assert 2 * MM < behind < 20 * MM


def test_the_shown_bust_has_no_cavity_and_the_other_one_has() -> None:
    assert set(bust().part) == {BustPart.SKIN, BustPart.EYE_LEFT, BustPart.EYE_RIGHT}
    inner = bust(inner=True)
    assert set(inner.part) == set(BustPart)
    assert not len(inner.film)
    deep = (np.abs(inner.rest[:, 0]) < 15) & (inner.rest[:, 1] > -60) & (inner.rest[:, 1] < -20)
    assert (inner.rest[deep, 2] < 40).any()


@pytest.mark.parametrize("stretch", [0.8, 1.25])
def test_every_bust_ends_in_one_plane(stretch: float) -> None:
    vertices = bust().vertices(prior().mean * [1, stretch, 1])
    np.testing.assert_allclose(vertices[bust().rim, 1], BUST_CUT_MM * MM)
    assert vertices[:, 1].min() == pytest.approx(BUST_CUT_MM * MM)
