# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of everything in a scene that a render shows, to resume exports and to detect edits.

Hashed are transforms, geometry (vertices, corners, texture coordinates, colours, curve and lattice
points, shape keys), modifiers, materials with their nodes, images by file, lights, world and render
settings.  Not hashed: cameras, strokes of grease pencil, strips of the sequencer, instances that
geometry nodes make (their nodes and inputs are), pixels of saved images (the file's time and size
are).

Values are those of the evaluated data-blocks, so they depend on the copy's own frame and not on the
one that a window shows.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import bpy

State = dict[str, str]
"""Hash of each object and shared setting by its name in words, "object 'Cube'".

Entries that Edit Mode takes away: "surface of object 'Cube'", "shape of object 'Cube'"."""

_FLOAT, _INT, _BOOL = ("f", 4), ("i", 4), ("b", 1)
_ATTRIBUTES = {
    "FLOAT": ("value", 1, _FLOAT),
    "FLOAT2": ("vector", 2, _FLOAT),
    "FLOAT_VECTOR": ("vector", 3, _FLOAT),
    "FLOAT_COLOR": ("color", 4, _FLOAT),
    "BYTE_COLOR": ("color", 4, _FLOAT),
    "INT": ("value", 1, _INT),
    "BOOLEAN": ("value", 1, _BOOL),
}
"""Property, numbers per element and array type of an attribute's data."""
_SIMPLE = {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}
_NO_LOOK = {
    *(
        "name",
        "location",
        "location_absolute",
        "width",
        "height",
        "width_hidden",
        "label",
        "parent",
    ),
    *("hide", "use_custom_color", "color_tag", "warning_propagation", "is_active", "active_index"),
    *("use_pin_to_last", "use_apply_on_spline", "show_expanded", "show_in_editmode"),
    *("show_on_cage", "frame_current", "is_expanded", "use_fake_user", "tag", "asset_data"),
    *("device", "feature_set", "use_auto_tile", "tile_size", "viewport_aa", "type_info"),
    *("show_viewport", "use_extra_user", "bl_idname", "bl_label", "bl_description", "bl_icon"),
}
"""Properties that change no render: looks of the interface, devices."""
_NO_LOOK_PREFIXES = ("show_", "select", "bl_", "preview", "use_preview", "debug", "display_", "is_")
_OBJECT = (
    *("visible_camera", "visible_diffuse", "visible_glossy", "visible_transmission"),
    *("visible_volume_scatter", "visible_shadow", "is_shadow_catcher", "is_holdout"),
    *("instance_type", "use_instance_faces_scale", "instance_faces_scale", "pass_index"),
)
_RENDER = (
    *("engine", "filter_size", "film_transparent", "hair_type", "hair_subdiv", "use_freestyle"),
    *("use_simplify", "simplify_subdivision_render", "simplify_child_particles_render"),
    *("use_compositing", "use_sequencer", "dither_intensity", "use_high_quality_normals"),
)


def take(
    scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, mark: str, *, shapes: bool
) -> State:
    """Hashes of all that renders, at the scene's frame.

    Args:
        scene: whose objects they are.
        depsgraph: evaluated, of that scene.
        mark: custom property of objects to pass over.
        shapes: also hash each mesh as its modifiers leave it, for objects in Object Mode.

    """
    return _Taking(depsgraph).scene(scene, mark, shapes)


def settings(scene: bpy.types.Scene) -> str:
    """SHA-256 of the settings that renders of the scene depend on, without size and camera."""
    render = scene.render
    parts: list[Any] = [[getattr(render, n, None) for n in _RENDER]]
    for name in ("cycles", "eevee", "view_settings", "display_settings"):
        if (owner := getattr(scene, name, None)) is not None:
            parts.append([name, _values(owner)])
    if render.engine == "BLENDER_WORKBENCH":
        parts.append([_values(scene.display), _values(scene.display.shading)])
    if render.use_compositing:
        tree = getattr(scene, "compositing_node_group", None) or getattr(scene, "node_tree", None)
        parts.append(_Taking(None).tree(tree) if tree is not None else "")
    return _hash(parts)


