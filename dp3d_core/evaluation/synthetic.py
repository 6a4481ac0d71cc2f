"""The preview engine on synthetic heads, whose pose, mesh and other views are exactly known.

Each subject is photographed once, from 0 to 60 degrees off its front; the photo alone is given to
the engine.  Beside it stand two heads that anybody could make of the same photo at the same
camera: the cut-out on a plane, and the photo projected through an ellipsoid.  Another engine, such
as that of an older version, may be given the same photos.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.evaluation.scores import Score, score
from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.bare_head import BareHead
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
_FACE = ((-0.12, 0.12), (_CHIN, 0.12), (0.02, 1.0))
"""Box of the face, head units."""
_PROFILE = (-72.0, 60.0, 4.0)
"""Heights, millimetres, at which profiles are compared."""
_ALIGN_ROUNDS = 10


@dataclass(frozen=True)
class Answer:
    """What an engine makes of a photo."""

    c2w: Array
    """(4, 4) pose of the photo's camera."""
    vertices: Array
    """(n, 3) of the head, head space."""
    faces: NDArray[np.int32]
    """(m, 3)."""
    views: list[Pixels]
    """(h, w, 3) at the cameras asked for, over :data:`GREY`."""
    seconds: float
    """From the photo's bytes to a head that can be rendered."""


Engine = Callable[[bytes, list[Camera]], Answer]
"""A PNG and the cameras of the views to an answer."""


