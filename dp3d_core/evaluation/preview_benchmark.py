"""Benchmark of the preview engine on synthetic heads with known pose, mesh and views.

Each subject is photographed once, at a yaw of 0 to 60 degrees, and the engine gets the photo alone.
Two baselines use the photo at the engine's camera: the cut-out on a plane, and the photo projected
onto an ellipsoid.  Another engine, such as an older version, may run beside it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Indices32, Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import (
    WHOLE_HEAD_FOCAL,
    canonical_camera,
    rolled,
    rotation_error_deg,
)
from dp3d_core.evaluation.scores import Score, score
from dp3d_core.evaluation.surfaces import nearest_distances
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import Hits, RayCaster, render
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png, over

ANGLES = (0, 30, 60, 90, 135, 180)
"""Angles from the photo's camera to the novel cameras around the head, degrees."""
METHODS = ("preview", "plane", "ellipsoid")
"""The engine and its two baselines."""
GREY = (128, 128, 128)
"""Background of the novel views."""
_PHOTO_SIDE = 640
"""Side of the photos, pixels."""
_VIEW_SIDE = 256
"""Side of the novel views, pixels."""
_ELLIPSOID = np.array([0.18, 0.27, 0.23])
"""Semi-axes of the ellipsoid, head units."""
_CHIN = -0.2
"""Height above which meshes are compared, head units."""
_FACE = ((-0.12, 0.12), (_CHIN, 0.12), (0.02, 1.0))
"""Box of the face, head units."""
_PROFILE = (-72.0, 60.0, 4.0)
"""Heights at which profiles are compared: start, stop, step, millimetres."""
_ALIGN_ROUNDS = 10
"""Rounds of rigid alignment of a face."""


@dataclass(frozen=True)
class EngineResult:
    """Head and views that an engine makes of a photo."""

    c2w: Array
    """(4, 4) estimated pose of the photo's camera."""
    vertices: Array
    """(n, 3) vertices of the head, head units."""
    faces: Indices32
    """(m, 3) triangles of the head."""
    views: list[Pixels]
    """(h, w, 3) views at the novel cameras, over :data:`GREY`."""
    seconds: float
    """Time from the photo's bytes to a head that can be rendered."""


Engine = Callable[[bytes, list[Camera]], EngineResult]
"""Maps a photo (PNG) and novel cameras to a result."""


