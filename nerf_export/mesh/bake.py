"""Surface -> UV atlas and a texture painted from the views.

Every texel is a point on the surface; each view that sees it gives a colour, weighted by how
squarely it looks at it.  Broad colours are a mean of many views, so that views that differ in
exposure leave no seams; fine detail comes from the view that looks most squarely, since a mean of
views that disagree by a pixel is a blur (Burt and Adelson 1983, with two bands).  Where no view
looks, the colour flows in from the surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import trimesh
import xatlas
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from dp3d_core.arrays import Array, Array32, Indices, Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.meshes.files import TexturedPart
from dp3d_core.progress import Stage

_POWER = 4
"""Weight of a view is its cosine to the normal to this power."""
_DETAIL_POWER = 12
"""Its weight in the detail is that weight to this power: the best view has nearly all of it."""
_GAIN = 1.15
"""What detail loses: a pixel is a mean over its area, and a texel is read between pixels."""
_DETAIL = 0.012
"""Detail is what a blur by this part of a picture's width takes away."""
_LEAST_COSINE = 0.15
_USUAL_SIZES = (0.05, 50.0)
"""Sizes of heads, head units, that are unwrapped as they are."""
_PADDING = 4
"""Texels between charts."""
_EDGE_PIXELS = 1.5
"""Pixels this near to the silhouette mix head and background and are not used."""


@dataclass(frozen=True)
class Texels:
    """Texels that lie on a triangle: pixel, triangle and place on it."""

    row: Indices
    column: Indices
    face: Indices
    weights: Array
    """(n, 3) barycentric."""


@dataclass(frozen=True)
class Painted:
    """A mesh cut into charts, with its texture.

    Attributes:
        vertices, normals: (n, 3); faces: (m, 3); uv: (n, 2), v up.
        texture: (size, size, 3) uint8, first row at v = 1.
        texels: where the texture lies on the surface.
        seen: part of the texels some view sees, 0 to 1.
        normal_map: (size, size, 3) uint8, normals in the tangent space of glTF; None: not asked.
        tangents: (n, 4) that the normal map was made with; None: not asked.

    """

    vertices: Array
    normals: Array
    faces: Indices
    uv: Array
    texture: Pixels
    texels: Texels
    seen: float
    normal_map: Pixels | None = None
    tangents: Array | None = None

    def part(self) -> TexturedPart:
        """The mesh for a file."""
        return TexturedPart(
            "head",
            self.vertices,
            self.normals,
            self.faces,
            self.uv,
            self.texture,
            self.normal_map,
            self.tangents,
        )


def paint(
    mesh: trimesh.Trimesh,
    pictures: Iterable[tuple[Camera, Pixels]],
    texture_size: int,
    stage: Stage,
    normals_of: Callable[[Array], Array] | None = None,
) -> Painted:
    """Unwrap a mesh and paint it.

    Args:
        mesh: closed surface in head space.
        pictures: cameras and their (h, w, 4) uint8 pictures with straight alpha.
        texture_size: side of the texture, texels.
        stage: advanced once for the atlas and once for each picture.
        normals_of: (n, 3) normals of the finer surface at (n, 3) points, for a normal map; None:
            there is to be none.

    """
    normals = np.array(mesh.vertex_normals)
    source, faces, uv = _unwrap(mesh, texture_size)
    stage.advance("Unwrapped the surface")
    texels = _rasterise(uv, faces, texture_size)
    corners = source[faces]  # [m, 3] vertices of the closed mesh
    place = corners[texels.face]
    points = np.einsum("nk,nkc->nc", texels.weights, mesh.vertices[place])
    facing = unit(np.einsum("nk,nkc->nc", texels.weights, normals[place]))
    total, detail = np.zeros((len(points), 3)), np.zeros((len(points), 3))
    weight, detail_weight = np.zeros(len(points)), np.zeros(len(points))
    vertex_total = np.zeros((len(mesh.vertices), 3))
    vertex_weight = np.zeros(len(mesh.vertices))
    for camera, picture in pictures:
        usable = _usable(picture[..., 3])
        bands = _bands(picture)
        visible = _visible(mesh, normals, camera)
        # A triangle is used only when all its corners are seen: no bleeding round an edge.
        whole: Mask = np.all(visible[corners], axis=1)
        colour, w = _look(camera, bands, usable, points, facing, whole[texels.face])
        total += w[:, None] * colour[:, :3]
        weight += w
        w = w**_DETAIL_POWER
        detail += w[:, None] * colour[:, 3:]
        detail_weight += w
        colour, w = _look(camera, bands[..., :3], usable, mesh.vertices, normals, visible)
        vertex_total += w[:, None] * colour
        vertex_weight += w
        stage.advance("Painting from the views")
    around = _flow_in(mesh, vertex_total, vertex_weight)
    fallback = np.einsum("nk,nkc->nc", texels.weights, around[place])
    # Weak evidence fades into the surroundings instead of ending in an edge.
    least = 0.02
    colour = (total + least * fallback) / (weight + least)[:, None]
    best = detail / detail_weight.clip(1e-300)[:, None]
    colour += _GAIN * (weight / (weight + least))[:, None] * best
    texture = _fill(texels, colour, texture_size)
    normal_map = tangents = None
    if normals_of is not None:
        tangents = _tangents(np.array(mesh.vertices)[source], normals[source], faces, uv)
        bent = _in_tangent_space(texels, faces, normals[source], tangents, normals_of(points))
        normal_map = _fill(texels, 127.5 * (bent + 1), texture_size)
    return Painted(
        vertices=np.array(mesh.vertices)[source],
        normals=normals[source],
        faces=faces,
        uv=uv,
        texture=texture,
        texels=texels,
        seen=float((weight > least).mean()),
        normal_map=normal_map,
        tangents=tangents,
    )


