"""Train the landmark table, the landmark map and the picture map on rendered subjects.

``python -m dp3d_core.synthetic.landmark_training FOLDER [COUNT] [PROCESSES]`` renders subjects,
detects their landmarks, and writes the three files into FOLDER.  1500 subjects (6000 views) take
half an hour on two cores.  The picture map corrects the landmark map, so it is trained on other
people, a quarter as many.  Not part of the run-time path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera, rolled
from dp3d_core.heads.bust import BustPart
from dp3d_core.heads.face_mesh import FACE_OVAL, POINTS
from dp3d_core.heads.landmark_map import FILE_NAME, POSE, LandmarkMap, learn, pose_outputs
from dp3d_core.heads.people import (
    adult_face_size,
    head_data,
    prior,
    raw_vertices,
    to_head_space,
)
from dp3d_core.heads.space import MM
from dp3d_core.portraits.head_state import EXPRESSIONS, HeadState, landmark_state
from dp3d_core.portraits.landmarks import find_landmarks
from dp3d_core.portraits.picture_map import FILE_NAME as PICTURE_FILE_NAME
from dp3d_core.portraits.picture_map import (
    PictureMap,
    PictureWindow,
    mirror_of_components,
    mirrorings,
    sample_vertices,
)
from dp3d_core.portraits.picture_map import learn as learn_picture_map
from dp3d_core.storage.files import write_atomic
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import Subject, random_subject

TABLE_NAME = "bust_landmarks.json"
"""File of the landmark table (``portraits.head_state.landmark_table``)."""
_SIDE = 320
"""Side of the views, pixels."""
_VIEWS = 4
"""Number of views of each subject."""
_COMPONENTS = 60
"""Number of shape coefficients that are learned."""
_MAX_SCATTER = 7.0
"""Greatest scatter of a landmark in the table, millimetres."""
_MAX_ROLL_DEG = 25.0
"""Greatest roll relative to the eye line; detections beyond it are not the face."""
_MAX_OFFSET = 4.0
"""Greatest offset of the head's origin, landmark sizes; detections beyond it are not the face."""


_FIRST_PICTURE_SUBJECT = 100_000
"""Seed of the first subject of the picture map."""
_FEWER_PICTURES = 4
"""Factor by which the picture map has fewer subjects."""
_SKY_RAYS = {"landmarks": 8, "pictures": 4}
"""Rays of the sky in the training views, fewer than usual for speed."""
_MAX_ANGLE_ERROR = np.radians(35.0)
"""Greatest error in angles of the landmark map; views beyond it are left out."""
_MAX_POSITION_ERROR = 0.3
"""Greatest error in log scale or position (head units) of the landmark map."""


@dataclass(frozen=True)
class Sample:
    """Landmarks and ground truth of a view."""

    points: Array
    """(468, 2) landmarks, pixels."""
    depth: Array
    """(468,) depth of the landmarks, pixels."""
    camera: Camera
    """The true camera."""
    components: Array
    """(_COMPONENTS,) true shape coefficients."""
    rest_points: Array
    """(468, 3) positions on the average head at the landmarks, millimetres; NaN without skin there,
    or if the person has an expression."""


def training_subject(seed: int) -> Subject:
    """A random subject without sunglasses, which would hide the eyes."""
    subject = random_subject(seed)
    if subject.spec.glasses == "sun":
        subject = replace(subject, spec=replace(subject.spec, glasses=None))
    return subject


def sample_subject(seed: int) -> list[Sample]:
    """Samples of a subject's views; views without a detected face are left out."""
    rng = np.random.default_rng([seed, 5])
    subject = training_subject(seed)
    head = SyntheticHead(subject, sky_rays=_SKY_RAYS["landmarks"])
    components = _components(subject)
    samples = []
    for _ in range(_VIEWS):
        camera = _random_camera(rng)
        faces = find_landmarks(head.render(camera).rgb)
        if not faces:
            continue
        points, depth = faces[0].points, faces[0].depth
        rest_points = np.full((POINTS, 3), np.nan)
        if not subject.spec.person.expression:
            rest_points = _rest_points(head, camera, points)
        samples.append(Sample(points, depth, camera, components, rest_points))
    return samples