@dataclass(frozen=True)
class HeadErrors:
    """Errors of an engine on one subject."""

    pose_deg: float
    """Angle of the rotation between estimated and true camera."""
    mesh_percent: float
    """Mean distance between the surfaces above the chin, percent of the head's height."""
    face_percent: float
    """Mean distance of the true face to the surface after rigid alignment, percent of the head's
    height."""
    scores: dict[int, Score]
    """Scores of the novel views by angle."""
    seconds: float
    """Time from the photo's bytes to a head that can be rendered."""
    profile: Array
    """(k,) profile of the face (:func:`profile_of`), millimetres."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "pose_deg": round(self.pose_deg, 2),
            "mesh_percent": round(self.mesh_percent, 2),
            "face_percent": round(self.face_percent, 3),
            "seconds": round(self.seconds, 2),
            "scores": {str(angle): score.to_dict() for angle, score in self.scores.items()},
        }


@dataclass(frozen=True)
class Case:
    """Results for one subject."""

    seed: int
    """Seed of the subject."""
    yaw_deg: float
    """Yaw of the photo."""
    pose_deg: float
    """Angle of the rotation between estimated and true camera."""
    mesh_percent: float
    """Mean distance between the surfaces above the chin, percent of the head's height."""
    scores: dict[str, dict[int, Score]]
    """Scores of the novel views by method and angle."""
    seconds: float
    """Time from the photo's bytes to a head that can be rendered."""
    sheet: Pixels
    """Picture with a row for truth, each method and the other engine: photo, then views."""
    face_percent: float
    """Mean distance of the true face to the surface after rigid alignment, percent of the head's
    height."""
    mean_face_percent: float
    """Mean distance of the true face to the average head after rigid alignment, percent of the
    head's height."""
    profile: Array
    """(k,) profile of the face (:func:`profile_of`), millimetres."""
    true_profile: Array
    """(k,) true profile of the face, millimetres."""
    beside: HeadErrors | None = None
    """Errors of the other engine, if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seed": self.seed,
            "yaw_deg": round(self.yaw_deg, 2),
            "pose_deg": round(self.pose_deg, 2),
            "mesh_percent": round(self.mesh_percent, 2),
            "face_percent": round(self.face_percent, 3),
            "mean_face_percent": round(self.mean_face_percent, 3),
            "seconds": round(self.seconds, 2),
            "beside": None if self.beside is None else self.beside.to_dict(),
            "scores": {
                method: {str(angle): s.to_dict() for angle, s in by_angle.items()}
                for method, by_angle in self.scores.items()
            },
        }


def photograph(index: int, count: int, seed: int) -> tuple[SyntheticHead, Camera, float]:
    """Subject, camera and yaw of a case.

    Absolute yaws rise evenly from 0 to 60 degrees over the cases, on alternating sides; pitch is
    at most 12, roll at most 10 degrees.
    """
    rng = np.random.default_rng([seed, index])
    yaw = 60.0 * index / max(1, count - 1) * (1 if index % 2 else -1)
    camera = canonical_camera(yaw, float(rng.uniform(-12, 12)), _PHOTO_SIDE, focal=2.6)
    camera = rolled(camera, float(rng.uniform(-10, 10)))
    head = SyntheticHead(random_subject(seed * 1000 + index))
    return head, camera, yaw


def evaluate_heads(
    count: int,
    seed: int,
    beside: Engine | None = None,
    on_case: Callable[[list[Case]], None] | None = None,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> list[Case]:
    """Run the benchmark.

    Args:
        count: number of subjects.
        seed: seed of subjects and cameras.
        beside: another engine to run on the photos.
        on_case: called after each case with all cases so far.
        progress: stage ``heads``.
        cancel: polled between subjects.

    """
    stage = Stage("heads", count, progress, cancel, "Synthetic heads")
    cases: list[Case] = []
    for index in _spread(count):
        cases.append(_evaluate(*photograph(index, count, seed), beside))
        if on_case is not None:
            on_case(cases)
        stage.advance()
    return sorted(cases, key=lambda case: case.seed)


def _spread(count: int) -> list[int]:
    """Permutation of the numbers below ``count``; the first ones cover all yaws evenly."""
    golden = (5**0.5 - 1) / 2
    return sorted(range(count), key=lambda index: index * golden % 1)


def _evaluate(truth: SyntheticHead, camera: Camera, yaw: float, beside: Engine | None) -> Case:
    """Run engine and baselines on one photo and measure their errors."""
    photo = truth.render(camera).rgb
    png = encode_png(photo)
    side, pitch = 1.0 if yaw >= 0 else -1.0, camera.yaw_pitch_deg[1]
    cameras = [
        # rotate towards the side that the photo shows
        canonical_camera(yaw - side * angle, pitch, _VIEW_SIDE, focal=WHOLE_HEAD_FOCAL)
        for angle in ANGLES
    ]
    true_views = [over(truth.render(c).rgba, GREY) for c in cameras]
    portrait, preview = _preview_result(png, cameras)
    baselines = {"plane": _plane(portrait), "ellipsoid": _ellipsoid(portrait)}
    views = {"preview": preview.views} | {
        name: [render_view(c) for c in cameras] for name, render_view in baselines.items()
    }
    scores = {name: _scores(views[name], true_views) for name in METHODS}
    beside_result = None if beside is None else beside(png, cameras)
    rows = [
        true_views,
        *(views[n] for n in METHODS),
        *([beside_result.views] if beside_result else []),
    ]
    small = np.asarray(Image.fromarray(photo).resize((_VIEW_SIDE, _VIEW_SIDE)))
    sheet = np.concatenate([np.concatenate([small, *row], 1) for row in rows])
    errors = _errors(preview, truth, camera, scores["preview"])
    mean_head = BareHead.of(np.zeros(0), {}).mesh
    return Case(
        truth.subject.seed,
        yaw,
        errors.pose_deg,
        errors.mesh_percent,
        scores,
        errors.seconds,
        sheet,
        errors.face_percent,
        face_error_percent(mean_head, truth),
        errors.profile,
        profile_of(truth.head.mesh, truth.head.mesh.parts == Surface.SKIN),
        _errors(beside_result, truth, camera, _scores(beside_result.views, true_views))
        if beside_result
        else None,
    )


def _preview_result(png: bytes, cameras: list[Camera]) -> tuple[Portrait, EngineResult]:
    """Portrait and result of the preview engine."""
    started = time.perf_counter()
    portrait = load_portrait(png)
    head = PreviewHead(portrait)
    seconds = time.perf_counter() - started
    views = [head.render(camera).composite(GREY) for camera in cameras]
    mesh = head.mesh
    return portrait, EngineResult(portrait.camera.c2w, mesh.vertices, mesh.faces, views, seconds)


def _scores(views: list[Pixels], true_views: list[Pixels]) -> dict[int, Score]:
    """Score of each view by its angle."""
    return {
        angle: score([view], [true])
        for angle, view, true in zip(ANGLES, views, true_views, strict=True)
    }


def _errors(
    result: EngineResult, truth: SyntheticHead, camera: Camera, scores: dict[int, Score]
) -> HeadErrors:
    """Errors of a result in pose, mesh, face and profile."""
    pose = rotation_error_deg(result.c2w, camera.c2w)
    parts = np.zeros(len(result.vertices), np.uint8)
    mesh = Mesh.of(result.vertices, result.faces, parts)
    distances = mesh_error_percent(mesh, truth), face_error_percent(mesh, truth)
    profile = profile_of(mesh, np.ones(len(mesh.vertices), bool))
    return HeadErrors(pose, *distances, scores, result.seconds, profile)


def profile_of(mesh: Mesh, keep: Mask) -> Array:
    """(k,) depth of the face's midline from chin to forehead, minus its mean, millimetres.

    NaN where another surface lies in front.

    Args:
        mesh: the head, head units.
        keep: (n,) bool, vertices of the surface to measure.

    """
    heights = np.arange(*_PROFILE) * MM
    origins = np.stack([0 * heights, heights, np.full(len(heights), 2.0)], -1)
    hits = RayCaster(mesh).cast(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape).copy())
    depth = np.full(len(heights), np.nan)
    kept = keep[mesh.faces[hits.face, 0]]
    depth[hits.ray[kept]] = hits.points[kept, 2] / MM
    return depth - np.nanmean(depth) if kept.any() else depth


def face_error_percent(mesh: Mesh, truth: SyntheticHead) -> float:
    """Mean distance of the true face to a head after rigid alignment, percent of the true height.

    Alignment by iterated closest points to planes (Chen and Medioni 1992) leaves only errors of
    shape.  The face is the skin from chin to brow.
    """
    true = truth.head.mesh
    face_points, normals = _front(true, true.parts == Surface.SKIN)
    in_box = np.ones(len(face_points), bool)
    for axis, (low, high) in enumerate(_FACE):
        in_box &= (face_points[:, axis] > low) & (face_points[:, axis] < high)
    face_points, normals = face_points[in_box], normals[in_box]
    head_points, _ = _front(mesh, np.ones(len(mesh.vertices), bool))
    aligned, sample = face_points, np.s_[::4]
    tree = cKDTree(head_points)
    for _ in range(_ALIGN_ROUNDS):
        # the true face is moved, so that the tree of the head is built only once
        target = head_points[tree.query(aligned[sample])[1]]
        centre = aligned.mean(0)
        moments = np.cross(aligned[sample] - centre, normals[sample])
        residual = ((target - aligned[sample]) * normals[sample]).sum(1)
        motion = np.linalg.lstsq(np.hstack([moments, normals[sample]]), residual, rcond=None)[0]
        rotation, _ = cv2.Rodrigues(motion[:3])
        aligned, normals = (
            (aligned - centre) @ rotation.T + centre + motion[3:],
            normals @ rotation.T,
        )
    # along the normals: the sampled points are some thousandths of a head unit apart
    distance = ((head_points[tree.query(aligned)[1]] - aligned) * normals).sum(1)
    return float(np.abs(distance).mean()) / _height(truth) * 100


def _front(mesh: Mesh, keep: Mask) -> tuple[Array, Array]:
    """Points and normals of a head visible from the front and from 45 degrees on both sides."""
    caster, points, normals = RayCaster(mesh), [], []
    for yaw in (-45.0, 0.0, 45.0):
        camera = canonical_camera(yaw, 0, 256, focal=WHOLE_HEAD_FOCAL)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = caster.cast(camera.position, rays)
        kept = keep[mesh.faces[hits.face, 0]] & (hits.points[:, 2] > 0)
        points.append(hits.points[kept])
        normals.append(hits.normals[kept])
    return np.concatenate(points), np.concatenate(normals)


def _accessories(mesh: Mesh) -> Mask:
    """(n,) whether vertices belong to glasses or clothes."""
    return np.isin(mesh.parts, (Surface.GLASSES, Surface.CLOTHES))


def _height(truth: SyntheticHead) -> float:
    """Height from chin to crown with hair, head units."""
    true = truth.head.mesh
    return float(np.ptp(true.vertices[(true.vertices[:, 1] > _CHIN) & ~_accessories(true), 1]))


def mesh_error_percent(mesh: Mesh, truth: SyntheticHead) -> float:
    """Mean distance between two heads above the chin, in both directions, percent of the height.

    Without alignment: errors of scale and position count.
    """
    true = truth.head.mesh
    true_points = _dense(true, ~_accessories(true))
    points = _dense(mesh, np.ones(len(mesh.vertices), bool))
    to_truth, to_mesh = (
        nearest_distances(points, true_points),
        nearest_distances(true_points, points),
    )
    return float((to_truth.mean() + to_mesh.mean()) / 2 / _height(truth) * 100)


def _dense(mesh: Mesh, keep: Mask) -> Array:
    """Points (n, 3) of the outer surface above the chin, by rays from all around."""
    caster = RayCaster(mesh)
    points = []
    for yaw in range(0, 360, 30):
        for pitch in (-10, 30):
            camera = canonical_camera(float(yaw), float(pitch), 96, focal=WHOLE_HEAD_FOCAL)
            hits = caster.cast(
                camera.position, camera.directions(camera.pixel_centres()).reshape(-1, 3)
            )
            kept = keep[mesh.faces[hits.face, 0]] & (hits.points[:, 1] > _CHIN)
            points.append(hits.points[kept])
    return np.concatenate(points)


def _plane(portrait: Portrait) -> Any:
    """Baseline: the cut-out photo on a plane through the head's origin, facing its camera."""
    camera = portrait.camera
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * float(camera.width)
    rays = camera.directions(corners)
    forward = camera.c2w[:3, 2]
    distance = -(camera.position @ forward) / (rays @ forward)
    vertices = camera.position + rays * distance[:, None]
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    mesh = Mesh.of(vertices, faces, np.zeros(4, np.uint8))
    return _projected(portrait, mesh, cut_out=True)


