"""Rigged heads as GLB (glTF 2.0): blend shapes, a skin, materials in two variants.

Lengths are metres; the origin is the head's centre, where the add-on's anchor stands.  Skinned
meshes are roots of the scene, as the specification advises.  Blend shapes are sparse accessors:
most move a small part of a mesh.  The default materials are lit by the scene; the extension
``KHR_materials_variants`` names both looks, and the photographed one is unlit.  A take is an
animation of the weights of all blend shapes and of the bone ``head``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dp3d_core.arrays import Array, Indices, Indices32, Pixels
from dp3d_core.meshes.mesh import unit, vertex_normals
from dp3d_core.rigged.rig import (
    BONES,
    METRES,
    PHOTO_EXPRESSION,
    Detail,
    Material,
    RiggedHead,
    RiggedPart,
)
from dp3d_core.rigged.take import Take

if TYPE_CHECKING:
    import pygltflib

LOOKS = ("Lit by the scene", "As photographed")
"""Names of the material variants; the first is that of readers without variants."""
_JPEG_QUALITY = 95
"""Quality of colour textures without alpha."""
_LEAST_TURN = 0.02
"""Shortest change of a unit normal that a blend shape keeps."""


def to_glb(head: RiggedHead, detail: Detail = "full", take: Take | None = None) -> bytes:
    """GLB of a rigged head.

    Args:
        head: the head.
        detail: level of detail of all its parts.
        take: to be played on it, an animation of that name; the photo's expression is off in it.

    """
    return _Writer(head).packed(detail, take)


class _Writer:
    """The document and the buffer of one file."""

    def __init__(self, head: RiggedHead) -> None:
        import pygltflib

        self.lib = pygltflib
        self.head = head
        self.blob = bytearray()
        self.document = pygltflib.GLTF2()
        self.materials: dict[str, tuple[int, int]] = {}
        self.images: dict[int, tuple[Pixels, int]] = {}
        """Pictures by identity, each kept alive with its texture."""

    def packed(self, detail: Detail, take: Take | None) -> bytes:
        """Bytes of the file."""
        lib, head, document = self.lib, self.head, self.document
        document.asset = lib.Asset(
            version="2.0",
            generator=f"dp3d {head.provenance.get('dp3d', '')}".strip(),
            extras=dict(head.provenance),
        )
        document.samplers = [
            lib.Sampler(magFilter=lib.LINEAR, minFilter=lib.LINEAR_MIPMAP_LINEAR,
                        wrapS=lib.CLAMP_TO_EDGE, wrapT=lib.CLAMP_TO_EDGE)
        ]  # fmt: skip
        skeleton = self._skeleton()
        roots = [skeleton]
        for part in head.parts:
            mesh = self._mesh(part, detail)
            node = lib.Node(name=part.name, mesh=mesh, skin=0)
            roots.append(self._append(document.nodes, node))
        document.scenes = [lib.Scene(name="head", nodes=roots)]
        document.scene = 0
        if take is not None:
            self._play(take, skeleton)
        document.extensionsUsed = ["KHR_materials_unlit", "KHR_materials_variants"]
        document.extensions = {
            "KHR_materials_variants": {"variants": [{"name": look} for look in LOOKS]}
        }
        document.buffers = [lib.Buffer(byteLength=len(self.blob))]
        document.set_binary_blob(bytes(self.blob))
        return b"".join(document.save_to_bytes())

    # -- bones --

    def _skeleton(self) -> int:
        """Nodes of the bones and the skin; the node of the root."""
        lib, document = self.lib, self.document
        places = self.head.bones * METRES
        numbers = {name: i for i, name in enumerate(BONES)}
        first = len(document.nodes)
        for name, parent in BONES.items():
            own = places[numbers[name]]
            start = own if parent is None else own - places[numbers[parent]]
            document.nodes.append(lib.Node(name=name, translation=[float(v) for v in start]))
        for name, parent in BONES.items():
            if parent is not None:
                document.nodes[first + numbers[parent]].children.append(first + numbers[name])
        inverse = np.tile(np.eye(4), (len(places), 1, 1))
        inverse[:, 3, :3] = -places  # columns one after the other
        bind = self._accessor(inverse.reshape(-1, 16), "MAT4", of_vertices=False)
        joints = list(range(first, first + len(BONES)))
        document.skins = [
            lib.Skin(name="head", inverseBindMatrices=bind, skeleton=first, joints=joints)
        ]
        return first

    # -- takes --

    def _play(self, take: Take, skeleton: int) -> None:
        """An animation of all keys and of the bone ``head``."""
        lib, document = self.lib, self.document
        clock = self._accessor(take.times, "SCALAR", bounds=True, of_vertices=False)
        animation = lib.Animation(name="take")
        head_bone = skeleton + list(BONES).index("head")
        turns = self._accessor(take.quaternions(), "VEC4", of_vertices=False)
        tracks = [(head_bone, "rotation", turns)]
        for number, node in enumerate(document.nodes):
            names = (
                [] if node.mesh is None else document.meshes[node.mesh].extras.get("targetNames")
            )
            if names:
                weights = np.stack([take.weights_of(name) for name in names], -1)
                values = self._accessor(weights.ravel(), "SCALAR", of_vertices=False)
                tracks.append((number, "weights", values))
        for node_number, path, values in tracks:
            sampler = lib.AnimationSampler(input=clock, output=values, interpolation="LINEAR")
            target = lib.AnimationChannelTarget(node=node_number, path=path)
            channel = lib.AnimationChannel(sampler=len(animation.samplers), target=target)
            animation.samplers.append(sampler)
            animation.channels.append(channel)
        document.animations = [animation]

    # -- meshes --

    def _mesh(self, part: RiggedPart, detail: Detail) -> int:
        lib = self.lib
        corners, uv_corners = part.faces[detail].triangles()
        pairs, index = np.unique(
            np.stack([corners.ravel(), uv_corners.ravel()], -1), axis=0, return_inverse=True
        )
        source, of_uv = pairs.T
        triangles = index.reshape(-1, 3)
        full = part.faces["full"].triangles()[0]
        of_faces = _nonzero(vertex_normals(part.vertices, full))
        normals = of_faces if part.normals is None else part.normals
        attributes = lib.Attributes(
            POSITION=self._accessor(part.vertices[source] * METRES, "VEC3", bounds=True),
            NORMAL=self._accessor(normals[source], "VEC3"),
            TEXCOORD_0=self._accessor(part.uv[of_uv] * [1, -1] + [0, 1], "VEC2"),
        )
        if self._has_relief(part.material):
            attributes.TANGENT = self._accessor(
                tangents(part.vertices[source], part.uv[of_uv], triangles, normals[source]), "VEC4"
            )
        attributes.JOINTS_0, attributes.WEIGHTS_0 = self._influences(part.weights[source])
        names = list(part.keys)
        targets = [self._target(part, name, source, of_faces, full) for name in names]
        lit, photographed = self._material(part.material)
        primitive = lib.Primitive(
            attributes=attributes,
            indices=self._indices(triangles),
            material=lit,
            targets=targets,
            extensions={
                "KHR_materials_variants": {
                    "mappings": [
                        {"material": lit, "variants": [0]},
                        {"material": photographed, "variants": [1]},
                    ]
                }
            },
        )
        mesh = lib.Mesh(name=part.name, primitives=[primitive])
        if names:
            mesh.weights = [1.0 if name == PHOTO_EXPRESSION else 0.0 for name in names]
            mesh.extras = {"targetNames": names}
        return self._append(self.document.meshes, mesh)

    def _target(
        self, part: RiggedPart, name: str, source: Indices, normals: Array, full: Indices32
    ) -> pygltflib.Attributes:
        key = part.keys[name]
        offsets = np.zeros_like(part.vertices)
        offsets[key.moved] = key.offsets
        turned = _turned(part.vertices, offsets, full, normals)
        return self.lib.Attributes(
            POSITION=self._sparse(offsets[source] * METRES), NORMAL=self._sparse(turned[source])
        )

    def _influences(self, weights: Array) -> tuple[int, int]:
        """Accessors of the four strongest bones of each vertex and of their weights."""
        order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
        strongest = np.take_along_axis(weights, order, 1)
        strongest[strongest < 1e-3] = 0
        single = (strongest / strongest.sum(1, keepdims=True)).astype(np.float32)
        single[:, 0] = 1 - single[:, 1:].sum(1)
        joints = np.where(single > 0, order, 0).astype(np.uint8)
        return (
            self._accessor(joints, "VEC4", component=self.lib.UNSIGNED_BYTE),
            self._accessor(single, "VEC4"),
        )

    # -- materials --

    def _material(self, name: str) -> tuple[int, int]:
        """Materials of a name, lit by the scene and as photographed."""
        if name not in self.materials:
            material = self.head.materials.get(name)
            self.materials[name] = self._plain(name) if material is None else self._both(
                name, material
            )  # fmt: skip
        return self.materials[name]

    def _has_relief(self, name: str) -> bool:
        material = self.head.materials.get(name)
        return material is not None and material.normal_map is not None

    def _plain(self, name: str) -> tuple[int, int]:
        number = self._append(
            self.document.materials,
            self.lib.Material(
                name=name,
                pbrMetallicRoughness=self.lib.PbrMetallicRoughness(
                    metallicFactor=0.0, roughnessFactor=0.6
                ),
            ),
        )
        return number, number

    def _both(self, name: str, material: Material) -> tuple[int, int]:
        lib = self.lib
        numbers = []
        for look, pixels in zip(LOOKS, (material.delit, material.photographed), strict=True):
            lit = look == LOOKS[0]
            surface = lib.PbrMetallicRoughness(
                metallicFactor=0.0,
                roughnessFactor=float(material.roughness),
                baseColorTexture=lib.TextureInfo(index=self._texture(f"{name} {look}", pixels)),
            )
            made = lib.Material(
                name=f"{name}" if lit else f"{name} as photographed",
                pbrMetallicRoughness=surface,
                doubleSided=material.double_sided,
                alphaMode=lib.MASK if material.alpha else lib.OPAQUE,
                alphaCutoff=0.5 if material.alpha else None,
            )
            if not lit:
                made.extensions = {"KHR_materials_unlit": {}}
            if lit and material.roughness_map is not None:
                surface.roughnessFactor = 1.0
                rough = np.zeros((*material.roughness_map.shape, 3), np.uint8)
                rough[..., 1] = material.roughness_map
                surface.metallicRoughnessTexture = lib.TextureInfo(
                    index=self._texture(f"{name} roughness", rough)
                )
            if lit and material.normal_map is not None:
                made.normalTexture = lib.NormalMaterialTexture(
                    index=self._texture(f"{name} normals", material.normal_map)
                )
            numbers.append(self._append(self.document.materials, made))
        return numbers[0], numbers[1]

    def _texture(self, name: str, pixels: Pixels) -> int:
        """Texture of an image (h, w, 3 or 4), written once for each array."""
        if id(pixels) not in self.images:
            data, mime = encoded(pixels)
            view = self._view(data)
            image = self.lib.Image(name=name, mimeType=mime, bufferView=view)
            number = self._append(self.document.images, image)
            texture = self.lib.Texture(name=name, sampler=0, source=number)
            self.images[id(pixels)] = pixels, self._append(self.document.textures, texture)
        return self.images[id(pixels)][1]

    # -- buffers --

    def _accessor(
        self,
        values: Any,
        kind: str,
        bounds: bool = False,
        component: int | None = None,
        of_vertices: bool = True,
    ) -> int:
        component = self.lib.FLOAT if component is None else component
        data = np.ascontiguousarray(values, "<f4" if component == self.lib.FLOAT else None)
        target = self.lib.ARRAY_BUFFER if of_vertices else None
        accessor = self.lib.Accessor(
            bufferView=self._view(data.tobytes(), target),
            componentType=component,
            count=len(data),
            type=kind,
        )
        if bounds:
            accessor.min, accessor.max = _bounds(data)
        return self._append(self.document.accessors, accessor)

    def _sparse(self, offsets: Array) -> int:
        """Accessor of offsets (n, 3) that are mostly zero."""
        lib = self.lib
        data = np.ascontiguousarray(offsets, "<f4")
        moved = np.flatnonzero(data.any(1))
        # an offset without a buffer view is an error
        accessor = lib.Accessor(
            byteOffset=None, componentType=lib.FLOAT, count=len(data), type=lib.VEC3
        )
        accessor.min, accessor.max = _bounds(data)
        if len(moved):
            short = len(data) <= 0xFFFF
            accessor.sparse = lib.Sparse(
                count=len(moved),
                indices=lib.AccessorSparseIndices(
                    bufferView=self._view(moved.astype("<u2" if short else "<u4").tobytes()),
                    componentType=lib.UNSIGNED_SHORT if short else lib.UNSIGNED_INT,
                ),
                values=lib.AccessorSparseValues(bufferView=self._view(data[moved].tobytes())),
            )
        return self._append(self.document.accessors, accessor)

    def _indices(self, triangles: Indices) -> int:
        short = triangles.max() < 0xFFFF
        data = triangles.astype("<u2" if short else "<u4")
        accessor = self.lib.Accessor(
            bufferView=self._view(data.tobytes(), self.lib.ELEMENT_ARRAY_BUFFER),
            componentType=self.lib.UNSIGNED_SHORT if short else self.lib.UNSIGNED_INT,
            count=int(data.size),
            type=self.lib.SCALAR,
        )
        return self._append(self.document.accessors, accessor)

    def _view(self, data: bytes, target: int | None = None) -> int:
        self.blob += bytes(-len(self.blob) % 4)
        view = self.lib.BufferView(
            buffer=0, byteOffset=len(self.blob), byteLength=len(data), target=target
        )
        self.blob += data
        return self._append(self.document.bufferViews, view)

    @staticmethod
    def _append(items: list[Any], item: Any) -> int:
        items.append(item)
        return len(items) - 1


def _bounds(data: Any) -> tuple[list[float], list[float]]:
    """Least and greatest coordinates of single precision values (n, 3) or (n,)."""
    flat = data.reshape(len(data), -1)
    return [float(v) for v in flat.min(0)], [float(v) for v in flat.max(0)]


def _turned(vertices: Array, offsets: Array, triangles: Indices32, normals: Array) -> Array:
    """(n, 3) changes of the vertex normals (n, 3) by offsets (n, 3), near moved vertices."""
    moved = np.asarray(offsets.any(1))
    touched = np.zeros(len(vertices), bool)
    touched[triangles[moved[triangles].any(1)]] = True
    around = triangles[touched[triangles].any(1)]
    used, corners = np.unique(around, return_inverse=True)
    turned = np.zeros_like(vertices)
    after = vertex_normals((vertices + offsets)[used], corners.reshape(-1, 3).astype(np.int32))
    turned[used] = np.where(touched[used][:, None], after - normals[used], 0)
    turned[np.linalg.norm(turned, axis=1) < _LEAST_TURN] = 0
    return turned


def tangents(vertices: Array, uv: Array, triangles: Indices, normals: Array) -> Array:
    """(n, 4) unit tangents along u, and the sign of the bitangent, as glTF wants them.

    Args:
        vertices: (n, 3).
        uv: (n, 2) texture coordinates, v up.
        triangles: (m, 3).
        normals: (n, 3) unit normals.

    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    p, q, r = (uv[triangles[:, k]] for k in range(3))
    first, second = q - p, r - p
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    along = ((b - a) * second[:, 1:] - (c - a) * first[:, 1:]) * np.sign(area)[:, None]
    sums: Array = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(along[:, axis], 3), minlength=len(vertices))
            for axis in range(3)
        ],
        -1,
    )
    sums -= normals * np.einsum("ni,ni->n", sums, normals)[:, None]
    flat = np.linalg.norm(sums, axis=1) < 1e-12
    axis = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    sums[flat] = np.cross(axis, normals)[flat]
    mirrored = np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices)) < 0
    return np.column_stack([unit(sums), np.where(mirrored, -1.0, 1.0)])


def _nonzero(normals: Array) -> Array:
    """(n, 3) unit normals; upwards where a vertex has none."""
    flat = np.linalg.norm(normals, axis=1) < 0.5
    normals[flat] = [0.0, 1.0, 0.0]
    return normals


def encoded(pixels: Pixels) -> tuple[bytes, str]:
    """A picture (h, w, 3 or 4) as JPEG, or as PNG with alpha, and its MIME type."""
    if pixels.shape[2] == 4:
        done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))
    else:
        settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    assert done
    return data.tobytes(), "image/png" if pixels.shape[2] == 4 else "image/jpeg"


def key_names(parts: Sequence[RiggedPart]) -> list[str]:
    """Names of all keys of some parts, in the order of the first part that has them."""
    names: dict[str, None] = {}
    for part in parts:
        names |= dict.fromkeys(part.keys)
    return list(names)
