"""Pixels whose class contradicts the user's choices; they are excluded from fit and texture."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Mask, Parts
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import AUTO, HeadChoices
from dp3d_core.preview.hair.length import is_bald
from dp3d_core.preview.hair.styles import SHORN
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.parsing import PARSING_SIDE, Kind, Parsing


def visible_parts(mesh: Mesh, camera: Camera) -> Parts:
    """(PARSING_SIDE, PARSING_SIDE) :class:`Part` of a head that each pixel shows, -1 beside it."""
    small = camera.resized(PARSING_SIDE, PARSING_SIDE)
    rays = small.directions(small.pixel_centres()).reshape(-1, 3)
    hits = RayCaster(mesh).cast(small.position, rays)
    parts = np.full(len(rays), -1, np.int8)
    parts[hits.ray] = mesh.parts[mesh.faces[hits.face, hits.weights.argmax(1)]]
    return parts.reshape(PARSING_SIDE, PARSING_SIDE)


def disagreement(parsing: Parsing, parts: Parts, choices: HeadChoices) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) mask of pixels whose class differs from the chosen head.

    Args:
        parsing: classes of the photo.
        parts: (PARSING_SIDE, PARSING_SIDE) :class:`Part` of the head there, -1 beside it.
        choices: the user's choices.

    """
    kind = parsing.probabilities.argmax(-1)
    differ = np.zeros(parts.shape, bool)
    if choices.covering:
        differ_in_cover = (kind == Kind.HAIR) != covers_skull(parts)
        differ |= differ_in_cover & ~_own_hairline(parsing, choices)
    if choices.clothes == "none":
        differ |= kind == Kind.CLOTH
    elif choices.clothes != AUTO:
        differ |= (kind == Kind.CLOTH) & (parts == Part.SKIN)
        differ |= (kind == Kind.SKIN) & (parts == Part.BODY)
    return differ


def covers_skull(parts: NDArray[np.integer]) -> Mask:
    """Whether parts are hair or headwear, elementwise."""
    return np.asarray((parts == Part.HAIR) | (parts == Part.HAT))


def _own_hairline(parsing: Parsing, choices: HeadChoices) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) mask of the head above the brows if it keeps the hairline."""
    upper = parsing.region >= 0
    if choices.hair in SHORN or is_bald(parsing):
        return np.zeros_like(upper)
    rows = np.flatnonzero((parsing.region == Region.FOREHEAD).any(1))
    upper[int(rows.max()) + 1 if rows.size else 0 :] = False
    return np.asarray(upper)


def exclude_pixels(portrait: Portrait, excluded: Mask, width: int = 3) -> Portrait:
    """Remove pixels from the valid mask of a portrait.

    Args:
        portrait: the photo.
        excluded: (PARSING_SIDE, PARSING_SIDE) mask of the pixels.
        width: side of the square by which the mask is dilated, pixels of the mask.

    """
    dilated = cv2.dilate(excluded.astype(np.uint8), np.ones((width, width), np.uint8))
    large = cv2.resize(dilated, portrait.inside.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return dataclasses.replace(portrait, inside=portrait.inside & (large == 0))
