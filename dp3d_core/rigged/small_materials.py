"""Procedural materials of eyes, teeth, tongue and lashes; the photo gives the iris its colour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dp3d_core.arrays import Array, Array32, Indices32, Mask, smoothstep
from dp3d_core.heads.bust import BustPart, bust
from dp3d_core.heads.space import EYE_RADIUS
from dp3d_core.preview.asset import padded
from dp3d_core.preview.head import PreviewHead
from dp3d_core.rigged.baking import Raster, blurred, to_pixels
from dp3d_core.rigged.layout import eye_angle
from dp3d_core.rigged.rig import Material
from dp3d_core.rigged.topology import halves, part_topology, rest_mm

IRIS_MM = 5.9
"""Radius of the iris on an eyeball of ``EYE_RADIUS``, millimetres."""
_PUPIL = 0.38
"""Radius of the pupil relative to the iris."""
_LIMBUS = (0.82, 1.06)
"""Distances from the pupil's centre, in iris radii, between which the limbus darkens."""
_UNDER_LID = (0.25, -1.0)
"""Heights on the eye, iris radii downwards, between which the upper lid begins to shade it."""
_LID_SHADE = 0.5
"""Light that the upper lid takes."""
_TO_CORNER = (1.1, 2.3)
"""Distances sideways, iris radii, between which the corners of the eye begin to be in shade."""
_CORNER_SHADE = 0.4
"""Light that the corners lose."""
_SHADE_TINT = np.array([0.86, 1.0, 1.06])
"""Light that shade takes, by channel: skin around an eye reflects red."""
_SCLERA = np.array([0.88, 0.85, 0.82])
_VEINS = np.array([0.80, 0.52, 0.47])
_DEFAULT_IRIS = np.array([0.30, 0.20, 0.13])
"""sRGB of an iris that the photo does not show."""
_IRIS_DARKNESS = (0.12, 0.5)
"""Quantiles of brightness of the visible eye between which the iris lies."""
_IRIS_LIMITS = (0.10, 0.55)
"""Range of the iris's mean brightness."""
_TEETH = np.array([0.94, 0.90, 0.82])
_GUMS = np.array([0.66, 0.33, 0.32])
_TONGUE = np.array([0.66, 0.34, 0.33])
_LASH = np.array([0.07, 0.055, 0.05])
_INSIDE = 0.71
"""Brightness of teeth and tongue as photographed, relative to the light on the face: lips shade
them."""
_LIKE_SEEN = (0.7, 1.4)
"""Range of the brightness of teeth that the photo shows, relative to the usual ones."""
_TEETH_HALF = 7
"""Teeth on each side of a row."""


def eyes_material(head: PreviewHead, side: int, light: Array) -> Material:
    """Eyeballs: sclera, iris of the photo's colour, pupil.

    Args:
        head: the fitted head.
        side: side of the texture, texels.
        light: (3,) colour of the photo's light on the eyes, 1 for the de-lit white.

    """
    return eyes_of(iris_colour(head), side, light)


