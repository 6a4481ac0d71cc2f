import numpy as np
import pytest
import trimesh

from dp3d_core.errors import Dp3dError
from dp3d_core.heads.people import Person
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.synthetic import accessories, hair_volumes
from dp3d_core.synthetic.average_bust import bare_body
from dp3d_core.synthetic.head import HeadSpec, Surface, build_head, piece
from dp3d_core.synthetic.labels import Label, skin_labels, vertex_labels


def as_trimesh(part):
    return trimesh.Trimesh(part.vertices, part.faces, process=False)


def test_the_average_bust_is_a_distance():
    """Places whose distance from the surface is known: nose, crown, cheek, the chest's inside."""
    points = np.array(
        [[0, -10.6, 106], [0, 136, -6], [0, -10.6, 126], [0, 176, -6], [0, -180, -40.0]]
    )
    distances = bare_body(points)
    np.testing.assert_allclose(distances[:2], 0, atol=1.5)
    np.testing.assert_allclose(distances[2:4], [20, 40], atol=2.5)
    assert distances[4] < -30
    np.testing.assert_allclose(bare_body(points * [-1, 1, 1]), distances)


@pytest.mark.parametrize("name", ["bob", "afro", "ponytail"])
def test_hair_is_a_solid_that_leaves_the_face_free(name):
    volume = piece("hair", (name, None))
    assert as_trimesh(volume).is_watertight
    face = np.array([[0, 20, 95], [30, -10, 85], [0, -70, 95], [32, 27, 80.0]])
    assert (hair_volumes.hair(face, hair_volumes.HAIR_STYLES[name]) > 0).all()
    crown = np.array([[0, 140, -10.0]])
    assert hair_volumes.hair(crown, hair_volumes.HAIR_STYLES[name])[0] < 0


def test_there_are_a_dozen_hair_volumes_and_each_can_be_built():
    assert len(hair_volumes.HAIR_STYLES) >= 12
    for name in hair_volumes.HAIR_STYLES:
        assert len(piece("hair", (name, None)).vertices) > 1000


@pytest.mark.parametrize(
    ("what", "kind"),
    [("glasses", k) for k in accessories.GLASSES]
    + [("hat", k) for k in accessories.HATS]
    + [("clothes", k) for k in accessories.CLOTHES],
)
def test_what_is_worn_is_solid_and_outside_of_the_skin(what, kind):
    part = piece(what, kind)
    assert as_trimesh(part).is_watertight
    np.testing.assert_allclose(part.follow.sum(1), 1)
    # a solid reaches into the head; what is seen of it lies outside
    assert (bare_body(part.vertices) > 1).mean() > 0.4


def test_a_hat_presses_the_hair():
    free = piece("hair", ("afro", None)).vertices[:, 1].max()
    pressed = piece("hair", ("afro", "beanie")).vertices[:, 1].max()
    assert pressed < free - 25


def test_a_head_carries_all_its_parts_and_labels():
    head = build_head(HeadSpec(Person(), "bob", 12, "round", "cap", "collar"))
    assert set(head.mesh.parts) == {int(s) for s in Surface}
    assert len(head.rest) == len(head.mesh.vertices)
    painted = {Label.LIPS, Label.BROWS}
    assert set(vertex_labels(head)) == {int(label) for label in Label} - painted - {
        Label.BACKGROUND
    }


def test_a_head_lies_in_head_space():
    vertices = build_head(HeadSpec(clothes=None)).mesh.vertices
    assert vertices[:, 2].max() == pytest.approx(106 * MM, abs=0.02)  # the tip of the nose
    assert vertices[:, 1].min() == pytest.approx(BUST_CUT_MM * MM, abs=1e-9)


@pytest.mark.parametrize("person", [Person(age=0.1), Person(sex=1.0, weight=1.0, age=1.0)])
def test_wear_follows_the_person(person):
    """Clothes hide the bust's edge, hair and hat stay outside of the skull."""
    head = build_head(HeadSpec(person, "crop", hat="beanie"))
    vertices, parts = head.mesh.vertices, head.mesh.parts
    low = [vertices[parts == part, 1].min() for part in (Surface.SKIN, Surface.CLOTHES)]
    assert low[1] < low[0]
    crown = [vertices[parts == part, 1].max() for part in (Surface.SKIN, Surface.HAT)]
    assert 4 * MM < crown[1] - crown[0] < 30 * MM


def test_lips_open_on_teeth_and_eyes_look_aside():
    closed, open_ = (
        build_head(HeadSpec(Person(expression=expression), gaze=gaze))
        for expression, gaze in (({}, (0.0, 0.0)), ({"jawOpen": 0.5}, (20.0, 0.0)))
    )
    labels = skin_labels()
    assert {Label.MOUTH, Label.EYES, Label.EARS, Label.NECK} <= set(labels)
    chin = closed.rest[:, 1] < -75
    chin &= (closed.mesh.parts == Surface.SKIN) & (closed.rest[:, 2] > 60)
    moved = open_.mesh.vertices - closed.mesh.vertices
    assert moved[chin, 1].mean() < -8 * MM
    # the pole of an eyeball moves to the head's left, its centre stays
    pole = (closed.mesh.parts == Surface.EYE) & (closed.rest[:, 2] > 76)
    assert moved[pole, 0].mean() > 3 * MM


def test_unknown_wear_is_refused_with_a_code():
    with pytest.raises(Dp3dError) as caught:
        HeadSpec(hat="crown")
    assert caught.value.code == "heads.bad_shape"
    assert "beanie" in caught.value.remedy
