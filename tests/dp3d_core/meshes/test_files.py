"""Mesh files as other programs read them: the colour of every triangle, sampled by each reader."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.meshes.files import (
    TexturedPart,
    check_mesh_path,
    side_names,
    side_stem,
    to_obj,
    to_ply,
    write_mesh_files,
)
from dp3d_core.meshes.glb import to_glb
from dp3d_core.storage.results import MADE_BY

CELL, SIDE = 8, 16
"""Texels of a triangle's block, and blocks in a row of the texture."""


def quilt(name: str = "head", shift: float = 0.0) -> tuple[TexturedPart, np.ndarray]:
    """A sphere whose triangles have a block of the texture each, and (m, 3) their colours."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    count = len(ball.faces)
    assert count <= SIDE**2
    colours = np.random.default_rng(5).integers(0, 256, (count, 3)).astype(np.uint8)
    texture = np.zeros((SIDE * CELL, SIDE * CELL, 3), np.uint8)
    row, column = np.divmod(np.arange(count), SIDE)
    for at in range(count):
        y, x = row[at] * CELL, column[at] * CELL
        texture[y : y + CELL, x : x + CELL] = colours[at]
    corners = np.array([[2, 2], [6, 2], [2, 6]]) + 0.0
    pixels = np.stack([column, row], -1)[:, None] * CELL + corners
    uv = pixels.reshape(-1, 2) / (SIDE * CELL) * [1, -1] + [0, 1]
    place = ball.vertices[ball.faces]
    # apart, or a reader may weld corners of different colours
    vertices = (0.9 * place + 0.1 * place.mean(1, keepdims=True)).reshape(-1, 3)
    vertices = vertices + np.array([shift, 0, 0])
    normals = ball.vertex_normals[ball.faces].reshape(-1, 3)
    faces = np.arange(3 * count).reshape(-1, 3)
    return TexturedPart(name, vertices, normals, faces, uv, texture), colours


def sampled(vertices, uv, texture) -> np.ndarray:
    """(m, 3) colours in the middle of triangles of (m, 3, 3) corners and their uv, v up."""
    height, width = texture.shape[:2]
    u, v = uv.mean(1).T
    assert vertices.shape[1:] == (3, 3)
    return texture[((1 - v) * height).astype(int), (u * width).astype(int)]


def by_trimesh(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Middle of each triangle and its colour, of every part."""
    parts = []
    for mesh in trimesh.load_scene(path, process=False).geometry.values():
        material = mesh.visual.material
        image = getattr(material, "baseColorTexture", None) or material.image
        factor = getattr(material, "baseColorFactor", None)
        assert factor is None or np.all(np.asarray(factor) == 255)
        texture = np.asarray(image.convert("RGB"))
        place = mesh.vertices[mesh.faces]
        parts.append((place.mean(1), sampled(place, mesh.visual.uv[mesh.faces], texture)))
        outwards = np.einsum("nc,nc->n", mesh.face_normals, mesh.vertex_normals[mesh.faces[:, 0]])
        assert outwards.min() > 0.8
    return parts


