"""Materials of a synthetic head: procedural skin, hair, cloth and eyes.

Colours are linear inside; pictures are sRGB.  A colour depends on the place on the average head
alone and the light on the place in space, so all views of a head agree, apart from an
optional gloss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.heads.space import EYE, EYE_RADIUS
from dp3d_core.raycast import Hits, RayCaster
from dp3d_core.smoothstep import ramp
from dp3d_core.synthetic.distance_fields import bump
from dp3d_core.synthetic.hair_volumes import HAIR_STYLES, hairline
from dp3d_core.synthetic.head import HeadMesh, Surface
from dp3d_core.synthetic.labels import (
    Label,
    brows,
    hit_labels,
    lip_line,
    lips,
    vertex_labels,
)
from dp3d_core.synthetic.lighting import Lighting, bake_irradiance
from dp3d_core.synthetic.noise import noise

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
"""sRGB, 0 to 1."""

SKIN_TONES: tuple[Colour, ...] = (
    (0.95, 0.82, 0.75), (0.91, 0.74, 0.64), (0.85, 0.66, 0.53), (0.76, 0.56, 0.42),
    (0.62, 0.43, 0.31), (0.47, 0.31, 0.22), (0.34, 0.22, 0.16),
)  # fmt: skip
HAIR_COLOURS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06), (0.16, 0.11, 0.08), (0.29, 0.19, 0.12), (0.44, 0.30, 0.18),
    (0.70, 0.55, 0.34), (0.86, 0.75, 0.55), (0.55, 0.25, 0.12), (0.62, 0.60, 0.58),
    (0.85, 0.84, 0.82),
)  # fmt: skip
EYE_COLOURS: tuple[Colour, ...] = (
    (0.25, 0.15, 0.08), (0.38, 0.25, 0.13), (0.35, 0.40, 0.25), (0.32, 0.45, 0.55),
    (0.45, 0.50, 0.52),
)  # fmt: skip


@dataclass(frozen=True)
class Materials:
    """What a head looks like.  Colours are sRGB, 0 to 1; the other numbers 0 to 1."""

    skin: Colour = SKIN_TONES[2]
    flush: float = 0.5
    """Redness of cheeks, nose and ears."""
    blotches: float = 0.3
    freckles: float = 0.0
    stubble: float = 0.0
    lips: float = 0.5
    """How much redder than the skin."""
    brows: float = 0.8
    """Density."""
    brow_thickness: float = 1.0
    """1 is average, 0.6 to 1.4."""
    hair: Colour = HAIR_COLOURS[2]
    streaks: float = 0.5
    eyes: Colour = EYE_COLOURS[1]
    cloth: Colour = (0.25, 0.35, 0.55)
    cloth2: Colour = (0.8, 0.8, 0.8)
    pattern: str = "plain"
    """Of the clothes: ``plain``, ``stripes``, ``checks``, ``dots`` or ``melange``."""
    hat: Colour = (0.6, 0.15, 0.15)
    glasses: Colour = (0.08, 0.08, 0.08)
    gloss: float = 0.15
    """Strength of view-dependent highlights; 0 makes all views agree exactly."""
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            key: [round(v, 4) for v in value]
            if isinstance(value, tuple)
            else (round(value, 4) if isinstance(value, float) else value)
            for key, value in self.__dict__.items()
        }


def to_linear(srgb: Any) -> Array:
    """SRGB, 0 to 1, to linear."""
    s = np.asarray(srgb, np.float64)
    return np.asarray(np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4))


def to_srgb(linear: Array) -> Array:
    """Linear to sRGB, both 0 to 1."""
    x = np.clip(linear, 0, 1)
    return np.asarray(np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055))


_OF_VERTICES = (Label.EARS, Label.MOUTH, Label.EYES)
"""Labels of the skin that the colours need."""


class HeadShader:
    """Colours of ray hits on a head: see :class:`dp3d_core.raycast.Shader`."""

    def __init__(
        self,
        head: HeadMesh,
        materials: Materials,
        lighting: Lighting,
        caster: RayCaster,
        sky_rays: int = 24,
    ) -> None:
        self.head = head
        self.materials = materials
        self.lighting = lighting
        self.vertex_labels = vertex_labels(head)
        self.irradiance = bake_irradiance(head.mesh, lighting, caster, sky_rays)

    def rest(self, hits: Hits) -> Array:
        """(k, 3) where hits lie on the average head, millimetres."""
        return np.asarray(
            np.einsum("kc,kcx->kx", hits.weights, self.head.rest[self.head.mesh.faces[hits.face]])
        )

    def labels(self, hits: Hits) -> NDArray[np.uint8]:
        """(k,) :class:`~dp3d_core.synthetic.labels.Label` of hits."""
        return hit_labels(
            self.head, hits, self.rest(hits), self.vertex_labels, self.materials.brow_thickness
        )

    def albedo(self, hits: Hits) -> Array:
        """(k, 3) linear colours of hits, without light."""
        corners = self.head.mesh.faces[hits.face]
        shares = [
            ((self.vertex_labels[corners] == label) * hits.weights).sum(1) for label in _OF_VERTICES
        ]
        return self._albedo(self.rest(hits), self.head.mesh.parts[corners[:, 0]], *shares)

    def vertex_albedo(self) -> Array:
        """(n, 3) linear colours of the vertices, without light."""
        shares = [(self.vertex_labels == label).astype(np.float64) for label in _OF_VERTICES]
        return self._albedo(self.head.rest, self.head.mesh.parts, *shares)

    def _albedo(
        self, rest: Array, part: NDArray[np.uint8], ears: Array, mouth: Array, sockets: Array
    ) -> Array:
        m = self.materials
        colours = np.zeros((len(rest), 3))
        for kind in np.unique(part):
            chosen = part == kind
            at = rest[chosen]
            if kind == Surface.SKIN:
                colour = _skin(at, ears[chosen], m, self.head.spec.hair)
                colour = _mix(colour, to_linear((0.30, 0.10, 0.10)), mouth[chosen])
                lining = to_linear(m.skin) * np.array([0.9, 0.55, 0.55])
                colour = _mix(colour, lining, sockets[chosen])
            elif kind == Surface.EYE:
                colour = _eye(at, m)
            elif kind in (Surface.HAIR, Surface.BEARD):
                style = self.head.spec.hair if kind == Surface.HAIR else "crop"
                colour = _hair(at, m, style or "crop")
            elif kind == Surface.TEETH:
                colour = _teeth(at)
            elif kind == Surface.TONGUE:
                colour = np.tile(to_linear((0.62, 0.28, 0.28)), (len(at), 1))
            elif kind == Surface.GLASSES:
                colour = np.tile(to_linear(m.glasses), (len(at), 1))
            elif kind == Surface.HAT:
                colour = _cloth(at, m.hat, m.hat, "melange")
            else:
                colour = _cloth(at, m.cloth, m.cloth2, m.pattern)
            colours[chosen] = colour
        return colours

    def __call__(self, hits: Hits) -> Array:
        """(k, 3) sRGB colours, 0 to 1, of hits."""
        light = np.einsum(
            "kc,kcx->kx", hits.weights, self.irradiance[self.head.mesh.faces[hits.face]]
        )
        colour = self.albedo(hits) * light
        if self.materials.gloss:
            colour = colour + self._gloss(hits, light)
        # a soft shoulder instead of clipped highlights
        return to_srgb(np.where(colour < 0.7, colour, 0.7 + 0.3 * np.tanh((colour - 0.7) / 0.3)))

    def _gloss(self, hits: Hits, light: Array) -> Array:
        part = self.head.mesh.parts[self.head.mesh.faces[hits.face, 0]]
        sharp = np.where(part == Surface.EYE, 220.0, np.where(part == Surface.HAIR, 14.0, 22.0))
        strong = np.array([0.10, 0.7, 0.35, 0.2, 0.10, 0.06, 0.6, 0.02, 0.01])[part]
        highlight = np.zeros((len(part), 3))
        to_eye = -hits.directions
        for lamp in self.lighting.lamps:
            half = to_eye + np.asarray(lamp.direction)
            half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
            cosine = np.clip((half * hits.normals).sum(1), 0, 1)
            highlight += (strong * cosine**sharp)[:, None] * np.asarray(lamp.colour)
        shade = np.clip(light.mean(1, keepdims=True) / 0.8, 0, 1)
        return np.asarray(highlight * shade * self.materials.gloss * 4)


# -- surfaces (rest positions in millimetres, linear colours) --------------------------------


def _mix(a: Array, b: Any, t: Array) -> Array:
    return np.asarray(a + (np.asarray(b) - a) * np.clip(t, 0, 1)[:, None])


def _shifted(p: Array, seed: int) -> Array:
    """Noise of another subject."""
    return np.asarray(p + np.random.default_rng(seed).uniform(0, 300, 3))


def _skin(p: Array, ears: Array, m: Materials, style: str | None) -> Array:
    base = to_linear(m.skin)
    q = _shifted(p, m.seed)
    n = len(p)
    fine = noise(q, 5.0)
    blotch = 0.6 * noise(q, 22.0, 1) + 0.4 * noise(q, 9.0, 2)
    colour = np.tile(base, (n, 1)) * (1 + 0.16 * m.blotches * blotch + 0.05 * fine)[:, None]
    x = np.abs(p)
    side = np.stack([x[:, 0], p[:, 1], p[:, 2]], -1)
    red = bump(side, (42, -8, 70), (30, 26, 40)) + 0.8 * bump(side, (0, -10, 102), (18, 16, 22))
    red += 0.7 * ears + 0.4 * bump(side, (0, -78, 80), (24, 18, 26))
    colour *= 1 + np.clip(red * m.flush * (1 + 0.5 * blotch), 0, 1.2)[:, None] * np.array(
        [0.04, -0.22, -0.22]
    )
    # the eyes lie in thinner, darker skin
    socket = bump(side, (float(EYE[0]), 22, 72), (22, 13, 24))
    colour *= 1 - socket[:, None] * np.array([0.10, 0.16, 0.12])
    if m.freckles:
        spots = noise(q, 3.2, 3) * ramp(noise(q, 20.0, 4), -0.4, 0.5)
        there = bump(side, (22, 0, 84), (46, 34, 46))
        colour = _mix(
            colour, base * [0.55, 0.42, 0.36], ramp(spots, 0.42, 0.65) * there * m.freckles
        )
    hair = to_linear(m.hair)
    if m.stubble:
        jaw = ramp(p[:, 1], -14, -40) * ramp(p[:, 2], -4, 18) * ramp(p[:, 1], -118, -96)
        lip = ramp(p[:, 1], -22, -27) * ramp(p[:, 2], 60, 75)
        dots = 0.6 + 0.4 * noise(q, 2.4, 5)
        where = np.maximum(jaw, lip) * ramp(lips(p), 0.0, 3.0) * dots
        colour = _mix(colour, 0.35 * hair + 0.25 * base, where * 0.65 * m.stubble)
    if style:
        # roots show through before the hairline
        above = p[:, 1] - hairline(p, HAIR_STYLES[style])
        roots = ramp(above + 2.5 * noise(q, 4.0, 6), -7, 5)
        colour = _mix(colour, hair, 0.8 * roots * ramp(ears, 0.6, 0.1))
    d = brows(p, m.brow_thickness)
    strokes = 0.75 + 0.25 * noise(
        np.stack([p[:, 0] + 0.9 * p[:, 1], p[:, 1] * 0.3, p[:, 2]], -1), (2.2, 6, 60), 7
    )
    colour = _mix(colour, 0.8 * hair, ramp(d, 0.9, -1.4) * strokes * m.brows)
    red_lip = base * np.array([1.02, 0.52, 0.55])
    lines = 1 + 0.10 * noise(p, (2.2, 14, 14), 8)
    d = lips(p)
    tone = (base * 0.35 + red_lip * 0.65) * (1 - m.lips) + red_lip * m.lips
    colour = _mix(colour, tone, ramp(d, 1.2, -0.8))
    colour *= np.where(d < 0, lines, 1)[:, None]
    parting = ramp(np.abs(p[:, 1] - lip_line(x[:, 0])), 1.6, 0.5) * (d < 0.5)
    colour *= (1 - 0.45 * parting)[:, None]
    rim = np.linalg.norm(side - EYE, axis=1) - EYE_RADIUS
    lashes = ramp(rim, 2.6, 1.4) * (p[:, 2] > 60) * ramp(p[:, 1] - EYE[1], 1.5, 4)
    colour = _mix(colour, 0.6 * hair + 0.01, 0.75 * lashes)
    return np.asarray(colour)


def _eye(p: Array, m: Materials) -> Array:
    unit = p - EYE * np.stack([np.sign(p[:, 0]), np.ones(len(p)), np.ones(len(p))], -1)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(unit[:, 2], -1, 1)))
    turn = np.arctan2(unit[:, 1], unit[:, 0])
    white = np.tile(to_linear((0.90, 0.88, 0.86)), (len(p), 1))
    white *= 1 - 0.25 * ramp(angle, 28, 60)[:, None] * np.array([0.2, 0.7, 0.7])
    rays = 1 + 0.25 * np.cos(turn * 23 + m.seed) * np.cos(turn * 37)
    iris = np.tile(to_linear(m.eyes), (len(p), 1)) * rays[:, None]
    iris *= (0.55 + 0.6 * ramp(angle, 22, 9.5))[:, None]
    colour = white + (iris - white) * ramp(angle, 24.0, 22.0)[:, None]
    colour *= (1 - 0.55 * ramp(np.abs(angle - 22.5), 2.4, 0.4))[:, None]  # limbal ring
    colour = _mix(colour, to_linear((0.03, 0.03, 0.03)), ramp(angle, 9.8, 8.2))
    glint = np.linalg.norm(unit - np.array([0.16, 0.2, 0.966]), axis=1)
    return _mix(colour, (1.6, 1.6, 1.6), ramp(glint, 0.075, 0.05))


def _hair(p: Array, m: Materials, style: str) -> Array:
    base = to_linear(m.hair)
    q = p - np.array([0, 45, -15.0])
    r = np.linalg.norm(q, axis=1)
    kind = HAIR_STYLES[style].strands
    hanging = ramp(p[:, 1], 30, 0)
    if kind == "curl":
        fine, broad = noise(p, 3.4, 9), noise(p, 11.0, 10)
    else:
        if kind == "back":
            across = np.arctan2(q[:, 0], np.hypot(q[:, 1], q[:, 2])) * 85
            along = np.arctan2(q[:, 1], q[:, 2]) * 85
        elif kind == "side":
            across = np.arctan2(q[:, 2], np.hypot(q[:, 0], q[:, 1])) * 85
            along = np.arctan2(q[:, 1], q[:, 0]) * 85
        else:
            across = np.arctan2(q[:, 0], q[:, 2]) * 85
            along = np.arccos(np.clip(q[:, 1] / np.maximum(r, 1e-6), -1, 1)) * 85
        # below the ears hair hangs
        down = np.arctan2(q[:, 0], q[:, 2]) * 85
        across = across + (down - across) * (hanging if kind != "down" else 0)
        along = along + (-p[:, 1] - along) * hanging
        bend = 2.0 * noise(p, 30.0, 11)
        lines = np.stack([across + bend, along, np.zeros(len(p))], -1)
        fine, broad = noise(lines, (2.6, 46.0, 1.0), 9), noise(lines, (9.0, 70.0, 1.0), 10)
    light = 1 + m.streaks * (0.55 * fine + 0.35 * broad)
    return np.asarray(np.clip(base * 1.1, 0.008, 1) * np.clip(light, 0.25, 2.2)[:, None])


def _teeth(p: Array) -> Array:
    angle = np.degrees(np.arctan2(p[:, 0], np.maximum(p[:, 2] - 54, 1)))
    gap = ramp(np.abs(np.mod(angle + 9, 18) - 9), 8.2, 9.0)
    gum = np.maximum(ramp(p[:, 1], -30.5, -28.5), ramp(p[:, 1], -46.0, -48.0))
    colour = _mix(
        np.tile(to_linear((0.90, 0.87, 0.80)), (len(p), 1)), to_linear((0.75, 0.45, 0.42)), gum
    )
    return np.asarray(colour * (1 - 0.5 * gap * (1 - gum))[:, None])


def _cloth(p: Array, first: Colour, second: Colour, pattern: str) -> Array:
    a, b = to_linear(first), to_linear(second)
    weave = 1 + 0.06 * noise(p, 3.0, 12) + 0.05 * noise(p, 30.0, 13)
    t = np.zeros(len(p))
    if pattern == "stripes":
        t = ramp(np.sin(2 * np.pi * p[:, 1] / 24), -0.15, 0.15)
    elif pattern == "checks":
        across = np.sin(2 * np.pi * p[:, 0] / 30)
        t = 0.5 * ramp(across, -0.1, 0.1) + 0.5 * ramp(np.sin(2 * np.pi * p[:, 1] / 30), -0.1, 0.1)
    elif pattern == "dots":
        cell = np.mod(p[:, :2] / 22 + 0.5, 1) - 0.5
        t = ramp(np.linalg.norm(cell, axis=1), 0.24, 0.18)
    elif pattern == "melange":
        weave = weave + 0.16 * noise(p, 3.5, 14)
    return np.asarray(_mix(np.tile(a, (len(p), 1)), b, t) * weave[:, None])
