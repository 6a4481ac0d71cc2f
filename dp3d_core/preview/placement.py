"""Placement: the base head with the photo's proportions, its outline that of the photo.

The alignment (``dp3d_core.alignment``) has found pose and proportions from features; here hair
is chosen by what stands off the skull in the matte, and the outline, seen from the photo's
camera, is moved onto the matte's (hair, hats and jaws differ from any model), leaving the face
alone.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.heads.anatomy import EYE, MM, MOUTH_HALF, lip_line
from dp3d_core.heads.fields import ramp
from dp3d_core.heads.hair import HAIR_STYLES
from dp3d_core.heads.labels import Label, vertex_labels
from dp3d_core.heads.model import HeadSpec, Surface, build_head, piece
from dp3d_core.heads.shape import HIGH, LOW, NAMES, basis, coefficients
from dp3d_core.mesh import Mesh
from dp3d_core.portrait import Portrait
from dp3d_core.preview.skin import SkinTones
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]

_ANGLES = 180
_STRETCH = (0.80, 1.5)
_SNAP_SIDE = 320
"""Pixels of the pictures in which outlines are brought together."""
_SNAP_REACH, _SNAP_SPREAD = 0.10, 0.018
"""Farthest partner and reach of a move, parts of the picture."""
_SNAP_TURN = 0.04
"""What opposite directions of two outlines count like, parts of the picture."""
_BODY = ("jaw_width", "neck_width", "neck_length", "shoulder_width", "shoulder_slope")
_HAIR = ("buzz", "crop", "quiff", "fringe", "bob", "long", "curly", "afro")
"""Hair that outlines can tell from each other."""
_HAIR_SIDE = 160
"""Pixels of the pictures in which they are compared."""
_HAIR_END, _CROWN = -118, 84
"""Millimetres; what lies lower than the first is clothes, higher than the second hair or hat."""
_SIDE_FROM, _SIDE_MIDDLE, _SIDE_REACH = 48, -12, 48
"""Millimetres: distance from the middle, height and half the height of temple, ear and cheek."""
_HIDDEN = ("jaw_width", "neck_width")
"""What hair beside the neck hides."""
_HAIR_COLOUR = 0.2
"""Weight of the colours beside the outline's."""


_FACE_DEPTH, _FACE_LOW, _FACE_HIGH = (0.03, 0.09), (-0.21, -0.17), (0.15, 0.21)
"""Where the face begins, head units: z, y of the chin, y of the forehead."""
_FACE_YAW = (18.0, 40.0)
"""Degrees; from further aside the face's own edge is the outline."""


class Part(IntEnum):
    """Kinds of surface whose unseen sides are continued each from its own."""

    SKIN = 0
    HAIR = 1
    BODY = 2


def place_head(portrait: Portrait) -> Mesh:
    """The head in head space, its outline fitted to the portrait's matte; parts are `Part`."""
    shape = {k: v for k, v in portrait.report.shape.items() if abs(v) > 0.02}
    measured = portrait.report.matte_source != "template"
    if not measured:
        return as_parts(HeadSpec(shape, "crop"))
    mesh = as_parts(_hair(portrait, shape, _neck_and_shoulders(portrait, shape)))
    mesh = fit_outline(mesh, portrait.camera, portrait.matte, portrait.inside)
    return snap_outline(mesh, portrait.camera, portrait.matte, portrait.inside)


def as_parts(spec: HeadSpec) -> Mesh:
    """The mesh of a head with :class:`Part` for parts, its mouth closed by a sheet.

    What a photo shows between open lips lies at an unknown depth: on teeth that are not the
    person's it would be torn apart in the next view.
    """
    head = build_head(spec)
    parts = np.full(len(head.mesh.parts), int(Part.SKIN), np.uint8)
    parts[head.mesh.parts == Surface.HAIR] = Part.HAIR
    parts[head.mesh.parts == Surface.CLOTHES] = Part.BODY
    parts[vertex_labels(head) == Label.SHOULDERS] = Part.BODY
    corners = head.mesh.parts[head.mesh.faces[:, 0]]
    kept = head.mesh.faces[(corners != Surface.TEETH) & (corners != Surface.TONGUE)]
    sheet, triangles = _between_the_lips(coefficients(spec.shape))
    vertices = np.concatenate([head.mesh.vertices, sheet * MM])
    faces = np.concatenate([kept, triangles + len(head.mesh.vertices)])
    return Mesh.of(vertices, faces, np.append(parts, np.full(len(sheet), Part.SKIN, np.uint8)))


