"""Textures of the rigged head, painted texel by texel from the fitted head's appearance.

Colours depend on the surface point alone (``preview.colouring``), so a texture holds them exactly.
Each is painted with the photo's light and without it.  What no photo shows is continued from what
is painted: skin under clothes, the inside of the lips.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Array, Array32, Indices, Indices32, Mask, Pixels
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.asset import triangle_keys
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.texture.continuation import pull_push

_BAND = 400_000
"""Number of texels coloured at a time, to limit memory."""
_PAINTERS = 2
"""Threads that colour; numpy and OpenCV work outside of Python's lock."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Texels of a texture that lie in triangles.

    Attributes:
        side: side of the texture, texels.
        texel: (t,) index of the texel, row by row.
        triangle: (t,) triangle that it lies in.
        weights: (t, 3) barycentric weights in it.

    """

    side: int
    texel: Indices
    triangle: Indices
    weights: Array

    @classmethod
    def of(cls, uv: Array, triangles: Indices32, side: int) -> Raster:
        """The texels of triangles (m, 3) of texture coordinates (k, 2), v up."""
        flat = np.column_stack([uv, np.zeros(len(uv))])
        caster = RayCaster(Mesh.of(flat, triangles, np.zeros(len(flat), np.uint8)))
        texels, hit_triangles, weights = [], [], []
        rows = max(1, _BAND // side)
        for start in range(0, side, rows):
            v, u = np.mgrid[start : min(start + rows, side), 0:side] + 0.5
            origins = np.stack([u.ravel() / side, 1 - v.ravel() / side, np.ones(u.size)], -1)
            down = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
            ray, face, within, _ = caster.triangles_hit(origins, down)
            texels.append(ray + start * side)
            hit_triangles.append(face)
            weights.append(within)
        return cls(
            side, np.concatenate(texels), np.concatenate(hit_triangles), np.concatenate(weights)
        )

    def rows_in(self, wanted: Mask, triangles: NDArray[np.integer] | None = None) -> Indices:
        """Indices (k,) of the texels that lie in some triangles.

        Args:
            wanted: (m,) triangles, or (n,) vertices, of which a triangle has at least one.
            triangles: (m, 3) the vertices of the triangles, if those are wanted.

        """
        flags = wanted if triangles is None else np.asarray(wanted[triangles].any(1))
        return np.flatnonzero(flags[self.triangle])

    def only(self, rows: Indices) -> Raster:
        """The texels of some indices (k,): values that matter there alone are quick to compute."""
        return Raster(self.side, self.texel[rows], self.triangle[rows], self.weights[rows])

    def interpolated(self, values: Array, triangles: NDArray[np.integer]) -> Array:
        """(t, ...) values at the texels, from values (n, ...) at the triangles' corners (m, 3)."""
        at_corners = values[triangles[self.triangle]]
        return np.asarray(np.einsum("tc,tc...->t...", self.weights, at_corners))

    def image(self, values: NDArray[np.floating], background: float = 0.0) -> Array32:
        """(side, side[, c]) image of values (t[, c]) at the texels."""
        picture = np.full((self.side * self.side, *values.shape[1:]), background, np.float32)
        picture[self.texel] = values
        return picture.reshape(self.side, self.side, *values.shape[1:])

    def mask(self, values: Mask | None = None) -> Mask:
        """(side, side) bool image of values (t,); without them, of all texels in triangles."""
        flags = np.zeros(self.side * self.side, bool)
        flags[self.texel] = True if values is None else values
        return np.asarray(flags.reshape(self.side, self.side))


@dataclass(frozen=True, eq=False)
class Twins:
    """The triangles of the fitted head's mesh behind those of a texture.

    Attributes:
        face: (m,) index in the head's mesh; -1 where the head has none.
        turn: (m,) corner of that triangle that is the first one here.

    """

    face: Indices
    turn: Indices

    @classmethod
    def of(cls, wanted: Indices32, head: PreviewHead) -> Twins:
        """Find triangles (m, 3) of the head's vertices; negative vertices are not there."""
        faces = head.mesh.faces
        keys = triangle_keys(faces)
        order = np.argsort(keys)
        valid = np.asarray((wanted >= 0).all(1))
        face, turn = np.full(len(wanted), -1), np.zeros(len(wanted), np.int64)
        for shift in range(3):
            own = triangle_keys(np.roll(np.where(valid[:, None], wanted, 0), shift, 1))
            place = np.minimum(np.searchsorted(keys, own, sorter=order), len(keys) - 1)
            index = order[place]
            matches = valid & (keys[index] == own)
            face[matches], turn[matches] = index[matches], shift
        return cls(face, turn)


