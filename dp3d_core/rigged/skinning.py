"""Skinning weights of the six bones at the vertices of the head's parts.

The installed data has the weights of neck, head, jaw and eyes; those of the small bones of
MakeHuman's face are not in it.  Their share goes to jaw or head, as far as the blend shape
``jawOpen`` moves a vertex as the lower teeth move.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.heads.people import expression_offsets, head_data, prior
from dp3d_core.rigged.rig import BONES
from dp3d_core.rigged.topology import PARTS, part_topology

_NECK_BONES = 3
"""Number of bones of the neck in the data, which come first."""
_RIGID = {"eye_left": "eye.L", "eye_right": "eye.R", "upper_teeth": "head", "lower_teeth": "jaw"}
"""Parts that follow one bone."""
_TORSO = 1
"""Number of the skin's second largest piece in MakeHuman's texture: neck and torso."""


@lru_cache(maxsize=len(PARTS))
def skinning_weights(name: str) -> Array:
    """(n, 6) weights of ``rig.BONES`` at the vertices of a part; rows sum to 1."""
    topology, bones = part_topology(name), list(BONES)
    weights = np.zeros((topology.refine.shape[0], len(bones)))
    if name in _RIGID:
        weights[:, bones.index(_RIGID[name])] = 1
        return weights
    if name == "tongue":
        weights[:, bones.index("jaw")] = 1
        return weights
    data = head_data()
    of_bones = np.asarray(topology.refine @ data.weights.T.astype(np.float64))
    weights[:, 1] = of_bones[:, :_NECK_BONES].sum(1)
    weights[:, 2] = of_bones[:, _NECK_BONES]
    weights[:, 3] = of_bones[:, _NECK_BONES + 1]
    weights = np.clip(weights, 0, 1)
    rest = np.clip(1 - weights.sum(1), 0, 1)
    if name == "skin":
        torso = np.zeros(len(weights), bool)
        torso[topology.quads[topology.island == _TORSO]] = True
        weights[torso, 0] = rest[torso]
        rest[torso] = 0
    share = _jaw_share(name)
    weights[:, 3] += rest * share
    weights[:, 2] += rest * (1 - share)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _jaw_share(name: str) -> Array:
    """(n,) how far ``jawOpen`` moves vertices of a part as it would move a lower tooth there."""
    mean, offsets = prior().mean, expression_offsets({"jawOpen": 1.0})
    teeth = np.unique(part_topology("lower_teeth").cage_quads)
    refine = part_topology("lower_teeth").refine[teeth]
    turn, shift = rigid_motion(refine @ mean, refine @ (mean + offsets))
    vertices = np.asarray(part_topology(name).refine @ mean)
    as_teeth = vertices @ turn.T + shift - vertices
    own = np.asarray(part_topology(name).refine @ offsets)
    along = np.einsum("ni,ni->n", own, as_teeth)
    return np.asarray(np.clip(along / np.einsum("ni,ni->n", as_teeth, as_teeth), 0, 1))


def rigid_motion(before: Array, after: Array) -> tuple[Array, Array]:
    """Rotation (3, 3) and shift (3,) that bring points (n, 3) nearest to others (Kabsch 1976)."""
    first, second = before.mean(0), after.mean(0)
    u, _, vt = np.linalg.svd((before - first).T @ (after - second))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    turn = vt.T @ flip @ u.T
    return turn, second - turn @ first
