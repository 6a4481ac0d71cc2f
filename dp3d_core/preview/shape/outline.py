"""Fit the silhouette of a head to the photo's matte, without moving the face.

``fit_outline`` scales radially around the head's centre, ``snap_outline`` then closes the rest by
nearest points.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Mask, Pixels, smoothstep
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.space import EYE, MM
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.parts import Part
from dp3d_core.progress import StepCallback, no_step

_ANGLES = 180
"""Number of directions around the head's centre."""
_STRETCH = (0.80, 1.5)
"""Range of the radial scale."""
_SNAP_SIDE = 320
"""Side of the images in which silhouettes are matched, pixels."""
_SNAP_REACH = 0.10
"""Greatest distance of matched silhouette points, image widths."""
_SNAP_SIGMA = 0.018
"""Blur of the moves of matched points, image widths."""
SNAP_STEPS = 3
"""Number of steps of :func:`snap_outline`."""
_NEAR_BORDER = np.ones((17, 17), np.uint8)
"""Kernel that excludes silhouettes near the photo's border, where mattes fade."""
_SNAP_TURN = 0.04
"""Distance that counts for opposite normals of two silhouette points, image widths."""
_FACE_DEPTH = (0.03, 0.09)
"""Depths between which the face begins, head units."""
_FACE_LOW = (-0.21, -0.17)
"""Heights between which the face begins at the chin, head units."""
_FACE_HIGH = (0.15, 0.21)
"""Heights between which the face ends at the forehead, head units."""
_FACE_YAW = (18.0, 40.0)
"""Absolute yaws, degrees, between which the face's own edge becomes the silhouette."""


