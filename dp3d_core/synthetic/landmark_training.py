"""How the landmark table, the landmark map and the picture map were made: views of subjects.

``python -m dp3d_core.synthetic.landmark_training FOLDER [COUNT] [PROCESSES]`` renders subjects,
finds their landmarks, and writes the files into FOLDER; 1500 subjects, 6000 views, take half an
hour on two cores.  The picture map corrects the landmark map, so it is learned on a quarter as
many other people, with a quarter of the time.
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

from dp3d_core.cameras import Camera
from dp3d_core.files import write_atomic
from dp3d_core.heads.bust import BustPart
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
from dp3d_core.portraits.landmarks import FACE_OVAL, POINTS, find_landmarks
from dp3d_core.portraits.picture_map import FILE_NAME as PICTURE_FILE_NAME
from dp3d_core.portraits.picture_map import (
    PictureMap,
    PictureWindow,
    mirror_of_components,
    read_vertices,
    sides,
)
from dp3d_core.portraits.picture_map import learn as learn_picture_map
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import Subject, random_subject
from dp3d_core.trajectories import canonical_camera

Array = NDArray[np.float64]

TABLE_NAME = "bust_landmarks.json"
_SIDE = 320
_VIEWS = 4
"""Of each subject."""
_COMPONENTS = 60
_STRAY = 7.0
"""Millimetres of scatter above which a landmark is left out of the table."""
_WRONG_ROLL_DEG, _WRONG_PLACE = 25.0, 4.0
"""Roll beside that of the eyes, and sizes of the face, beyond which a detection is no face."""


_FIRST_PICTURE_SUBJECT, _FEWER_PICTURES = 100_000, 4
"""Number of the picture map's first subject, and how many times fewer they are."""
_SKY_RAYS = {"landmarks": 8, "pictures": 4}
_FAR_TURN, _FAR_PLACE = np.radians(35.0), 0.3
"""Errors of the landmark map, angles, and log scale or head units, beyond which a view is none of
the face that it should show."""


@dataclass(frozen=True)
class Sample:
    """One view's landmarks and truth."""

    points: Array
    depth: Array
    camera: Camera
    components: Array
    under: Array
    """(468, 3) millimetres of the average head under the landmarks; NaN where there is no skin,
    or where the person has an expression."""


def training_subject(seed: int) -> Subject:
    """A random subject whose face is not hidden by dark glasses."""
    subject = random_subject(seed)
    if subject.spec.glasses == "sun":
        subject = replace(subject, spec=replace(subject.spec, glasses=None))
    return subject


def sample_subject(seed: int) -> list[Sample]:
    """Landmarks and truth of some views of a subject; views without a face are left out."""
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
        under = np.full((POINTS, 3), np.nan)
        if not subject.spec.person.expression:
            under = _under(head, camera, points)
        samples.append(Sample(points, depth, camera, components, under))
    return samples


def picture_samples(
    seed: int, learned: LandmarkMap | None = None
) -> list[tuple[NDArray[np.float16], Array]]:
    """Inputs and outputs of the picture map in some views of a subject.

    Args:
        seed: of the subject and its views.
        learned: the landmark map that is corrected; None is that of the package.

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
        for mirrored, _ in sides(state):
            inputs, looked = window.inputs(state, read_vertices(), mirror, mirrored)
            goal = truth.mirrored(0.0, mirror) if mirrored else truth
            samples.append((inputs.astype(np.float16), looked.difference(goal)))
    return samples


def learn_pictures(samples: Sequence[tuple[NDArray[np.float16], Array]]) -> PictureMap:
    """The map from pictures to what landmarks leave; detections that are no faces are left out."""
    inputs = np.array([seen for seen, _ in samples], np.float32)
    outputs = np.array([difference for _, difference in samples])
    good = np.abs(outputs[:, :3]).max(1) < _FAR_TURN
    good &= np.abs(outputs[:, 3:POSE]).max(1) < _FAR_PLACE
    return learn_picture_map(inputs[good], outputs[good], read_vertices(), mirror_of_components())


def _components(subject: Subject) -> Array:
    """(_COMPONENTS,) of a subject's neutral head."""
    neutral = to_head_space(raw_vertices(subject.spec.person), adult_face_size())
    heads = prior()
    flat = heads.basis[:_COMPONENTS].reshape(_COMPONENTS, -1).astype(np.float64)
    return np.asarray(flat @ (neutral - heads.mean).ravel() / (flat**2).sum(1))


def _pose(camera: Camera) -> tuple[Array, float, Array]:
    """Angles, pixels for a head unit at the head's origin, and its pixel."""
    to_camera = camera.c2w[:3, :3].T
    depth = float((to_camera @ -camera.position)[2])
    return _angles(to_camera), float(camera.K[0, 0]) / depth, camera.project([[0.0, 0, 0]])[0][0]


def _random_camera(rng: np.random.Generator) -> Camera:
    yaw, pitch = rng.uniform(-75, 75), float(np.clip(rng.normal(0, 12), -30, 30))
    roll = np.radians(rng.normal(0, 6))
    camera = canonical_camera(
        float(yaw), pitch, _SIDE, radius=2.7 * float(rng.uniform(0.8, 1.5)), focal=2.9
    )
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return Camera(camera.c2w @ turn, camera.K, _SIDE, _SIDE)


def _under(head: SyntheticHead, camera: Camera, points: Array) -> Array:
    """(468, 3) millimetres of the average head that a camera sees at the landmarks."""
    hits = head.caster.cast(camera.position, camera.directions(points))
    facing = -(hits.normals * hits.directions).sum(1) > 0.3
    corners = head.head.mesh.faces[hits.face]
    facing &= np.isin(head.head.mesh.parts[corners[:, 0]], (Surface.SKIN, Surface.EYE))
    places = np.full((POINTS, 3), np.nan)
    places[hits.ray[facing]] = head.shader.rest(hits)[facing]
    return places


def learn_map(samples: Sequence[Sample], rounds: int = 3) -> LandmarkMap:
    """The map from landmarks to pose and shape; detections that are no faces are left out."""
    points = np.array([s.points for s in samples])
    depth = np.array([s.depth for s in samples])
    truth = []
    for sample in samples:
        pose = pose_outputs(sample.points, *_pose(sample.camera))
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
    data = head_data()
    quads = data.quads[data.quad_part <= BustPart.EYE_RIGHT]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    tree = cKDTree(rest[faces].mean(1))
    table = []
    for landmark in np.flatnonzero(good):
        nearest = (np.inf, faces[0], np.zeros(3))
        for face in faces[tree.query(both[landmark], k=12)[1]]:
            a, b, c = rest[face]
            share = np.linalg.lstsq(np.column_stack([b - a, c - a]), both[landmark] - a)[0]
            share = np.clip(share, 0, 1) / max(1.0, float(np.clip(share, 0, 1).sum()))
            weights = np.array([1 - share.sum(), *share])
            distance = float(np.linalg.norm(weights @ rest[face] - both[landmark]))
            if distance < nearest[0]:
                nearest = (distance, face, weights)
        spread = (scatter[landmark] + scatter[partner[landmark]]) / 2
        table.append(
            [
                int(landmark),
                *(int(v) for v in nearest[1]),
                *(round(float(w), 4) for w in nearest[2]),
                round(float(spread), 2),
            ]
        )
    return table


def main(folder: Path, count: int, processes: int) -> None:
    """Render, learn, and write the files."""
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
