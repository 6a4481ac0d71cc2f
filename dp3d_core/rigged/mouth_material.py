"""The mouth of a photo that shows teeth: lips without teeth on them, and teeth from the photo.

The photo is projected with the lips parted as it shows them (``lips.parting``).  What is left of
teeth on the rim of a lip is replaced by the lip beside it, and the meshes of the teeth take the
photo's pixels between the lips.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Mask, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.texture.tones import lab
from dp3d_core.rigged.baking import blurred, continued
from dp3d_core.rigged.lips import lip_rims
from dp3d_core.rigged.small_materials import ShownTeeth, teeth_fields, teeth_raster
from dp3d_core.rigged.smile import Smile, sampled
from dp3d_core.rigged.topology import rest_mm, skin_twins

_RIM_MM = 1.1
"""Distance from the rim of a lip within which it always takes the colour beside it, mm."""
LIP_MM = 6.5
"""Distance from the rim within which a lip may show teeth, millimetres."""
_BEFORE_CORNERS_MM = 19.0
"""Distance from the plane of symmetry within which lips are mended, millimetres."""
_OWN_LIP_MM = (1.5, 6.5)
"""Distances from the rim between which a lip's colour is taken, millimetres."""
_TOOTH = np.array([6.0, -3.0])
"""Lightness above, and redness below, the lip's from which a colour is a tooth's, Lab."""
_GAP_DARKER = 24.0
"""Lightness below the lip's from which a colour is the gap between the lips, Lab."""
_LIFT = 0.3 * MM
"""Offset of ray origins from the teeth, head units."""
_EDGE_PIXELS = (0.3, 1.6)
"""Distances from the lips between which the photo's teeth begin, pixels."""
_FACING = (0.05, 0.2)
"""Cosines to the camera between which a tooth begins to show the photo."""


def as_shown(head: PreviewHead, skin: Array) -> PreviewHead:
    """The fitted head with the skin (n, 3) of the photo's expression, for painting."""
    vertices = head.mesh.vertices.copy()
    twin = skin_twins()
    vertices[twin[twin >= 0]] = skin[twin >= 0]
    parted, look = copy.copy(head), copy.copy(head.appearance)
    look.mesh = parted.mesh = head.mesh.with_vertices(vertices)
    parted.appearance = look
    return parted


@lru_cache(maxsize=1)
def rim_distance() -> Array:
    """(n,) distance of skin from the line between the lips on the average head, millimetres.

    Its corners are left out.
    """
    rest = rest_mm("skin")
    rims = rest[np.concatenate(lip_rims())]
    # the corners of a mouth are dark on any photo
    distance, _ = cKDTree(rims[np.abs(rims[:, 0]) < _BEFORE_CORNERS_MM]).query(rest)
    return np.asarray(distance)


def without_teeth(image: Array32, distance: Array32) -> Array32:
    """The image with teeth and gaps that the photo shows at the rims of lips replaced by lip.

    Args:
        image: (s, s, 3) colours, 0 to 1.
        distance: (s, s) :func:`rim_distance` on the outer skin, large elsewhere.

    """
    rows, columns = np.nonzero(distance < 2 * LIP_MM)
    if not len(rows):
        return image
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    part, from_rim = image[box], distance[box]
    colours = lab(part.reshape(-1, 3)).reshape(part.shape)
    own = colours[(from_rim > _OWN_LIP_MM[0]) & (from_rim < _OWN_LIP_MM[1])]
    if not len(own):
        return image
    # the reddest half of what lies around is lip
    lip = np.median(own[own[:, 1] >= np.median(own[:, 1])], axis=0)
    tooth = (colours[..., 0] > lip[0] + _TOOTH[0]) & (colours[..., 1] < lip[1] + _TOOTH[1])
    other = (tooth | (colours[..., 0] < lip[0] - _GAP_DARKER)) & (from_rim < LIP_MM)
    # skin beside a thin lip is pale as well; what is replaced is connected with the rim
    other = _connected(other, from_rim < 2 * _RIM_MM) | (from_rim < _RIM_MM)
    size = max(3, round(len(image) / 400)) | 1
    wide = cv2.dilate(other.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    known = ~wide & (from_rim < 2 * LIP_MM)
    filled = continued(part, known, np.asarray(part[known].mean(0), np.float32))
    mask = blurred(wide.astype(np.float32), size / 2)[..., None]
    mended = image.copy()
    mended[box] = part + (filled - part) * mask
    return mended


def _connected(mask: Mask, seeds: Mask) -> Mask:
    """Components of a mask (h, w) that touch seeds (h, w)."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    touched = np.unique(labels[mask & seeds])
    return np.asarray(mask & np.isin(labels, touched))


def shown_teeth(smile: Smile, upper: Array, lower: Array, side: int) -> ShownTeeth:
    """What a photo shows at the texels of ``small_materials.teeth_raster``.

    Args:
        smile: the teeth of the photo.
        upper: (n, 3) upper teeth with the photo's expression, head units.
        lower: (m, 3) lower teeth.
        side: side of the texture, texels.

    """
    raster, corners = teeth_raster(side)
    _, along, _ = teeth_fields(side)
    vertices = np.concatenate([upper, lower])
    mesh = Mesh.of(vertices, corners, np.zeros(len(vertices), np.uint8))
    camera = smile.photo.camera
    points = raster.interpolated(vertices, corners)
    normals = unit(raster.interpolated(mesh.normals, corners))
    to_camera = unit(camera.position - points)
    seen = smoothstep(np.einsum("ni,ni->n", normals, to_camera), *_FACING)
    uv, _ = camera.project(points)
    from_lips = np.asarray(cv2.distanceTransform(smile.inside, cv2.DIST_L2, 5), np.float32)
    seen *= smoothstep(sampled(from_lips, *(uv - 0.5).T)[:, 0], *_EDGE_PIXELS)
    near = np.flatnonzero(seen > 0)
    blocked = RayCaster(mesh).blocked(points[near] + _LIFT * to_camera[near], to_camera[near])
    seen[near[blocked]] = 0
    colours = smile.photo.colours_at(points)
    return ShownTeeth(colours, seen, seen * smile.likeness(lab(colours), along))
