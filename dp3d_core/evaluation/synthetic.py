"""The preview engine on synthetic heads, whose pose, mesh and other views are exactly known.

Each subject is photographed once, from 0 to 60 degrees off its front; the photo alone is given to
the engine.  Beside it stand two heads that anybody could make of the same photo at the same
camera: the cut-out on a plane, and the photo projected through an ellipsoid.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.evaluation.scores import Score, score
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.engine import PreviewHead
from dp3d_core.preview.projection import Projection
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.raycast import Hits, RayCaster, render
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
from dp3d_core.viewset import encode_png, over

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

ANGLES = (0, 30, 60, 90, 135, 180)
"""Degrees from the photo's camera to a novel one, around the head."""
METHODS = ("preview", "plane", "ellipsoid")
GREY = (128, 128, 128)
"""Behind the heads in the novel views."""
_PHOTO_SIDE, _VIEW_SIDE = 640, 256
_ELLIPSOID = np.array([0.18, 0.27, 0.23])
"""Half axes of the ellipsoid, head units."""
_CHIN = -0.2
"""Height above which meshes are compared, head units."""


@dataclass(frozen=True)
class Case:
    """One subject: what was found and how near it comes."""

    seed: int
    yaw_deg: float
    """Of the photo."""
    pose_deg: float
    """Angle of the rotation between the found camera and the true one."""
    mesh_percent: float
    """Mean distance between the surfaces above the chin, percent of the head's height."""
    scores: dict[str, dict[int, Score]]
    """By method and angle."""
    seconds: float
    """From the photo's bytes to a head that can be rendered."""
    sheet: Pixels
    """The photo, then a row of views for truth and each method."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seed": self.seed,
            "yaw_deg": round(self.yaw_deg, 2),
            "pose_deg": round(self.pose_deg, 2),
            "mesh_percent": round(self.mesh_percent, 2),
            "seconds": round(self.seconds, 2),
            "scores": {
                method: {str(angle): s.to_dict() for angle, s in found.items()}
                for method, found in self.scores.items()
            },
        }


def photograph(index: int, count: int, seed: int) -> tuple[SyntheticHead, Camera, float]:
    """Subject, camera and yaw of a case: yaws go evenly from 0 to 60 degrees, to both sides.

    Pitch and roll are at most 12 and 10 degrees.
    """
    rng = np.random.default_rng([seed, index])
    yaw = 60.0 * index / max(1, count - 1) * (1 if index % 2 else -1)
    camera = canonical_camera(yaw, float(rng.uniform(-12, 12)), _PHOTO_SIDE, focal=2.6)
    roll = np.radians(rng.uniform(-10, 10))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    head = SyntheticHead(random_subject(seed * 1000 + index))
    return head, Camera(camera.c2w @ turn, camera.K, camera.width, camera.height), yaw


def evaluate_heads(
    count: int, seed: int, *, progress: ProgressCallback, cancel: CancelCheck
) -> list[Case]:
    """Score the engine on synthetic heads.

    Args:
        count: subjects.
        seed: of subjects and cameras.
        progress: stage ``heads``.
        cancel: polled between subjects.

    """
    stage = Stage("heads", count, progress, cancel, "Synthetic heads")
    cases = []
    for index in range(count):
        cases.append(_evaluate(*photograph(index, count, seed)))
        stage.advance()
    return cases


def _evaluate(truth: SyntheticHead, camera: Camera, yaw: float) -> Case:
    photo = truth.render(camera).rgb
    started = time.perf_counter()
    portrait = load_portrait(encode_png(photo))
    head = PreviewHead(portrait)
    seconds = time.perf_counter() - started
    turn = camera.c2w[:3, :3].T @ portrait.camera.c2w[:3, :3]
    pose = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))

    side, pitch = 1.0 if yaw >= 0 else -1.0, camera.yaw_pitch_deg[1]
    cameras = [
        # away from the side that the photo shows least
        canonical_camera(yaw - side * angle, pitch, _VIEW_SIDE, focal=WHOLE_HEAD_FOCAL)
        for angle in ANGLES
    ]
    true_views = [over(truth.render(c).rgba, GREY) for c in cameras]
    ways = {"plane": _plane(portrait), "ellipsoid": _ellipsoid(portrait)}
    views = {
        "preview": [head.render(c).composite(GREY) for c in cameras],
        **{name: [way(c) for c in cameras] for name, way in ways.items()},
    }
    scores = {
        name: {
            angle: score([view], [true])
            for angle, view, true in zip(ANGLES, views[name], true_views, strict=True)
        }
        for name in METHODS
    }
    small = np.asarray(Image.fromarray(photo).resize((_VIEW_SIDE, _VIEW_SIDE)))
    sheet = np.concatenate(
        [np.concatenate([small, *row], 1) for row in (true_views, *(views[n] for n in METHODS))]
    )
    error = mesh_error_percent(head.mesh, truth)
    return Case(truth.subject.seed, yaw, pose, error, scores, seconds, sheet)


def mesh_error_percent(mesh: Mesh, truth: SyntheticHead) -> float:
    """Mean distance between two heads above the chin, both ways, percent of the true height.

    Each in its own head space: a wrong scale or place counts.
    """
    true = truth.head.mesh
    worn = np.isin(true.parts, (Surface.GLASSES, Surface.CLOTHES))
    theirs = _dense(true, ~worn)
    ours = _dense(mesh, np.ones(len(mesh.vertices), bool))
    height = float(np.ptp(true.vertices[(true.vertices[:, 1] > _CHIN) & ~worn, 1]))
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float((there.mean() + back.mean()) / 2 / height * 100)


def _dense(mesh: Mesh, keep: NDArray[np.bool_]) -> Array:
    """The outer surface above the chin as points: what rays from all around meet."""
    caster = RayCaster(mesh)
    points = []
    for yaw in range(0, 360, 30):
        for pitch in (-10, 30):
            camera = canonical_camera(float(yaw), float(pitch), 96, focal=WHOLE_HEAD_FOCAL)
            hits = caster.cast(
                camera.position, camera.directions(camera.pixel_centres()).reshape(-1, 3)
            )
            good = keep[mesh.faces[hits.face, 0]] & (hits.points[:, 1] > _CHIN)
            points.append(hits.points[good])
    return np.concatenate(points)


def _plane(portrait: Portrait) -> Any:
    """The cut-out photo on a plane through the middle of the head, facing its camera."""
    camera = portrait.camera
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * float(camera.width)
    rays = camera.directions(corners)
    forward = camera.c2w[:3, 2]
    reach = -(camera.position @ forward) / (rays @ forward)
    vertices = camera.position + rays * reach[:, None]
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    mesh = Mesh.of(vertices, faces, np.zeros(4, np.uint8))
    return _projected(portrait, mesh, cut_out=True)


def _ellipsoid(portrait: Portrait) -> Any:
    """The photo projected onto, and through, an ellipsoid of a head's size."""
    v, u = np.mgrid[0:33, 0:64]
    polar, around = v * np.pi / 32, u * 2 * np.pi / 64
    unit = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1
    )
    index = np.arange(33 * 64, dtype=np.int32).reshape(33, 64)
    a, b = index[:-1], np.roll(index, -1, 1)[:-1]
    c, d = np.roll(index, -1, 1)[1:], index[1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, c), (a, c, b))])
    vertices = unit.reshape(-1, 3) * _ELLIPSOID
    mesh = Mesh.of(vertices, faces, np.zeros(len(vertices), np.uint8))
    return _projected(portrait, mesh, cut_out=False)


