import numpy as np
import pytest
import trimesh

from dp3d_core.errors import Dp3dError
from dp3d_core.heads import hair, wear
from dp3d_core.heads.anatomy import BUST_CUT_MM, MM
from dp3d_core.heads.labels import Label, vertex_labels
from dp3d_core.heads.model import HeadSpec, Surface, build_head, piece


def as_trimesh(found):
    return trimesh.Trimesh(found.vertices, found.faces, process=False)


def test_the_skin_is_one_closed_clean_symmetric_surface():
    skin = as_trimesh(piece("skin"))
    assert skin.is_watertight
    assert skin.is_winding_consistent
    assert skin.volume > 0
    assert len(skin.split()) == 1
    # even triangles: hardly any slivers
    sides = np.linalg.norm(np.diff(skin.triangles[:, [0, 1, 2, 0]], axis=1), axis=2)
    assert (sides.min(1) / sides.max(1) < 0.15).mean() < 0.01
    mirrored = skin.vertices * [-1, 1, 1]
    distance, _ = trimesh.proximity.ProximityQuery(skin).vertex(mirrored[::50])
    assert distance.max() < 1e-6


@pytest.mark.parametrize("name", ["bob", "afro", "ponytail"])
def test_hair_is_a_solid_that_leaves_the_face_free(name):
    volume = piece("hair", (name, None))
    assert as_trimesh(volume).is_watertight
    face = np.array([[0, 20, 95], [30, -10, 85], [0, -70, 95], [32, 27, 80.0]])
    assert (hair.hair(face, hair.HAIR_STYLES[name]) > 0).all()
    crown = np.array([[0, 145, -10.0]])
    assert hair.hair(crown, hair.HAIR_STYLES[name])[0] < 0


def test_there_are_a_dozen_hair_volumes_and_each_can_be_built():
    assert len(hair.HAIR_STYLES) >= 12
    for name in hair.HAIR_STYLES:
        assert len(piece("hair", (name, None)).vertices) > 1000


@pytest.mark.parametrize(
    ("what", "kind"),
    [("glasses", k) for k in wear.GLASSES]
    + [("hat", k) for k in wear.HATS]
    + [("clothes", k) for k in wear.CLOTHES],
)
def test_what_is_worn_is_solid_and_outside_of_the_skin(what, kind):
    found = piece(what, kind)
    assert as_trimesh(found).is_watertight
    assert found.vertices[:, 1].min() > BUST_CUT_MM - 15


def test_a_hat_presses_the_hair():
    free = piece("hair", ("afro", None)).vertices[:, 1].max()
    pressed = piece("hair", ("afro", "beanie")).vertices[:, 1].max()
    assert pressed < free - 25


def test_a_head_carries_all_its_parts_and_labels():
    head = build_head(HeadSpec({}, "bob", 12, "round", "cap", "collar"))
    assert set(head.mesh.parts) == {int(s) for s in Surface}
    assert len(head.rest) == len(head.mesh.vertices)
    found = set(vertex_labels(head))
    painted = {Label.LIPS, Label.BROWS}
    assert found == {int(label) for label in Label} - painted - {Label.BACKGROUND}


def test_a_head_lies_in_head_space():
    vertices = build_head(HeadSpec()).mesh.vertices
    assert vertices[:, 2].max() == pytest.approx(109 * MM, abs=0.01)  # the tip of the nose
    assert vertices[:, 1].min() == pytest.approx(BUST_CUT_MM * MM, abs=0.01)


def test_eyes_stay_in_their_sockets_when_the_face_changes():
    shape = {"eye_spacing": 1.4, "eye_height": -1.2, "eye_size": 1.0, "face_forward": 1.0}
    head = build_head(HeadSpec(shape))
    eyes = head.mesh.vertices[head.mesh.parts == Surface.EYE]
    skin = head.mesh.vertices[head.mesh.parts == Surface.SKIN]
    # nothing of an eyeball looks out of the skin by more than a cornea does
    nearest = np.linalg.norm(skin[None] - eyes[::25, None], axis=2).min(1)
    front = eyes[::25, 2] > np.median(eyes[:, 2])
    assert nearest[front].max() < 16 * MM


def test_unknown_wear_is_refused_with_a_code():
    with pytest.raises(Dp3dError) as caught:
        HeadSpec(hat="crown")
    assert caught.value.code == "heads.bad_shape"
    assert "beanie" in caught.value.remedy
