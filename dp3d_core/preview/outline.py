"""The outline of a head brought onto that of a photo's matte, the face left alone."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.heads.space import EYE, MM
from dp3d_core.mesh import Mesh
from dp3d_core.preview.parts import Part
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.raycast import RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]

_ANGLES = 180
_STRETCH = (0.80, 1.5)
_SNAP_SIDE = 320
"""Pixels of the pictures in which outlines are brought together."""
_SNAP_REACH, _SNAP_SPREAD = 0.10, 0.018
"""Farthest partner and reach of a move, parts of the picture."""
SNAP_STEPS = 3
"""Steps of :func:`snap_outline`."""
_NEAR_BORDER = np.ones((17, 17), np.uint8)
"""What lies so near to the photo's border is no outline: mattes fade there."""
_SNAP_TURN = 0.04
"""What opposite directions of two outlines count like, parts of the picture."""
_FACE_DEPTH, _FACE_LOW, _FACE_HIGH = (0.03, 0.09), (-0.21, -0.17), (0.15, 0.21)
"""Where the face begins, head units: z, y of the chin, y of the forehead."""
_FACE_YAW = (18.0, 40.0)
"""Degrees; from further aside the face's own edge is the outline."""


def fit_outline(
    mesh: Mesh,
    camera: Camera,
    matte: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    most: float = _STRETCH[1],
) -> Mesh:
    """Move the outline of the head onto that of a matte.

    Seen from the camera, each direction around the head centre has a radius in the mesh's
    outline and one in the matte; vertices near the outline are moved by their ratio, those in
    the middle of the face stay.  Nothing is moved below the chin; where the photo ends before
    the head does, the ratio of the neighbouring directions is taken.  Hair that stands off to
    the sides also stands off to the back.

    Args:
        mesh: head space.
        camera: sees the matte.
        matte: (h, w) uint8.
        inside: (h, w) bool, where the matte is known.
        most: by how much it may be widened; 1 only draws it in.

    """
    centre = camera.project([[0.0, EYE[1] * MM * 0.5, 0.0]])[0][0]
    outline = np.isfinite(RayCaster(mesh).depth(camera))
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)  # 0 is right, pi/2 is down
    ours, _ = _radii(outline, centre, angles)
    theirs, ended = _radii((matte > 127) & inside, centre, angles)
    # The photo's border cuts the head: its true outline lies further out, by how much is unknown.
    cut = ended | _leaves(inside, centre, angles, theirs)
    ratio = theirs / np.maximum(ours, 1)
    known = ~cut & (theirs >= 4)
    if known.mean() < 0.25:
        return mesh
    guess = np.interp(angles, angles[known], ratio[known], period=2 * np.pi)
    ratio = np.where(known, ratio, np.maximum(guess, ratio * (theirs >= 4)))
    down = np.abs((angles - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)
    free = np.clip((down - np.radians(42)) / np.radians(25), 0, 1)
    ratio = 1 + (np.clip(ratio, _STRETCH[0], most) - 1) * free
    if abs(camera.yaw_pitch_deg[0]) < 20:
        # Seen from the front a head is nearly symmetric; what sticks out on one side only is
        # background that the matte took along, more often than a plait.
        other = np.interp(np.pi - angles, angles, ratio, period=2 * np.pi)
        ratio = np.minimum(ratio, 1.05 * np.maximum(other, 1.0))
    ratio = gaussian_filter1d(ratio, 2.5, mode="wrap")
    ours = gaussian_filter1d(ours, 1.5, mode="wrap")

    local = (mesh.vertices - camera.position) @ camera.c2w[:3, :3]
    uv, depth = camera.project(mesh.vertices)
    offset = uv - centre
    radius = np.linalg.norm(offset, axis=1)
    at = (np.arctan2(offset[:, 1], offset[:, 0]) % (2 * np.pi)) * (_ANGLES / (2 * np.pi))
    ring = np.append(ratio, ratio[0])
    rim = np.append(ours, ours[0])
    f = np.interp(at, np.arange(_ANGLES + 1), ring)
    reach = radius / np.maximum(np.interp(at, np.arange(_ANGLES + 1), rim), 1)
    inner = np.clip((reach - 0.62) / 0.38, 0, 1)
    inner = inner * inner * (3 - 2 * inner)
    # Behind the face the whole skull goes along: moving the outline alone would leave a crest.
    _, y, z = mesh.vertices.T
    behind = np.clip((0.10 - z) / 0.14, 0, 1) * np.clip((y + 0.02) / 0.10, 0, 1)
    gain = 1 + (f - 1) * np.maximum(inner, behind * behind * (3 - 2 * behind))
    gain = 1 + (gain - 1) * (1 - _face(mesh, camera))
    moved = centre + offset * gain[:, None]
    local[:, :2] = (moved - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]] * depth[:, None]
    vertices = local @ camera.c2w[:3, :3].T + camera.position

    upper = (angles > np.pi) | (down > np.radians(85))
    volume = float(np.clip(np.mean(ratio[upper]), 0.92, 1.15))
    back = np.clip(-vertices[:, 2] / 0.2, 0, 1) * np.clip((vertices[:, 1] + 0.22) / 0.15, 0, 1)
    vertices[:, 2] *= 1 + (volume - 1) * back
    return mesh.with_vertices(vertices)


