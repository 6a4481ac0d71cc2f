"""Files of rigged heads: GLB by other readers and Khronos' validator, OBJ with quads."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dp3d_core.errors import Dp3dError
from dp3d_core.rigged.asset import check_rig_path, write_rig
from dp3d_core.rigged.gltf import LOOKS, key_names, to_glb
from dp3d_core.rigged.rig import BONES, DETAILS, METRES, PHOTO_EXPRESSION, arkit_names
from tests.support.gltf_validator import validated


@pytest.fixture(scope="module")
def files(rig, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rig")
    return {
        **{detail: write_rig(rig, folder / f"{detail}.glb", detail)[0] for detail in DETAILS},
        "obj": write_rig(rig, folder / "head.obj", "half")[0],
    }


def document(path: Path) -> dict:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length])


def test_keys_are_named_and_the_expression_is_on(files) -> None:
    gltf = document(files["full"])
    meshes = {mesh["name"]: mesh for mesh in gltf["meshes"]}
    names = meshes["skin"]["extras"]["targetNames"]
    assert set(names) == {*arkit_names(), PHOTO_EXPRESSION} - {"tongueOut"}  # the tongue's alone
    for mesh in meshes.values():
        if "extras" not in mesh:
            continue
        on = dict(zip(mesh["extras"]["targetNames"], mesh["weights"], strict=True))
        assert {name for name, weight in on.items() if weight} <= {PHOTO_EXPRESSION}
        assert len(mesh["primitives"][0]["targets"]) == len(on)
    every = {
        name for mesh in meshes.values() for name in mesh.get("extras", {}).get("targetNames", ())
    }
    assert every >= set(arkit_names())


def test_bones_materials_and_provenance_are_inside(files, rig) -> None:
    gltf = document(files["full"])
    joints = [gltf["nodes"][i]["name"] for i in gltf["skins"][0]["joints"]]
    assert joints == list(BONES)
    variants = gltf["extensions"]["KHR_materials_variants"]["variants"]
    assert tuple(v["name"] for v in variants) == LOOKS
    materials = {m["name"]: m for m in gltf["materials"]}
    assert "KHR_materials_unlit" in materials["skin as photographed"]["extensions"]
    assert {"normalTexture", "pbrMetallicRoughness"} <= set(materials["skin"])
    assert "metallicRoughnessTexture" in materials["skin"]["pbrMetallicRoughness"]
    assert materials["hair"]["alphaMode"] == "MASK"
    extras = gltf["asset"]["extras"]
    assert extras["photo_sha256"] == "0" * 64
    assert extras["seed"] == 7
    assert "CC0" in extras["base_mesh"]


@pytest.mark.parametrize("detail", DETAILS)
def test_trimesh_reads_it_in_metres(files, rig, detail) -> None:
    scene = trimesh.load_scene(files[detail])
    assert set(scene.geometry) == {part.name for part in rig.parts}
    skin = rig.part("skin")
    used = np.unique(skin.faces[detail].quads)
    loaded = scene.geometry["skin"].vertices
    np.testing.assert_allclose(loaded.min(0), skin.vertices[used].min(0) * METRES, atol=1e-5)
    np.testing.assert_allclose(loaded.max(0), skin.vertices[used].max(0) * METRES, atol=1e-5)
    assert 0.3 < scene.extents[1] < 0.6  # a bust in metres


@pytest.mark.parametrize("detail", DETAILS)
def test_khronos_validator_finds_nothing(files, detail) -> None:
    issues = validated(files[detail])
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_a_head_without_materials_is_written(plain) -> None:
    assert to_glb(plain, "half")[:4] == b"glTF"
    assert set(key_names(plain.parts)) == set(arkit_names())


def test_obj_keeps_quads(files, rig) -> None:
    lines = files["obj"].read_text().splitlines()
    faces = [line.split()[1:] for line in lines if line.startswith("f ")]
    own = sum(len(part.faces["half"].quads) for part in rig.parts)
    assert len(faces) == own
    assert sum(len(face) == 4 for face in faces) > 0.9 * own
    names = {line.split()[1] for line in lines if line.startswith("o ")}
    assert names == {part.name for part in rig.parts}
    written = {path.name for path in files["obj"].parent.iterdir()}
    assert written >= {"head.mtl", "head_skin.png", "head_eyes.png", "head_hair.png"}
    scene = trimesh.load_scene(files["obj"])
    assert 0.3 < scene.extents[1] < 0.6


def test_another_ending_is_refused(tmp_path) -> None:
    with pytest.raises(Dp3dError) as caught:
        check_rig_path(tmp_path / "head.fbx")
    assert caught.value.code == "mesh.bad_format"
