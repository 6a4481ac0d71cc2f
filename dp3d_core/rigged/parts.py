"""The head's own meshes: skin, eyeballs, teeth, tongue and lashes, with keys and weights."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Indices32, Mask
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets, prior
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import vertex_normals
from dp3d_core.rigged.coarse import coarser
from dp3d_core.rigged.keys import EYES, HeadKeys
from dp3d_core.rigged.layout import FIRST_SOCKET, MOUTH, SECOND_SOCKET, eye_layout, skin_layout
from dp3d_core.rigged.neutral import NeutralHead
from dp3d_core.rigged.rig import Detail, Faces, Levels, RiggedPart
from dp3d_core.rigged.skinning import skinning_weights
from dp3d_core.rigged.small_materials import lashes_layout, mouth_layout
from dp3d_core.rigged.topology import PARTS, PartTopology, part_topology, skin_twins

MATERIALS = {
    "skin": "skin",
    "eye_left": "eyes",
    "eye_right": "eyes",
    "upper_teeth": "teeth",
    "lower_teeth": "teeth",
    "tongue": "tongue",
    "lashes": "lashes",
}
"""Material of each part."""

_QUARTER = 0.42
"""Part of the control quads that the coarsest level has."""
_FACE, _HIDDEN = 2.0, 0.4
"""Importance of the face, and of mouth and sockets, where strips are chosen."""
_TELLING = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight",
            "mouthFunnel", "browInnerUp")  # fmt: skip
"""Blend shapes by which moves of neighbours are compared."""


def head_parts(neutral: NeutralHead, keys: HeadKeys) -> list[RiggedPart]:
    """Meshes of the head itself.

    Args:
        neutral: the neutral head.
        keys: its blend shapes.

    """
    return [_part(name, neutral, keys) for name in PARTS]


def _part(name: str, neutral: NeutralHead, keys: HeadKeys) -> RiggedPart:
    topology = part_topology(name)
    uv = topology.uv
    if name == "skin":
        uv = skin_layout()
    elif name in EYES:
        uv = eye_layout(name)
    elif name == "lashes":
        uv = lashes_layout()
    else:
        uv = mouth_layout(name)
    return RiggedPart(
        name,
        MATERIALS[name],
        keys.vertices[name],
        uv,
        part_faces(topology, neutral, of_eye=name in EYES),
        keys.keys(name),
        skinning_weights(name),
    )


@lru_cache(maxsize=3 * len(PARTS))
def level_quads(name: str, detail: Detail) -> tuple[Indices32, Indices32]:
    """Quads (m, 4) of a level of detail of a part, and their texture coordinates (m, 4).

    ``half`` has the control quads, ``quarter`` those of the skin without half of the strips.
    """
    topology = part_topology(name)
    if detail == "full":
        return topology.quads, topology.quad_uv
    cage = topology.cage_quads, topology.cage_quad_uv
    if detail == "half" or name != "skin":
        return cage
    mean = prior().mean
    places = np.asarray(topology.refine @ mean) / MM
    keys = [np.asarray(topology.refine @ expression_offsets({key: 1.0})) / MM for key in _TELLING]
    hidden = np.zeros(len(places), bool)
    hidden[topology.quads[np.isin(topology.island, (MOUTH, FIRST_SOCKET, SECOND_SOCKET))]] = True
    importance = np.where(hidden, _HIDDEN, 1.0)
    twin = skin_twins()
    importance[(twin >= 0) & np.isin(bust().region[twin], (Region.FACE, Region.EAR))] = _FACE
    return coarser(
        *cage,
        places,
        vertex_normals(places, topology.triangles()),
        np.concatenate(keys, axis=1),
        importance,
        np.zeros(len(places), bool),
        _QUARTER,
    )


def part_faces(topology: PartTopology, neutral: NeutralHead, of_eye: bool = False) -> Levels:
    """Faces of a part by level of detail, without those pressed flat where the bust ends."""

    def level(detail: Detail) -> Faces:
        quads, quad_uv = level_quads(topology.name, detail)
        kept: Mask = np.ones(len(quads), bool)
        if topology.name == "skin":
            kept = np.logical_not(neutral.lowest[quads].all(1))
        return Faces(quads[kept], quads[kept] if of_eye else quad_uv[kept])

    return Levels(level)
