"""Surface -> UV atlas and a texture baked from the views.

Every texel is a point on the surface.  Each view that sees the point gives a colour, weighted by
the cosine between view direction and normal.  Two frequency bands are blended apart (Burt and
Adelson 1983): low frequencies are averaged over many views, so that differences of exposure leave
no seams; high frequencies come from the view with the largest weight, since averaging views that
disagree by a pixel would blur.  Texels that no view sees get colours by diffusion from their
surroundings.
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
from dp3d_core.meshes.mesh import unit
from dp3d_core.progress import Stage

_COSINE_POWER = 4
"""Power of the cosine between view direction and normal that weighs a view."""
_DETAIL_POWER = 12
"""Power of a view's weight that weighs its high frequencies: the best view gets nearly all."""
_DETAIL_GAIN = 1.15
"""Factor on high frequencies, for what pixel areas and interpolation between pixels take away."""
_DETAIL_SIGMA = 0.012
"""Standard deviation, picture widths, of the blur that separates the two bands."""
_LEAST_COSINE = 0.15
"""Cosine between view direction and normal below which a view is not used."""
_UNSCALED_SIZES = (0.05, 50.0)
"""Least and largest size of a mesh, head units, that xatlas unwraps without scaling."""
_PADDING = 4
"""Texels between charts."""
_EDGE_PIXELS = 1.5
"""Distance from the silhouette's edge, pixels, below which pixels mix head and background and are
not used."""


@dataclass(frozen=True)
class Texels:
    """Texels that lie on a triangle: row and column, triangle, and position on the triangle."""

    row: Indices
    column: Indices
    face: Indices
    weights: Array
    """(n, 3) barycentric."""


@dataclass(frozen=True)
class PaintedMesh:
    """A mesh cut into charts, with its texture.

    Attributes:
        vertices, normals: (n, 3); faces: (m, 3); uv: (n, 2), v up.
        texture: (size, size, 3) uint8, first row at v = 1.
        texels: points on the surface of the texture's pixels.
        seen: part of the texels that some view sees, 0 to 1.
        normal_map: (size, size, 3) uint8, normals in the tangent space of glTF; None: no map.
        tangents: (n, 4) tangents of the normal map; None: no map.

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
        """The mesh as the writers of mesh files take it."""
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
) -> PaintedMesh:
    """Unwrap a mesh and bake its texture from pictures.

    Args:
        mesh: closed surface in head space.
        pictures: cameras and their (h, w, 4) uint8 pictures with straight alpha.
        texture_size: side of the texture, texels.
        stage: advanced once for the atlas and once for each picture.
        normals_of: (n, 3) normals of the finer surface at (n, 3) points, for a normal map; None:
            no normal map is made.

    """
    normals = np.array(mesh.vertex_normals)
    source, faces, uv = _unwrap(mesh, texture_size)
    stage.advance("Unwrapped the surface")
    texels = _rasterise(uv, faces, texture_size)
    corners = source[faces]  # [m, 3] vertices of the closed mesh
    texel_corners = corners[texels.face]
    points = np.einsum("nk,nkc->nc", texels.weights, mesh.vertices[texel_corners])
    texel_normals = unit(np.einsum("nk,nkc->nc", texels.weights, normals[texel_corners]))
    total, detail = np.zeros((len(points), 3)), np.zeros((len(points), 3))
    weight, detail_weight = np.zeros(len(points)), np.zeros(len(points))
    vertex_total = np.zeros((len(mesh.vertices), 3))
    vertex_weight = np.zeros(len(mesh.vertices))
    for camera, picture in pictures:
        inside = _usable(picture[..., 3])
        bands = _bands(picture)
        visible = _visible(mesh, normals, camera)
        # Only triangles with three visible corners are used: no bleeding round an edge.
        fully_visible: Mask = np.all(visible[corners], axis=1)
        colour, view_weight = _sample_view(
            camera, bands, inside, points, texel_normals, fully_visible[texels.face]
        )
        total += view_weight[:, None] * colour[:, :3]
        weight += view_weight
        view_weight = view_weight**_DETAIL_POWER
        detail += view_weight[:, None] * colour[:, 3:]
        detail_weight += view_weight
        colour, view_weight = _sample_view(
            camera, bands[..., :3], inside, mesh.vertices, normals, visible
        )
        vertex_total += view_weight[:, None] * colour
        vertex_weight += view_weight
        stage.advance("Painting from the views")
    vertex_colours = _diffuse_into_unseen(mesh, vertex_total, vertex_weight)
    fallback = np.einsum("nk,nkc->nc", texels.weights, vertex_colours[texel_corners])
    # Where views have little weight, the diffused colours take over without an edge.
    fallback_weight = 0.02
    colour = (total + fallback_weight * fallback) / (weight + fallback_weight)[:, None]
    sharpest = detail / detail_weight.clip(1e-300)[:, None]
    colour += _DETAIL_GAIN * (weight / (weight + fallback_weight))[:, None] * sharpest
    texture = _filled_texture(texels, colour, texture_size)
    normal_map = tangents = None
    if normals_of is not None:
        tangents = _tangents(np.array(mesh.vertices)[source], normals[source], faces, uv)
        tangent_normals = _in_tangent_space(
            texels, faces, normals[source], tangents, normals_of(points)
        )
        normal_map = _filled_texture(texels, 127.5 * (tangent_normals + 1), texture_size)
    return PaintedMesh(
        vertices=np.array(mesh.vertices)[source],
        normals=normals[source],
        faces=faces,
        uv=uv,
        texture=texture,
        texels=texels,
        seen=float((weight > fallback_weight).mean()),
        normal_map=normal_map,
        tangents=tangents,
    )


def _unwrap(mesh: trimesh.Trimesh, texture_size: int) -> tuple[Indices, Indices, Array]:
    """Indices of the closed mesh's vertices for those of the atlas, faces, and uv with v up."""
    vertices, size = mesh.vertices, float(mesh.extents.max())
    # xatlas drops triangles below a fixed area, and computes in single precision
    if not _UNSCALED_SIZES[0] < size < _UNSCALED_SIZES[1] or np.abs(vertices).max() > 100 * size:
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
    centre = np.stack([column + 0.5, row + 0.5], -1)
    double = _cross(b - a, c - a)
    safe = np.where(np.abs(double) < 1e-12, 1e-12, double)
    weights = np.stack(
        [
            _cross(b - centre, c - centre),
            _cross(c - centre, a - centre),
            _cross(a - centre, b - centre),
        ],
        -1,
    )
    weights /= safe[:, None]
    inside = (weights > -1e-6).all(1)
    chosen = np.flatnonzero(inside)
    return Texels(row[chosen], column[chosen], face[chosen], weights[chosen])