def _between_the_lips(values: Array) -> tuple[Array, NDArray[np.int32]]:
    """A sheet from the upper to the lower lip, some millimetres behind them."""
    rows, columns = 9, 25
    x = np.linspace(-1, 1, columns) * (MOUTH_HALF - 1.5)
    skin = piece("skin").vertices
    rims = []
    for side in (1.0, -1.0):
        y = lip_line(np.abs(x)) + side * np.array([[3.0], [0.4]])
        near = np.abs(skin[None, :, 0] - x[:, None]) + np.abs(skin[None, :, 1] - y[1][:, None])
        front = np.where(near < 4.5, skin[None, :, 2], -1e9).max(1)
        rim = np.stack([np.broadcast_to(x, y.shape), y, np.broadcast_to(front - 7, y.shape)], -1)
        flat = rim.reshape(-1, 3)
        rims.append((flat + np.tensordot(values, basis(flat), 1)).reshape(rim.shape))
    upper, lower = rims[0], rims[1][::-1]
    t = np.linspace(0, 1, rows)[:, None, None]
    grid = np.concatenate([upper[:1], upper[1] * (1 - t) + lower[0] * t, lower[1:]])
    index = np.arange(len(grid) * columns, dtype=np.int32).reshape(len(grid), columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate(
        [np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)]
    )
    return grid.reshape(-1, 3), triangles


def _hair(portrait: Portrait, shape: dict[str, float], body: dict[str, float]) -> HeadSpec:
    """The head whose outline is nearest to the matte's, with hair where no skin is seen.

    Args:
        portrait: with a matte.
        shape: of face and skull.
        body: of jaw, neck and shoulders, for a head whose neck no hair hides.

    """
    small = portrait.camera.resized(_HAIR_SIDE, _HAIR_SIDE)
    known = _shrunk(portrait.inside.astype(np.float32)) > 0.9
    matte = (_shrunk((portrait.matte / 255).astype(np.float32)) > 0.5) & known
    end = small.project([[0.0, _HAIR_END * MM, 0.0]])[0][0][1]
    known &= (np.arange(_HAIR_SIDE) < end)[:, None]
    skin, crown = _seen_kinds(portrait, shape, small, matte)
    directions = small.directions(small.pixel_centres()).reshape(-1, 3)
    best, found = -1.0, HeadSpec(shape, None)
    for style in _HAIR:
        hides = HAIR_STYLES[style].curtain is not None
        fitted = {k: v for k, v in body.items() if not hides or k not in _HIDDEN or v < 0}
        spec = HeadSpec(shape | fitted, style)
        caster = RayCaster(as_parts(spec))
        hits = caster.cast(small.position, directions)
        part: NDArray[Any] = np.full(_HAIR_SIDE**2, -1)
        part[hits.ray] = caster.mesh.parts[caster.mesh.faces[hits.face, 0]]
        side: NDArray[Any] = np.zeros(_HAIR_SIDE**2, bool)
        x, y = np.abs(hits.points[:, :2] / MM - [0, _SIDE_MIDDLE]).T
        side[hits.ray] = (x > _SIDE_FROM) & (y < _SIDE_REACH)
        part, side = part.reshape(matte.shape), side.reshape(matte.shape)
        head = part >= 0
        likeness = (head & matte & known).sum() / max(1, ((head | matte) & known).sum())
        hair = (part == Part.HAIR) & matte & known
        likeness -= _HAIR_COLOUR * (hair & (crown < 0.5)).sum() / max(1, hair.sum())
        if skin is not None:
            told = side & matte & known & (part != Part.BODY) & (np.abs(skin - 0.5) > 0.3)
            right = (hair == (skin < 0.5)) & told
            likeness += _HAIR_COLOUR * right.sum() / max(1, told.sum())
        if likeness > best:
            best, found = float(likeness), spec
    return found


def _seen_kinds(
    portrait: Portrait, shape: dict[str, float], camera: Camera, matte: NDArray[np.bool_]
) -> tuple[Array | None, Array]:
    """What a small picture of the photo shows.

    What skin looks like tells the middle of the face, what hair or a hat looks like the crown.

    Returns:
        (h, w) 1 for skin, 0 for hair, between: not told (None if there is no face), and (h, w)
        1 for colours of the crown, 0 for others.

    """
    caster = RayCaster(as_parts(HeadSpec(shape, None)))
    size = (camera.width, camera.height)
    image = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA).reshape(-1, 3) / 255
    hits = caster.cast(camera.position, camera.directions(camera.pixel_centres()).reshape(-1, 3))
    front = (hits.points[:, 2] > 0.05) & (-(hits.normals * hits.directions).sum(1) > 0.9)
    front &= hits.points[:, 1] < _FACE_HIGH[0]  # a fringe may hang over the forehead
    face = SkinTones.of(image[hits.ray[front]])
    top = np.zeros(matte.shape, bool)
    top[: max(0, int(camera.project([[0.0, _CROWN * MM, 0.0]])[0][0][1]))] = True
    crown = SkinTones.of(image[(top & matte).ravel()])
    to_crown = np.zeros(len(image)) if crown is None else crown.distance(image, light=0.5)
    like_crown = (1 - ramp(to_crown, 12.0, 20.0)).reshape(matte.shape)
    if face is None:
        return None, like_crown
    to_face = face.distance(image, light=0.5)
    shown = 1 - ramp(to_face, 12.0, 20.0)
    if crown is not None:
        shown *= ramp(to_crown / np.maximum(to_face + to_crown, 1e-6), 0.35, 0.6)
    return shown.reshape(matte.shape), like_crown


