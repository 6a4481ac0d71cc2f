"""Ray casting of meshes with Embree: first hits, depth, and renders with smooth edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dp3d_core.arrays import Array, Array32, Bool, Float, Indices, Int, Mask, Pixels, UInt8
from dp3d_core.cameras.camera import Camera
from dp3d_core.meshes.mesh import Mesh, unit

EDGE_SAMPLES = 3
"""Rays per axis of a pixel at the outline."""
FOLD_SAMPLES = 2
"""Rays per axis of a pixel at a fold within the outline."""

_FAR_ASIDE = 1 << 14
"""Largest pixel coordinate of a hull that is drawn, as OpenCV draws in 16 bits."""


@dataclass(frozen=True)
class Hits:
    """First hits of rays with a mesh; rays without a hit are left out.

    Attributes:
        ray: (k,) index of the ray.
        points: (k, 3) positions, head units.
        normals: (k, 3) interpolated unit normals.
        face: (k,) index of the triangle.
        weights: (k, 3) barycentric weights of its corners.
        distance: (k,) distance from the origin, head units.
        directions: (k, 3) unit directions of the rays.

    """

    ray: Int[Indices, " k"]
    points: Float[Array, "k 3"]
    normals: Float[Array, "k 3"]
    face: Int[Indices, " k"]
    weights: Float[Array, "k 3"]
    distance: Float[Array, " k"]
    directions: Float[Array, "k 3"]


class RayCaster:
    """A mesh prepared for ray queries (Embree, single precision)."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._scene = EmbreeScene()
        # the scene uses the triangle buffer, but embreex keeps no reference to it
        self._triangles = TriangleMesh(
            self._scene, np.ascontiguousarray(mesh.vertices[mesh.faces], np.float32)
        )

    def cast(self, origins: Float[Array, "... 3"], directions: Float[Array, "n 3"]) -> Hits:
        """First hits of rays.

        Args:
            origins: (n, 3) or (3,).
            directions: (n, 3), unit length.

        """
        ray, face, weights, distance = self.triangles_hit(origins, directions)
        corners = self.mesh.faces[face]
        points = np.einsum("kc,kcx->kx", weights, self.mesh.vertices[corners])
        normals = np.einsum("kc,kcx->kx", weights, self.mesh.normals[corners])
        normals = unit(normals)
        return Hits(ray, points, normals, face, weights, distance, directions[ray])

    def triangles_hit(
        self, origins: Float[Array, "... 3"], directions: Float[Array, "n 3"]
    ) -> tuple[Int[Indices, " k"], Int[Indices, " k"], Float[Array, "k 3"], Float[Array, " k"]]:
        """First hits as of :meth:`cast` without points and normals, which take as long as the rays.

        Returns:
            ``ray``, ``face``, ``weights`` and ``distance`` of :class:`Hits`.

        """
        directions32 = np.ascontiguousarray(directions, np.float32)
        origins32 = np.ascontiguousarray(np.broadcast_to(origins, directions.shape), np.float32)
        hits = self._scene.run(origins32, directions32, query="INTERSECT", output=True)
        ray = np.flatnonzero(hits["primID"] >= 0)
        face = hits["primID"][ray].astype(np.int64)
        u, v = hits["u"][ray].astype(np.float64), hits["v"][ray].astype(np.float64)
        return ray, face, np.stack([1 - u - v, u, v], -1), hits["tfar"][ray].astype(np.float64)

    def blocked(
        self, origins: Float[Array, "... 3"], directions: Float[Array, "n 3"]
    ) -> Bool[Mask, " n"]:
        """(n,) whether rays hit the mesh; arguments as of :meth:`cast`."""
        directions32 = np.ascontiguousarray(directions, np.float32)
        origins32 = np.ascontiguousarray(np.broadcast_to(origins, directions.shape), np.float32)
        return np.asarray(self._scene.run(origins32, directions32, query="OCCLUDED") == 0)

    def seen(self, camera: Camera) -> Hits:
        """First hits of rays through all pixel centres; ``ray`` is the index of the pixel."""
        pixels = self._pixels_in_hull(camera)
        centres = camera.pixel_centres().reshape(-1, 2)[pixels]
        hits = self.cast(camera.position, camera.directions(centres))
        return replace(hits, ray=pixels[hits.ray])

    def _pixels_in_hull(self, camera: Camera) -> Int[Indices, " k"]:
        """Indices of pixels in the mesh's convex hull; all if a vertex is behind the camera."""
        import cv2

        size = np.array([camera.width, camera.height])
        uv, _ = camera.project(self.mesh.vertices)
        if not len(uv) or not (np.abs(uv) < _FAR_ASIDE).all():
            return np.arange(size.prod())
        hull = cv2.convexHull(np.rint(uv).astype(np.int32))
        mask = np.zeros(size[::-1], np.uint8)
        cv2.fillConvexPoly(mask, hull, 1)
        cv2.polylines(mask, [hull], True, 1, 3)  # rounding may make the hull a pixel too small
        return np.flatnonzero(mask)

    def depth(self, camera: Camera) -> Float[Array32, "{camera.height} {camera.width}"]:
        """(h, w) depth along the optical axis, head units; inf: no hit."""
        hits = self.seen(camera)
        depth = np.full(camera.height * camera.width, np.inf, np.float32)
        depth[hits.ray] = (hits.points - camera.position) @ camera.c2w[:3, 2]
        return depth.reshape(camera.height, camera.width)


