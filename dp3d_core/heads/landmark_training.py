"""How the landmark table and the landmark map were made: renders of random people.

``python -m dp3d_core.heads.landmark_training FOLDER [COUNT]`` renders people plainly (skin, lips,
brows, irises, sometimes hair and a beard), finds their landmarks, and writes both files into
FOLDER; 5000 renders take a quarter of an hour on one core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.files import write_atomic
from dp3d_core.heads.anatomy import MM
from dp3d_core.heads.fields import ramp
from dp3d_core.heads.hair import noise
from dp3d_core.heads.landmark_map import FILE_NAME, POSE, LandmarkMap, learn, pose_outputs
from dp3d_core.heads.people import (
    adult_face_size,
    expression_offsets,
    head_data,
    prior,
    random_person,
    raw_vertices,
    to_head_space,
)
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.landmarks import FACE_OVAL, POINTS, find_landmarks
from dp3d_core.raycast import Hits, RayCaster, render
from dp3d_core.trajectories import canonical_camera

Array = NDArray[np.float64]

TABLE_NAME = "bust_landmarks.json"
_SIDE = 320
_COMPONENTS = 60
_SKINS = np.array(
    [
        [0.85, 0.68, 0.58],
        [0.75, 0.55, 0.43],
        [0.62, 0.43, 0.32],
        [0.42, 0.28, 0.2],
        [0.9, 0.75, 0.68],
    ]
)
_HAIRS = np.array(
    [
        [0.05, 0.04, 0.03],
        [0.2, 0.12, 0.07],
        [0.5, 0.38, 0.22],
        [0.55, 0.55, 0.55],
        [0.35, 0.12, 0.06],
    ]
)
_IRISES = np.array([[0.25, 0.14, 0.08], [0.3, 0.4, 0.5], [0.3, 0.35, 0.2]])
_STRAY = 7.0
"""Millimetres of scatter above which a landmark is left out of the table."""
_WRONG_ROLL_DEG, _WRONG_PLACE = 25.0, 4.0
"""Roll beside that of the eyes, and sizes of the face, beyond which a detection is no face."""


@dataclass(frozen=True)
class Sample:
    """One render's landmarks and truth."""

    points: Array
    depth: Array
    camera: Camera
    components: Array
    under: Array
    """(468, 3) millimetres of the average head under the landmarks; NaN where none, or where
    the person has an expression."""


@lru_cache(maxsize=1)
def _triangles() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    data = head_data()
    quads, part = data.quads[data.quad_part != 6], data.quad_part[data.quad_part != 6]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    of_vertex = np.zeros(len(data.vertices), np.uint8)
    for number in range(6):
        of_vertex[np.unique(quads[part == number])] = number
    return faces, of_vertex


def render_person(seed: int) -> Sample | None:
    """Render a random person and find its landmarks; None where no face is found."""
    rng = np.random.default_rng([seed, 5])
    person = random_person(rng)
    expression: dict[str, float] = {}
    if rng.random() < 0.6:
        names = [n.split("/")[1] for n in head_data().names if n.startswith("expression/")]
        for name in rng.choice(names, 6, replace=False):
            expression[str(name)] = float(min(abs(rng.normal(0, 0.4)), 1))
        if rng.random() < 0.4:
            smile = float(rng.uniform(0.2, 0.9))
            expression |= {"mouthSmileLeft": smile, "mouthSmileRight": smile}
        if rng.random() < 0.3:
            expression["jawOpen"] = float(rng.uniform(0.1, 0.7))
    neutral = to_head_space(raw_vertices(person), adult_face_size())
    faces, part = _triangles()
    mesh = Mesh.of(neutral + expression_offsets(expression), faces, part)
    caster = RayCaster(mesh)
    camera = _random_camera(rng)
    shade = _shader(rng, mesh, caster)
    backdrop = [int(v) for v in rng.integers(60, 230, 3)]
    picture = render(caster, camera, shade).composite((backdrop[0], backdrop[1], backdrop[2]))
    found = find_landmarks(picture)
    if not found:
        return None
    heads = prior()
    flat = heads.basis[:_COMPONENTS].reshape(_COMPONENTS, -1).astype(np.float64)
    components = flat @ (neutral - heads.mean).ravel() / (flat**2).sum(1)
    under = np.full((POINTS, 3), np.nan) if expression else _under(caster, camera, found[0].points)
    return Sample(found[0].points, found[0].depth, camera, components, under)


