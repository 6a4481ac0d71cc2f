"""What the measure of a mesh says of meshes whose error is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.surfaces import feature_errors, score_face, score_surface, texture_psnr
from dp3d_core.evaluation.textured import TexturedMesh, open_surface
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.synthetic.dataset import head_glb
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject

FEW = 40_000


@pytest.fixture(scope="module")
def truth():
    subject = random_subject(9001)
    bald = replace(subject.spec, hair=None, beard=0.0, hat=None, glasses=None)
    return SyntheticHead(replace(subject, spec=bald))  # what is seen is one skin


def outside(truth):
    """What is seen of a head from all around: not its mouth, sockets and the backs of its eyes."""
    mesh = truth.head.mesh
    seen = set()
    for pitch in (-30, 0, 40):
        for yaw in range(0, 360, 30):
            camera = canonical_camera(yaw, pitch, 400)
            rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
            seen.update(truth.caster.cast(camera.position, rays).face.tolist())
    return Mesh.of(mesh.vertices, mesh.faces[sorted(seen)], mesh.parts)


def test_a_head_is_on_its_own_surface(truth):
    scores = score_surface(outside(truth), truth, samples=FEW)
    assert scores.to_surface < 0.005  # the points' own spacing
    assert scores.f_score > 0.95
    moved = outside(truth).with_vertices(truth.head.mesh.vertices + np.array([0, 0, 0.02]))
    worse = score_surface(moved, truth, samples=FEW)
    assert worse.chamfer > scores.chamfer + 0.01
    assert worse.f_score < 0.9


def test_a_face_on_its_own_surface(truth):
    mesh = truth.head.mesh
    scores = score_face(mesh, truth, samples=FEW)
    assert scores["face"] < 0.005
    assert scores["normals_deg"] < 5
    forward = mesh.with_vertices(mesh.vertices + np.array([0, 0, 0.03]))
    assert 0.015 < score_face(forward, truth, samples=FEW)["face"] < 0.035
    wave = 0.01 * np.sin(100 * mesh.vertices[:, :1]) * np.array([0, 0, 1])
    wavy = score_face(mesh.with_vertices(mesh.vertices + wave), truth, samples=FEW)
    assert wavy["normals_deg"] > scores["normals_deg"] + 15
    behind = mesh.with_vertices(np.where(mesh.vertices < [-9, -9, -0.1], 0.0, mesh.vertices))
    assert score_face(behind, truth, samples=FEW)["face"] < 0.006  # no part of the face


def test_an_inner_shell_counts_against_a_mesh(truth):
    mesh = outside(truth)
    shell = Mesh.of(
        np.concatenate([mesh.vertices, 0.6 * mesh.vertices]),
        np.concatenate([mesh.faces, mesh.faces + len(mesh.vertices)]),
        np.zeros(2 * len(mesh.vertices), np.uint8),
    )
    plain, shelled = (score_surface(m, truth, samples=FEW) for m in (mesh, shell))
    assert shelled.to_truth > plain.to_truth + 0.03
    assert shelled.to_surface == pytest.approx(plain.to_surface, abs=3e-3)
    assert shelled.f_score < plain.f_score - 0.1
    assert shelled.components > plain.components


def painted(truth, colour):
    """The true surface in one colour."""
    mesh = truth.head.mesh
    texture = np.full((4, 4, 3), colour, np.uint8)
    return TexturedMesh(mesh, np.full((len(mesh.vertices), 2), 0.5), texture, truth.caster)


def test_colours_of_a_texture(truth):
    camera = canonical_camera(0, 0, 768)
    view = truth.render(camera)
    lips = view.rgba[view.labels == Label.LIPS][:, :3].mean(0)
    errors = feature_errors(painted(truth, np.rint(lips)), truth)
    assert errors["lips"] < 0.01
    assert errors["iris"] > 0.1
    grey = feature_errors(painted(truth, 128), truth)
    assert grey["lips"] == pytest.approx(np.abs(lips - 128).max() / 255, abs=0.01)
    skin = view.rgba[view.labels == Label.SKIN][:, :3].mean(0)
    likeness = [texture_psnr(painted(truth, c), truth, 96) for c in (np.rint(skin), (0, 255, 0))]
    assert likeness[0] > likeness[1] + 4


def test_a_mesh_without_texture_is_a_surface(truth, tmp_path):
    path = tmp_path / "head.glb"
    path.write_bytes(head_glb(truth))
    assert len(open_surface(path).faces) == len(truth.head.mesh.faces)
    with pytest.raises(Dp3dError) as caught:
        TexturedMesh.open(path)
    assert caught.value.code == "mesh.unreadable"