def _projected(portrait: Portrait, mesh: Mesh, cut_out: bool) -> Any:
    caster = RayCaster(mesh)
    projection = Projection.of(portrait, caster)
    matte = portrait.matte.astype(np.float64) / 255 * portrait.inside

    def shade(hits: Hits) -> Array:
        return projection.colours_at(hits.points)

    def view(camera: Camera) -> Pixels:
        seen = render(caster, camera, shade)
        if cut_out:
            alpha = np.zeros(seen.alpha.size)
            uv = np.clip(portrait.camera.project(seen.hits.points)[0], 0, portrait.camera.width - 1)
            alpha[seen.hits.ray] = matte[uv[:, 1].astype(int), uv[:, 0].astype(int)]
            seen = dataclasses.replace(seen, alpha=alpha.reshape(seen.alpha.shape))
        return seen.composite(GREY)

    return view


def summary(cases: list[Case]) -> dict[str, Any]:
    """Medians over the cases: pose, mesh, seconds, and means of the scores by method and angle."""
    pose = np.array([case.pose_deg for case in cases])
    yaw = np.abs([case.yaw_deg for case in cases])
    bands = {"0-20": (0, 20.5), "20-40": (20.5, 40.5), "40-60": (40.5, 61)}
    return {
        "count": len(cases),
        "pose_deg": {
            "median": round(float(np.median(pose)), 2),
            "p90": round(float(np.percentile(pose, 90)), 2),
            "worst": round(float(pose.max()), 2),
            **{
                f"median at yaw {name}": round(float(np.median(pose[(yaw >= a) & (yaw < b)])), 2)
                for name, (a, b) in bands.items()
                if ((yaw >= a) & (yaw < b)).any()
            },
        },
        "mesh_percent": round(float(np.median([case.mesh_percent for case in cases])), 2),
        "seconds": round(float(np.median([case.seconds for case in cases])), 2),
        "scores": {
            method: {
                str(angle): {
                    "ssim": round(float(np.mean([c.scores[method][angle].ssim for c in cases])), 3),
                    "psnr": round(float(np.mean([c.scores[method][angle].psnr for c in cases])), 2),
                }
                for angle in ANGLES
            }
            for method in METHODS
        },
    }


def summary_lines(found: dict[str, Any]) -> list[str]:
    """The summary for people."""
    pose = ", ".join(f"{name} {value}" for name, value in found["pose_deg"].items())
    lines = [
        f"{found['count']} heads, {found['seconds']} s each (median)",
        f"pose error, degrees: {pose}",
        f"mesh error, median: {found['mesh_percent']} % of head height",
        f"{'SSIM / PSNR at':16}" + "".join(f"{angle:>15}" for angle in ANGLES),
    ]
    for method, by_angle in found["scores"].items():
        cells = [f"{by_angle[str(a)]['ssim']:.3f} / {by_angle[str(a)]['psnr']:.2f}" for a in ANGLES]
        lines.append(f"{method:16}" + "".join(f"{cell:>15}" for cell in cells))
    return lines