def _random_camera(rng: np.random.Generator) -> Camera:
    yaw, pitch = rng.uniform(-75, 75), float(np.clip(rng.normal(0, 12), -30, 30))
    roll = np.radians(rng.normal(0, 6))
    camera = canonical_camera(
        float(yaw), pitch, _SIDE, radius=2.7 * float(rng.uniform(0.8, 1.5)), focal=2.9
    )
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return Camera(camera.c2w @ turn, camera.K, _SIDE, _SIDE)


def _shader(rng: np.random.Generator, mesh: Mesh, caster: RayCaster):  # type: ignore[no-untyped-def]
    """Plain colours that the face mesh takes for a face, painted on the average head."""
    rest = prior().mean / MM
    data = head_data()
    eye = rest[data.joints["joint-l-eye"]].mean(0)
    mouth = rest[np.unique(data.quads[data.quad_part == 3]), 1].min() + 1
    skin = rng.choice(_SKINS) * rng.uniform(0.9, 1.1)
    hair, iris = rng.choice(_HAIRS), rng.choice(_IRISES)
    lips = skin * [1.0, 0.72, 0.72] * rng.uniform(0.75, 1.0)
    hairy, line, bearded = rng.random() < 0.75, float(rng.uniform(20, 40)), rng.random() < 0.3
    lamp = rng.normal(size=3) * [1, 0.6, 0.3] + [0, 0.5, 1]
    lamp /= np.linalg.norm(lamp)
    ambient = float(rng.uniform(0.35, 0.7))

    def shade(hits: Hits) -> Array:
        corners = mesh.faces[hits.face]
        part = mesh.parts[corners[np.arange(len(corners)), hits.weights.argmax(1)]]
        at = np.einsum("kc,kcx->kx", hits.weights, rest[corners])
        aside, height, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
        colours = np.tile(skin, (len(at), 1)) * (1 + 0.05 * noise(at, 6.0)[:, None])

        def paint(colour: Array, share: Array) -> None:
            colours[:] += (colour - colours) * share[:, None]

        half = np.interp(aside, [8, 14, 24, 38, 50], [1.5, 3, 3, 2.4, 0.5], left=-6, right=-6)
        middle = eye[1] + np.interp(aside, [8, 24, 38, 50], [18, 21, 22, 17])
        paint(hair * 0.8, 0.85 * ramp(half - np.abs(height - middle), -1, 1) * (z > 40))
        half = np.interp(aside, [0, 8, 18, 25], [8.5, 8.5, 5, 1])
        red = ramp(half - np.abs(height - mouth), -1, 1) * (z > 70)
        paint(lips, red)
        if hairy:
            angle = np.degrees(np.arctan2(aside, z + 25))
            hairline = eye[1] + np.interp(
                angle,
                [0, 35, 50, 62, 72, 84, 92, 104, 118, 135, 180],
                [line + 42, line + 38, line + 30, 30, 12, -12, 0, 0, -30, -55, -65],
            )
            paint(hair, ramp(height - hairline, -4, 4) * (part == 0))
        if bearded:
            low = ramp(mouth - height - 2, -8, 8) * ramp(height - mouth + 60, 0, 10)
            paint(hair, 0.7 * low * ramp(z, 10, 30) * (part == 0) * (1 - red))
        ball = (part == 1) | (part == 2)
        from_pole = np.hypot(aside - abs(eye[0]), height - eye[1])
        colours[ball] = [0.9, 0.88, 0.85]
        colours[ball & (from_pole < 5.8)] = iris
        colours[ball & (from_pole < 2.4)] = 0.03
        colours[(part == 3) | (part == 4)] = [0.9, 0.87, 0.8]
        colours[part == 5] = [0.6, 0.3, 0.3]
        light = ambient + (1 - ambient) * 1.2 * np.clip(hits.normals @ lamp, 0, 1)
        towards = np.repeat(lamp[None], len(at), 0)
        light *= np.where(caster.blocked(hits.points + 0.004 * hits.normals, towards), 0.75, 1)
        return np.clip(colours * light[:, None], 0, 1)

    return shade


def _under(caster: RayCaster, camera: Camera, points: Array) -> Array:
    """(468, 3) millimetres of the average head that a camera sees at the landmarks."""
    rest = prior().mean / MM
    hits = caster.cast(camera.position, camera.directions(points))
    facing = -(hits.normals * hits.directions).sum(1) > 0.3
    places = np.full((POINTS, 3), np.nan)
    corners = caster.mesh.faces[hits.face[facing]]
    places[hits.ray[facing]] = np.einsum("kc,kcx->kx", hits.weights[facing], rest[corners])
    return places


