"""Train the view map on rendered subjects seen from the side and from behind.

``python -m dp3d_core.synthetic.view_training FOLDER [COUNT]`` renders 16 views of each subject
into FOLDER, where an interrupted run resumes, and writes the map there.  A subject takes about four
seconds on one core, learning eight minutes.  Not part of the run-time path.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dp3d_core.arrays import Array, Array32, Pixels
from dp3d_core.cameras.camera import Camera, canonical_intrinsics
from dp3d_core.cameras.trajectories import canonical_camera, rolled, yaw_pitch_roll_deg
from dp3d_core.portraits.crop import CROP_FOCAL, Crop
from dp3d_core.portraits.view_map import (
    COARSE_SIZE,
    FILE_NAME,
    FINE_SIZE,
    OUTPUTS,
    Stage,
    ViewMap,
    gradient_features,
    person_features,
)
from dp3d_core.storage.files import write_atomic
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject

_FIRST_SUBJECT = 770_000
"""Seed of the first subject, away from those of benchmarks."""
_VIEWS = 16
"""Number of views of a subject."""
_SIDE = 176
"""Side of the views, pixels."""
_FOCAL = 2.4
"""Focal length of the views, image widths: the canonical crop with a margin."""
_LEAST_YAW_DEG = 40.0
"""Least absolute yaw of a view."""
_SKY_RAYS = 4
"""Rays of the sky, fewer than usual for speed."""
_ROUGH = (0.18, 0.08)
"""Standard deviations of log side and position (sides) of the coarse stage's windows."""
_NEAR = (0.06, 0.03)
"""Standard deviations of log side and position (sides) of the fine stage's windows."""
_WINDOWS = 2
"""Number of windows of each view."""


def render_views(subject: int) -> tuple[Pixels, Array]:
    """Views (k, s, s, 3) of a subject and their poses (k, 4, 4) camera-to-world."""
    rng = np.random.default_rng([subject, 77])
    head = SyntheticHead(random_subject(_FIRST_SUBJECT + subject), sky_rays=_SKY_RAYS)
    images, poses = [], []
    for _ in range(_VIEWS):
        yaw = float(rng.uniform(_LEAST_YAW_DEG, 180)) * (1 if rng.random() < 0.5 else -1)
        pitch = float(np.clip(rng.normal(0, 9), -25, 25))
        camera = rolled(canonical_camera(yaw, pitch, _SIDE, focal=_FOCAL), float(rng.normal(0, 5)))
        images.append(head.render(camera).rgb)
        poses.append(camera.c2w)
    return np.array(images, np.uint8), np.array(poses)


def training_windows(
    images: Pixels,
    poses: Array,
    spread: tuple[float, float],
    features_of: Callable[[Pixels, Crop], Array32],
    rng: np.random.Generator,
) -> tuple[list[Array32], list[Array]]:
    """Features and true outputs of random windows around a subject's head, half of them mirrored.

    Args:
        images: (k, s, s, 3) views.
        poses: (k, 4, 4) camera-to-world.
        spread: standard deviations of log side and position (sides) about the canonical crop.
        features_of: features of a window of a photo.
        rng: random generator.

    """
    features, outputs = [], []
    canonical = _SIDE * _FOCAL / CROP_FOCAL
    for image, pose in zip(images, poses, strict=True):
        camera = Camera(pose, canonical_intrinsics(_SIDE), _SIDE, _SIDE)
        yaw, pitch, roll = np.radians(yaw_pitch_roll_deg(camera))
        for _ in range(_WINDOWS):
            side = canonical * float(np.exp(rng.normal(0, spread[0])))
            offset = rng.normal(0, spread[1], 2)
            centre = _SIDE / 2 - offset * side
            source, sign = image, 1.0
            if rng.random() < 0.5:
                source, sign = np.ascontiguousarray(image[:, ::-1]), -1.0
                centre[0] = _SIDE - centre[0]
            window = Crop.around(float(centre[0]), float(centre[1]), side)
            features.append(features_of(source, window))
            log_side = float(np.log(canonical / side))
            outputs.append(
                np.array(
                    [
                        np.cos(yaw), sign * np.sin(yaw), pitch, sign * roll,
                        log_side, sign * offset[0], offset[1],
                    ]
                )
            )  # fmt: skip
    return features, outputs


def learn_views(subjects: Sequence[tuple[Pixels, Array]], seed: int = 0) -> ViewMap:
    """Learn both stages from the views of subjects (:func:`render_views`)."""
    stages = []
    kinds = ((_ROUGH, gradient_features, COARSE_SIZE), (_NEAR, person_features, FINE_SIZE))
    for spread, features_of, size in kinds:
        rng = np.random.default_rng(seed)
        features: list[Array32] = []
        outputs: list[Array] = []
        for images, poses in subjects:
            of_subject = training_windows(images, poses, spread, features_of, rng)
            features += of_subject[0]
            outputs += of_subject[1]
        targets = np.array(outputs).reshape(-1, OUTPUTS)
        stages.append(Stage.learn(np.array(features, np.float32), targets, size))
    return ViewMap(*stages)


def main(folder: Path, count: int) -> None:
    """Render subjects, learn the map, and write it."""
    import io

    subjects = []
    for subject in range(count):
        path = folder / f"{subject:05d}.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                subjects.append((archive["ims"], archive["c2w"]))
            continue
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            subjects.append(render_views(subject))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, ims=subjects[-1][0], c2w=subjects[-1][1])
        write_atomic(path, buffer.getvalue())
        if subject % 50 == 49:
            print(f"{subject + 1} of {count} subjects", file=sys.stderr)
    learn_views(subjects).save(folder / FILE_NAME)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 860)