def _shrunk(image: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(image, (_HAIR_SIDE, _HAIR_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _neck_and_shoulders(portrait: Portrait, shape: dict[str, float]) -> dict[str, float]:
    """Shape parameters that bring jaw, neck and shoulders to the matte's width, row by row."""
    pieces = [piece("skin"), piece("clothes", "crew")]
    values = coefficients(shape)
    vertices = np.concatenate([p.shaped(values) for p in pieces])
    lower = (vertices[:, 1] < -15) & ((np.abs(vertices[:, 0]) < 68) | (vertices[:, 1] < -60))
    index = [NAMES.index(name) for name in _BODY]
    moves = np.concatenate([p.basis[index] for p in pieces], 1)[:, lower].astype(float)
    vertices = vertices[lower]
    camera = portrait.camera
    size = camera.height
    matte = (portrait.matte > 127) & portrait.inside
    first = int(camera.project([[0.0, -28 * MM, 0.0]])[0][0][1])
    shoulders = camera.project([[0.0, -140 * MM, 0.0]])[0][0][1]
    rows = np.arange(max(first, 0), size - 4, 6)
    # a row counts on a side where the photo goes on beyond the matte
    wanted = np.full((2, len(rows)), np.nan)
    for i, row in enumerate(rows):
        columns, known = np.flatnonzero(matte[row]), np.flatnonzero(portrait.inside[row])
        if columns.size:
            if columns[0] > known[0] + 3:
                wanted[0, i] = columns[0]
            if columns[-1] < known[-1] - 3:
                wanted[1, i] = columns[-1]
    if np.isfinite(wanted).sum() < 6:
        return {}
    pixel = camera.K[0, 0] / float(np.linalg.norm(camera.position)) * MM
    low, high = LOW[index], HIGH[index]

    def residuals(theta: Array) -> Array:
        uv, _ = camera.project((vertices + np.tensordot(theta, moves, 1)) * MM)
        at = np.rint((uv[:, 1] - rows[0]) / 6).astype(int)
        seen = (at >= 0) & (at < len(rows))
        left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
        np.minimum.at(left, at[seen], uv[seen, 0])
        np.maximum.at(right, at[seen], uv[seen, 0])
        away = np.stack([left, right]) - wanted
        away = np.where(np.isfinite(away), away / pixel / 12, 0)
        # beside jaw and neck there may be hair: too narrow is hardly wrong there
        away *= np.where((away * [[1], [-1]] > 0) & (rows < shoulders), 0.15, 1.0)
        return np.concatenate([away.ravel(), 0.35 * theta])

    def jacobian(theta: Array) -> Array:
        step = 0.1  # small ones are lost between vertices
        sides = [
            residuals(theta + step * unit) - residuals(theta - step * unit)
            for unit in np.eye(len(theta))
        ]
        return np.stack(sides, -1) / (2 * step)

    found = least_squares(
        residuals, np.zeros(len(index)), jacobian, (low, high), loss="soft_l1", max_nfev=15
    )
    return {n: round(float(v), 4) for n, v in zip(_BODY, found.x, strict=True)}


def fit_outline(
    mesh: Mesh, camera: Camera, matte: NDArray[np.uint8], inside: NDArray[np.bool_]
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
    ratio = 1 + (np.clip(ratio, *_STRETCH) - 1) * free
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
    mesh: Mesh, camera: Camera, matte: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> Mesh:
    """Bring what is left between the head's outline and the matte's together, from the nearest.

    Where the outline of the head (with shoulders) is less than :data:`_SNAP_REACH` of the
    picture away from the matte's and looks the same way, the surface along it is moved across
    the line of sight; the effect dies away towards the middle.

    Args:
        mesh: head space, already near.
        camera: sees the matte.
        matte: (h, w) uint8.
        inside: (h, w) bool, where the matte is known.

    """
    side = _SNAP_SIDE
    small = camera.resized(side, side)
    size = (side, side)
    shrunk = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    theirs = np.asarray(shrunk, np.float32) / np.float32(255)
    known = cv2.erode(cv2.resize(inside.astype(np.uint8), size), np.ones((5, 5), np.uint8)) > 0
    goal, goal_normals = _edge(theirs, known)
    if len(goal) < 20:
        return mesh
    face = _face(mesh, camera)
    tree = cKDTree(np.column_stack([goal, goal_normals * _SNAP_TURN * side]))
    for reach in (_SNAP_REACH, _SNAP_REACH / 2, _SNAP_REACH / 4):
        ours = np.isfinite(RayCaster(mesh).depth(small)).astype(np.float32)
        edge, normals = _edge(np.asarray(cv2.GaussianBlur(ours, (0, 0), 0.7), np.float32), known)
        if len(edge) < 20:
            return mesh
        distance, nearest = tree.query(
            np.column_stack([edge, normals * _SNAP_TURN * side]), distance_upper_bound=reach * side
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
    aside = ramp(np.abs(camera.yaw_pitch_deg[:1]), *_FACE_YAW)
    return np.asarray(front * (mesh.parts == Part.SKIN) * (1 - aside))


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
