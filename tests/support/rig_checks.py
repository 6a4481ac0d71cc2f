"""Rays against rigged heads: eyeballs, teeth and tongue that come through the skin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dp3d_core.cameras.trajectories import orbit_pose
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import adult_face_size, random_person, raw_vertices, to_head_space
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.rigged.eyes import FACE_ISLAND
from dp3d_core.rigged.keys import EYES, HeadKeys
from dp3d_core.rigged.neutral import NeutralHead
from dp3d_core.rigged.parts import head_parts
from dp3d_core.rigged.rig import RiggedHead
from dp3d_core.rigged.topology import halves, part_topology, skin_twins

INNER = ("eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue")
DEEP = 5.0
"""Depth of skin behind an eyeball or tooth that counts as pierced, millimetres."""
TOLERANCE = 0.05
"""Millimetres by which an eyeball may stand before the skin without being counted."""
OUTSIDE = 0.3
"""Distance from the eyeball from which neutral skin belongs to the outside of a lid, millimetres."""
VIEWS = ((0, 0), (-35, 0), (35, 0), (0, -25), (0, 25))


def random_keys(seed: int) -> tuple[NeutralHead, HeadKeys]:
    """A random person's neutral head and blend shapes."""
    person = random_person(np.random.default_rng(seed))
    controls = to_head_space(raw_vertices(person), adult_face_size())
    neutral = NeutralHead.of_controls(controls)
    return neutral, HeadKeys.of(neutral)


def random_rig(seed: int) -> RiggedHead:
    """A random person's rigged head without materials."""
    neutral, keys = random_keys(seed)
    return RiggedHead(tuple(head_parts(neutral, keys)), neutral.joints())


class Piercings:
    """Counts rays that meet an eyeball, teeth or tongue just before the outer skin."""

    def __init__(self, keys: HeadKeys, spacing: float = 1.0, views: int = len(VIEWS)) -> None:
        self.views = VIEWS[:views]
        topology = part_topology("skin")
        self.keys = keys
        skin = keys.vertices["skin"]
        outer = np.ones(len(skin), bool)
        for name in EYES:
            ball = keys.eyeballs[name]
            gap = (np.linalg.norm(skin - ball.centre, axis=1) - ball.radius) / MM
            outer &= gap > OUTSIDE
        twin = skin_twins()
        outer &= (twin >= 0) & ~np.isin(twin, bust().lips)
        triangles = halves(topology.quads)
        face = np.tile(topology.island == FACE_ISLAND, 2)
        # nothing else lies before the face
        front = face & (skin[triangles][..., 2] > 0).any(1)
        self.triangles = triangles[front]
        self.counts = (face & outer[triangles].all(1))[front]
        x, y = np.meshgrid(np.arange(-62, 62, spacing), np.arange(-85, 60, spacing))
        self.grid = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], -1) * MM

    def of(self, weights: Mapping[str, float]) -> dict[str, int]:
        """Pierced rays by part, with keys at weights."""
        skin = _caster(self._posed("skin", weights), self.triangles)
        posed = [self._posed(name, weights) for name in INNER]
        first = np.cumsum([0, *(len(vertices) for vertices in posed)])
        triangles = [
            part_topology(n).triangles() + k for n, k in zip(INNER, first[:-1], strict=True)
        ]
        part = np.repeat(np.arange(len(INNER)), [len(t) for t in triangles])
        inner = _caster(np.concatenate(posed), np.concatenate(triangles))
        counts = np.zeros(len(INNER), int)
        for yaw, pitch in self.views:
            axes = orbit_pose(yaw, pitch)[:3, :3]
            towards = axes[:, 2]
            origins = self.grid @ np.stack([axes[:, 0], -axes[:, 1], axes[:, 2]]) - towards
            origins = origins + np.array([0, 0, 60 * MM])
            rays = np.broadcast_to(towards, origins.shape)
            hits = inner.cast(origins, rays)
            if not len(hits.ray):
                continue
            behind = skin.cast(origins[hits.ray], rays[hits.ray])
            depth = (behind.distance - hits.distance[behind.ray]) / MM
            outwards = np.einsum("ni,ni->n", behind.normals, behind.directions) < 0
            near = (depth > TOLERANCE) & (depth < DEEP) & outwards & self.counts[behind.face]
            counts += np.bincount(part[hits.face[behind.ray[near]]], minlength=len(INNER))
        return {name: int(count) for name, count in zip(INNER, counts, strict=True) if count}

    def _posed(self, name: str, weights: Mapping[str, float]) -> np.ndarray:
        vertices = self.keys.vertices[name]
        for key, weight in weights.items():
            vertices = vertices + weight * self.keys.offsets[key].get(name, 0.0)
        return vertices


def open_eyes(keys: HeadKeys, weights: Mapping[str, float], name: str) -> int:
    """Rays from the front that meet an eyeball before any skin, half a millimetre apart."""
    skin, ball = (
        keys.vertices[part]
        + sum(w * keys.offsets[key].get(part, 0.0) for key, w in weights.items())
        for part in ("skin", name)
    )
    x, y = np.meshgrid(np.arange(-20, 20, 0.5), np.arange(-20, 20, 0.5))
    origins = keys.eyeballs[name].centre + np.stack(
        [x.ravel() * MM, y.ravel() * MM, np.full(x.size, 0.3)], -1
    )
    rays = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
    front = np.full(len(rays), np.inf)
    lids = _caster(skin, part_topology("skin").triangles()).cast(origins, rays)
    front[lids.ray] = lids.distance
    hits = _caster(ball, part_topology(name).triangles()).cast(origins, rays)
    return int((hits.distance < front[hits.ray]).sum())


def _caster(vertices: np.ndarray, triangles: np.ndarray) -> RayCaster:
    return RayCaster(Mesh.of(vertices, triangles, np.zeros(len(vertices), np.uint8)))