def digest(states: Iterable[State], *others: str) -> str:
    """SHA-256 of states and further texts."""
    return _hash([[sorted(state.items()) for state in states], *others])


def difference(state: State, base: State) -> State:
    """The entries of a state that differ from a base; what the base alone has is ""."""
    names = state.keys() | base.keys()
    return {n: state.get(n, "") for n in names if state.get(n, "") != base.get(n, "")}


def changes(expected: State, now: State) -> list[str]:
    """Names of what differs, sorted; shapes and surfaces count where both states have them."""
    names = set()
    for name in difference(expected, now):
        plain = name.removeprefix("shape of ").removeprefix("surface of ")
        if name == plain or (name in expected and name in now):
            names.add(plain)
    return sorted(names)


class Edits:
    """Counts what Blender reports as changed, so that a state need not be taken anew.

    Not counted: frame changes, what carries a mark, pictures of renders, and scenes: a copy has
    settings of its own, and a panel that notes progress in a scene changes it all the time.
    """

    def __init__(self, mark: str) -> None:
        self.count = 0
        self._mark = mark
        # Handlers are compared when they are removed: bound methods are made anew each time.
        self._reported, self._undone = self._report, self._undo
        bpy.app.handlers.depsgraph_update_post.append(self._reported)
        for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
            handlers.append(self._undone)

    def end(self) -> None:
        """Count no longer."""
        for handlers, handler in (
            (bpy.app.handlers.depsgraph_update_post, self._reported),
            (bpy.app.handlers.undo_post, self._undone),
            (bpy.app.handlers.redo_post, self._undone),
        ):
            if handler in handlers:
                handlers.remove(handler)

    def _report(self, scene: bpy.types.Scene, depsgraph: Any = None) -> None:
        blocks = () if depsgraph is None else (update.id for update in depsgraph.updates)
        self.count += any(map(self._counts, blocks))

    def _counts(self, block: bpy.types.ID) -> bool:
        if isinstance(block, bpy.types.Scene) or block.get(self._mark):
            return False
        return not (isinstance(block, bpy.types.Image) and block.source == "VIEWER")

    def _undo(self, *_: Any) -> None:
        self.count += 1