@dataclass(frozen=True)
class Found:
    """How near an engine comes to one subject."""

    pose_deg: float
    """Angle of the rotation between the found camera and the true one."""
    mesh_percent: float
    """Mean distance between the surfaces above the chin, percent of the head's height."""
    face_percent: float
    """Mean distance of the true face to the found surface after the best rigid placement."""
    scores: dict[int, Score]
    """By angle."""
    seconds: float
    profile: Array
    """(k,) as :func:`profile_of`."""

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
    """The photo, then a row of views for truth, each method and the engine beside it."""
    face_percent: float
    """Mean distance of the true face to the found surface after the best rigid placement, percent
    of the head's height."""
    mean_face_percent: float
    """Mean distance of the true face to the mean head's surface, placed and counted alike."""
    profile: Array
    true_profile: Array
    """(k,) as :func:`profile_of`, found and true."""
    beside: Found | None = None
    """The other engine, if there is one."""

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
    count: int,
    seed: int,
    beside: Engine | None = None,
    on_case: Callable[[list[Case]], None] | None = None,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> list[Case]:
    """Score the engine on synthetic heads.

    Args:
        count: subjects.
        seed: of subjects and cameras.
        beside: another engine that gets the same photos.
        on_case: called with the cases so far after each.
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
    """All numbers below ``count``, so that the first ones of any run cover all yaws evenly."""
    golden = (5**0.5 - 1) / 2
    return sorted(range(count), key=lambda index: index * golden % 1)


def _evaluate(truth: SyntheticHead, camera: Camera, yaw: float, beside: Engine | None) -> Case:
    photo = truth.render(camera).rgb
    png = encode_png(photo)
    side, pitch = 1.0 if yaw >= 0 else -1.0, camera.yaw_pitch_deg[1]
    cameras = [
        # away from the side that the photo shows least
        canonical_camera(yaw - side * angle, pitch, _VIEW_SIDE, focal=WHOLE_HEAD_FOCAL)
        for angle in ANGLES
    ]
    true_views = [over(truth.render(c).rgba, GREY) for c in cameras]
    portrait, own = _own_answer(png, cameras)
    ways = {"plane": _plane(portrait), "ellipsoid": _ellipsoid(portrait)}
    views = {"preview": own.views} | {n: [way(c) for c in cameras] for n, way in ways.items()}
    scores = {name: _scores(views[name], true_views) for name in METHODS}
    other = None if beside is None else beside(png, cameras)
    rows = [true_views, *(views[n] for n in METHODS), *([other.views] if other else [])]
    small = np.asarray(Image.fromarray(photo).resize((_VIEW_SIDE, _VIEW_SIDE)))
    sheet = np.concatenate([np.concatenate([small, *row], 1) for row in rows])
    found = _judged(own, truth, camera, scores["preview"])
    mean_head = BareHead.of(np.zeros(0), {}).mesh
    return Case(
        truth.subject.seed,
        yaw,
        found.pose_deg,
        found.mesh_percent,
        scores,
        found.seconds,
        sheet,
        found.face_percent,
        face_error_percent(mean_head, truth),
        found.profile,
        profile_of(truth.head.mesh, truth.head.mesh.parts == Surface.SKIN),
        _judged(other, truth, camera, _scores(other.views, true_views)) if other else None,
    )


def _own_answer(png: bytes, cameras: list[Camera]) -> tuple[Portrait, Answer]:
    started = time.perf_counter()
    portrait = load_portrait(png)
    head = PreviewHead(portrait)
    seconds = time.perf_counter() - started
    views = [head.render(camera).composite(GREY) for camera in cameras]
    mesh = head.mesh
    return portrait, Answer(portrait.camera.c2w, mesh.vertices, mesh.faces, views, seconds)


def _scores(views: list[Pixels], true_views: list[Pixels]) -> dict[int, Score]:
    return {
        angle: score([view], [true])
        for angle, view, true in zip(ANGLES, views, true_views, strict=True)
    }


def _judged(
    answer: Answer, truth: SyntheticHead, camera: Camera, scores: dict[int, Score]
) -> Found:
    turn = camera.c2w[:3, :3].T @ answer.c2w[:3, :3]
    pose = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    parts = np.zeros(len(answer.vertices), np.uint8)
    mesh = Mesh.of(answer.vertices, answer.faces, parts)
    near = mesh_error_percent(mesh, truth), face_error_percent(mesh, truth)
    profile = profile_of(mesh, np.ones(len(mesh.vertices), bool))
    return Found(pose, *near, scores, answer.seconds, profile)


def profile_of(mesh: Mesh, keep: NDArray[np.bool_]) -> Array:
    """(k,) depth of the face's middle at heights from the chin to the forehead, millimetres.

    About their mean; NaN where something else than the surface to be kept is met first.

    Args:
        mesh: head space.
        keep: (n,) vertices of the surface that counts.

    """
    heights = np.arange(*_PROFILE) * MM
    origins = np.stack([0 * heights, heights, np.full(len(heights), 2.0)], -1)
    hits = RayCaster(mesh).cast(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape).copy())
    depth = np.full(len(heights), np.nan)
    good = keep[mesh.faces[hits.face, 0]]
    depth[hits.ray[good]] = hits.points[good, 2] / MM
    return depth - np.nanmean(depth) if good.any() else depth


def face_error_percent(mesh: Mesh, truth: SyntheticHead) -> float:
    """Mean distance of a true face to a head, percent of the true height.

    The head is placed as well as a turn and a shift can (iterated closest points and planes,
    Chen and Medioni 1992): only the form of the face counts.  The true face is skin, from the
    chin to the brow.
    """
    true = truth.head.mesh
    theirs, normals = _front(true, true.parts == Surface.SKIN)
    face = np.ones(len(theirs), bool)
    for axis, (low, high) in enumerate(_FACE):
        face &= (theirs[:, axis] > low) & (theirs[:, axis] < high)
    theirs, normals = theirs[face], normals[face]
    ours, _ = _front(mesh, np.ones(len(mesh.vertices), bool))
    placed, sample = theirs, np.s_[::4]
    tree = cKDTree(ours)
    for _ in range(_ALIGN_ROUNDS):
        # the true face moves, which spares building the tree of ours again
        goal = ours[tree.query(placed[sample])[1]]
        middle = placed.mean(0)
        arms = np.cross(placed[sample] - middle, normals[sample])
        short = ((goal - placed[sample]) * normals[sample]).sum(1)
        motion = np.linalg.lstsq(np.hstack([arms, normals[sample]]), short, rcond=None)[0]
        turn, _ = cv2.Rodrigues(motion[:3])
        placed, normals = (placed - middle) @ turn.T + middle + motion[3:], normals @ turn.T
    # along the normals: to the surface, whose points lie some thousandths apart
    apart = ((ours[tree.query(placed)[1]] - placed) * normals).sum(1)
    return float(np.abs(apart).mean()) / _height(truth) * 100


def _front(mesh: Mesh, keep: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Points and normals of a head's surface seen from its front and half sides."""
    caster, points, normals = RayCaster(mesh), [], []
    for yaw in (-45.0, 0.0, 45.0):
        camera = canonical_camera(yaw, 0, 256, focal=WHOLE_HEAD_FOCAL)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = caster.cast(camera.position, rays)
        good = keep[mesh.faces[hits.face, 0]] & (hits.points[:, 2] > 0)
        points.append(hits.points[good])
        normals.append(hits.normals[good])
    return np.concatenate(points), np.concatenate(normals)


def _worn(mesh: Mesh) -> NDArray[np.bool_]:
    return np.isin(mesh.parts, (Surface.GLASSES, Surface.CLOTHES))


def _height(truth: SyntheticHead) -> float:
    """From the chin to the crown, hair included, head units."""
    true = truth.head.mesh
    return float(np.ptp(true.vertices[(true.vertices[:, 1] > _CHIN) & ~_worn(true), 1]))


def mesh_error_percent(mesh: Mesh, truth: SyntheticHead) -> float:
    """Mean distance between two heads above the chin, both ways, percent of the true height.

    Each in its own head space: a wrong scale or place counts.
    """
    true = truth.head.mesh
    theirs = _dense(true, ~_worn(true))
    ours = _dense(mesh, np.ones(len(mesh.vertices), bool))
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float((there.mean() + back.mean()) / 2 / _height(truth) * 100)


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
