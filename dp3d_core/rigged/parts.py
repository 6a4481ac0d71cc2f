"""The head's own meshes: skin, eyeballs, teeth, tongue and lashes, with keys and weights."""

from __future__ import annotations

import numpy as np

from dp3d_core.arrays import Indices32
from dp3d_core.rigged.keys import EYES, HeadKeys
from dp3d_core.rigged.layout import eye_layout, skin_layout
from dp3d_core.rigged.neutral import NeutralHead
from dp3d_core.rigged.rig import Detail, Faces, RiggedPart
from dp3d_core.rigged.skinning import skinning_weights
from dp3d_core.rigged.small_materials import lashes_layout, mouth_layout
from dp3d_core.rigged.topology import PARTS, PartTopology, part_topology

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


def part_faces(
    topology: PartTopology, neutral: NeutralHead, of_eye: bool = False
) -> dict[Detail, Faces]:
    """Faces of a part by level of detail, without those pressed flat where the bust ends."""
    levels: dict[Detail, tuple[Indices32, Indices32]] = {
        "full": (topology.quads, topology.quad_uv),
        "half": (topology.cage_quads, topology.cage_quad_uv),
        "quarter": (topology.cage_quads, topology.cage_quad_uv),
    }
    faces: dict[Detail, Faces] = {}
    for detail, (quads, quad_uv) in levels.items():
        kept = np.ones(len(quads), bool)
        if topology.name == "skin":
            kept = ~neutral.lowest[quads].all(1)
        faces[detail] = Faces(quads[kept], quads[kept] if of_eye else quad_uv[kept])
    return faces