def _unwrap(mesh: trimesh.Trimesh, texture_size: int) -> tuple[Indices, Indices, Array]:
    """Vertex of the closed mesh behind each atlas vertex, faces, and uv with v up."""
    vertices, size = mesh.vertices, float(mesh.extents.max())
    # xatlas drops triangles below an area of its own, and computes in single precision
    if not _USUAL_SIZES[0] < size < _USUAL_SIZES[1] or np.abs(vertices).max() > 100 * size:
        vertices = (vertices - mesh.bounds.mean(0)) / size
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution = texture_size
    options.padding = _PADDING
    options.bilinear = True
    atlas.generate(xatlas.ChartOptions(), options)
    source, faces, uv = atlas[0]
    return source.astype(np.int64), faces.astype(np.int64), uv.astype(np.float64)


def _rasterise(uv: Array, faces: Indices, size: int) -> Texels:
    """Texels whose centre lies on a triangle of the atlas."""
    xy = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], -1)[faces]  # [m, 3, 2]
    first = np.floor(xy.min(1) - 0.5).astype(int).clip(0, size - 1)
    last = np.floor(xy.max(1) + 0.5).astype(int).clip(0, size - 1)
    span = last - first + 1
    count = span.prod(1)
    face = np.repeat(np.arange(len(faces)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column = first[face, 0] + offset % span[face, 0]
    row = first[face, 1] + offset // span[face, 0]
    a, b, c = (xy[face, k] for k in range(3))
    p = np.stack([column + 0.5, row + 0.5], -1)
    double = _cross(b - a, c - a)
    safe = np.where(np.abs(double) < 1e-12, 1e-12, double)
    weights = np.stack([_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)], -1)
    weights /= safe[:, None]
    on = (weights > -1e-6).all(1)
    order = np.flatnonzero(on)
    return Texels(row[order], column[order], face[order], weights[order])


def _cross(a: Array, b: Array) -> Array:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _visible(mesh: trimesh.Trimesh, normals: Array, camera: Camera) -> Mask:
    """(n,) whether nothing stands between each vertex and the camera."""
    away = camera.position - mesh.vertices
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    direction = away / distance
    front = np.einsum("nc,nc->n", direction, normals) > 0
    visible = np.zeros(len(mesh.vertices), bool)
    # Start a little above the surface, so that a vertex does not hide itself.
    lift = 2e-3 * mesh.scale
    start = mesh.vertices[front] + lift * normals[front]
    visible[front] = ~mesh.ray.intersects_any(start, direction[front])  # type: ignore[no-untyped-call]
    return visible


def _usable(alpha: Pixels) -> Array32:
    """(h, w) 1 inside the silhouette, 0 at its edge and outside."""
    if (alpha == 255).all():
        return np.ones(alpha.shape, np.float32)
    depth = ndimage.distance_transform_edt(np.pad(alpha >= 250, 1, mode="edge"))[1:-1, 1:-1]
    usable: Array32 = np.clip(depth - _EDGE_PIXELS, 0, 1).astype(np.float32)
    return usable


def _bands(picture: Pixels) -> Array32:
    """(h, w, 6) broad colours and detail, together the colours, of an RGBA picture.

    The blur stays inside the silhouette: no colour of the background comes in.
    """
    rgb, alpha = picture[..., :3].astype(np.float32), picture[..., 3:].astype(np.float32) / 255
    sigma = (_DETAIL * picture.shape[1], _DETAIL * picture.shape[1], 0)
    held = ndimage.gaussian_filter(alpha, sigma, truncate=3)
    broad = ndimage.gaussian_filter(rgb * alpha, sigma, truncate=3) / held.clip(1e-3)
    return np.concatenate([broad, rgb - broad], -1, dtype=np.float32)


def _look(
    camera: Camera,
    picture: Array32,
    usable: Array32,
    points: Array,
    normals: Array,
    visible: Mask,
) -> tuple[Array, Array]:
    """(n, c) values of an (h, w, c) picture at points, and (n,) weights."""
    channels = picture.shape[-1]
    colour, weight = np.zeros((len(points), channels)), np.zeros(len(points))
    index = np.flatnonzero(visible)
    away = camera.position - points[index]
    cosine = np.einsum("nc,nc->n", away, normals[index]) / np.linalg.norm(away, axis=1)
    uv, depth = camera.project(points[index])
    keep = (
        (cosine > _LEAST_COSINE)
        & (depth > 0)
        & (uv > 0.5).all(1)
        & (uv < np.array([camera.width, camera.height]) - 0.5).all(1)
    )
    index, cosine, at = index[keep], cosine[keep], (uv[keep] - 0.5).T[::-1]
    for channel in range(channels):
        # the detail by a cubic spline: a line through two pixels blurs what is a few pixels wide
        colour[index, channel] = ndimage.map_coordinates(
            picture[..., channel], at, order=3 if channel >= 3 else 1, mode="nearest"
        )
    sharp = ndimage.map_coordinates(usable, at, order=1, mode="nearest")
    weight[index] = sharp * cosine**_POWER
    return colour, weight


def _flow_in(mesh: trimesh.Trimesh, total: Array, weight: Array) -> Array:
    """(n, 3) vertex colours; unseen vertices take the harmonic mean of what surrounds them."""
    seen = weight > 1e-3
    colour = np.where(seen[:, None], total / weight.clip(1e-9)[:, None], 128.0)
    if seen.all() or not seen.any():
        return colour
    edges = mesh.edges_unique
    n = len(weight)
    one_way = sparse.coo_matrix((np.ones(len(edges)), edges.T), (n, n))
    link = (one_way + one_way.T).tocsr()
    laplacian = (sparse.diags(np.asarray(link.sum(1)).ravel() + 1e-9) - link).tocsr()
    hidden = np.flatnonzero(~seen)
    inner = laplacian[hidden][:, hidden].tocsc()
    outer = -laplacian[hidden][:, np.flatnonzero(seen)] @ colour[seen]
    colour[hidden] = np.asarray(spsolve(inner, outer)).reshape(-1, 3)
    return colour.clip(0, 255)


def _tangents(vertices: Array, normals: Array, faces: Indices, uv: Array) -> Array:
    """(n, 4) tangents along u and their sign, as importers of glTF make them (MikkTSpace).

    Mikkelsen 2008: the mean of the triangles around a vertex, weighted by their angle there.
    """
    p, q = vertices[faces], uv[faces]
    (e1, e2), (d1, d2) = ((x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) for x in (p, q))
    area = _cross(d1, d2)
    along = unit((e1 * d2[:, 1:] - e2 * d1[:, 1:]) * np.sign(area)[:, None])
    total, sign = np.zeros(vertices.shape), np.zeros(len(vertices))
    for k in range(3):
        corner, before, after = faces[:, k], p[:, k - 1], p[:, (k + 1) % 3]
        normal = normals[corner]
        flat = [
            unit(x - np.einsum("nc,nc->n", x, normal)[:, None] * normal)
            for x in (before - p[:, k], after - p[:, k], along)
        ]
        angle = np.arccos(np.einsum("nc,nc->n", flat[0], flat[1]).clip(-1, 1))
        np.add.at(total, corner, angle[:, None] * flat[2])
        np.add.at(sign, corner, np.sign(area))
    return np.column_stack([unit(total), np.where(sign < 0, -1.0, 1.0)])


def _in_tangent_space(
    texels: Texels, faces: Indices, normals: Array, tangents: Array, wanted: Array
) -> Array:
    """(n, 3) unit normals at texels as seen from the interpolated frames there."""
    corner = faces[texels.face]
    normal = np.einsum("nk,nkc->nc", texels.weights, normals[corner])
    tangent = np.einsum("nk,nkc->nc", texels.weights, tangents[corner, :3])
    across = tangents[corner[:, 0], 3:] * np.cross(normal, tangent)
    frame = np.stack([tangent, across, normal], -1)
    whole = np.abs(np.linalg.det(frame)) > 1e-6
    bent = np.tile([0.0, 0.0, 1.0], (len(wanted), 1))
    bent[whole] = np.linalg.solve(frame[whole], wanted[whole][..., None])[..., 0]
    bent[:, 2] = bent[:, 2].clip(0.05)  # a map cannot turn a surface round
    return unit(bent)


def unit(vectors: Array) -> Array:
    """(..., c) vectors of length 1; those of no length stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / length.clip(1e-12), np.float64)


def _fill(texels: Texels, colour: Array, size: int) -> Pixels:
    """The texture, every empty texel with the colour of its nearest painted one."""
    texture = np.zeros((size, size, 3), np.uint8)
    painted = np.zeros((size, size), bool)
    texture[texels.row, texels.column] = np.rint(colour).clip(0, 255).astype(np.uint8)
    painted[texels.row, texels.column] = True
    nearest = ndimage.distance_transform_edt(~painted, return_distances=False, return_indices=True)
    filled: Pixels = texture[nearest[0], nearest[1]]
    return filled