def picture_samples(
    seed: int, learned: LandmarkMap | None = None
) -> list[tuple[NDArray[np.float16], Array]]:
    """Inputs and targets of the picture map in views of a subject.

    Args:
        seed: seed of the subject and its views.
        learned: the landmark map to correct; None takes the one shipped in the package.

    """
    rng = np.random.default_rng([seed, 5])
    subject = training_subject(seed)
    head = SyntheticHead(subject, sky_rays=_SKY_RAYS["pictures"])
    components, mirror = _components(subject), mirror_of_components()
    expression = subject.spec.person.expression
    weights = np.array([expression.get(name, 0.0) for name in EXPRESSIONS])
    samples = []
    for _ in range(_VIEWS):
        camera = _random_camera(rng)
        rgb = head.render(camera).rgb
        faces = find_landmarks(rgb)
        if not faces:
            continue
        state = landmark_state(faces[0].points, faces[0].depth, learned)
        angles, scale, origin = _pose(camera)
        truth = HeadState(angles, scale, origin - state.origin, components, weights)
        window = PictureWindow.of(rgb, state)
        for mirrored, _ in mirrorings(state):
            inputs, local = window.inputs(state, sample_vertices(), mirror, mirrored)
            target = truth.mirrored(0.0, mirror) if mirrored else truth
            samples.append((inputs.astype(np.float16), local.difference(target)))
    return samples


def learn_pictures(samples: Sequence[tuple[NDArray[np.float16], Array]]) -> PictureMap:
    """Train the picture map; views with a gross error of the landmark map are left out."""
    inputs = np.array([features for features, _ in samples], np.float32)
    outputs = np.array([difference for _, difference in samples])
    kept = np.abs(outputs[:, :3]).max(1) < _MAX_ANGLE_ERROR
    kept &= np.abs(outputs[:, 3:POSE]).max(1) < _MAX_POSITION_ERROR
    return learn_picture_map(inputs[kept], outputs[kept], sample_vertices(), mirror_of_components())


def _components(subject: Subject) -> Array:
    """(_COMPONENTS,) shape coefficients of a subject's neutral head."""
    neutral = to_head_space(raw_vertices(subject.spec.person), adult_face_size())
    heads = prior()
    flat = heads.basis[:_COMPONENTS].reshape(_COMPONENTS, -1).astype(np.float64)
    return np.asarray(flat @ (neutral - heads.mean).ravel() / (flat**2).sum(1))


def _pose(camera: Camera) -> tuple[Array, float, Array]:
    """Angles (3,), radians, pixels per head unit at the head's origin, and its projection (2,)."""
    to_camera = camera.c2w[:3, :3].T
    depth = float((to_camera @ -camera.position)[2])
    return _angles(to_camera), float(camera.K[0, 0]) / depth, camera.project([[0.0, 0, 0]])[0][0]


def _random_camera(rng: np.random.Generator) -> Camera:
    """Random camera with yaw up to 75 degrees and a little pitch and roll."""
    yaw, pitch = rng.uniform(-75, 75), float(np.clip(rng.normal(0, 12), -30, 30))
    roll = float(rng.normal(0, 6))
    camera = canonical_camera(
        float(yaw), pitch, _SIDE, radius=2.7 * float(rng.uniform(0.8, 1.5)), focal=2.9
    )
    return rolled(camera, roll)


def _rest_points(head: SyntheticHead, camera: Camera, points: Array) -> Array:
    """(468, 3) positions on the average head at landmarks (468, 2), mm; NaN off the skin."""
    hits = head.caster.cast(camera.position, camera.directions(points))
    facing = -(hits.normals * hits.directions).sum(1) > 0.3
    corners = head.head.mesh.faces[hits.face]
    facing &= np.isin(head.head.mesh.parts[corners[:, 0]], (Surface.SKIN, Surface.EYE))
    positions = np.full((POINTS, 3), np.nan)
    positions[hits.ray[facing]] = head.shader.rest(hits)[facing]
    return positions


def learn_map(samples: Sequence[Sample], rounds: int = 3) -> LandmarkMap:
    """Train the landmark map, dropping false detections and then outliers in each round."""
    points = np.array([s.points for s in samples])
    depth = np.array([s.depth for s in samples])
    truth = []
    for sample in samples:
        pose = pose_outputs(sample.points, *_pose(sample.camera))
        truth.append(np.concatenate([pose, sample.components]))
    outputs = np.array(truth)
    order = np.random.default_rng(0).permutation(len(points))
    kept = order[
        (np.abs(outputs[order, 2]) < np.radians(_MAX_ROLL_DEG))
        & (np.abs(outputs[order, 4:POSE]).max(1) < _MAX_OFFSET)
    ]
    learned = learn(points[kept], depth[kept], outputs[kept])
    for _ in range(rounds - 1):
        guesses = np.array([learned(points[i], depth[i])[1][:POSE] for i in kept])
        errors = np.abs(guesses - outputs[kept, :POSE])
        kept = kept[(errors / (1.48 * np.median(errors, 0))).max(1) < 5]
        learned = learn(points[kept], depth[kept], outputs[kept])
    return learned


