"""Placement: the base head with the photo's proportions, its outline that of the photo.

The alignment (``dp3d_core.alignment``) has found pose and proportions from features; here hair
is chosen by what stands off the skull in the matte, and the outline, seen from the photo's
camera, is moved onto the matte's (hair, hats and jaws differ from any model), leaving the face
alone.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from dp3d_core.cameras import Camera
from dp3d_core.heads.anatomy import EYE, MM
from dp3d_core.heads.labels import Label, vertex_labels
from dp3d_core.heads.model import HeadSpec, Surface, build_head
from dp3d_core.mesh import Mesh
from dp3d_core.portrait import Portrait
from dp3d_core.raycast import RayCaster

Array = NDArray[np.float64]

_ANGLES = 180
_STRETCH = (0.80, 1.5)


class Part(IntEnum):
    """Kinds of surface whose unseen sides are continued each from its own."""

    SKIN = 0
    HAIR = 1
    BODY = 2


def place_head(portrait: Portrait) -> Mesh:
    """The head in head space, its outline fitted to the portrait's matte; parts are `Part`."""
    shape = {k: v for k, v in portrait.report.shape.items() if abs(v) > 0.02}
    measured = portrait.report.matte_source != "template"
    hair = _hair(portrait, shape) if measured else "crop"
    mesh = as_parts(HeadSpec(shape, hair))
    if not measured:
        return mesh
    return fit_outline(mesh, portrait.camera, portrait.matte, portrait.inside)


def as_parts(spec: HeadSpec) -> Mesh:
    """The mesh of a head with :class:`Part` for parts."""
    head = build_head(spec)
    parts = np.full(len(head.mesh.parts), int(Part.SKIN), np.uint8)
    parts[head.mesh.parts == Surface.HAIR] = Part.HAIR
    parts[head.mesh.parts == Surface.CLOTHES] = Part.BODY
    parts[vertex_labels(head) == Label.SHOULDERS] = Part.BODY
    return Mesh(head.mesh.vertices, head.mesh.faces, head.mesh.normals, parts)


def _hair(portrait: Portrait, shape: dict[str, float]) -> str:
    """The hair volume that the matte speaks for: by what stands off the bald head."""
    bald = RayCaster(as_parts(HeadSpec(shape, None)))
    camera = portrait.camera
    head = np.isfinite(bald.depth(camera))
    matte = (portrait.matte > 127) & portrait.inside
    mm = camera.K[0, 0] / float(np.linalg.norm(camera.position)) * MM  # pixels

    def gap(y_mm: float) -> float:
        """How much wider the matte is at a height, mean of both sides, millimetres."""
        row = int(np.clip(camera.project([[0.0, y_mm * MM, 0.0]])[0][0][1], 0, len(matte) - 1))
        ours, theirs = np.flatnonzero(head[row]), np.flatnonzero(matte[row])
        if not ours.size or not theirs.size:
            return 0.0
        return float((np.ptp(theirs) - np.ptp(ours)) / 2 / mm)

    top = np.flatnonzero((matte & np.roll(head.any(0), 0)[None]).any(1))
    ours = np.flatnonzero(head.any(1))
    crown = float(ours[0] - top[0]) / mm if top.size and top[0] > 3 else 12.0
    sides = float(np.median([gap(y) for y in (40.0, 60.0, 80.0)]))
    low = float(np.median([gap(y) for y in (-52.0, -62.0, -72.0)]))
    if low > 18:
        return "long" if gap(-110.0) > 25 else "bob"
    if max(sides, crown) > 30:
        return "afro"
    return "crop" if crown > 8 else "buzz"


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
    moved = centre + offset * gain[:, None]
    local[:, :2] = (moved - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]] * depth[:, None]
    vertices = local @ camera.c2w[:3, :3].T + camera.position

    upper = (angles > np.pi) | (down > np.radians(85))
    volume = float(np.clip(np.mean(ratio[upper]), 0.92, 1.15))
    back = np.clip(-vertices[:, 2] / 0.2, 0, 1) * np.clip((vertices[:, 1] + 0.22) / 0.15, 0, 1)
    vertices[:, 2] *= 1 + (volume - 1) * back
    return mesh.with_vertices(vertices)


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
