"""Pictures of a rigged head with its keys at weights, and a sheet of all keys.

A picture for checks and clips: rays, flat alpha, one lamp or the photo's own light.  Of the bones
the head's turn is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dp3d_core.arrays import Array, Indices, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import orbit_pose
from dp3d_core.errors import Dp3dError
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import Hits, RayCaster
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, Detail, RiggedHead, arkit_names
from dp3d_core.rigged.take import turned

_LAMP = np.array([0.35, 0.45, 0.82])
"""Direction of the lamp over the camera's right shoulder, in the camera's axes, Y up."""
_AMBIENT = 0.42
"""Light from everywhere, relative to the lamp's."""
_LAYERS = 5
"""Surfaces with alpha that a ray may pass."""
_SAMPLES = 2
"""Rays per axis of a pixel."""
_LABEL = (70, 70, 70)
"""Colour of names below pictures."""
_BAND = 18
"""Height of the band for a name, pixels."""
TOGETHER = {"mouthClose": {"jawOpen": 1.0}, "tongueOut": {"jawOpen": 0.7}}
"""Keys that mean something only beside others: ``mouthClose`` closes the lips of an open jaw, and
a tongue comes out of an open mouth."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """All parts of a posed head as one mesh."""

    head: RiggedHead
    caster: RayCaster
    part: Indices
    uv: Array
    uv_corners: Indices

    @classmethod
    def of(
        cls, head: RiggedHead, weights: Mapping[str, float], detail: Detail, turn: Array | None
    ) -> _Scene:
        vertices, faces, part, uv, uv_corners = [], [], [], [], []
        first = first_uv = 0
        for number, one in enumerate(head.parts):
            corners, at = one.faces[detail].triangles()
            posed = one.posed(weights)
            vertices.append(posed if turn is None else turned(posed, one, head.bones, turn))
            faces.append(corners + first)
            part.append(np.full(len(corners), number))
            uv.append(one.uv)
            uv_corners.append(at + first_uv)
            first, first_uv = first + len(one.vertices), first_uv + len(one.uv)
        every = np.concatenate(vertices)
        mesh = Mesh.of(every, np.concatenate(faces).astype(np.int32), np.zeros(first, np.uint8))
        return cls(
            head, RayCaster(mesh), np.concatenate(part), np.concatenate(uv),
            np.concatenate(uv_corners),
        )  # fmt: skip

    def colours(self, hits: Hits, photographed: bool, lamp: Array) -> tuple[Array, Array]:
        """Colours (k, 3) and alpha (k,) of hits."""
        at = np.einsum("kc,kcx->kx", hits.weights, self.uv[self.uv_corners[hits.face]])
        towards = np.einsum("ni,ni->n", hits.normals, hits.directions) < 0
        normals = np.where(towards[:, None], hits.normals, -hits.normals)
        shade = _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ lamp, 0, 1)
        colours, alpha = np.full((len(at), 3), 0.7), np.ones(len(at))
        for number, one in enumerate(self.head.parts):
            own = np.flatnonzero(self.part[hits.face] == number)
            material = self.head.materials.get(one.material)
            if material is None or not len(own):
                continue
            pixels = material.photographed if photographed else material.delit
            sampled = _sampled(pixels, at[own])
            colours[own] = sampled[:, :3]
            if material.alpha:
                alpha[own] = sampled[:, 3] > 0.5
            if not material.double_sided:  # the back is not drawn
                alpha[own] *= towards[own]
        if not photographed:
            colours = (colours**2.2 * shade[:, None]) ** (1 / 2.2)
        return colours, alpha


def _sampled(pixels: Pixels, uv: Array) -> Array:
    """(k, 3 or 4) bilinear samples of a texture at coordinates (k, 2), 0 to 1."""
    height, width = pixels.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    corner = [pixels[top + i, left + j].astype(float) for i in (0, 1) for j in (0, 1)]
    upper = corner[0] * (1 - fx) + corner[1] * fx
    lower = corner[2] * (1 - fx) + corner[3] * fx
    return np.asarray((upper * (1 - fy) + lower * fy) / 255)


def head_camera(
    yaw_deg: float, pitch_deg: float, size: int, target: Sequence[float], width: float
) -> Camera:
    """A camera that looks at a point of the head.

    Args:
        yaw_deg: direction from which it looks, degrees around the head, 0 in front.
        pitch_deg: degrees above the horizontal.
        size: side of its picture, pixels.
        target: (3,) point in the middle of the picture, head units.
        width: width of the picture at that point, head units.

    """
    distance = 3.0
    pose = orbit_pose(yaw_deg, pitch_deg).copy()
    pose[:3, 3] = np.asarray(target) + unit(pose[None, :3, 3])[0] * distance
    focal = distance / width * size
    matrix = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(pose, matrix, size, size)


def look(
    head: RiggedHead,
    weights: Mapping[str, float],
    camera: Camera,
    photographed: bool = False,
    detail: Detail = "full",
    background: tuple[int, int, int] = (228, 228, 228),
    turn: Array | None = None,
) -> Pixels:
    """(h, w, 3) picture of a head with keys at weights.

    Args:
        head: the head.
        weights: key to weight, 0 to 1.
        camera: of the picture.
        photographed: the photo's light instead of a lamp.
        detail: level of detail.
        background: sRGB.
        turn: (3, 3) rotation of the bone ``head``.

    """
    scene = _Scene.of(head, weights, detail, turn)
    samples = _SAMPLES
    fine = camera.resized(camera.width * samples, camera.height * samples)
    rays = fine.directions(fine.pixel_centres()).reshape(-1, 3)
    axes = fine.c2w[:3, :3]
    lamp = axes @ (unit(_LAMP[None])[0] * [1, -1, -1])  # camera axes: Y down, Z forward
    picture = np.tile(np.asarray(background, float) / 255, (len(rays), 1))
    alive = np.arange(len(rays))
    origins = np.broadcast_to(fine.position, rays.shape).copy()
    for _ in range(_LAYERS):
        hits = scene.caster.cast(origins[alive], rays[alive])
        colours, alpha = scene.colours(hits, photographed, lamp)
        ray = alive[hits.ray]
        solid = alpha > 0.5
        picture[ray[solid]] = colours[solid]
        passed = ray[~solid]
        origins[passed] = hits.points[~solid] + rays[passed] * 1e-4
        alive = passed
        if not len(alive):
            break
    image = picture.reshape(fine.height, fine.width, 3).astype(np.float32)
    small = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)


def check_sheet_path(path: Path) -> None:
    """Refuse another ending than .png; raises ``output.not_writable``."""
    if path.suffix.lower() != ".png":
        raise Dp3dError(
            "output.not_writable",
            f"A sheet of keys cannot be written as {path.suffix or path.name!r}.",
            "Give it the ending .png.",
        )


def with_company(key: str, weight: float) -> dict[str, float]:
    """A key at a weight, with the keys that it needs beside it at that weight."""
    return {key: weight, **{name: share * weight for name, share in TOGETHER.get(key, {}).items()}}


def keys_sheet(
    head: RiggedHead,
    weight: float = 1.0,
    size: int = 220,
    columns: int = 9,
    photographed: bool = False,
    detail: Detail = "full",
) -> Pixels:
    """Sheet of the neutral face, the photo's expression and all 52 keys.

    Args:
        head: the head.
        weight: weight of each key.
        size: side of a picture, pixels.
        columns: pictures in a row.
        photographed: the photo's light instead of a lamp.
        detail: level of detail.

    """
    poses: list[tuple[str, dict[str, float]]] = [("neutral", {})]
    poses.append((PHOTO_EXPRESSION, {PHOTO_EXPRESSION: 1.0}))
    poses += [(name, with_company(name, weight)) for name in arkit_names()]
    camera = head_camera(12.0, 2.0, size, (0.0, 0.0, 0.1), 0.5)
    tiles = [
        _named(look(head, weights, camera, photographed, detail), name) for name, weights in poses
    ]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def sample_sheet(head: RiggedHead, size: int = 300) -> Pixels:
    """(2 size, 4 size, 3) pictures of some expressions, and of the head from the side and behind.

    Args:
        head: the head.
        size: side of a picture, pixels.

    """
    shown = {PHOTO_EXPRESSION: 1.0}
    views: tuple[tuple[str, dict[str, float], int, bool], ...] = (
        ("as photographed", shown, 0, True),
        ("neutral", {}, 0, False),
        ("eyeBlink", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, 0, False),
        ("mouthSmile", {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, 0, False),
        ("jawOpen", {"jawOpen": 1.0}, 0, False),
        ("45 degrees", shown, 45, False),
        ("90 degrees", shown, 90, False),
        ("180 degrees", shown, 180, False),
    )
    tiles = []
    for name, weights, yaw, photographed in views:
        target, width = ((0.0, 0.06, 0.1), 0.72) if yaw == 0 else ((0.0, 0.0, 0.0), 0.8)
        camera = head_camera(yaw, 2.0, size, target, width)
        tiles.append(_named(look(head, weights, camera, photographed), name))
    return np.concatenate([np.concatenate(tiles[i : i + 4], 1) for i in (0, 4)])


def _named(picture: Pixels, name: str) -> Pixels:
    """A picture with its name in a band below."""
    named, size = picture.copy(), len(picture)
    named[size - _BAND :] = 255
    cv2.putText(named, name, (6, size - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _LABEL, 1,
                cv2.LINE_AA)  # fmt: skip
    return named