def fit_outline(
    mesh: Mesh,
    camera: Camera,
    matte: Pixels,
    inside: Mask,
    max_scale: float = _STRETCH[1],
) -> Mesh:
    """Scale a head radially so that its silhouette meets that of a matte.

    In the image, each direction around the head's centre has a radius in the mesh's silhouette and
    one in the matte.  Vertices near the silhouette are scaled by their ratio, those in the middle
    of the face and below the chin are not moved.  Where the photo cuts the head, the ratio of
    neighbouring directions is used.  Volume at the sides is also given to the back.

    Args:
        mesh: the head, head units.
        camera: the matte's camera.
        matte: (h, w) uint8 alpha.
        inside: (h, w) bool, valid mask of the matte.
        max_scale: greatest scale; 1 only shrinks the head.

    """
    centre = camera.project([[0.0, EYE[1] * MM * 0.5, 0.0]])[0][0]
    silhouette = np.isfinite(RayCaster(mesh).depth(camera))
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)  # 0 is right, pi/2 is down
    head_radius, _ = _radii(silhouette, centre, angles)
    matte_radius, at_border = _radii((matte > 127) & inside, centre, angles)
    # where the photo's border cuts the head, the silhouette lies further out, at an unknown radius
    cut = at_border | _cut_by_photo(inside, centre, angles, matte_radius)
    ratio = matte_radius / np.maximum(head_radius, 1)
    valid = ~cut & (matte_radius >= 4)
    if valid.mean() < 0.25:
        return mesh
    interpolated = np.interp(angles, angles[valid], ratio[valid], period=2 * np.pi)
    ratio = np.where(valid, ratio, np.maximum(interpolated, ratio * (matte_radius >= 4)))
    from_down = np.abs((angles - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi)
    free = np.clip((from_down - np.radians(42)) / np.radians(25), 0, 1)
    ratio = 1 + (np.clip(ratio, _STRETCH[0], max_scale) - 1) * free
    if abs(camera.yaw_pitch_deg[0]) < 20:
        # from the front a head is nearly symmetric; a bump on one side is more often background
        # inside the matte than a plait
        mirrored = np.interp(np.pi - angles, angles, ratio, period=2 * np.pi)
        ratio = np.minimum(ratio, 1.05 * np.maximum(mirrored, 1.0))
    ratio = gaussian_filter1d(ratio, 2.5, mode="wrap")
    head_radius = gaussian_filter1d(head_radius, 1.5, mode="wrap")

    camera_points = (mesh.vertices - camera.position) @ camera.c2w[:3, :3]
    uv, depth = camera.project(mesh.vertices)
    offset = uv - centre
    radius = np.linalg.norm(offset, axis=1)
    direction = (np.arctan2(offset[:, 1], offset[:, 0]) % (2 * np.pi)) * (_ANGLES / (2 * np.pi))
    closed_ratio = np.append(ratio, ratio[0])
    closed_radius = np.append(head_radius, head_radius[0])
    scale = np.interp(direction, np.arange(_ANGLES + 1), closed_ratio)
    relative_radius = radius / np.maximum(
        np.interp(direction, np.arange(_ANGLES + 1), closed_radius), 1
    )
    weight = np.clip((relative_radius - 0.62) / 0.38, 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    # behind the face the whole skull is scaled; scaling the silhouette alone would leave a crest
    _, y, z = mesh.vertices.T
    skull = np.clip((0.10 - z) / 0.14, 0, 1) * np.clip((y + 0.02) / 0.10, 0, 1)
    gain = 1 + (scale - 1) * np.maximum(weight, skull * skull * (3 - 2 * skull))
    gain = 1 + (gain - 1) * (1 - _face(mesh, camera))
    target = centre + offset * gain[:, None]
    camera_points[:, :2] = (target - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]] * depth[:, None]
    vertices = camera_points @ camera.c2w[:3, :3].T + camera.position

    upper = (angles > np.pi) | (from_down > np.radians(85))
    volume = float(np.clip(np.mean(ratio[upper]), 0.92, 1.15))
    back = np.clip(-vertices[:, 2] / 0.2, 0, 1) * np.clip((vertices[:, 1] + 0.22) / 0.15, 0, 1)
    vertices[:, 2] *= 1 + (volume - 1) * back
    return mesh.with_vertices(vertices)


def snap_outline(
    mesh: Mesh,
    camera: Camera,
    matte: Pixels,
    inside: Mask,
    on_step: StepCallback = no_step,
    reach: float = _SNAP_REACH,
    held: Array | None = None,
) -> Mesh:
    """Move a head's silhouette onto the nearest silhouette of the matte.

    Silhouette points of head and shoulders are matched with points of the matte that are near and
    have a similar normal.  The surface around them is moved across the line of sight; the moves
    fade towards the middle of the head.

    Args:
        mesh: the head, roughly aligned, head units.
        camera: the matte's camera.
        matte: (h, w) uint8 alpha.
        inside: (h, w) bool, valid mask of the matte.
        on_step: called at most :data:`SNAP_STEPS` times.
        reach: greatest distance of matched points in the first step, image widths; each further
            step halves it.
        held: (k,) 1 for the first k vertices that are not moved, as those of the face.

    """
    side = _SNAP_SIDE
    small = camera.resized(side, side)
    size = (side, side)
    shrunk = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    target_alpha = np.asarray(shrunk, np.float32) / np.float32(255)
    valid = cv2.erode(cv2.resize(inside.astype(np.uint8), size), _NEAR_BORDER) > 0
    target, target_normals = _edge(target_alpha, valid)
    if len(target) < 20:
        return mesh
    face = _face(mesh, camera)
    if held is not None:
        face[: len(held)] = np.maximum(face[: len(held)], held * (1 - _side_view(camera)))
    tree = cKDTree(np.column_stack([target, target_normals * _SNAP_TURN * side]))
    for step_number in range(1, SNAP_STEPS + 1):
        on_step(f"Fitting the outline of hair and shoulders, {step_number} of {SNAP_STEPS}")
        alpha = np.isfinite(RayCaster(mesh).depth(small)).astype(np.float32)
        edge, normals = _edge(np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.7), np.float32), valid)
        if len(edge) < 20:
            return mesh
        distance, nearest = tree.query(
            np.column_stack([edge, normals * _SNAP_TURN * side]),
            distance_upper_bound=reach * side / 2 ** (step_number - 1),
        )
        matched, nearest = np.isfinite(distance), np.asarray(nearest)
        moves = np.zeros((*size, 3), np.float32)
        pixel = edge.astype(int)
        moves[pixel[matched, 1], pixel[matched, 0], :2] = target[nearest[matched]] - edge[matched]
        moves[pixel[:, 1], pixel[:, 0], 2] = 1.0  # unmatched points do not move
        blurred = cv2.GaussianBlur(moves, (0, 0), _SNAP_SIGMA * side)
        peak = 1 / (np.sqrt(2 * np.pi) * _SNAP_SIGMA * side)  # peak of a blurred straight edge
        field = blurred[..., :2] / np.maximum(blurred[..., 2:], 0.05 * peak)
        nearness = np.clip(blurred[..., 2:] / (0.8 * peak), 0, 1)
        uv, depth = small.project(mesh.vertices)
        at_vertices = uv[:, ::-1].T - 0.5
        displacement = field * nearness
        step = np.stack(
            [
                map_coordinates(displacement[..., i], at_vertices, order=1, mode="nearest")
                for i in (0, 1)
            ],
            -1,
        )
        camera_points = (mesh.vertices - camera.position) @ camera.c2w[:3, :3]
        step *= 1 - face[:, None]
        camera_points[:, :2] += step / small.K[[0, 1], [0, 1]] * depth[:, None]
        mesh = mesh.with_vertices(camera_points @ camera.c2w[:3, :3].T + camera.position)
    return mesh