def _cross(a: Array, b: Array) -> Array:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _visible(mesh: trimesh.Trimesh, normals: Array, camera: Camera) -> Mask:
    """(n,) whether each vertex faces the camera and nothing stands between them."""
    to_camera = camera.position - mesh.vertices
    distance = np.linalg.norm(to_camera, axis=1, keepdims=True)
    direction = to_camera / distance
    facing = np.einsum("nc,nc->n", direction, normals) > 0
    visible = np.zeros(len(mesh.vertices), bool)
    # Rays start a little above the surface, so that a vertex does not hide itself.
    lift = 2e-3 * mesh.scale
    start = mesh.vertices[facing] + lift * normals[facing]
    visible[facing] = ~mesh.ray.intersects_any(start, direction[facing])  # type: ignore[no-untyped-call]
    return visible


def _usable(alpha: Pixels) -> Array32:
    """(h, w) weights: 1 inside the silhouette, 0 at its edge and outside."""
    if (alpha == 255).all():
        return np.ones(alpha.shape, np.float32)
    depth = ndimage.distance_transform_edt(np.pad(alpha >= 250, 1, mode="edge"))[1:-1, 1:-1]
    inside: Array32 = np.clip(depth - _EDGE_PIXELS, 0, 1).astype(np.float32)
    return inside


def _bands(picture: Pixels) -> Array32:
    """(h, w, 6) low and high frequencies of an RGBA picture, whose sum are its colours.

    The blur is weighted by alpha, so that it takes no background colour in.
    """
    rgb, alpha = picture[..., :3].astype(np.float32), picture[..., 3:].astype(np.float32) / 255
    sigma = (_DETAIL_SIGMA * picture.shape[1], _DETAIL_SIGMA * picture.shape[1], 0)
    blurred_alpha = ndimage.gaussian_filter(alpha, sigma, truncate=3)
    broad = ndimage.gaussian_filter(rgb * alpha, sigma, truncate=3) / blurred_alpha.clip(1e-3)
    return np.concatenate([broad, rgb - broad], -1, dtype=np.float32)


