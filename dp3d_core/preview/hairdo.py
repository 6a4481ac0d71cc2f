"""Which hair a photo shows: by the outline of its matte and by the colours beside the face."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.heads.anatomy import MM
from dp3d_core.heads.fields import ramp
from dp3d_core.heads.hair import HAIR_STYLES
from dp3d_core.heads.model import HeadSpec, coarse_piece
from dp3d_core.heads.shape import coefficients
from dp3d_core.mesh import Mesh
from dp3d_core.portrait import Portrait
from dp3d_core.preview.parts import Part, as_parts
from dp3d_core.preview.skin import SkinTones
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.raycast import Hits, RayCaster

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STYLES = ("buzz", "crop", "quiff", "fringe", "bob", "long", "curly", "afro")
"""Hair that outlines can tell from each other."""
HATS = tuple((hair, hat) for hat in ("brim", "cap") for hair in ("crop", "bob", "curly"))
"""Hats and the hair below them; a beanie looks like hair from the front."""
_CANDIDATES = [*((style, None) for style in STYLES), *HATS]
HAIR_STEPS = 2 + len(_CANDIDATES)
"""Steps of :func:`choose_hair`."""
_NO_HAT = 0.012
"""How much better a hat must fit than hair."""
_SIDE = 160
"""Pixels of the pictures in which heads are compared with the photo."""
_END, _CROWN = -118, 84
"""Millimetres; what lies lower than the first is clothes, higher than the second hair or hat."""
_EAR_FROM, _EAR_MIDDLE, _EAR_REACH = 48, -12, 48
"""Millimetres: distance from the middle, height and half the height of temple, ear and cheek."""
_FOREHEAD = 66
"""Millimetres; a fringe may hang over what lies higher."""
_HIDDEN = ("jaw_width", "neck_width")
"""What hair beside the neck hides."""
_COLOUR = 0.2
"""Weight of the colours beside the outline's."""


@dataclass(frozen=True)
class _Seen:
    """A head without hair as a small camera sees it, row by row.

    Attributes:
        part: (n,) :class:`Part`, -1 beside the head.
        distance: (n,), inf beside the head.
        hits: of the rays.

    """

    part: NDArray[np.int64]
    distance: Array
    hits: Hits

    @classmethod
    def of(cls, spec: HeadSpec, camera: Camera, directions: Array) -> _Seen:
        caster = RayCaster(as_parts(spec))
        hits = caster.cast(camera.position, directions)
        part = np.full(len(directions), -1, np.int64)
        part[hits.ray] = caster.mesh.parts[caster.mesh.faces[hits.face, 0]]
        distance = np.full(len(directions), np.inf)
        distance[hits.ray] = hits.distance
        return cls(part, distance, hits)


def choose_hair(
    portrait: Portrait,
    shape: dict[str, float],
    body: dict[str, float],
    on_step: StepCallback = no_step,
) -> HeadSpec:
    """The head whose outline is nearest to the matte's, with hair where no skin is seen.

    Args:
        portrait: with a matte.
        shape: of face and skull.
        body: of jaw, neck and shoulders, for a head whose neck no hair hides.
        on_step: called :data:`HAIR_STEPS` times.

    """
    camera = portrait.camera.resized(_SIDE, _SIDE)
    directions = camera.directions(camera.pixel_centres()).reshape(-1, 3)
    photo = np.asarray(_shrunk(portrait.image.astype(np.float32)).reshape(-1, 3) / 255, float)
    inside = (_shrunk(portrait.inside.astype(np.float32)) > 0.9).ravel()
    matte = (_shrunk((portrait.matte / 255).astype(np.float32)) > 0.5).ravel() & inside
    row = np.repeat(np.arange(_SIDE), _SIDE)
    end, top = (camera.project([[0.0, y * MM, 0.0]])[0][0][1] for y in (_END, _CROWN))

    specs = {}
    for hides in (False, True):
        fitted = {k: v for k, v in body.items() if not hides or k not in _HIDDEN or v < 0}
        specs[hides] = HeadSpec(shape | fitted, None)
    bald = {}
    for hides, spec in specs.items():
        on_step(f"Looking at the {'covered' if hides else 'bare'} neck")
        bald[hides] = _Seen.of(spec, camera, directions)
    skin, crown = _kinds(photo, bald[False].hits, matte & (row < top))
    counts = inside & (row < end)

    best, found = -np.inf, specs[False]
    for style, hat in _CANDIDATES:
        on_step(f"Comparing hair: {style}" + (f" under a {hat}" if hat else ""))
        hides = HAIR_STYLES[style].curtain is not None
        spec = dataclasses.replace(specs[hides], hair=style, hat=hat)
        hair, topmost, beside_face = _hair_seen(spec, bald[hides], camera, directions)
        head = hair | (bald[hides].part >= 0)
        likeness = (head & matte & counts).sum() / max(1, ((head | matte) & counts).sum())
        shown = topmost & matte & counts
        likeness -= _COLOUR * (shown & (crown < 0.5)).sum() / max(1, shown.sum())
        if skin is not None:
            told = beside_face & matte & counts & (np.abs(skin - 0.5) > 0.3)
            told &= hair | (bald[hides].part == Part.SKIN)
            right = (hair == (skin < 0.5)) & told
            likeness += _COLOUR * right.sum() / max(1, told.sum())
        if hat is not None:
            likeness -= _NO_HAT
        if likeness > best:
            best, found = float(likeness), spec
    return found


