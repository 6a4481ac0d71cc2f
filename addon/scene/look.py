# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials of imported heads: as photographed, or lit by the scene.

The texture holds the photo's colours, light included.  PHOTO emits them: with the view transform
Standard a render shows the texture's values.  LIT takes them as albedo.  A material is changed only
while its nodes are those that the add-on made; the user's materials and edits are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import bpy

from . import tags

PHOTO = "PHOTO"
"""As photographed: the texture's colours, no light and no shadow on them."""
LIT = "LIT"
"""Lit by the scene: the texture is the albedo of a rough surface."""

ROUGHNESS = 0.6
"""Of skin and hair together, without maps."""
SPECULAR = 0.25
"""Specular IOR level: half of Blender's 0.5, because the photo's highlights are in the texture."""

_LOOK, _NODES = "dp3d_look", "dp3d_nodes"
_TEXTURE, _NORMAL = "dp3d_texture", "dp3d_normal"
_IMAGES = {_TEXTURE: "Base Color", _NORMAL: "Normal"}
"""Properties of a material that hold its images, and the sockets these come from."""
_PREFIX = "dp3d "


class Applied(NamedTuple):
    """Outcome of ``apply``."""

    changed: int
    """Materials that have the look now."""
    kept: list[str]
    """Names of the materials left alone, because the user edited them or put them there."""


def adopt(material: bpy.types.Material, run_id: str) -> None:
    """Mark an imported material and its images as the add-on's, and record its nodes."""
    tags.mark(material, run_id, "material")
    for key, socket in _IMAGES.items():
        image = _source(material, socket)
        if image is not None:
            material[key] = image
            tags.mark(image, run_id, key.removeprefix("dp3d_"))
    material[_LOOK] = ""
    material[_NODES] = _fingerprint(material)


def name(material: bpy.types.Material, label: str) -> None:
    """Name an adopted material and its images."""
    tags.name(material, label)
    for image, what in zip(images_of(material), ("Texture", "Normal Map"), strict=True):
        if image is not None:
            tags.name(image, f"{label} {what}")


def images_of(material: bpy.types.Material) -> list[bpy.types.Image | None]:
    """Texture and normal map an adopted material came with."""
    return [material.get(key) for key in _IMAGES]


def apply(objects: Iterable[bpy.types.Object], kind: str) -> Applied:
    """Set the look of imported heads.

    Args:
        objects: mesh objects; others are passed over.
        kind: PHOTO or LIT.

    """
    changed, kept = 0, []
    for material in _materials(objects):
        if not is_untouched(material):
            kept.append(material.name)
            continue
        if material[_LOOK] != kind:
            _build(material, kind)
        changed += 1
    return Applied(changed, kept)


def kind_of(objects: Iterable[bpy.types.Object]) -> str:
    """The look of imported heads: PHOTO, LIT, or empty for as imported, mixed or edited."""
    kinds = {m.get(_LOOK, "") for m in _materials(objects) if tags.is_marked(m, None, "material")}
    return kinds.pop() if len(kinds) == 1 else ""


def is_untouched(material: bpy.types.Material) -> bool:
    """Whether a material is the add-on's and has the nodes the add-on made."""
    return (
        tags.is_marked(material, None, "material")
        and material.node_tree is not None
        and material.get(_NODES) == _fingerprint(material)
    )


def view_transform_warning(scene: bpy.types.Scene) -> str:
    """What in the scene's color management changes a photo's colours; empty when nothing does."""
    view = scene.view_settings
    changes = []
    if view.view_transform != "Standard":
        changes.append(f"view transform {view.view_transform}")
    if view.look not in ("None", ""):
        changes.append(f"look {view.look}")
    if abs(view.exposure) > 1e-6:
        changes.append(f"exposure {view.exposure:.2f}")
    if abs(view.gamma - 1) > 1e-6:
        changes.append(f"gamma {view.gamma:.2f}")
    if view.use_curve_mapping:
        changes.append("curves")
    if not changes:
        return ""
    example = ""
    if view.view_transform == "AgX":
        example = " (.84 .54 .43 becomes .73 .53 .46)"
    verb = "changes" if len(changes) == 1 else "change"
    what = f"The scene's {' and '.join(changes)} {verb} the photo's colours"
    return f"{what} in Material Preview and renders{example}."


# -- nodes -----------------------------------------------------------------------------------


def _build(material: bpy.types.Material, kind: str) -> None:
    tree: Any = material.node_tree
    tree.nodes.clear()
    output = _node(tree, "ShaderNodeOutputMaterial", "Output", (600, 0))
    image = material.get(_TEXTURE)
    color, alpha = None, None
    if image is not None:
        texture = _node(tree, "ShaderNodeTexImage", "Texture", (-600, 0))
        texture.image = image
        color = texture.outputs["Color"]
        # 32 bits a pixel: a file with alpha; other files would answer 1 everywhere.
        alpha = texture.outputs["Alpha"] if image.depth in (32, 64, 128) else None
    if kind == PHOTO:
        surface = _emission(tree, color)
    else:
        surface = _principled(tree, color, material.get(_NORMAL))
    if alpha is not None:
        surface = _cut_out(tree, surface, alpha)
    tree.links.new(surface, output.inputs["Surface"])
    # Emission for the eye only: a head does not light the room as a lamp.
    if (cycles := getattr(material, "cycles", None)) is not None:
        cycles.emission_sampling = "NONE" if kind == PHOTO else "AUTO"
    material[_LOOK] = kind
    material[_NODES] = _fingerprint(material)


