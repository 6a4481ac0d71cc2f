"""Where a photo shows another kind of surface than was chosen: there it is no evidence."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.mesh import Mesh
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import AUTO, HeadChoices
from dp3d_core.preview.hair_length import is_bald
from dp3d_core.preview.hairstyle import SHORN
from dp3d_core.preview.parsing import PARSING_SIDE, Kind, Parsing
from dp3d_core.preview.parts import Part
from dp3d_core.raycast import RayCaster

Mask = NDArray[np.bool_]
Parts = NDArray[np.int8]


def parts_seen(mesh: Mesh, camera: Camera) -> Parts:
    """(PARSING_SIDE, PARSING_SIDE) :class:`Part` that a camera sees of a head, -1 beside it."""
    small = camera.resized(PARSING_SIDE, PARSING_SIDE)
    rays = small.directions(small.pixel_centres()).reshape(-1, 3)
    hits = RayCaster(mesh).cast(small.position, rays)
    parts = np.full(len(rays), -1, np.int8)
    parts[hits.ray] = mesh.parts[mesh.faces[hits.face, hits.weights.argmax(1)]]
    return parts.reshape(PARSING_SIDE, PARSING_SIDE)


def disagreement(parsing: Parsing, parts: Parts, choices: HeadChoices) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) pixels where photo and head differ in what was chosen.

    Args:
        parsing: what the photo shows.
        parts: :class:`Part` that its camera sees of the head, -1 beside it.
        choices: that were made for the head.

    """
    kind = parsing.chances.argmax(-1)
    differ = np.zeros(parts.shape, bool)
    if choices.covering:
        strange = (kind == Kind.HAIR) != covered(parts)
        differ |= strange & ~_own_hairline(parsing, choices)
    if choices.clothes == "none":
        differ |= kind == Kind.CLOTH
    elif choices.clothes != AUTO:
        differ |= (kind == Kind.CLOTH) & (parts == Part.SKIN)
        differ |= (kind == Kind.SKIN) & (parts == Part.BODY)
    return differ


def covered(parts: NDArray[np.integer]) -> Mask:
    """Where ``parts`` are hair or headwear."""
    return np.asarray((parts == Part.HAIR) | (parts == Part.HAT))


def _own_hairline(parsing: Parsing, choices: HeadChoices) -> Mask:
    """(PARSING_SIDE, PARSING_SIDE) pixels of the head above the brows, if its hairline is kept."""
    upper = parsing.region >= 0
    if choices.hair in SHORN or is_bald(parsing):
        return np.zeros_like(upper)
    rows = np.flatnonzero((parsing.region == Region.FOREHEAD).any(1))
    upper[int(rows.max()) + 1 if rows.size else 0 :] = False
    return np.asarray(upper)


def without(portrait: Portrait, ignored: Mask, width: int = 3) -> Portrait:
    """A portrait in which some pixels count as outside the photo.

    Args:
        portrait: the photo.
        ignored: (PARSING_SIDE, PARSING_SIDE) the pixels.
        width: of the square by which they are dilated, pixels of ``ignored``.

    """
    grown = cv2.dilate(ignored.astype(np.uint8), np.ones((width, width), np.uint8))
    large = cv2.resize(grown, portrait.inside.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return dataclasses.replace(portrait, inside=portrait.inside & (large == 0))