def snap_outline(
    mesh: Mesh,
    camera: Camera,
    matte: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    on_step: StepCallback = no_step,
    reach: float = _SNAP_REACH,
    held: Array | None = None,
) -> Mesh:
    """Bring what is left between the head's outline and the matte's together, from the nearest.

    Where the outline of the head (with shoulders) is less than ``reach`` (parts of the picture)
    away from the matte's and looks the same way, the surface along it is moved across
    the line of sight; the effect dies away towards the middle.

    Args:
        mesh: head space, already near.
        camera: sees the matte.
        matte: (h, w) uint8.
        inside: (h, w) bool, where the matte is known.
        on_step: called at most :data:`SNAP_STEPS` times.
        reach: of the first step; each further step has half of it.
        held: (k,) 1 for vertices, the first of the mesh, that stay where a face stays.

    """
    side = _SNAP_SIDE
    small = camera.resized(side, side)
    size = (side, side)
    shrunk = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    theirs = np.asarray(shrunk, np.float32) / np.float32(255)
    known = cv2.erode(cv2.resize(inside.astype(np.uint8), size), _NEAR_BORDER) > 0
    goal, goal_normals = _edge(theirs, known)
    if len(goal) < 20:
        return mesh
    face = _face(mesh, camera)
    if held is not None:
        face[: len(held)] = np.maximum(face[: len(held)], held * (1 - _aside(camera)))
    tree = cKDTree(np.column_stack([goal, goal_normals * _SNAP_TURN * side]))
    for step_number in range(1, SNAP_STEPS + 1):
        on_step(f"Fitting the outline of hair and shoulders, {step_number} of {SNAP_STEPS}")
        ours = np.isfinite(RayCaster(mesh).depth(small)).astype(np.float32)
        edge, normals = _edge(np.asarray(cv2.GaussianBlur(ours, (0, 0), 0.7), np.float32), known)
        if len(edge) < 20:
            return mesh
        distance, nearest = tree.query(
            np.column_stack([edge, normals * _SNAP_TURN * side]),
            distance_upper_bound=reach * side / 2 ** (step_number - 1),
        )
        found = np.isfinite(distance)
        moves = np.zeros((*size, 3), np.float32)
        at = edge.astype(int)
        moves[at[found, 1], at[found, 0], :2] = goal[nearest[found]] - edge[found]
        moves[at[:, 1], at[:, 0], 2] = 1.0  # an edge without a partner stays
        spread = cv2.GaussianBlur(moves, (0, 0), _SNAP_SPREAD * side)
        peak = 1 / (np.sqrt(2 * np.pi) * _SNAP_SPREAD * side)  # of a straight edge
        field = spread[..., :2] / np.maximum(spread[..., 2:], 0.05 * peak)
        near = np.clip(spread[..., 2:] / (0.8 * peak), 0, 1)
        uv, depth = small.project(mesh.vertices)
        at_vertices = uv[:, ::-1].T - 0.5
        moved = field * near
        step = np.stack(
            [map_coordinates(moved[..., i], at_vertices, order=1, mode="nearest") for i in (0, 1)],
            -1,
        )
        local = (mesh.vertices - camera.position) @ camera.c2w[:3, :3]
        step *= 1 - face[:, None]
        local[:, :2] += step / small.K[[0, 1], [0, 1]] * depth[:, None]
        mesh = mesh.with_vertices(local @ camera.c2w[:3, :3].T + camera.position)
    return mesh


