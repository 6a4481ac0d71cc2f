"""Benchmark of heads from several photos of synthetic people with known poses, mesh and views.

Each person is photographed from the front, from one side, from behind and from the other side, with
other exposure and white balance each time.  The engine gets one to four of the photos, without
poses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dp3d_core.arrays import Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import (
    WHOLE_HEAD_FOCAL,
    canonical_camera,
    rolled,
    rotation_error_deg,
)
from dp3d_core.evaluation.preview_benchmark import (
    ANGLES,
    GREY,
    face_error_percent,
    mesh_error_percent,
)
from dp3d_core.evaluation.scores import Score, score
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.portraits.references import PhotoSource, load_person
from dp3d_core.preview.head import PreviewHead
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png, over

PHOTOS = ("front", "side", "back", "other side")
"""Photos of a person, in the order in which they are given."""
_PHOTO_SIDE = 640
"""Side of the photos, pixels."""
_VIEW_SIDE = 256
"""Side of the novel views, pixels."""
_FOCAL = 2.6
"""Focal length of the photos, image widths."""
_EXPOSURE = 0.12
"""Standard deviation of the log exposure of further photos."""
_BALANCE = 0.05
"""Standard deviation of the log gain of each channel of further photos."""
_STRANGERS_SEED = 900_000
"""Seed of the first person who is not the one in the other photos."""


@dataclass(frozen=True)
class Shot:
    """A photo of a person with its true camera."""

    image: Pixels
    camera: Camera


@dataclass(frozen=True)
class PhotosCase:
    """Results for one person.

    Attributes:
        seed: seed of the person.
        scores: number of photos to angle to score of the view there.
        mesh_percent: number of photos to mean distance of the surfaces above the chin, percent of
            the head's height.
        face_percent: number of photos to mean distance of the true face after rigid alignment.
        pose_deg: angles between estimated and true cameras of the further photos, degrees.
        left_out: whether each further photo was left out.
        stranger_left_out: whether a photo of somebody else was left out.
        sheet: truth, then the views from one to four photos; the added photo first.

    """

    seed: int
    scores: dict[int, dict[int, Score]]
    mesh_percent: dict[int, float]
    face_percent: dict[int, float]
    pose_deg: list[float]
    left_out: list[bool]
    stranger_left_out: bool
    sheet: Pixels

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seed": self.seed,
            "scores": {
                str(count): {str(angle): s.to_dict() for angle, s in by_angle.items()}
                for count, by_angle in self.scores.items()
            },
            "mesh_percent": {str(c): round(v, 3) for c, v in self.mesh_percent.items()},
            "face_percent": {str(c): round(v, 3) for c, v in self.face_percent.items()},
            "pose_deg": [round(v, 2) for v in self.pose_deg],
            "left_out": self.left_out,
            "stranger_left_out": self.stranger_left_out,
        }


def photograph_person(seed: int) -> tuple[SyntheticHead, float, list[Shot]]:
    """A person, the side (-1 or 1) of the second photo, and the four photos :data:`PHOTOS`."""
    rng = np.random.default_rng([seed, 21])
    head = SyntheticHead(random_subject(21_000 + seed))
    side = 1.0 if rng.random() < 0.5 else -1.0
    yaws = [
        rng.uniform(-12, 12),
        side * rng.uniform(65, 95),
        180 + rng.uniform(-20, 20),
        -side * rng.uniform(40, 90),
    ]
    shots = []
    for index, yaw in enumerate(yaws):
        gain = np.ones(3)
        if index:
            gain = np.exp(rng.normal(0, _EXPOSURE)) * np.exp(rng.normal(0, _BALANCE, 3))
        camera = canonical_camera(
            float(yaw), float(rng.uniform(-10, 10)), _PHOTO_SIDE, focal=_FOCAL
        )
        camera = rolled(camera, float(rng.uniform(-6, 6)))
        image = np.clip(head.render(camera).rgb * gain, 0, 255).astype(np.uint8)
        shots.append(Shot(image, camera))
    return head, side, shots


def evaluate_photos(
    count: int,
    seed: int,
    on_case: Callable[[list[PhotosCase]], None] | None = None,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> list[PhotosCase]:
    """Run the benchmark.

    Args:
        count: number of people.
        seed: seed of the first person.
        on_case: called after each person with all cases so far.
        progress: stage ``photos``.
        cancel: polled between people.

    """
    stage = Stage("photos", count, progress, cancel, "People")
    cases: list[PhotosCase] = []
    for index in range(count):
        cases.append(_evaluate(seed + index))
        if on_case is not None:
            on_case(cases)
        stage.advance()
    return cases


def _evaluate(seed: int) -> PhotosCase:
    """Fit heads to one to four photos of a person and measure them."""
    truth, side, shots = photograph_person(seed)
    yaw, pitch = shots[0].camera.yaw_pitch_deg
    cameras = [
        canonical_camera(yaw + side * angle, pitch, _VIEW_SIDE, focal=WHOLE_HEAD_FOCAL)
        for angle in ANGLES
    ]
    true_views = [over(truth.render(camera).rgba, GREY) for camera in cameras]
    rows = [np.concatenate([_small(shots[0].image), *true_views], 1)]
    scores: dict[int, dict[int, Score]] = {}
    meshes: dict[int, float] = {}
    faces: dict[int, float] = {}
    pngs = [encode_png(shot.image) for shot in shots]
    head: PreviewHead | None = None
    for number in range(1, len(shots) + 1):
        further = [PhotoSource(png, name=name) for png, name in zip(pngs, PHOTOS, strict=True)]
        head = PreviewHead(load_person(pngs[0], further[1:number]))
        views = [head.render(camera).composite(GREY) for camera in cameras]
        scores[number] = {
            angle: score([view], [true])
            for angle, view, true in zip(ANGLES, views, true_views, strict=True)
        }
        mesh = Mesh.of(
            head.mesh.vertices, head.mesh.faces, np.zeros(len(head.mesh.vertices), np.uint8)
        )
        meshes[number] = mesh_error_percent(mesh, truth)
        faces[number] = face_error_percent(mesh, truth)
        rows.append(np.concatenate([_small(shots[number - 1].image), *views], 1))
    assert head is not None  # there are four photos
    poses = [
        rotation_error_deg(use.camera.c2w, shot.camera.c2w)
        for use, shot in zip(head.photos, shots[1:], strict=True)
    ]
    return PhotosCase(
        seed,
        scores,
        meshes,
        faces,
        poses,
        [not use.used for use in head.photos],
        _leaves_stranger_out(seed, pngs),
        np.concatenate(rows),
    )


def _leaves_stranger_out(seed: int, pngs: Sequence[bytes]) -> bool:
    """Whether a photo of somebody else among those of a person is left out, and no other."""
    _, _, strangers = photograph_person(_STRANGERS_SEED + seed)
    stranger = strangers[1 + seed % 3].image
    further = [PhotoSource(pngs[1], name="own"), PhotoSource(encode_png(stranger), name="stranger")]
    uses = PreviewHead(load_person(pngs[0], further)).photos
    return [use.name for use in uses if not use.used] == ["stranger"]


def _small(image: Pixels) -> Pixels:
    """A photo at the size of the views."""
    return np.asarray(Image.fromarray(image).resize((_VIEW_SIDE, _VIEW_SIDE)))


def photos_summary(cases: Sequence[PhotosCase]) -> dict[str, Any]:
    """Means over the people, medians of pose errors, and counts of photos left out."""
    numbers = range(1, len(PHOTOS) + 1)
    poses = [error for case in cases for error in case.pose_deg]
    return {
        "people": len(cases),
        "psnr": {
            str(n): {
                str(a): round(float(np.mean([c.scores[n][a].psnr for c in cases])), 2)
                for a in ANGLES
            }
            for n in numbers
        },
        "ssim": {
            str(n): {
                str(a): round(float(np.mean([c.scores[n][a].ssim for c in cases])), 4)
                for a in ANGLES
            }
            for n in numbers
        },
        "mesh_percent": {
            str(n): round(float(np.mean([c.mesh_percent[n] for c in cases])), 3) for n in numbers
        },
        "face_percent": {
            str(n): round(float(np.mean([c.face_percent[n] for c in cases])), 3) for n in numbers
        },
        "pose_deg": {
            "median": round(float(np.median(poses)), 2),
            "p90": round(float(np.quantile(poses, 0.9)), 2),
        },
        "own_left_out": sum(sum(case.left_out) for case in cases),
        "strangers_left_out": sum(case.stranger_left_out for case in cases),
    }