def _hair_seen(
    spec: HeadSpec, bald: _Seen, camera: Camera, directions: Array
) -> tuple[Mask, Mask, Mask]:
    """What a camera sees of hair and hat.

    Returns:
        (n,) where it sees either, where it sees what covers the crown (the hat, if there is
        one), and where it sees temple, ear, cheek or hair over them.

    """
    pieces = [coarse_piece("hair", (spec.hair, spec.hat))]
    if spec.hat is not None:
        pieces.append(coarse_piece("hat", spec.hat))
    hair = np.zeros(len(directions), bool)
    topmost = hair
    all_hits = [bald.hits]
    for piece in pieces:
        vertices = piece.shaped(coefficients(spec.shape)) * MM
        mesh = Mesh.of(vertices, piece.faces, np.zeros(len(vertices), np.uint8))
        hits = RayCaster(mesh).cast(camera.position, directions)
        topmost = np.zeros(len(directions), bool)
        topmost[hits.ray[hits.distance < bald.distance[hits.ray]]] = True
        hair |= topmost
        all_hits.append(hits)
    beside_face = np.zeros(len(directions), bool)
    for seen in all_hits:
        x, y = np.abs(seen.points[:, :2] / MM - [0, _EAR_MIDDLE]).T
        beside_face[seen.ray] = (x > _EAR_FROM) & (y < _EAR_REACH)
    return hair, topmost, beside_face


def _kinds(photo: Array, hits: Hits, crown: Mask) -> tuple[Array | None, Array]:
    """What the photo shows.

    What skin looks like tells the middle of the face, what hair or a hat looks like the crown.

    Args:
        photo: (n, 3) colours, 0 to 1.
        hits: of the bald head.
        crown: (n,) above the forehead, in the matte.

    Returns:
        (n,) 1 for skin, 0 for hair, between: not told (None if there is no face), and (n,) 1
        for colours of the crown, 0 for others.

    """
    front = (hits.points[:, 2] > 0.05) & (hits.points[:, 1] < _FOREHEAD * MM)
    front &= -(hits.normals * hits.directions).sum(1) > 0.9
    face, hair = SkinTones.of(photo[hits.ray[front]]), SkinTones.of(photo[crown])
    to_hair = np.zeros(len(photo)) if hair is None else hair.distance(photo, light=0.5)
    like_hair = 1 - ramp(to_hair, 12.0, 20.0)
    if face is None:
        return None, like_hair
    to_face = face.distance(photo, light=0.5)
    skin = 1 - ramp(to_face, 12.0, 20.0)
    if hair is not None:
        skin *= ramp(to_hair / np.maximum(to_face + to_hair, 1e-6), 0.35, 0.6)
    return skin, like_hair


def _shrunk(image: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