def learn_map(samples: Sequence[Sample], rounds: int = 3) -> LandmarkMap:
    """The map from landmarks to pose and shape; detections that are no faces are left out."""
    points = np.array([s.points for s in samples])
    depth = np.array([s.depth for s in samples])
    truth = []
    for sample in samples:
        to_camera = sample.camera.c2w[:3, :3].T
        origin = to_camera @ -sample.camera.position
        scale = float(sample.camera.K[0, 0] / origin[2])
        at = sample.camera.project([[0.0, 0.0, 0.0]])[0][0]
        pose = pose_outputs(sample.points, _angles(to_camera), scale, at)
        truth.append(np.concatenate([pose, sample.components]))
    outputs = np.array(truth)
    order = np.random.default_rng(0).permutation(len(points))
    good = order[
        (np.abs(outputs[order, 2]) < np.radians(_WRONG_ROLL_DEG))
        & (np.abs(outputs[order, 4:POSE]).max(1) < _WRONG_PLACE)
    ]
    learned = learn(points[good], depth[good], outputs[good])
    for _ in range(rounds - 1):
        guesses = np.array([learned(points[i], depth[i])[1][:POSE] for i in good])
        errors = np.abs(guesses - outputs[good, :POSE])
        good = good[(errors / (1.48 * np.median(errors, 0))).max(1) < 5]
        learned = learn(points[good], depth[good], outputs[good])
    return learned


def _angles(rotation: Array) -> Array:
    """(3,) yaw, pitch and roll, radians, of a rotation from head space into a camera."""
    forward = rotation[2]
    pitch, yaw = np.arcsin(-forward[1]), np.arctan2(-forward[0], -forward[2])
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    down = np.cross(forward, right)
    return np.array([yaw, pitch, np.arctan2(rotation[0] @ down, rotation[0] @ right)])


def measure_table(samples: Sequence[Sample], most_yaw_deg: float = 38.0) -> list[list[float]]:
    """Landmark, three vertices, their shares and scatter (mm) for every steady landmark."""
    seen = [s.under for s in samples if abs(s.camera.yaw_pitch_deg[0]) < most_yaw_deg]
    places = np.array([u for u in seen if np.isfinite(u).any()])
    median = np.nanmedian(places, 0)
    scatter = np.nanmedian(np.linalg.norm(places - median, axis=2), 0)
    often = np.isfinite(places[..., 0]).mean(0) > 0.6
    mirrored = median * [-1, 1, 1]
    partner = np.linalg.norm(median[None] - mirrored[:, None], axis=2).argmin(1)
    good = (partner[partner] == np.arange(POINTS)) & (scatter < _STRAY) & often
    good[list(FACE_OVAL)] = False
    good &= good[partner]
    both = (median + mirrored[partner]) / 2
    rest = prior().mean / MM
    faces, part = _triangles()
    faces = faces[part[faces[:, 0]] <= 2]
    tree = cKDTree(rest[faces].mean(1))
    table = []
    for landmark in np.flatnonzero(good):
        best = (np.inf, faces[0], np.zeros(3))
        for face in faces[tree.query(both[landmark], k=12)[1]]:
            a, b, c = rest[face]
            share = np.linalg.lstsq(np.column_stack([b - a, c - a]), both[landmark] - a)[0]
            share = np.clip(share, 0, 1) / max(1.0, float(np.clip(share, 0, 1).sum()))
            weights = np.array([1 - share.sum(), *share])
            away = float(np.linalg.norm(weights @ rest[face] - both[landmark]))
            if away < best[0]:
                best = (away, face, weights)
        spread = (scatter[landmark] + scatter[partner[landmark]]) / 2
        table.append(
            [
                int(landmark),
                *(int(v) for v in best[1]),
                *(round(float(w), 4) for w in best[2]),
                round(float(spread), 2),
            ]
        )
    return table


def main(folder: Path, count: int) -> None:
    """Render, learn, and write both files."""
    samples = []
    for seed in range(count):
        sample = render_person(seed)
        if sample is not None:
            samples.append(sample)
        if seed % 100 == 99:
            print(f"{seed + 1} of {count}: {len(samples)} faces", file=sys.stderr)
    learn_map(samples).save(folder / FILE_NAME)
    table = json.dumps({"points": measure_table(samples)})
    write_atomic(folder / TABLE_NAME, table.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