def _ellipsoid(portrait: Portrait) -> Any:
    """Baseline: the photo projected through an ellipsoid of a head's size."""
    v, u = np.mgrid[0:33, 0:64]
    polar, longitude = v * np.pi / 32, u * 2 * np.pi / 64
    unit = np.stack(
        [np.sin(polar) * np.sin(longitude), np.cos(polar), np.sin(polar) * np.cos(longitude)], -1
    )
    index = np.arange(33 * 64, dtype=np.int32).reshape(33, 64)
    a, b = index[:-1], np.roll(index, -1, 1)[:-1]
    c, d = np.roll(index, -1, 1)[1:], index[1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, c), (a, c, b))])
    vertices = unit.reshape(-1, 3) * _ELLIPSOID
    mesh = Mesh.of(vertices, faces, np.zeros(len(vertices), np.uint8))
    return _projected(portrait, mesh, cut_out=False)


def _projected(portrait: Portrait, mesh: Mesh, cut_out: bool) -> Any:
    """Renderer of a mesh with the photo projected onto it, with the matte as alpha if cut out."""
    caster = RayCaster(mesh)
    projection = Projection.of(portrait, caster)
    matte = portrait.matte.astype(np.float64) / 255 * portrait.inside

    def shade(hits: Hits) -> Array:
        return projection.colours_at(hits.points)

    def view(camera: Camera) -> Pixels:
        rendered = render(caster, camera, shade)
        if cut_out:
            alpha = np.zeros(rendered.alpha.size)
            uv = np.clip(
                portrait.camera.project(rendered.hits.points)[0], 0, portrait.camera.width - 1
            )
            alpha[rendered.hits.ray] = matte[uv[:, 1].astype(int), uv[:, 0].astype(int)]
            rendered = dataclasses.replace(rendered, alpha=alpha.reshape(rendered.alpha.shape))
        return rendered.composite(GREY)

    return view