Shader = Callable[[Hits], Float[Array, "k 3"]]
"""Function from k hits to colours (k, 3), 0 to 1."""


@dataclass(frozen=True)
class Render:
    """A rendered view.

    Attributes:
        rgb: (h, w, 3) float, 0 to 1, straight (not multiplied by alpha).
        alpha: (h, w) float, 0 to 1.
        depth: (h, w) float32 along the optical axis, inf outside.
        hits: first hits of rays through pixel centres; ``hits.ray`` is the index of the pixel, row
            by row.

    """

    rgb: Float[Array, "h w 3"]
    alpha: Float[Array, "h w"]
    depth: Float[Array32, "h w"]
    hits: Hits

    def composite(self, background: tuple[int, int, int]) -> UInt8[Pixels, "h w 3"]:
        """(h, w, 3) uint8 picture over a plain colour."""
        alpha = self.alpha[..., None]
        mixed = self.rgb * alpha + np.asarray(background) / 255 * (1 - alpha)
        return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)

    @property
    def mask(self) -> UInt8[Pixels, "h w"]:
        """(h, w) uint8 alpha."""
        return np.rint(self.alpha * 255).astype(np.uint8)


def render(caster: RayCaster, camera: Camera, shader: Shader) -> Render:
    """Render a view with one ray per pixel, and more at outlines and folds."""
    height, width = camera.height, camera.width
    centres = camera.pixel_centres().reshape(-1, 2)
    hits = caster.seen(camera)
    rgb = np.zeros((height * width, 3))
    alpha = np.zeros(height * width)
    depth = np.full(height * width, np.inf, np.float32)
    rgb[hits.ray] = shader(hits)
    alpha[hits.ray] = 1
    depth[hits.ray] = (hits.points - camera.position) @ camera.c2w[:3, 2]

    outline, folds = _edges(depth.reshape(height, width))
    for mask, samples in ((outline, EDGE_SAMPLES), (folds, FOLD_SAMPLES)):
        edges = np.flatnonzero(mask)
        if edges.size:
            rgb[edges], alpha[edges] = _supersampled(
                caster, camera, shader, centres[edges], samples
            )
    return Render(
        rgb.reshape(height, width, 3),
        alpha.reshape(height, width),
        depth.reshape(height, width),
        hits,
    )


def _supersampled(
    caster: RayCaster, camera: Camera, shader: Shader, centres: Float[Array, "k 2"], n: int
) -> tuple[Float[Array, "k 3"], Float[Array, " k"]]:
    """Colours (k, 3) and alpha (k,) of pixels with centres (k, 2), mean of n by n rays each."""
    steps = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)
    samples = (centres[:, None] - 0.5 + (steps + 0.5) / n).reshape(-1, 2)
    hits = caster.cast(camera.position, camera.directions(samples))
    pixel = hits.ray // (n * n)
    count = np.bincount(pixel, minlength=len(centres))
    colours = shader(hits)
    sums = np.stack([np.bincount(pixel, colours[:, c], minlength=len(centres)) for c in range(3)])
    return (sums / np.maximum(count, 1)).T, count / (n * n)


def _edges(
    depth: Float[Array32, "h w"], fold: float = 0.02
) -> tuple[Bool[Mask, "h w"], Bool[Mask, "h w"]]:
    """Outline pixels, with hits and misses nearby, and others at a depth step above ``fold``."""
    import cv2

    far = 1e3
    near = np.where(np.isfinite(depth), depth, far).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    step = np.asarray(cv2.dilate(near, kernel) - cv2.erode(near, kernel))
    outline = step > far / 2
    return outline, (step > fold) & ~outline
