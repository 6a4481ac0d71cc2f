"""Ray casting a mesh with Embree: what a camera sees of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.mesh import Mesh, unit

Array = NDArray[np.float64]

EDGE_SAMPLES = 3
"""Edge pixels are sampled on a grid of this many by this many rays."""


@dataclass(frozen=True)
class Hits:
    """Where rays meet the mesh; the arrays hold the rays that do.

    Attributes:
        ray: (k,) index of the ray.
        points, normals: (k, 3); the normals are interpolated, unit length.
        face: (k,) triangle.
        weights: (k, 3) barycentric weights of its corners.
        distance: (k,) along the unit ray.
        directions: (k, 3) of the rays.

    """

    ray: NDArray[np.int64]
    points: Array
    normals: Array
    face: NDArray[np.int64]
    weights: Array
    distance: Array
    directions: Array


class RayCaster:
    """A mesh prepared for ray queries (Embree, single precision)."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._scene = EmbreeScene()
        # the triangle buffer is owned by the scene, but embreex keeps no reference itself
        self._triangles = TriangleMesh(
            self._scene, np.ascontiguousarray(mesh.vertices[mesh.faces], np.float32)
        )

    def cast(self, origins: Array, directions: Array) -> Hits:
        """First hits of rays.

        Args:
            origins: (n, 3) or (3,).
            directions: (n, 3), unit length.

        """
        directions32 = np.ascontiguousarray(directions, np.float32)
        origins32 = np.ascontiguousarray(np.broadcast_to(origins, directions.shape), np.float32)
        found = self._scene.run(origins32, directions32, query="INTERSECT", output=True)
        ray = np.flatnonzero(found["primID"] >= 0)
        face = found["primID"][ray].astype(np.int64)
        u, v = found["u"][ray].astype(np.float64), found["v"][ray].astype(np.float64)
        weights = np.stack([1 - u - v, u, v], -1)
        corners = self.mesh.faces[face]
        points = np.einsum("kc,kcx->kx", weights, self.mesh.vertices[corners])
        normals = np.einsum("kc,kcx->kx", weights, self.mesh.normals[corners])
        normals = unit(normals)
        distance = found["tfar"][ray].astype(np.float64)
        return Hits(ray, points, normals, face, weights, distance, directions[ray])

    def blocked(self, origins: Array, directions: Array) -> NDArray[np.bool_]:
        """(n,) whether rays meet anything."""
        directions32 = np.ascontiguousarray(directions, np.float32)
        origins32 = np.ascontiguousarray(np.broadcast_to(origins, directions.shape), np.float32)
        return np.asarray(self._scene.run(origins32, directions32, query="OCCLUDED") == 0)

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """(h, w) depth along the optical axis, head units; inf where nothing is hit."""
        directions = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = self.cast(camera.position, directions)
        depth = np.full(camera.height * camera.width, np.inf, np.float32)
        depth[hits.ray] = (hits.points - camera.position) @ camera.c2w[:3, 2]
        return depth.reshape(camera.height, camera.width)


Shader = Callable[[Hits], Array]
"""Colours (k, 3), 0 to 1, of hits."""


@dataclass(frozen=True)
class Render:
    """A rendered view.

    Attributes:
        rgb: (h, w, 3) float, 0 to 1, straight (not multiplied by alpha).
        alpha: (h, w) float, 0 to 1.
        depth: (h, w) float32 along the optical axis, inf outside.
        hits: what the ray through the centre of each pixel meets (``hits.ray`` is the pixel's
            number, row by row).

    """

    rgb: Array
    alpha: Array
    depth: NDArray[np.float32]
    hits: Hits

    def composite(self, background: tuple[int, int, int]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 picture over a plain colour."""
        alpha = self.alpha[..., None]
        mixed = self.rgb * alpha + np.asarray(background) / 255 * (1 - alpha)
        return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w) uint8 alpha."""
        return np.rint(self.alpha * 255).astype(np.uint8)


def render(caster: RayCaster, camera: Camera, shader: Shader) -> Render:
    """Render a view: one ray a pixel, more where an outline or a fold crosses the pixel."""
    height, width = camera.height, camera.width
    centres = camera.pixel_centres().reshape(-1, 2)
    hits = caster.cast(camera.position, camera.directions(centres))
    rgb = np.zeros((height * width, 3))
    alpha = np.zeros(height * width)
    depth = np.full(height * width, np.inf, np.float32)
    rgb[hits.ray] = shader(hits)
    alpha[hits.ray] = 1
    depth[hits.ray] = (hits.points - camera.position) @ camera.c2w[:3, 2]

    edges = np.flatnonzero(_edges(depth.reshape(height, width)))
    if edges.size:
        n = EDGE_SAMPLES
        offsets = (np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) + 0.5) / n
        samples = (centres[edges][:, None] - 0.5 + offsets).reshape(-1, 2)
        fine = caster.cast(camera.position, camera.directions(samples))
        pixel = fine.ray // (n * n)
        count = np.bincount(pixel, minlength=edges.size)
        colours = shader(fine)
        sums = np.stack(
            [np.bincount(pixel, colours[:, c], minlength=edges.size) for c in range(3)], -1
        )
        rgb[edges] = sums / np.maximum(count, 1)[:, None]
        alpha[edges] = count / (n * n)
    return Render(
        rgb.reshape(height, width, 3),
        alpha.reshape(height, width),
        depth.reshape(height, width),
        hits,
    )


def _edges(depth: NDArray[np.float32], fold: float = 0.02) -> NDArray[np.bool_]:
    """Pixels whose neighbourhood holds both hit and miss, or a step in depth (head units)."""
    import cv2

    near = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(near, kernel) - cv2.erode(near, kernel) > fold)
