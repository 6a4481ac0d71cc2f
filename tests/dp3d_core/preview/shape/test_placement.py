"""Placement: the head takes on hair and outline of the photo, and stays a head from the side."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits import face_models
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.hair.fit import Hair, limit_hair_moves, plain_hair
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shape.outline import fit_outline, snap_outline
from dp3d_core.preview.shape.placement import _snapped, join_meshes, place_head
from tests.support.posed_photos import person_with, portrait_of, posed_photo

CAMERA = canonical_camera(size=320, focal=3.0)


def average_head() -> Mesh:
    """The average head with short hair."""
    bare = BareHead.of(np.zeros(0), {})
    return join_meshes(bare.mesh, plain_hair(bare.caster, int(Part.HAIR)))


def crown(vertices: np.ndarray, z: float) -> float:
    """Height of the skull at a depth, head units."""
    return float(vertices[np.abs(vertices[:, 2] - z) < 0.02, 1].max())


def test_high_hair_raises_the_whole_skull_and_not_a_crest() -> None:
    mesh = average_head()
    outline = np.isfinite(RayCaster(mesh).depth(CAMERA)).astype(np.uint8) * 255
    # everything above the eyes a fifth higher
    eyes = CAMERA.project([[0.0, 0.06, 0.2]])[0][0, 1]
    rows = np.arange(320, dtype=np.float32)
    source = np.where(rows < eyes, eyes - (eyes - rows) / 1.2, rows).astype(np.float32)
    columns = np.tile(rows, (320, 1))
    matte = cv2.remap(outline, columns, np.tile(source[:, None], (1, 320)), cv2.INTER_LINEAR)

    fitted = fit_outline(mesh, CAMERA, matte, np.ones_like(matte, bool))
    rendered = np.isfinite(RayCaster(fitted).depth(CAMERA))
    wanted = matte > 127
    assert (rendered & wanted).sum() / (rendered | wanted).sum() > 0.97
    rise = {z: crown(fitted.vertices, z) - crown(mesh.vertices, z) for z in (0.0, -0.10, -0.22)}
    assert rise[0.0] > 0.03
    assert rise[-0.10] > 0.8 * rise[0.0]
    assert rise[-0.22] > 0.7 * rise[0.0]  # a crest: 0.3


def test_the_templates_own_outline_moves_nothing() -> None:
    mesh = average_head()
    outline = np.isfinite(RayCaster(mesh).depth(CAMERA))
    matte = outline.astype(np.uint8) * 255
    fitted = fit_outline(mesh, CAMERA, matte, np.ones_like(outline))
    assert np.abs(fitted.vertices - mesh.vertices).max() < 0.012


def test_ears_that_stand_off_do_not_widen_the_face() -> None:
    mesh = average_head()
    outline = np.isfinite(RayCaster(mesh).depth(CAMERA)).astype(np.uint8) * 255
    wide = cv2.dilate(outline, np.ones((1, 25), np.uint8))
    known = np.ones_like(wide, bool)
    moved = snap_outline(fit_outline(mesh, CAMERA, wide, known), CAMERA, wide, known)
    far = np.linalg.norm(moved.vertices - mesh.vertices, axis=1)
    cheek = (mesh.parts == Part.SKIN) & (mesh.vertices[:, 2] > 0.09)
    cheek &= (mesh.vertices[:, 1] > -0.17) & (mesh.vertices[:, 1] < 0.15)
    assert far[cheek].max() < 0.005
    worn = np.zeros(len(far), bool)
    worn[mesh.faces[mesh.parts[mesh.faces[:, 0]] == Part.HAIR].ravel()] = True
    assert np.median(far[worn]) > 0.008


def hair_with_ears(free: float) -> Hair:
    """Hair over the upper head; ``free`` of the ear on -x."""
    ears, mask = (np.zeros((GRID.rows, GRID.columns)) for _ in range(2))
    ears[60:70, 70:76] = free
    mask[:50] = 1
    return Hair(mask, mask, average_head(), 0.0, ears)


def test_the_last_fit_of_the_outline_pulls_no_spikes_out_of_hair() -> None:
    mesh = average_head()
    pulled = mesh.vertices.copy()
    spike = len(pulled) - 2000
    pulled[spike] += [0.2, 0.0, 0.0]
    pulled[0] += [0.01, 0.0, 0.0]
    calm = limit_hair_moves(mesh, mesh.with_vertices(pulled), hair_with_ears(0.0))
    assert np.abs(calm.vertices[spike] - mesh.vertices[spike]).max() < 0.01
    np.testing.assert_array_equal(calm.vertices[0], pulled[0])


def test_beside_free_ears_the_outline_moves_no_hair() -> None:
    mesh = average_head()
    first = len(mesh.vertices) - SHELL
    pulled = mesh.vertices.copy()
    pulled[first:, 0] *= 1.03
    calm = limit_hair_moves(mesh, mesh.with_vertices(pulled), hair_with_ears(1.0))
    moved = np.linalg.norm(calm.vertices - mesh.vertices, axis=1)[first:-1]
    moved = moved.reshape(GRID.rows, GRID.columns)
    assert moved[65, 73] < 0.1 * moved[65, -73]
    assert moved[30, 73] == pytest.approx(moved[30, -74], rel=0.1)


def test_a_scalp_goes_along_with_its_hair() -> None:
    mesh = average_head()
    first = len(mesh.vertices) - SHELL
    pressed = mesh.vertices.copy()
    pressed[first:, 1] -= 0.015
    calm = limit_hair_moves(mesh, mesh.with_vertices(pressed), hair_with_ears(0.0))
    crown = mesh.vertices[:first, 1] > 0.2
    assert crown.sum() > 50
    moved = (calm.vertices - mesh.vertices)[:first][crown]
    np.testing.assert_allclose(moved[:, 1], -0.015, atol=0.002)
    chin = mesh.vertices[:first, 1] < -0.1
    np.testing.assert_array_equal(calm.vertices[:first][chin], mesh.vertices[:first][chin])


def overlap(
    mesh: Mesh, camera: Camera, outline: np.ndarray, where: np.ndarray | bool = True
) -> float:
    """Intersection over union of a head and an outline (h, w) in a view, in a part of it."""
    shown = np.isfinite(RayCaster(mesh).depth(camera)) & where
    return float((shown & outline).sum() / (shown | outline).sum())


def photo_of_broad_shoulders(mesh: Mesh, matte_source: str = "segmenter") -> SimpleNamespace:
    """A photo from behind of a head with broader shoulders."""
    camera = canonical_camera(180, size=320, focal=3.0)
    broad = mesh.vertices.copy()
    broad[:, 0] *= np.where(broad[:, 1] < -0.26, 1.08, 1.0)
    wanted = np.isfinite(RayCaster(mesh.with_vertices(broad)).depth(camera))
    return SimpleNamespace(
        camera=camera,
        matte=wanted.astype(np.uint8) * 255,
        inside=np.ones_like(wanted),
        report=SimpleNamespace(matte_source=matte_source),
    )


def test_shoulders_are_moved_onto_those_of_a_further_photo_and_the_face_is_not() -> None:
    mesh = average_head()
    photo = photo_of_broad_shoulders(mesh)
    moved = _snapped(mesh, [photo])
    before, after = (overlap(head, photo.camera, photo.matte > 0) for head in (mesh, moved))
    assert after > before + 0.01
    face = (mesh.parts == Part.SKIN) & (mesh.vertices[:, 1] > -72 * MM)
    np.testing.assert_array_equal(moved.vertices[face], mesh.vertices[face])


def test_the_outline_of_the_template_in_a_further_photo_moves_nothing() -> None:
    mesh = average_head()
    photo = photo_of_broad_shoulders(mesh, matte_source="template")
    np.testing.assert_array_equal(_snapped(mesh, [photo]).vertices, mesh.vertices)


@pytest.mark.skipif(not face_models.installed(), reason="no face models: dp3d setup models")
def test_hair_that_a_profile_and_a_back_show_stands_off_between_them_too() -> None:
    head = person_with("afro")
    portrait = portrait_of(head)
    further = [posed_photo(head, yaw, np.ones(3))[0] for yaw in (80, 178)]
    meshes = [place_head(portrait, further=photos).mesh for photos in ([], further)]
    # rims and the back alone, with flat hair between them, gain 0.011 and 0.028
    for yaw, gain in ((35, 0.02), (130, 0.035)):
        camera = canonical_camera(yaw, 2, 320, focal=3.0)
        true = head.render(camera).rgba[..., 3] > 127
        alone, known = (overlap(mesh, camera, true) for mesh in meshes)
        assert known > alone + gain, (yaw, alone, known)


@pytest.mark.skipif(not face_models.installed(), reason="no face models: dp3d setup models")
def test_the_shoulders_of_a_bald_person_are_those_of_the_further_photos() -> None:
    head = person_with(None)
    portrait = portrait_of(head)
    further = [posed_photo(head, yaw, np.ones(3))[0] for yaw in (80, 178)]
    alone, known = (place_head(portrait, further=photos) for photos in ([], further))
    assert not (known.mesh.parts == Part.HAIR).any()
    gains = []
    for photo in further:
        neck = int(photo.camera.project([[0.0, -110 * MM, -30 * MM]])[0][0, 1])
        below, wanted = (np.zeros(photo.matte.shape, bool) for _ in range(2))
        below[neck:] = photo.inside[neck:]
        wanted[below] = photo.matte[below] > 127
        before, after = (
            overlap(placed.mesh, photo.camera, wanted, below) for placed in (alone, known)
        )
        assert after > 0.985, (before, after)
        gains.append(after - before)
    assert min(gains) >= 0, gains
    assert max(gains) > 0.03, gains
    face = alone.bare.mesh.vertices[:, 1] > -72 * MM
    np.testing.assert_array_equal(known.bare.mesh.vertices[face], alone.bare.mesh.vertices[face])