def _emission(tree: Any, color: Any) -> Any:
    """Emission seen by cameras, mirrors and glass; to the light of the scene a matt surface."""
    emission = _node(tree, "ShaderNodeEmission", "Emission", (-200, 120))
    matt = _node(tree, "ShaderNodeBsdfDiffuse", "Bounced Light", (-200, -60))
    for node in (emission, matt):
        if color is not None:
            tree.links.new(color, node.inputs["Color"])
    path = _node(tree, "ShaderNodeLightPath", "Light Path", (-200, 480))
    mix = _node(tree, "ShaderNodeMixShader", "Seen or Lit", (100, 0))
    tree.links.new(path.outputs["Is Diffuse Ray"], mix.inputs[0])
    tree.links.new(emission.outputs[0], mix.inputs[1])
    tree.links.new(matt.outputs[0], mix.inputs[2])
    return mix.outputs[0]


def _principled(tree: Any, color: Any, normal: bpy.types.Image | None) -> Any:
    surface = _node(tree, "ShaderNodeBsdfPrincipled", "Surface", (-100, 0))
    surface.inputs["Roughness"].default_value = ROUGHNESS
    surface.inputs["Metallic"].default_value = 0.0
    surface.inputs["Specular IOR Level"].default_value = SPECULAR
    if color is not None:
        tree.links.new(color, surface.inputs["Base Color"])
    if normal is not None:
        texture = _node(tree, "ShaderNodeTexImage", "Normal Texture", (-600, -300))
        texture.image = normal
        bump = _node(tree, "ShaderNodeNormalMap", "Normal Map", (-300, -300))
        tree.links.new(texture.outputs["Color"], bump.inputs["Color"])
        tree.links.new(bump.outputs[0], surface.inputs["Normal"])
    return surface.outputs[0]


def _cut_out(tree: Any, surface: Any, alpha: Any) -> Any:
    clear = _node(tree, "ShaderNodeBsdfTransparent", "Clear", (100, 200))
    mix = _node(tree, "ShaderNodeMixShader", "Cut Out", (350, 0))
    tree.links.new(alpha, mix.inputs[0])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(surface, mix.inputs[2])
    return mix.outputs[0]


def _node(tree: Any, kind: str, label: str, location: tuple[float, float]) -> Any:
    node = tree.nodes.new(kind)
    node.name, node.label, node.location = _PREFIX + label, label, location
    return node


def _materials(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Material]:
    materials = {
        slot.material.as_pointer(): slot.material
        for thing in objects
        if thing.type == "MESH"
        for slot in thing.material_slots
        if slot.material is not None
    }
    return list(materials.values())


def _source(material: bpy.types.Material, socket: str) -> bpy.types.Image | None:
    """Image that feeds a socket of the material's Principled or, for a colour, its Emission."""
    tree = material.node_tree
    nodes = tree.nodes if tree else ()
    surface = next((n for n in nodes if n.bl_idname == "ShaderNodeBsdfPrincipled"), None)
    waiting = [surface.inputs[socket]] if surface is not None else []
    if surface is None and socket == "Base Color":
        waiting = [n.inputs["Color"] for n in nodes if n.bl_idname == "ShaderNodeEmission"]
    while waiting:
        for link in waiting.pop().links or ():
            if isinstance(link.from_node, bpy.types.ShaderNodeTexImage):
                return link.from_node.image
            waiting += link.from_node.inputs
    if surface is None and socket == "Base Color":
        # An unlit glTF material mixes its emission in a group of the importer.
        textures = (n for n in nodes if isinstance(n, bpy.types.ShaderNodeTexImage))
        return next((texture.image for texture in textures), None)
    return None


def _fingerprint(material: bpy.types.Material) -> str:
    """Hash of nodes, values and links; differs after an edit."""
    tree: Any = material.node_tree
    nodes, links = [], []
    for node in tree.nodes:
        values = [_plain(s.default_value) for s in node.inputs if hasattr(s, "default_value")]
        extra = [
            _plain(getattr(node, key))
            for key in ("interpolation", "extension")
            if hasattr(node, key)
        ]
        nodes.append((node.name, node.bl_idname, node.mute, values, extra))
    for link in tree.links:
        ends = (link.from_node.name, link.from_socket.identifier)
        links.append((*ends, link.to_node.name, link.to_socket.identifier, link.is_muted))
    text = repr((sorted(nodes, key=repr), sorted(links)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return f"{value:.5g}"
    try:
        return [f"{float(v):.5g}" for v in value]
    except (TypeError, ValueError):
        return ""