def surface_looks(
    head: PreviewHead, twins: Twins, raster: Raster, wanted: Mask | None = None
) -> tuple[Array32, Array32, Mask]:
    """Colours of texels with the photo's light and without.

    Args:
        head: the fitted head.
        twins: the head's triangles behind those of the raster.
        raster: the texels.
        wanted: (t,) texels that need colours; None wants all.

    Returns:
        Two images (side, side, 3), 0 to 1, and the texels (side, side) that are painted.

    """
    face = twins.face[raster.triangle]
    painted = face >= 0 if wanted is None else (face >= 0) & wanted
    index = np.flatnonzero(painted)
    looks = [np.zeros((len(face), 3), np.float32) for _ in range(2)]

    def paint(start: int) -> None:
        part = index[start : start + _BAND]
        corner = (np.arange(3) - twins.turn[raster.triangle[part]][:, None]) % 3
        weights = np.take_along_axis(raster.weights[part], corner, 1)
        for look, colours in zip(looks, head.surface_looks(face[part], weights), strict=True):
            look[part] = colours

    with ThreadPoolExecutor(_PAINTERS) as painters:
        list(painters.map(paint, range(0, len(index), _BAND)))
    photographed, delit = (raster.image(look) for look in looks)
    return photographed, delit, raster.mask(painted)


def continued(image: Array32, known: Mask, far: Array32) -> Array32:
    """The image (s, s, 3) with smooth colours continued into texels that are not known."""
    return pull_push(image, known.astype(np.float32), far)


def blurred(image: NDArray[np.floating], sigma: float, sigma_up: float = 0.0) -> Array32:
    """An image blurred by a Gaussian of a standard deviation across, and another one up."""
    single = np.asarray(image, np.float32)
    return np.asarray(cv2.GaussianBlur(single, (0, 0), sigma, sigmaY=sigma_up), np.float32)


def resized(image: NDArray[np.floating], side: int) -> Array32:
    """A square image in another size: the mean of texels where it shrinks, else interpolated."""
    how = cv2.INTER_AREA if side < len(image) else cv2.INTER_LINEAR
    single = np.asarray(image, np.float32)
    return np.asarray(cv2.resize(single, (side, side), interpolation=how), np.float32)


def to_pixels(image: NDArray[np.floating]) -> Pixels:
    """uint8 of an image of 0 to 1."""
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def fine_normals(
    delit: Array32, texel_mm: Array32, strength: Array32, sigmas: tuple[float, float]
) -> Pixels:
    """Normal map of the fine variation of a de-lit texture, taken for relief: dark is deep.

    Args:
        delit: (s, s, 3) colours, 0 to 1.
        texel_mm: (s, s) millimetres per texel.
        strength: (s, s) millimetres of height per unit of log brightness.
        sigmas: blurs in texels between which variation is relief.

    """
    # sums of channels: several times faster than a mean over an axis of three
    mean = (delit[..., 0] + delit[..., 1] + delit[..., 2]) / np.float32(3)
    tone = np.log(np.maximum(mean, 0.03))
    band = blurred(tone, sigmas[0]) - blurred(tone, sigmas[1])
    height = np.tanh(band / 0.12) * 0.12 * strength
    rise = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8) / texel_mm
    fall = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8) / texel_mm
    length = np.sqrt(rise * rise + fall * fall + 1)
    normals = np.empty((*length.shape, 3), np.float32)
    for channel, value in enumerate((-rise, fall, np.float32(1))):
        normals[..., channel] = value / length * 0.5 + 0.5
    return to_pixels(normals)
