"""A head with rough colours, and a photo prepared for comparison with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Mask, Pixels
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.shape.placement import PlacedHead
from dp3d_core.preview.texture.panorama import remap
from dp3d_core.preview.texture.tones import lab

OTHER_LIGHT = np.array([12.0, 8.0, 8.0])
"""Greatest shift of all colours between two photos: exposure and white balance, Lab."""
SHELL_SURFACE = 100
"""First kind of surface of hair and headwear (:class:`HeadModel`)."""
CHIN = -112.0 * MM
"""Height above which heads are compared, head units: shoulders turn apart from them."""

PHOTO_SIDE = 160
"""Side of the images in which poses are fitted, pixels."""
LIGHTNESS = 0.5
"""Factor on lightness in colours that are compared."""
_TRUNCATED = 18.0
"""Distance from the photo's outline beyond which it no longer counts, pixels."""
_GUESSED = 0.35
"""Weight of colours of the head that no photo shows yet."""
_MIN_FACING = 0.3
"""Least cosine to the camera of a vertex whose colour a photo shows."""
_LIFT = 0.004
"""Offset of ray origins from the surface, head units."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A head with rough colours, for the fit of poses.

    Attributes:
        mesh: the head, head units.
        colours: (n, 3) Lab colours of the vertices, lightness scaled by ``LIGHTNESS``.
        weight: (n,) weight of each colour: 1 where a photo shows it, ``_GUESSED`` elsewhere.
        surface: (n,) kind of surface: :class:`~dp3d_core.heads.bust.BustRegion` on the bare head,
            ``SHELL_SURFACE`` plus :class:`~dp3d_core.preview.parts.Part` on hair and headwear.

    """

    mesh: Mesh
    colours: Array
    weight: Array
    surface: Array

    @cached_property
    def caster(self) -> RayCaster:
        """Ray caster of the mesh."""
        return RayCaster(self.mesh)

    @classmethod
    def of(cls, placed: PlacedHead, portrait: Portrait) -> HeadModel:
        """Colours of a head as its portrait shows them; elsewhere the median of their surface."""
        mesh, camera = placed.mesh, portrait.camera
        to_camera = unit(camera.position - mesh.vertices)
        visible = np.einsum("ni,ni->n", to_camera, mesh.normals) > _MIN_FACING
        lifted = mesh.vertices + _LIFT * mesh.normals
        visible &= ~RayCaster(mesh).blocked(lifted, to_camera)
        uv, _ = camera.project(mesh.vertices)
        solid = ((portrait.matte > 200) & portrait.inside).astype(np.uint8)
        visible &= inside_mask(cv2.erode(solid, np.ones((5, 5), np.uint8)) > 0, uv) > 0.99
        image = cv2.GaussianBlur(portrait.image, (0, 0), 3)
        colours = lab(sampled(image.astype(np.float32), uv) / 255) * [LIGHTNESS, 1, 1]
        surface = _surfaces(placed)
        overall = np.median(colours[visible], axis=0) if visible.any() else np.zeros(3)
        for kind in np.unique(surface):
            of_kind = surface == kind
            shown = of_kind & visible
            median = np.median(colours[shown], axis=0) if shown.sum() > 20 else overall
            colours[of_kind & ~visible] = median
        return cls(mesh, colours, np.where(visible, 1.0, _GUESSED), surface)


def _surfaces(placed: PlacedHead) -> Array:
    """(n,) kind of surface of each vertex, see :class:`HeadModel`."""
    surface = SHELL_SURFACE + placed.mesh.parts.astype(np.float64)
    surface[: len(placed.bare.region)] = placed.bare.region
    return surface


@dataclass(frozen=True, eq=False)
class PhotoTarget:
    """A photo prepared for the fit of a pose; side ``PHOTO_SIDE``.

    Attributes:
        mask: (s, s) bool, the person.
        distance: (s, s) signed distance from the person's outline, positive inside, truncated.
        colours: (s, s, 3) blurred Lab colours, lightness scaled by ``LIGHTNESS``.
        valid: (s, s) bool, pixels of the photo away from its border.

    """

    mask: Mask
    distance: Array32
    colours: Array32
    valid: Mask

    @classmethod
    def of(cls, image: Pixels, mask: Mask, valid: Mask) -> PhotoTarget:
        """Prepare a crop: image (h, w, 3), mask of the person and valid mask (h, w)."""
        size = (PHOTO_SIDE, PHOTO_SIDE)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64) / 255
        solid = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        inside = cv2.resize(valid.astype(np.uint8), size) > 0
        inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        inside[[0, 1, -2, -1]] = False
        inside[:, [0, 1, -2, -1]] = False
        within = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 5)
        beyond = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 5)
        distance = np.clip(within - beyond, -_TRUNCATED, _TRUNCATED).astype(np.float32)
        colours = lab(small.reshape(-1, 3)).reshape(*size, 3) * [LIGHTNESS, 1, 1]
        blurred = cv2.GaussianBlur(colours.astype(np.float32), (0, 0), 1.5)
        return cls(solid, distance, np.asarray(blurred, np.float32), inside)


def sampled(image: Array32, uv: Array) -> Array:
    """(n, c) values of an image at pixel positions (n, 2), bilinear."""
    x, y = (np.nan_to_num(uv, nan=-1e3) - 0.5).astype(np.float32).T
    return remap(image, x, y, cv2.INTER_LINEAR).astype(np.float64)


def inside_mask(mask: Mask, uv: Array) -> Array:
    """(n,) 1 where positions (n, 2) lie in a mask."""
    return sampled(mask.astype(np.float32), uv)[:, 0]