def _sample_view(
    camera: Camera,
    picture: Array32,
    inside: Array32,
    points: Array,
    normals: Array,
    visible: Mask,
) -> tuple[Array, Array]:
    """(n, c) values of an (h, w, c) picture at points, and (n,) weights."""
    channels = picture.shape[-1]
    colour, weight = np.zeros((len(points), channels)), np.zeros(len(points))
    index = np.flatnonzero(visible)
    to_camera = camera.position - points[index]
    cosine = np.einsum("nc,nc->n", to_camera, normals[index]) / np.linalg.norm(to_camera, axis=1)
    uv, depth = camera.project(points[index])
    in_frame = (
        (cosine > _LEAST_COSINE)
        & (depth > 0)
        & (uv > 0.5).all(1)
        & (uv < np.array([camera.width, camera.height]) - 0.5).all(1)
    )
    index, cosine, pixels = index[in_frame], cosine[in_frame], (uv[in_frame] - 0.5).T[::-1]
    for channel in range(channels):
        # high frequencies by a cubic spline: linear interpolation would blur them
        colour[index, channel] = ndimage.map_coordinates(
            picture[..., channel], pixels, order=3 if channel >= 3 else 1, mode="nearest"
        )
    silhouette_weight = ndimage.map_coordinates(inside, pixels, order=1, mode="nearest")
    weight[index] = silhouette_weight * cosine**_COSINE_POWER
    return colour, weight


def _diffuse_into_unseen(mesh: trimesh.Trimesh, total: Array, weight: Array) -> Array:
    """(n, 3) vertex colours; those of unseen vertices solve Laplace's equation on the mesh."""
    seen = weight > 1e-3
    colour = np.where(seen[:, None], total / weight.clip(1e-9)[:, None], 128.0)
    if seen.all() or not seen.any():
        return colour
    edges = mesh.edges_unique
    count = len(weight)
    one_way = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count))
    link = (one_way + one_way.T).tocsr()
    laplacian = (sparse.diags(np.asarray(link.sum(1)).ravel() + 1e-9) - link).tocsr()
    hidden = np.flatnonzero(~seen)
    inner = laplacian[hidden][:, hidden].tocsc()
    outer = -laplacian[hidden][:, np.flatnonzero(seen)] @ colour[seen]
    colour[hidden] = np.asarray(spsolve(inner, outer)).reshape(-1, 3)
    return colour.clip(0, 255)


def _tangents(vertices: Array, normals: Array, faces: Indices, uv: Array) -> Array:
    """(n, 4) tangents along u and their sign, in the tangent space of glTF (MikkTSpace).

    A vertex gets the mean of its triangles' tangents, weighted by their angles (Mikkelsen 2008).
    """
    p, q = vertices[faces], uv[faces]
    (e1, e2), (d1, d2) = ((x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) for x in (p, q))
    area = _cross(d1, d2)
    u_directions = unit((e1 * d2[:, 1:] - e2 * d1[:, 1:]) * np.sign(area)[:, None])
    total, sign = np.zeros(vertices.shape), np.zeros(len(vertices))
    for corner_index in range(3):
        corner, before, after = (
            faces[:, corner_index],
            p[:, corner_index - 1],
            p[:, (corner_index + 1) % 3],
        )
        normal = normals[corner]
        in_plane = [
            unit(x - np.einsum("nc,nc->n", x, normal)[:, None] * normal)
            for x in (before - p[:, corner_index], after - p[:, corner_index], u_directions)
        ]
        angle = np.arccos(np.einsum("nc,nc->n", in_plane[0], in_plane[1]).clip(-1, 1))
        np.add.at(total, corner, angle[:, None] * in_plane[2])
        np.add.at(sign, corner, np.sign(area))
    return np.column_stack([unit(total), np.where(sign < 0, -1.0, 1.0)])


def _in_tangent_space(
    texels: Texels, faces: Indices, normals: Array, tangents: Array, surface_normals: Array
) -> Array:
    """(n, 3) unit normals at texels, in the interpolated tangent frames of the texels."""
    corner = faces[texels.face]
    normal = np.einsum("nk,nkc->nc", texels.weights, normals[corner])
    tangent = np.einsum("nk,nkc->nc", texels.weights, tangents[corner, :3])
    across = tangents[corner[:, 0], 3:] * np.cross(normal, tangent)
    frame = np.stack([tangent, across, normal], -1)
    invertible = np.abs(np.linalg.det(frame)) > 1e-6
    tangent_normals = np.tile([0.0, 0.0, 1.0], (len(surface_normals), 1))
    tangent_normals[invertible] = np.linalg.solve(
        frame[invertible], surface_normals[invertible][..., None]
    )[..., 0]
    tangent_normals[:, 2] = tangent_normals[:, 2].clip(0.05)  # a map cannot turn a surface round
    return unit(tangent_normals)


def _filled_texture(texels: Texels, colour: Array, size: int) -> Pixels:
    """(size, size, 3) texture; texels off the surface get the colour of the nearest one on it."""
    texture = np.zeros((size, size, 3), np.uint8)
    painted = np.zeros((size, size), bool)
    texture[texels.row, texels.column] = np.rint(colour).clip(0, 255).astype(np.uint8)
    painted[texels.row, texels.column] = True
    nearest = ndimage.distance_transform_edt(~painted, return_distances=False, return_indices=True)
    filled: Pixels = texture[nearest[0], nearest[1]]
    return filled