class _Taking:
    """One state being taken; data-blocks that several objects share are hashed once."""

    def __init__(self, depsgraph: bpy.types.Depsgraph | None) -> None:
        self._depsgraph = depsgraph
        self._known: dict[tuple[int, str], str] = {}

    def scene(self, scene: bpy.types.Scene, mark: str, shapes: bool) -> State:
        state: State = {}
        world = scene.world
        if world is not None:
            state["the world"] = self._id(world)
        unseen = sorted(c.name for c in scene.collection.children_recursive if c.hide_render)
        state["the collections that render"] = _hash(unseen)
        for thing in _things(scene):
            if thing.hide_render or thing.type == "CAMERA" or thing.get(mark):
                continue
            if thing.type == "EMPTY" and thing.instance_collection is None:
                continue
            if thing.mode == "EDIT":
                thing.update_from_editmode()
            name = f"object {thing.name_full!r}"
            state[name] = _hash(self._object(thing))
            if isinstance(thing.data, bpy.types.Mesh) and not thing.data.is_editmode:
                state[f"surface of {name}"] = self._once(thing.data, self._surface)
            if shapes and (shape := self._shape(thing)):
                state[f"shape of {name}"] = shape
        return state

    # -- objects -----------------------------------------------------------------------------

    def _evaluated(self, block: Any) -> Any:
        """A data-block as evaluated; None for an animated one that is not evaluated.

        Its values would be those of the frame that a window shows.
        """
        if self._depsgraph is None:
            return block
        evaluated = block.evaluated_get(self._depsgraph)
        if not evaluated.is_evaluated:
            return None if getattr(block, "animation_data", None) is not None else block
        return evaluated

    def _object(self, thing: bpy.types.Object) -> Iterator[Any]:
        yield thing.type
        yield self._place(thing)
        evaluated = self._evaluated(thing)
        if evaluated is not None:
            yield _plain(evaluated.color)
            yield [_plain(getattr(evaluated, name, None)) for name in _OBJECT]
            for modifier in evaluated.modifiers:
                if modifier.show_render:
                    yield [modifier.name, modifier.type, *self._modifier(modifier)]
            for system in evaluated.particle_systems:
                yield [system.name, system.seed, _values(system.settings)]
        if thing.instance_collection is not None:
            collection = thing.instance_collection
            yield [collection.name_full, _plain(collection.instance_offset)]
        if thing.data is not None:
            yield thing.data.name_full
            yield self._once(thing.data, self._data)
        yield [self._id(s.material) if s.material else "" for s in thing.material_slots]

    def _place(self, thing: bpy.types.Object) -> Any:
        """Where an object stands, and the bones of an armature."""
        evaluated = self._evaluated(thing)
        if evaluated is None:
            return thing.name_full
        moving = evaluated.matrix_world if evaluated.is_evaluated else evaluated.matrix_basis
        bones = [(b.name, _rows(b.matrix)) for b in evaluated.pose.bones] if evaluated.pose else []
        return thing.name_full, _rows(moving), bones

    def _modifier(self, modifier: bpy.types.Modifier) -> Iterator[Any]:
        yield _values(modifier)
        for key in modifier.keys() if modifier.type == "NODES" else ():
            value = modifier[key]
            yield [key, self._pointer(value) if isinstance(value, bpy.types.ID) else _plain(value)]
        for prop in _properties(modifier):
            if prop.type == "POINTER":
                value = getattr(modifier, prop.identifier)
                if isinstance(value, bpy.types.ID):
                    yield [prop.identifier, self._pointer(value)]

    def _pointer(self, block: bpy.types.ID) -> Any:
        """What a data-block that another one refers to contributes."""
        original = block.original
        if isinstance(original, bpy.types.Object):
            data = original.data
            lattice = self._once(data, self._data) if isinstance(data, bpy.types.Lattice) else ""
            return self._place(original), lattice
        return self._id(original)

    def _shape(self, thing: bpy.types.Object) -> str:
        if thing.mode not in ("OBJECT", "POSE") or thing.type not in _MESHABLE:
            return ""
        assert self._depsgraph is not None  # shapes are of evaluated scenes
        evaluated = thing.evaluated_get(self._depsgraph)
        if not evaluated.is_evaluated:
            return ""
        try:
            mesh = evaluated.to_mesh()
        except RuntimeError:  # a meta ball that belongs to another one
            return ""
        try:
            return _hash([len(mesh.polygons), *_attributes(mesh, ("position",))])
        finally:
            evaluated.to_mesh_clear()

    # -- data-blocks -------------------------------------------------------------------------

    def _once(self, block: bpy.types.ID, contents: Any) -> str:
        key = (block.as_pointer(), contents.__name__)
        if key not in self._known:
            self._known[key] = ""  # a tree may hold itself through a pointer
            self._known[key] = _hash(contents(block))
        return self._known[key]

    def _id(self, block: bpy.types.ID) -> str:
        return self._once(block, self._block)

    def _block(self, block: bpy.types.ID) -> Iterator[Any]:
        """A material, light, world, image, node group or texture."""
        yield block.name_full
        if isinstance(block, bpy.types.Image):
            yield _image(block)
            return
        evaluated = self._evaluated(block)
        if evaluated is None:
            return
        yield _values(evaluated)
        tree = evaluated if isinstance(block, bpy.types.NodeTree) else None
        if getattr(evaluated, "use_nodes", True):
            tree = tree or getattr(evaluated, "node_tree", None)
        if tree is not None:
            yield self.tree(tree)

    def _data(self, data: Any) -> Iterator[Any]:
        """Data of an object: light, mesh, curve and so on."""
        if isinstance(data, bpy.types.Mesh):
            if data.shape_keys is None:  # or Edit Mode has the active key's positions here
                yield self._positions(data)
        else:
            yield self._id(data)
            yield from _points(data)
        keys = getattr(data, "shape_keys", None)
        if keys is None:
            return
        evaluated = self._evaluated(keys)
        for block in evaluated.key_blocks if evaluated is not None else ():
            yield [block.name, block.mute, _plain(block.value)]
        for block in keys.key_blocks:
            if isinstance(data, bpy.types.Curve):
                continue
            yield _numbers(block.data, "co", 3, _FLOAT)

    def _positions(self, mesh: bpy.types.Mesh) -> Any:
        """Vertices of a mesh; those of Edit Mode too, as renders take them from there."""
        if mesh.is_editmode:
            return _numbers(mesh.vertices, "co", 3, _FLOAT)
        return _numbers(mesh.attributes["position"].data, "vector", 3, _FLOAT)

    def _surface(self, mesh: bpy.types.Mesh) -> Iterator[Any]:
        """What Edit Mode hides from scripts: corners, texture coordinates, colours and so on."""
        yield len(mesh.polygons)
        yield from _attributes(mesh)

    def tree(self, tree: bpy.types.NodeTree) -> list[Any]:
        """Nodes, their values and links, without their places."""
        nodes = []
        for node in tree.nodes:
            parts: list[Any] = [node.name, node.bl_idname, node.mute, _values(node)]
            parts += [
                _plain(s.default_value)
                if not isinstance(s.default_value, bpy.types.ID)
                else self._pointer(s.default_value)
                for s in node.inputs
                if getattr(s, "default_value", None) is not None
            ]
            if node.bl_idname in ("ShaderNodeValue", "ShaderNodeRGB", "ShaderNodeNormal"):
                parts.append(_plain(node.outputs[0].default_value))
            for prop in _properties(node, readonly=True):
                if prop.type != "POINTER":
                    continue
                value = getattr(node, prop.identifier)
                if isinstance(value, bpy.types.ID):
                    parts.append(self._pointer(value))
                elif isinstance(value, bpy.types.ColorRamp):
                    ramp = [(_plain(e.position), _plain(e.color)) for e in value.elements]
                    parts.append([_values(value), ramp])
                elif isinstance(value, bpy.types.CurveMapping):
                    parts.append([_plain(p.location) for c in value.curves for p in c.points])
            nodes.append(parts)
        links = [
            (k.from_node.name, k.from_socket.identifier, k.to_node.name, k.to_socket.identifier)
            for k in tree.links
            if not k.is_muted
        ]
        return [sorted(nodes, key=lambda parts: parts[0]), sorted(links)]