def _face(mesh: Mesh, camera: Camera) -> Array:
    """(n,) 1 for vertices of the face, which no outline moves.

    Seen from the front, what stands out beside cheeks and jaw are ears and hair behind them; the
    face was fitted to its own features.
    """
    _, y, z = mesh.vertices.T
    front = ramp(z, *_FACE_DEPTH) * ramp(y, *_FACE_LOW)
    front *= 1 - ramp(y, *_FACE_HIGH)
    return np.asarray(front * (mesh.parts == Part.SKIN) * (1 - _aside(camera)))


def _aside(camera: Camera) -> float:
    """1 where a camera sees a face so far from aside that its edge is the outline."""
    return float(ramp(np.abs(camera.yaw_pitch_deg[:1]), *_FACE_YAW)[0])


def _edge(mask: NDArray[np.float32], known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """(n, 2) places where a mask crosses one half, pixels, and its unit gradients there."""
    solid = (mask > 0.5).astype(np.uint8)
    rim = (cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0) & known
    rim &= solid > 0
    rows, columns = np.nonzero(rim)
    smooth = cv2.GaussianBlur(mask, (0, 0), 3)
    dy, dx = np.gradient(smooth)
    gradient = np.stack([dx[rows, columns], dy[rows, columns]], -1)
    gradient /= np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)
    places = np.stack([columns, rows], -1) + 0.5
    return places.astype(np.float64), gradient.astype(np.float64)


def _radii(
    mask: NDArray[np.bool_], centre: Array, angles: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Radius of a mask along rays from a centre, pixels, and whether the image ended first."""
    reach = np.arange(0.0, float(max(mask.shape)), 0.5)
    u = centre[0] + np.cos(angles)[:, None] * reach
    v = centre[1] + np.sin(angles)[:, None] * reach
    samples = map_coordinates(mask.astype(np.float32), [v - 0.5, u - 0.5], order=1, cval=0.0) > 0.5
    gone = ~samples
    # allow a small gap (a highlight, a strand) before the outline counts as reached
    stop = np.array([_first_run(row, 12) for row in gone])
    radius = reach[np.minimum(stop, reach.size - 1)]
    margin = 3
    end_u = centre[0] + np.cos(angles) * radius
    end_v = centre[1] + np.sin(angles) * radius
    ended = (
        (end_u < margin)
        | (end_v < margin)
        | (end_u > mask.shape[1] - margin)
        | (end_v > mask.shape[0] - margin)
    )
    return radius, ended


def _first_run(gone: NDArray[np.bool_], length: int) -> int:
    """Index where the first run of at least ``length`` True begins (the end if there is none)."""
    run = np.convolve(gone.astype(np.int32), np.ones(length, np.int32), "valid")
    hit = np.flatnonzero(run == length)
    return int(hit[0]) if hit.size else gone.size - 1


def _leaves(
    inside: NDArray[np.bool_], centre: Array, angles: Array, radius: Array
) -> NDArray[np.bool_]:
    """Whether the photo ends within a few pixels behind each outline point."""
    u = centre[0] + np.cos(angles) * (radius + 5)
    v = centre[1] + np.sin(angles) * (radius + 5)
    height, width = inside.shape
    known = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    at = inside[np.clip(v.astype(int), 0, height - 1), np.clip(u.astype(int), 0, width - 1)]
    return np.asarray(~(known & at))