def eyes_of(iris: Array, side: int, light: Array) -> Material:
    """Eyeballs with an iris of an sRGB colour (3,)."""
    rng = np.random.default_rng(3)
    row, column = (np.mgrid[0:side, 0:side] + 0.5) / side - 0.5
    radius, turn = np.hypot(column, row), np.arctan2(row, column)
    out = np.sin(np.minimum(eye_angle(radius), np.pi / 2)) * (EYE_RADIUS / IRIS_MM)
    out = np.where(eye_angle(radius) > np.pi / 2, EYE_RADIUS / IRIS_MM, out)
    fibres = _fibres(turn, out, rng)
    inner = iris * (0.75 + 0.55 * smoothstep(out, 0.95, 0.45))[..., None]
    coloured = inner * (0.78 + 0.44 * fibres)[..., None]
    coloured *= (1 - 0.6 * smoothstep(out, 0.8, 1.0))[..., None]
    coloured *= smoothstep(out, _PUPIL - 0.03, _PUPIL + 0.05)[..., None] * 0.985 + 0.015
    redness = smoothstep(out, 1.4, 2.3) * 0.45
    white = _SCLERA + (_VEINS - _SCLERA) * redness[..., None]
    colours = coloured + (white - coloured) * smoothstep(out, *_LIMBUS)[..., None]
    # the upper lid and the corners of the eye shade it
    shade = np.maximum(
        _LID_SHADE * smoothstep(out * np.sin(turn), *_UNDER_LID),
        _CORNER_SHADE * smoothstep(out * np.abs(np.cos(turn)), *_TO_CORNER),
    )
    colours *= 1 - shade[..., None] * _SHADE_TINT
    rough = np.full((side // 4, side // 4), int(0.12 * 255), np.uint8)
    return Material(
        to_pixels(colours.astype(np.float32) * light),
        to_pixels(colours.astype(np.float32)),
        roughness=0.12,
        roughness_map=rough,
    )


def _fibres(turn: Array, out: Array, rng: np.random.Generator) -> Array:
    """Radial fibres of an iris, 0 to 1, at angles and distances from its centre."""
    count = 512
    noise = rng.standard_normal((24, count)).astype(np.float32)
    noise = np.concatenate([noise, noise, noise], 1)
    noise = blurred(noise, 1.6, 3.0)[:, count : 2 * count]
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    x = ((turn / (2 * np.pi)) % 1 * count).astype(np.float32)
    y = (np.clip(out, 0, 1.2) / 1.2 * 23).astype(np.float32)
    return np.asarray(cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def iris_colour(head: PreviewHead) -> Array:
    """(3,) sRGB of the iris, from the darker part of the eyes that the photo shows."""
    topology = bust()
    eyes = np.flatnonzero(
        (topology.part == BustPart.EYE_LEFT) | (topology.part == BustPart.EYE_RIGHT)
    )
    points, normals = head.mesh.vertices[eyes], head.mesh.normals[eyes]
    parts = np.zeros(len(eyes), np.uint8)
    colours, confidence = head.appearance.projection.sample(points, normals, parts)
    light = head.appearance.light.removed[eyes]
    colours = np.clip(colours / light, 0, 1)[(confidence > 0.6) & (normals[:, 2] > 0.8)]
    if len(colours) < 12:
        return _DEFAULT_IRIS
    brightness = colours.mean(1)
    low, high = np.quantile(brightness, _IRIS_DARKNESS)
    iris = np.asarray(np.median(colours[(brightness >= low) & (brightness <= high)], axis=0))
    mean = float(iris.mean())
    return np.asarray(iris * np.clip(mean, *_IRIS_LIMITS) / max(mean, 1e-3))


def eye_light(head: PreviewHead) -> Array:
    """(3,) light on the eyes in the photo: its brightest visible white over the sclera's colour."""
    topology = bust()
    eyes = np.isin(topology.part, (BustPart.EYE_LEFT, BustPart.EYE_RIGHT))
    index = np.flatnonzero(eyes)
    points, normals = head.mesh.vertices[index], head.mesh.normals[index]
    colours, confidence = head.appearance.projection.sample(
        points, normals, np.zeros(len(index), np.uint8)
    )
    colours = colours[(confidence > 0.6) & (normals[:, 2] > 0.5)]
    if len(colours) < 12:
        return np.full(3, 0.85)
    bright = colours[colours.mean(1) >= np.quantile(colours.mean(1), 0.8)]
    return np.asarray(np.clip(np.median(bright, axis=0) / _SCLERA, 0.5, 1.05))


# -- mouth --


@dataclass(frozen=True, eq=False)
class ShownTeeth:
    """What a photo shows at the texels of both rows of teeth (:func:`teeth_raster`).

    Attributes:
        colours: (t, 3) sRGB, with the photo's light.
        seen: (t,) 1 between the lips.
        weight: (t,) 1 where the photo shows a tooth there.

    """

    colours: Array
    seen: Array
    weight: Array


def teeth_material(side: int, light: float, shown: ShownTeeth | None = None) -> Material:
    """Teeth with gums; one texture for both rows, at their texture coordinates.

    Args:
        side: side of the texture, texels.
        light: the photo's light on the face, relative to even light.
        shown: teeth of the photo; None if it shows none.

    """
    raster, along, height = teeth_fields(side)
    tooth = np.abs(along) * _TEETH_HALF
    between = np.abs(tooth - np.rint(tooth))
    # front teeth meet in the middle, where the count begins
    gap = np.exp(-((between / 0.05) ** 2)) * smoothstep(height, 0.0, 0.35)
    gum_line = 0.34 + 0.10 * np.cos(2 * np.pi * tooth)
    gums = smoothstep(height, gum_line + 0.05, gum_line - 0.05)
    if shown is not None:  # gums end where the photo shows teeth
        gums = gums * (1 - smoothstep(shown.seen, 0.0, 0.3))
    colours = (
        _TEETH * (1 - 0.22 * gap)[:, None] * (0.9 + 0.1 * smoothstep(height, 0.3, 0.7))[:, None]
    )
    colours = colours + (_GUMS - colours) * gums[:, None]
    colours *= (1 - 0.6 * smoothstep(np.abs(along), 0.4, 0.95))[:, None]
    if shown is not None and (shown.weight > 0.5).any():
        # de-lit teeth are as bright as usual ones; what the photo shows is their light
        of_photo = np.median(shown.colours[shown.weight > 0.5].mean(1))
        light = float(np.clip(of_photo / _TEETH.mean(), 0.2, 1.2)) / _INSIDE
        colours = _with_shown(colours, shown, gums, light)
    image = padded(raster.image(colours), raster.mask())
    return _inside(image, light, 0.25)


def _with_shown(colours: Array, shown: ShownTeeth, gums: Array, light: float) -> Array:
    """Colours (t, 3) of teeth with those of the photo, and the others tinted like them."""
    seen, here = shown.colours / (light * _INSIDE), shown.weight > 0.5
    ratio = np.median(seen[here], axis=0) / np.median(colours[here], axis=0)
    colours = colours * (1 + (np.clip(ratio, *_LIKE_SEEN) - 1) * (1 - gums[:, None]))
    return np.asarray(colours + (seen - colours) * shown.weight[:, None])


@lru_cache(maxsize=2)
def teeth_fields(side: int) -> tuple[Raster, Array, Array]:
    """Texels of both rows, place along the row (-1 to 1) and height from root to tip (0 to 1)."""
    raster, corners = teeth_raster(side)
    along, height = [], []
    for name in ("upper_teeth", "lower_teeth"):
        vertices = rest_mm(name)
        low, high = vertices[:, 1].min(), vertices[:, 1].max()
        arc = np.arctan2(vertices[:, 0], vertices[:, 2] - vertices[:, 2].min())
        along.append(arc / np.abs(arc).max())
        up = (vertices[:, 1] - low) / (high - low)
        height.append(1 - up if name == "upper_teeth" else up)
    fields = np.stack([np.concatenate(along), np.concatenate(height)], -1)
    at = raster.interpolated(fields, corners)
    return raster, at[:, 0], at[:, 1]


@lru_cache(maxsize=2)
def teeth_raster(side: int) -> tuple[Raster, Indices32]:
    """Texels of both rows of teeth, and the corners (m, 3) of their triangles.

    Corners are indices of the vertices of the upper teeth followed by those of the lower ones.
    """
    triangles, uv = [], []
    first = first_uv = 0
    for name in ("upper_teeth", "lower_teeth"):
        topology = part_topology(name)
        triangles.append((halves(topology.quads) + first, halves(topology.quad_uv) + first_uv))
        uv.append(mouth_layout(name))
        first, first_uv = first + topology.refine.shape[0], first_uv + len(topology.uv)
    corners, uv_corners = (
        np.concatenate(of_rows).astype(np.int32) for of_rows in zip(*triangles, strict=True)
    )
    return Raster.of(np.concatenate(uv), uv_corners, side), corners


def mouth_layout(name: str) -> Array:
    """(k, 2) texture coordinates of teeth or tongue in a texture of their own."""
    pieces = ("upper_teeth", "lower_teeth") if "teeth" in name else (name,)
    every = np.concatenate([part_topology(piece).uv for piece in pieces])
    low, size = every.min(0), np.ptp(every, axis=0)
    return np.asarray(0.01 + 0.98 * (part_topology(name).uv - low) / size)


def tongue_material(side: int, light: float) -> Material:
    """The tongue."""
    rng = np.random.default_rng(9)
    noise = blurred(rng.standard_normal((side, side)), 1.2)
    image = _TONGUE * (1 + 0.10 * noise / noise.std() * 0.5)[..., None]
    return _inside(np.asarray(image, np.float32), light, 0.38)


def _inside(image: Array32, light: float, roughness: float) -> Material:
    """A material of the mouth, which lips shade in the photo's light."""
    return Material(to_pixels(image * (light * _INSIDE)), to_pixels(image), roughness=roughness)


# -- lashes --


def lashes_layout() -> Array:
    """(k, 2) texture coordinates of the lashes in a texture of their own."""
    uv = part_topology("lashes").uv
    return np.asarray(0.01 + 0.98 * (uv - uv.min(0)) / np.ptp(uv, axis=0))


def lashes_material(side: int) -> Material:
    """Lashes: thin hairs that taper from the lid to their tips."""
    topology = part_topology("lashes")
    corners = halves(topology.quads)
    raster = Raster.of(lashes_layout(), halves(topology.quad_uv), side)
    at = raster.interpolated(_lash_fields(), corners)
    along, out = at[:, 0], np.clip(at[:, 1], 0, 1)
    alpha = _lash_alpha(along, out)
    image = padded(raster.image(alpha), raster.mask())
    colour = np.broadcast_to(to_pixels(_LASH.astype(np.float32)), (side, side, 3))
    pixels = np.dstack([colour, to_pixels(image)])
    return Material(pixels, pixels, roughness=0.6, alpha=True, double_sided=True)


def _lash_alpha(along: Array, out: Array) -> Array:
    """Alpha of lashes at places along the lid and from lid (0) to tip (1)."""
    rng = np.random.default_rng(2)
    count = 64
    length = rng.uniform(0.45, 0.8, 4 * count)
    lean = rng.uniform(-0.5, 0.5, 4 * count)
    place = (along + 2) * count / 2
    alpha = np.zeros(len(along))
    for shift in (-1, 0, 1):
        hair = np.clip(np.floor(place).astype(int) + shift, 0, 4 * count - 1)
        centre = hair + 0.5 + lean[hair] * out
        taper = np.clip(1 - out / length[hair], 0, 1) ** 0.7
        alpha = np.maximum(
            alpha,
            smoothstep(np.abs(place - centre), 0.34, 0.2)
            * (taper > 0.02)
            * smoothstep(0.34 * taper - np.abs(place - centre), -0.02, 0.04),
        )
    return np.maximum(alpha, smoothstep(out, 0.10, 0.04))


@lru_cache(maxsize=1)
def _lash_fields() -> Array:
    """(n, 2) place along the lid, -1 to 1, and from lid (0) to tip (1) of the lashes' vertices."""
    topology = part_topology("lashes")
    vertices = rest_mm("lashes")
    centre = np.array([29.1, 27.0, 62.6])
    side = np.sign(vertices[:, :1]) * [1, 0, 0] + [0, 1, 1]
    local = vertices * side - centre
    along = np.arctan2(local[:, 0], local[:, 2])
    along = (along - along.min()) / np.ptp(along) * 2 - 1
    distance = np.linalg.norm(local, axis=1)
    out = np.zeros(len(vertices))
    for piece in range(int(topology.island.max()) + 1):
        own: Mask = np.zeros(len(vertices), bool)
        own[topology.quads[topology.island == piece]] = True
        nearest = along[own][:, None] - np.linspace(-1, 1, 25)
        weight = np.exp(-((nearest / 0.08) ** 2))
        for at, w in zip(np.linspace(-1, 1, 25), weight.T, strict=True):
            members = np.flatnonzero(own)[w > 0.3]
            if len(members) > 3:
                low, high = np.quantile(distance[members], [0.02, 0.98])
                mine = members[np.abs(along[members] - at) <= 0.045]
                out[mine] = (distance[mine] - low) / max(high - low, 0.5)
    return np.column_stack([along, np.clip(out, 0, 1)])