_MESHABLE = {"MESH", "CURVE", "SURFACE", "FONT", "META"}


def _things(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Objects of a scene, and those of collections that it instances."""
    things = {thing.as_pointer(): thing for thing in scene.objects}
    waiting = list(things.values())
    while waiting:
        collection = waiting.pop().instance_collection
        for thing in collection.all_objects if collection is not None else ():
            if thing.as_pointer() not in things:
                things[thing.as_pointer()] = thing
                waiting.append(thing)
    return list(things.values())


def _image(image: bpy.types.Image) -> list[Any]:
    """An image by its file, or by its pixels where no file has them."""
    path = bpy.path.abspath(image.filepath, library=image.library) if image.filepath else ""
    parts: list[Any] = [image.source, path, *_plain_size(image), image.colorspace_settings.name]
    parts.append(image.alpha_mode)
    if image.packed_file is not None:
        parts.append(hashlib.sha256(image.packed_file.data).hexdigest())
    elif path and image.source in ("FILE", "TILED"):
        try:
            status = Path(path).stat()
            parts += [status.st_size, status.st_mtime_ns]
        except OSError:
            parts.append("missing")
    elif image.source == "GENERATED":
        parts += [_plain(image.generated_color), image.generated_type]
    if image.is_dirty and image.has_data:
        parts.append(_numbers_of(image.pixels, len(image.pixels)))
    return parts


def _plain_size(image: bpy.types.Image) -> tuple[int, int]:
    """Size of an image that has no file; that of others is known only once they are loaded."""
    return (image.size[0], image.size[1]) if image.source == "GENERATED" else (0, 0)


def _attributes(data: Any, names: tuple[str, ...] = ()) -> Iterator[Any]:
    """Attributes that a render shows; those that are zero everywhere count as absent."""
    for attribute in sorted(data.attributes, key=lambda a: a.name):
        name, kind = attribute.name, _ATTRIBUTES.get(attribute.data_type)
        internal = name.startswith(".") and name != ".corner_vert"
        if kind is None or internal or (names and name not in names):
            continue
        key, size, number = kind
        numbers = _numbers(attribute.data, key, size, number)
        if numbers:
            yield [name, attribute.domain, numbers]


def _points(data: Any) -> Iterator[Any]:
    """Points of curves, lattices, hair and point clouds."""
    if isinstance(data, bpy.types.Curve):
        for spline in data.splines:
            yield _values(spline)
            yield _numbers(spline.points, "co", 4, _FLOAT)
            yield _numbers(spline.points, "tilt", 1, _FLOAT)
            yield _numbers(spline.points, "radius", 1, _FLOAT)
            for key in ("co", "handle_left", "handle_right"):
                yield _numbers(spline.bezier_points, key, 3, _FLOAT)
    elif isinstance(data, bpy.types.Lattice):
        yield _numbers(data.points, "co_deform", 3, _FLOAT)
    elif isinstance(data, bpy.types.MetaBall):
        yield [[_values(element), _plain(element.co)] for element in data.elements]
    elif hasattr(data, "attributes"):
        yield from _attributes(data)


def _numbers(items: Any, key: str, size: int, number: tuple[str, int]) -> str:
    """Hash of one property of all items; empty where all are zero."""
    code, width = number
    values = array(code, bytes(len(items) * size * width))
    if values:
        items.foreach_get(key, values)
    return _hash_of(values)


def _numbers_of(items: Any, length: int) -> str:
    values = array("f", bytes(4 * length))
    items.foreach_get(values)
    return _hash_of(values)


def _hash_of(values: array[Any]) -> str:
    with memoryview(values).cast("B") as raw:
        # The first non-zero byte is usually near the start; only blank arrays are read whole.
        blank = not any(raw[:4096]) and not any(values)
        return "" if blank else hashlib.sha256(raw).hexdigest()


def _properties(owner: Any, *, readonly: bool = False) -> Iterator[Any]:
    for prop in owner.bl_rna.properties:
        name = prop.identifier
        if (prop.is_readonly and not readonly) or name in _NO_LOOK:
            continue
        if not name.startswith(_NO_LOOK_PREFIXES):
            yield prop


def _values(owner: Any) -> list[Any]:
    """Numbers, texts and choices of a structure that a person can set."""
    return [
        (prop.identifier, _plain(getattr(owner, prop.identifier)))
        for prop in _properties(owner)
        if prop.type in _SIMPLE
    ]


def _rows(matrix: Any) -> list[Any]:
    """Numbers of a matrix; moving a thing away and back leaves a rest of 1e-9."""
    return [[round(v, 6) + 0.0 for v in row] for row in matrix]


def _plain(value: Any) -> Any:
    """A value as text that is equal in another session; -0 is 0."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    try:
        return [_plain(part) for part in value]
    except TypeError:
        return ""


def _hash(parts: Any) -> str:
    text = repr(list(parts) if not isinstance(parts, (list, tuple, str)) else parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