def by_tinyobj(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """As :func:`by_trimesh`, of tinyobjloader."""
    tinyobj = pytest.importorskip("tinyobjloader")
    reader = tinyobj.ObjReader()
    assert reader.ParseFromFile(str(path), tinyobj.ObjReaderConfig()), reader.Error()
    assert reader.Warning() == ""
    attributes, materials = reader.GetAttrib(), reader.GetMaterials()
    vertices = np.array(attributes.vertices).reshape(-1, 3)
    uv = np.array(attributes.texcoords).reshape(-1, 2)
    normals = np.array(attributes.normals).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    parts = []
    for shape in reader.GetShapes():
        corners = [(i.vertex_index, i.texcoord_index) for i in shape.mesh.indices]
        indices = np.array(corners).reshape(-1, 3, 2)
        (used,) = set(np.array(shape.mesh.material_ids))
        material = materials[used]
        assert tuple(material.diffuse) == (1.0, 1.0, 1.0)
        assert tuple(material.specular) == (0.0, 0.0, 0.0)
        assert (material.dissolve, material.illum) == (1.0, 1)
        picture = Image.open(path.with_name(material.diffuse_texname)).convert("RGB")
        place = vertices[indices[..., 0]]
        parts.append((place.mean(1), sampled(place, uv[indices[..., 1]], np.asarray(picture))))
    return parts


def by_meshlab(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """As :func:`by_trimesh`, of MeshLab, which samples the texture itself."""
    pymeshlab = pytest.importorskip("pymeshlab")
    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(path))
    mesh = meshes.current_mesh()
    assert mesh.texture_number() > 0
    if not mesh.has_wedge_tex_coord():
        meshes.compute_texcoord_transfer_vertex_to_wedge()
    meshes.transfer_texture_to_color_per_vertex()
    mesh = meshes.current_mesh()
    faces = mesh.face_matrix()
    place = mesh.vertex_matrix()[faces]
    # uv of corners lie inside their block, so corners have its colour
    colours = np.rint(mesh.vertex_color_matrix()[faces[:, 0], :3] * 255).astype(int)
    return [(place.mean(1), colours)]


READERS = {"trimesh": by_trimesh, "tinyobjloader": by_tinyobj, "MeshLab": by_meshlab}


def assert_colours(parts, truth) -> None:
    """Every triangle has the colour of the one of the truth at its place."""
    middles = np.concatenate([middle for middle, _ in parts])
    colours = np.concatenate([colour for _, colour in parts]).astype(int)
    true_middles = np.concatenate([p.vertices[p.faces].mean(1) for p, _ in truth])
    true_colours = np.concatenate([c for _, c in truth]).astype(int)
    assert len(middles) == len(true_middles)
    distance = np.linalg.norm(middles[:, None] - true_middles, axis=-1)
    assert distance.min(1).max() < 1e-4
    assert np.abs(colours - true_colours[distance.argmin(1)]).max() <= 1


NAMES = ["head", "my head", "Żółć 頭", "a#b;c'd&e", "x" * 200, "-rf", "tab\tname", "per%20cent"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("reader", READERS)
def test_obj(tmp_path, reader, name) -> None:
    truth = [quilt("head"), quilt("hair", 3.0)]
    out = tmp_path / "a b" / f"{name}.obj"
    files = write_mesh_files(out, to_obj([part for part, _ in truth], out))
    assert files[0] == out
    assert {p.name for p in out.parent.iterdir()} == {p.name for p in files}
    assert len(files) == 4
    for side in files[1:]:
        assert side.name.isascii()
        assert not set(" #;'&%\t") & set(side.name)
    assert_colours(READERS[reader](out), truth)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("reader", ["trimesh", "MeshLab"])
def test_ply(tmp_path, reader, name) -> None:
    part, colours = quilt()
    out = tmp_path / f"{name}.ply"
    write_mesh_files(out, to_ply(part, out))
    if reader == "trimesh":  # shows the vertices' colours
        mesh = trimesh.load(out, process=False)
        mesh.visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
        shown = np.asarray(mesh.visual.vertex_colors)[mesh.faces[:, 0], :3]
        assert_colours([(mesh.vertices[mesh.faces].mean(1), shown)], [(part, colours)])
    else:
        assert_colours(READERS[reader](out), [(part, colours)])


@pytest.mark.parametrize("reader", ["trimesh", "MeshLab"])
def test_glb(tmp_path, reader) -> None:
    truth = [quilt("head"), quilt("hair", 3.0)]
    if reader == "MeshLab":
        truth = truth[:1]  # of several parts it makes several layers
    out = tmp_path / "ein Kopf.glb"
    write_mesh_files(out, {out.name: to_glb([part for part, _ in truth])})
    assert_colours(READERS[reader](out), truth)


def document(data: bytes) -> dict:
    """The JSON of a GLB."""
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])


def bent(part: TexturedPart) -> TexturedPart:
    """The part with a normal map and tangents."""
    tangents = np.column_stack([np.cross([0.1, 1, 0.2], part.normals), np.ones(len(part.normals))])
    normal_map = np.full_like(part.texture, (128, 128, 255))
    return TexturedPart(**{**vars(part), "normal_map": normal_map, "tangents": tangents})


