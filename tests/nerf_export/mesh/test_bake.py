from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.cameras.trajectories import capture_sphere, frontal_arc
from dp3d_core.progress import Stage
from nerf_export.mesh.bake import PaintedMesh, _unwrap, paint
from nerf_export.mesh.textured_mesh import to_glb, to_obj, to_ply
from tests.support.scene import HEAD, side_colour, trace

SIZE = 256


@pytest.fixture(scope="module")
def ellipsoid() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    mesh.apply_scale(HEAD.radii)
    return mesh


def side_pictures(cameras):
    """The head alone, without nose, knob and ear."""
    for camera in cameras:
        frame, alpha = trace(camera, parts=(HEAD,))
        yield camera, np.dstack([frame, alpha])


@pytest.fixture(scope="module")
def painted(ellipsoid: trimesh.Trimesh) -> PaintedMesh:
    cameras = capture_sphere(18, (-35.0, 0.0, 35.0), 192)
    return paint(ellipsoid, side_pictures(cameras), SIZE, Stage("mesh", 50))


def texture_at(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    size = len(texture)
    column = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    row = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    return texture[row, column] / 255


def test_texels_have_the_colours_of_the_views(painted: PaintedMesh) -> None:
    error = np.abs(texture_at(painted.texture, painted.uv) - side_colour(painted.vertices))
    assert error.mean() < 0.02
    assert np.quantile(error, 0.99) < 0.08
    assert painted.seen > 0.95


def test_uv_stays_in_the_unit_square_and_charts_do_not_overlap(painted: PaintedMesh) -> None:
    assert painted.uv.min() >= 0
    assert painted.uv.max() <= 1
    texels = painted.texels
    place = texels.row * SIZE + texels.column
    assert len(np.unique(place)) > 0.2 * SIZE**2
    # a texel in the very middle of two triangles lies in two charts
    deep = texels.weights.min(1) > 0.05
    assert len(np.unique(place[deep])) == deep.sum()


def test_glb_shows_the_same_colours_when_read_back(painted: PaintedMesh) -> None:
    """V up in the atlas, V down in glTF: a flip would show here."""
    scene = trimesh.load(io.BytesIO(to_glb(painted)["head.glb"]), file_type="glb")
    mesh = scene.to_geometry()
    material = mesh.visual.material
    texture = np.asarray(material.baseColorTexture.convert("RGB"))
    error = np.abs(texture_at(texture, mesh.visual.uv) - side_colour(mesh.vertices))
    assert error.mean() < 0.02
    assert material.metallicFactor == 0
    assert material.roughnessFactor == pytest.approx(0.9)
    assert np.einsum("nc,nc->n", mesh.vertex_normals, mesh.vertices).min() > 0


def test_unseen_sides_take_the_colour_of_their_surroundings(ellipsoid: trimesh.Trimesh) -> None:
    """Seen from the front alone, the back is filled, smoothly and without new colours."""
    painted = paint(
        ellipsoid, side_pictures(frontal_arc(6, 40.0, size=128)), SIZE, Stage("mesh", 50)
    )
    assert painted.seen < 0.85
    back = painted.vertices[:, 2] < -0.15
    colours = texture_at(painted.texture, painted.uv)
    front = colours[painted.vertices[:, 2] > -0.1]
    assert np.all(colours[back] > front.min(0) - 0.05)
    assert np.all(colours[back] < front.max(0) + 0.05)
    # The left side is redder than the right side, on the back too.
    left, right = painted.vertices[:, 0] > 0.1, painted.vertices[:, 0] < -0.1
    assert colours[back & left, 0].mean() > colours[back & right, 0].mean() + 0.1


def test_obj_and_ply_show_the_same_colours(painted: PaintedMesh, tmp_path: Path) -> None:
    for name, data in {**to_obj(painted, "face.obj"), **to_ply(painted, "face.ply")}.items():
        (tmp_path / name).write_bytes(data)
    names = {"face.obj", "face.mtl", "face.png", "face.ply", "face_ply.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    mesh = trimesh.load(tmp_path / "face.obj", process=False)
    texture = np.asarray(mesh.visual.material.image.convert("RGB"))
    error = np.abs(texture_at(texture, mesh.visual.uv) - side_colour(mesh.vertices))
    assert error.mean() < 0.02
    mesh = trimesh.load(tmp_path / "face.ply", process=False)
    texture = np.asarray(mesh.visual.material.image.convert("RGB"))
    error = np.abs(texture_at(texture, mesh.visual.uv) - side_colour(mesh.vertices))
    assert error.mean() < 0.02
    assert len(mesh.faces) == len(painted.faces)


def test_a_normal_map_restores_the_normals_of_the_fine_surface() -> None:
    """Of a sphere with waves on it, seen through the normals of a coarse one."""
    coarse = trimesh.creation.icosphere(subdivisions=2, radius=0.2)

    def waves(points: np.ndarray) -> np.ndarray:
        """Normals of a radius that goes up and down by height."""
        outward = points / np.linalg.norm(points, axis=1, keepdims=True)
        bent = outward + 0.3 * np.cos(60 * points[:, 1:2]) * np.array([0.0, 1.0, 0.0])
        return bent / np.linalg.norm(bent, axis=1, keepdims=True)

    pictures = side_pictures(capture_sphere(4, size=48))
    painted = paint(coarse, pictures, SIZE, Stage("mesh", 50), waves)
    scene = trimesh.load(io.BytesIO(to_glb(painted)["head.glb"]), file_type="glb")
    mesh = scene.to_geometry()
    encoded = np.asarray(mesh.visual.material.normalTexture.convert("RGB"))

    # as in a renderer: tangent frames of the corners, with the map's normals inside triangles
    corner = mesh.faces
    middle = mesh.vertices[corner].mean(1)
    normal = mesh.vertex_normals[corner].mean(1)
    e1, e2 = (mesh.vertices[corner[:, k]] - mesh.vertices[corner[:, 0]] for k in (1, 2))
    d1, d2 = (mesh.visual.uv[corner[:, k]] - mesh.visual.uv[corner[:, 0]] for k in (1, 2))
    area = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    tangent = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) / area[:, None]
    tangent -= np.einsum("nc,nc->n", tangent, normal)[:, None] * normal
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.sign(area)[:, None] * np.cross(normal, tangent)
    local = 2 * texture_at(encoded, mesh.visual.uv[corner].mean(1)) - 1
    shaded = local[:, :1] * tangent + local[:, 1:2] * across + local[:, 2:] * normal
    shaded /= np.linalg.norm(shaded, axis=1, keepdims=True)

    def off(normals: np.ndarray) -> float:
        cosine = np.einsum("nc,nc->n", normals, waves(middle)).clip(-1, 1)
        return float(np.degrees(np.arccos(cosine)).mean())

    assert off(normal) > 8
    assert off(shaded) < 2.5


@pytest.mark.parametrize(("size", "place"), [(1e-3, 0.0), (1e6, 0.0), (1.0, 5e3)])
def test_meshes_of_any_size_and_place_are_unwrapped(size: float, place: float) -> None:
    ball = trimesh.creation.icosphere(2)
    ball.apply_scale(size)
    ball.apply_translation([place, 0, 0])
    source, faces, uv = _unwrap(ball, 128)
    assert len(faces) == len(ball.faces)
    assert len(uv) == len(source)
    assert np.isfinite(uv).all()
    assert np.ptp(uv, axis=0).min() > 0.5