def _angles(rotation: Array) -> Array:
    """(3,) yaw, pitch and roll, radians, of a world-to-camera rotation (3, 3)."""
    forward = rotation[2]
    pitch, yaw = np.arcsin(-forward[1]), np.arctan2(-forward[0], -forward[2])
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    down = np.cross(forward, right)
    return np.array([yaw, pitch, np.arctan2(rotation[0] @ down, rotation[0] @ right)])


def measure_table(samples: Sequence[Sample], max_yaw_deg: float = 38.0) -> list[list[float]]:
    """Rows of the landmark table: landmark, three vertices, their weights, scatter (mm).

    Landmarks with large scatter, or without a mirrored partner, are left out.
    """
    rest_points = [s.rest_points for s in samples if abs(s.camera.yaw_pitch_deg[0]) < max_yaw_deg]
    positions = np.array([p for p in rest_points if np.isfinite(p).any()])
    median = np.nanmedian(positions, 0)
    scatter = np.nanmedian(np.linalg.norm(positions - median, axis=2), 0)
    often = np.isfinite(positions[..., 0]).mean(0) > 0.6
    mirrored = median * [-1, 1, 1]
    partner = np.linalg.norm(median[None] - mirrored[:, None], axis=2).argmin(1)
    kept = (partner[partner] == np.arange(POINTS)) & (scatter < _MAX_SCATTER) & often
    kept[list(FACE_OVAL)] = False
    kept &= kept[partner]
    symmetric = (median + mirrored[partner]) / 2
    rest = prior().mean / MM
    data = head_data()
    quads = data.quads[data.quad_part <= BustPart.EYE_RIGHT]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    tree = cKDTree(rest[faces].mean(1))
    table = []
    for landmark in np.flatnonzero(kept):
        nearest = (np.inf, faces[0], np.zeros(3))
        for face in faces[tree.query(symmetric[landmark], k=12)[1]]:
            a, b, c = rest[face]
            barycentric = np.linalg.lstsq(np.column_stack([b - a, c - a]), symmetric[landmark] - a)[
                0
            ]
            barycentric = np.clip(barycentric, 0, 1) / max(
                1.0, float(np.clip(barycentric, 0, 1).sum())
            )
            weights = np.array([1 - barycentric.sum(), *barycentric])
            distance = float(np.linalg.norm(weights @ rest[face] - symmetric[landmark]))
            if distance < nearest[0]:
                nearest = (distance, face, weights)
        mean_scatter = (scatter[landmark] + scatter[partner[landmark]]) / 2
        table.append(
            [
                int(landmark),
                *(int(v) for v in nearest[1]),
                *(round(float(w), 4) for w in nearest[2]),
                round(float(mean_scatter), 2),
            ]
        )
    return table


def main(folder: Path, count: int, processes: int) -> None:
    """Render subjects, train all three, and write the files."""
    samples: list[Sample] = []
    with ProcessPoolExecutor(processes) as pool:
        for seed, views in enumerate(pool.map(sample_subject, range(count), chunksize=5)):
            samples += views
            if seed % 50 == 49:
                print(f"{seed + 1} of {count}: {len(samples)} faces", file=sys.stderr)
    learned = learn_map(samples)
    learned.save(folder / FILE_NAME)
    table = json.dumps({"points": measure_table(samples)})
    write_atomic(folder / TABLE_NAME, table.encode())
    pictures: list[tuple[NDArray[np.float16], Array]] = []
    last = _FIRST_PICTURE_SUBJECT + count // _FEWER_PICTURES
    with ProcessPoolExecutor(processes) as pool:
        work = partial(picture_samples, learned=learned)
        for views_of_one in pool.map(work, range(_FIRST_PICTURE_SUBJECT, last), chunksize=5):
            pictures += views_of_one
    learn_pictures(pictures).save(folder / PICTURE_FILE_NAME)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[2:4]]
    main(Path(sys.argv[1]), *[*numbers, *(1500, 2)[len(numbers) :]])
