"""Textured meshes as GLB (glTF 2.0), valid by Khronos' validator.

The files contain the tangents that a normal map was baked with; otherwise each reader computes its
own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core import __version__
from dp3d_core.meshes.files import TexturedPart
from dp3d_core.viewsets.viewset import encode_png

# Enumerations of glTF 2.0.
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_ARRAY_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071

_ROUGHNESS = 0.9
"""Roughness of all materials, 0 to 1."""


def to_glb(parts: Sequence[TexturedPart]) -> bytes:
    """GLB with a node, a mesh and a non-metallic material for each part.

    Args:
        parts: at least one; each has triangles.

    """
    document = _Document()
    for part in parts:
        document.add(part.clean())
    return document.pack()


class _Document:
    """The JSON and the buffer of a glTF file."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"dp3d {__version__}"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "materials": [],
            "textures": [],
            "images": [],
            "samplers": [
                {"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _CLAMP, "wrapT": _CLAMP}
            ],
            "accessors": [],
            "bufferViews": [],
        }

    def add(self, part: TexturedPart) -> None:
        """Append a part that :meth:`TexturedPart.clean` returned."""
        attributes = {
            "POSITION": self._floats("VEC3", part.vertices, bounds=True),
            "NORMAL": self._floats("VEC3", part.normals),
            "TEXCOORD_0": self._floats("VEC2", part.uv * [1, -1] + [0, 1]),  # v down
        }
        if part.normal_map is not None and part.tangents is not None:
            attributes["TANGENT"] = self._floats("VEC4", part.tangents)
        primitive = {
            "attributes": attributes,
            "indices": self._indices(part.faces),
            "material": self._append("materials", self._material(part)),
            "mode": 4,
        }
        mesh = self._append("meshes", {"name": part.name, "primitives": [primitive]})
        node = self._append("nodes", {"name": part.name, "mesh": mesh})
        self._json["scenes"][0]["nodes"].append(node)

    def pack(self) -> bytes:
        """Bytes of the file: header, JSON chunk and binary chunk, padded to four bytes."""
        self._json["buffers"] = [{"byteLength": len(self._blob)}]
        text = json.dumps(self._json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        blob = bytes(self._blob) + bytes(-len(self._blob) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(blob), b"BIN\0") + blob
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def _material(self, part: TexturedPart) -> dict[str, Any]:
        base = self._texture(f"{part.name} colour", encode_png(part.texture))
        material: dict[str, Any] = {
            "name": part.name,
            "alphaMode": "OPAQUE",
            "doubleSided": part.double_sided,
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": base},
                "metallicFactor": 0.0,
                "roughnessFactor": _ROUGHNESS,
            },
        }
        if part.normal_map is not None:
            normals = self._texture(f"{part.name} normals", encode_png(part.normal_map))
            material["normalTexture"] = {"index": normals}
        return material

    def _texture(self, name: str, png: bytes) -> int:
        view = self._view(png)
        image = {"name": name, "mimeType": "image/png", "bufferView": view}
        return self._append("textures", {"sampler": 0, "source": self._append("images", image)})

    def _floats(self, kind: str, values: NDArray[np.floating[Any]], bounds: bool = False) -> int:
        single = np.ascontiguousarray(values, "<f4")
        accessor = {
            "bufferView": self._view(single.tobytes(), _ARRAY_BUFFER),
            "componentType": _FLOAT,
            "count": len(single),
            "type": kind,
        }
        if bounds:
            accessor["min"], accessor["max"] = single.min(0).tolist(), single.max(0).tolist()
        return self._append("accessors", accessor)

    def _indices(self, faces: NDArray[np.integer[Any]]) -> int:
        short = faces.max() < 0xFFFF
        accessor = {
            "bufferView": self._view(
                faces.astype("<u2" if short else "<u4").tobytes(), _INDEX_BUFFER
            ),
            "componentType": _USHORT if short else _UINT,
            "count": int(faces.size),
            "type": "SCALAR",
        }
        return self._append("accessors", accessor)

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._blob += bytes(-len(self._blob) % 4)
        view = {"buffer": 0, "byteOffset": len(self._blob), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._blob += data
        return self._append("bufferViews", view)

    def _append(self, kind: str, item: dict[str, Any]) -> int:
        self._json[kind].append(item)
        return len(self._json[kind]) - 1