VALIDATE = """
const fs = require('fs'), validator = require('gltf-validator');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then(
  report => console.log(JSON.stringify(report.issues)));
"""


@pytest.mark.parametrize("normal_map", [False, True])
def test_khronos_validator_finds_nothing(tmp_path, normal_map) -> None:
    """Needs Node.js, and ``NODE_PATH`` with the npm package gltf-validator."""
    node = shutil.which("node")
    if node is None or not os.environ.get("NODE_PATH"):
        pytest.skip("needs node, and NODE_PATH with gltf-validator")
    part, _ = quilt()
    path = tmp_path / "head.glb"
    path.write_bytes(to_glb([bent(part) if normal_map else part, quilt("hair", 3.0)[0]]))
    done = subprocess.run([node, "-e", VALIDATE, str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["messages"] == []


def test_tangents_come_with_a_normal_map() -> None:
    part, _ = quilt()
    (primitive,) = document(to_glb([bent(part)]))["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    (primitive,) = document(to_glb([part]))["meshes"][0]["primitives"]
    assert "TANGENT" not in primitive["attributes"]


def test_glb_says_what_it_is() -> None:
    gltf = document(to_glb([quilt()[0]]))
    assert gltf["asset"]["generator"].startswith("dp3d ")
    (material,) = gltf["materials"]
    assert material["alphaMode"] == "OPAQUE"
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    position = gltf["accessors"][gltf["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    part = quilt()[0]
    np.testing.assert_allclose(position["min"], part.vertices.min(0), atol=1e-6)
    np.testing.assert_allclose(position["max"], part.vertices.max(0), atol=1e-6)


def test_many_vertices_have_wide_indices() -> None:
    ball = trimesh.creation.icosphere(subdivisions=7)
    uv = np.full((len(ball.vertices), 2), 0.5)
    texture = np.full((4, 4, 3), 200, np.uint8)
    part = TexturedPart("head", ball.vertices, ball.vertex_normals, ball.faces, uv, texture)
    scene = trimesh.load(io.BytesIO(to_glb([part])), file_type="glb")
    assert len(scene.to_geometry().faces) == len(ball.faces) > 2**16


def test_faults_of_a_mesh_are_not_handed_on(tmp_path) -> None:
    part, _ = quilt()
    vertices, normals = part.vertices.copy(), part.normals.copy()
    uv, faces = part.uv.copy(), part.faces.copy()
    vertices[0] = np.nan  # of the first triangle
    normals[3] = 0
    normals[4] = np.inf
    uv[5] = [np.nan, 1.5]
    faces[2, 1] = faces[2, 0]
    spoilt = TexturedPart("head", vertices, normals, faces, uv, part.texture)
    for out in (tmp_path / "a.obj", tmp_path / "a.ply", tmp_path / "a.glb"):
        make = {".obj": lambda o: to_obj([spoilt], o), ".ply": lambda o: to_ply(spoilt, o)}
        write_mesh_files(out, make.get(out.suffix, lambda o: {o.name: to_glb([spoilt])})(out))
        (mesh,) = trimesh.load_scene(out, process=False).geometry.values()
        assert len(mesh.faces) == len(faces) - 2
        assert np.isfinite(mesh.vertices).all()
        np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-3)
    assert "nan" not in (tmp_path / "a.obj").read_text()
    assert "inf" not in (tmp_path / "a.obj").read_text()


# -- what lies there already --


def test_side_names_that_become_alike_are_kept_apart() -> None:
    stems = [side_stem(Path(f"{name}.obj")) for name in ("a b", "a_b", "a  b", "a?b", "頭", "顔")]
    assert len(set(stems)) == len(stems)
    assert stems[1] == "a_b"
    assert max(len(side_stem(Path(f"{'x' * n}.obj"))) for n in (80, 81, 250)) < 100


def write(out: Path, *names: str) -> list[Path]:
    return write_mesh_files(out, to_obj([quilt(name)[0] for name in names], out))


def test_an_old_export_leaves_nothing_of_ours_and_keeps_what_is_foreign(tmp_path) -> None:
    out = tmp_path / "me.obj"
    write(out, "head", "hair", "brim")
    (tmp_path / "me_notes.txt").write_text("mine")
    (tmp_path / "wood.png").write_bytes(b"mine")
    material = tmp_path / "me.mtl"  # somebody gave the head a texture of their own
    material.write_text(material.read_text().replace("me_brim.png", "wood.png"))
    write(out, "head", "hair")
    names = {path.name for path in tmp_path.iterdir()}
    # the brim's picture is named no more, so it may be somebody else's by now
    assert names == {
        *("me.obj", "me.mtl", "me_head.png", "me_hair.png"),
        *("me_brim.png", "me_notes.txt", "wood.png"),
    }
    write(out, "head")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"me.obj", "me.mtl", "me.png", "me_brim.png", "me_notes.txt", "wood.png"}


@pytest.mark.parametrize("ending", [".obj", ".ply"])
def test_files_of_no_mesh_of_that_name_are_not_replaced(tmp_path, ending) -> None:
    out = tmp_path / f"me{ending}"
    for name in side_names(out):
        precious = tmp_path / name
        precious.write_bytes(b"precious")
        for refused in (
            lambda: check_mesh_path(out, (ending,), side_names(out)),
            lambda: write_mesh_files(
                out, to_ply(quilt()[0], out) if ending == ".ply" else to_obj([quilt()[0]], out)
            ),
        ):
            with pytest.raises(Dp3dError) as caught:
                refused()
            assert caught.value.code == "output.occupied"
        assert [path.name for path in tmp_path.iterdir()] == [name]
        precious.unlink()


@pytest.mark.parametrize("foreign", ["me.obj", "me.mtl"])
def test_files_that_another_programs_mesh_names_are_not_replaced(tmp_path, foreign) -> None:
    out = tmp_path / "me.obj"
    write(out, "head")
    path = tmp_path / foreign
    path.write_text(path.read_text().replace(MADE_BY, "Blender"))
    (tmp_path / "me.png").write_bytes(b"precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for refused in (
        lambda: check_mesh_path(out, (".obj",), side_names(out)),
        lambda: write(out, "head"),
    ):
        with pytest.raises(Dp3dError) as caught:
            refused()
        assert caught.value.code == "output.occupied"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_obj_and_ply_of_one_name_lie_side_by_side(tmp_path) -> None:
    write(tmp_path / "me.obj", "head")
    write_mesh_files(tmp_path / "me.ply", to_ply(quilt()[0], tmp_path / "me.ply"))
    assert len(list(tmp_path.iterdir())) == 5


def test_an_obj_that_names_files_elsewhere_loses_none(tmp_path) -> None:
    (tmp_path / "me").mkdir()
    victim = tmp_path / "me.png"
    victim.write_bytes(b"precious")
    out = tmp_path / "me" / "me.obj"
    out.write_text("# Made by dp3d\nmtllib ../me.png\nmtllib me/../../me.png\n")
    write(out, "head")
    assert victim.read_bytes() == b"precious"


def test_a_full_disk_leaves_the_old_set(tmp_path, monkeypatch) -> None:
    out = tmp_path / "me.obj"
    write(out, "head")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    resource = pytest.importorskip("resource")
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["me.obj"]) - 100, old[1]))
    try:
        with pytest.raises(Dp3dError) as caught:
            write(out, "head")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == "output.not_writable"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.fbx", "mesh.bad_format"),
        ("a", "mesh.bad_format"),
        ("folder.obj", "output.occupied"),
        ("file/a.obj", "output.not_writable"),
        ("file/b/c/a.obj", "output.not_writable"),
        ("x" * 300 + ".obj", "output.not_writable"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path, name, code) -> None:
    (tmp_path / "folder.obj").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(Dp3dError) as caught:
        check_mesh_path(tmp_path / name, (".obj", ".glb"))
    assert caught.value.code == code
    check_mesh_path(tmp_path / "new" / "folders" / "a.obj", (".obj",))
    assert {path.name for path in tmp_path.iterdir()} == {"folder.obj", "file"}