def _face(mesh: Mesh, camera: Camera) -> Array:
    """(n,) 1 for vertices of the face, which are not moved.

    The face is fitted to its landmarks already; from the front, the silhouette beside cheeks and
    jaw is that of ears and hair behind them.
    """
    _, y, z = mesh.vertices.T
    front = smoothstep(z, *_FACE_DEPTH) * smoothstep(y, *_FACE_LOW)
    front *= 1 - smoothstep(y, *_FACE_HIGH)
    return np.asarray(front * (mesh.parts == Part.SKIN) * (1 - _side_view(camera)))


def _side_view(camera: Camera) -> float:
    """0 to 1 with absolute yaw: from the side, the face's own edge is the silhouette."""
    return float(smoothstep(np.abs(camera.yaw_pitch_deg[:1]), *_FACE_YAW)[0])


def _edge(mask: Array32, valid: Mask) -> tuple[Array, Array]:
    """Silhouette of a mask (h, w): positions (n, 2), pixels, and unit gradients (n, 2)."""
    solid = (mask > 0.5).astype(np.uint8)
    rim = (cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0) & valid
    rim &= solid > 0
    rows, columns = np.nonzero(rim)
    smooth = cv2.GaussianBlur(mask, (0, 0), 3)
    dy, dx = np.gradient(smooth)
    gradient = np.stack([dx[rows, columns], dy[rows, columns]], -1)
    gradient /= np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)
    positions = np.stack([columns, rows], -1) + 0.5
    return positions.astype(np.float64), gradient.astype(np.float64)


def _radii(mask: Mask, centre: Array, angles: Array) -> tuple[Array, Mask]:
    """Radius (a,) of a mask along angles (a,), pixels, and whether (a,) the image ends there."""
    reach = np.arange(0.0, float(max(mask.shape)), 0.5)
    u = centre[0] + np.cos(angles)[:, None] * reach
    v = centre[1] + np.sin(angles)[:, None] * reach
    samples = map_coordinates(mask.astype(np.float32), [v - 0.5, u - 0.5], order=1, cval=0.0) > 0.5
    outside = ~samples
    # a small gap (a highlight, a strand) is not the silhouette
    end = np.array([_first_run(row, 12) for row in outside])
    radius = reach[np.minimum(end, reach.size - 1)]
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


def _first_run(flags: Mask, length: int) -> int:
    """Start of the first run of at least ``length`` True values; the last index without one."""
    run = np.convolve(flags.astype(np.int32), np.ones(length, np.int32), "valid")
    starts = np.flatnonzero(run == length)
    return int(starts[0]) if starts.size else flags.size - 1


def _cut_by_photo(inside: Mask, centre: Array, angles: Array, radius: Array) -> Mask:
    """(a,) whether the photo ends within five pixels beyond the radius of each direction."""
    u = centre[0] + np.cos(angles) * (radius + 5)
    v = centre[1] + np.sin(angles) * (radius + 5)
    height, width = inside.shape
    in_image = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    is_valid = inside[np.clip(v.astype(int), 0, height - 1), np.clip(u.astype(int), 0, width - 1)]
    return np.asarray(~(in_image & is_valid))
