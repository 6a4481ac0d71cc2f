"""Files of rigged heads: GLB by Khronos' validator, trimesh and three.js, OBJ with quads."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.rigged.asset import check_rig_path, write_rig
from dp3d_core.rigged.gltf import LOOKS, key_names, to_glb
from dp3d_core.rigged.rig import BONES, DETAILS, METRES, PHOTO_EXPRESSION, arkit_names
from tests.support import viewers


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
    assert extras["further_photos_sha256"] == ["1" * 64]
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


@pytest.mark.viewers
@pytest.mark.parametrize("detail", DETAILS)
def test_khronos_validator_finds_nothing(files, node_command: str, detail) -> None:
    issues = viewers.validate(node_command, files[detail])
    counts = {name: count for name, count in issues.items() if name.startswith("num")}
    assert counts == dict.fromkeys(counts, 0), issues["messages"]
    assert len(counts) == 4  # errors, warnings, infos, hints


@pytest.mark.viewers
def test_khronos_validator_would_tell(node_command: str, tmp_path) -> None:
    damaged = tmp_path / "damaged.gltf"
    damaged.write_text('{"asset": {"version": "2.0"}, "scene": 3}')
    assert viewers.validate(node_command, damaged)["numErrors"] == 1


@pytest.fixture(scope="module")
def seen(files, node_command: str, chromium: str, tmp_path_factory) -> dict:
    """What three.js reports of a head, its pictures as arrays; PNGs of them stay in a folder."""
    report = viewers.look_at(chromium, files["half"])
    folder = tmp_path_factory.mktemp("three")
    pictures = {}
    for name, address in report["pictures"].items():
        file = folder / f"{name.replace(' ', '_')}.png"
        file.write_bytes(base64.b64decode(address.partition(",")[2]))
        pictures[name] = np.asarray(Image.open(file).convert("RGB")).astype(int)
    return {**report, "pictures": pictures}


def changed(seen: dict, one: str, other: str) -> np.ndarray:
    """Pixels that differ by more than 16 of 255 between two pictures."""
    return np.abs(seen["pictures"][one] - seen["pictures"][other]).max(2) > 16


@pytest.mark.viewers
def test_three_loads_meshes_keys_and_bones(seen, rig) -> None:
    assert set(seen["meshes"]) == {part.name for part in rig.parts}
    for part in rig.parts:
        mesh = seen["meshes"][part.name]
        assert mesh["skinned"]
        assert mesh["keys"] == sorted(part.keys)
        assert set(mesh["on"]) <= {PHOTO_EXPRESSION}
        assert mesh["texture"] > 0
    assert seen["meshes"]["skin"]["relief"] > 0
    assert seen["bones"] == list(BONES)
    # the picture shows a head before the grey background
    opened = seen["pictures"]["opened"]
    assert 0.2 < (np.abs(opened - opened[0, 0]).max(2) > 16).mean() < 0.8


@pytest.mark.viewers
def test_keys_and_bones_move_the_head_in_three(seen, rig) -> None:
    for key, moves in seen["moves"].items():
        for part in rig.parts:
            used = np.unique(part.faces["half"].quads)
            offsets = part.posed({key: 1.0}) - part.vertices
            move = 1000 * METRES * np.linalg.norm(offsets[used], axis=1).max()
            assert moves[part.name] == pytest.approx(move, abs=0.05), (key, part.name)
    assert seen["moves"]["jawOpen"]["skin"] > 20
    assert seen["jaw"] > 10
    rows, columns = np.nonzero(changed(seen, "neutral", "blink"))
    height, width, _ = seen["pictures"]["blink"].shape
    assert len(rows) > 100
    assert (columns > width / 2).mean() > 0.95  # the person's left
    assert np.ptp(rows) < 0.1 * height
    jaw_rows, _ = np.nonzero(changed(seen, "neutral", "jaw"))
    assert len(jaw_rows) > 1000
    assert np.median(jaw_rows) > rows.max()


@pytest.mark.viewers
def test_three_has_both_variants(seen, rig) -> None:
    lit, photographed = (seen["looks"][look] for look in LOOKS)
    for part in rig.parts:
        assert lit[part.name] == [part.material, "MeshStandardMaterial"]
        assert photographed[part.name] == [
            f"{part.material} as photographed",
            "MeshBasicMaterial",
        ]
    assert not changed(seen, "neutral", LOOKS[0]).any()
    assert changed(seen, *LOOKS).mean() > 0.05


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
