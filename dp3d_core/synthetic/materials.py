"""Materials of a synthetic head: procedural skin, hair, cloth and eyes.

Shading is linear, its result sRGB.  Albedo depends only on the position on the average head,
irradiance only on the position in space: all views of a head agree, apart from optional gloss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp3d_core.arrays import Array, Labels, smoothstep
from dp3d_core.heads.space import EYE, EYE_RADIUS
from dp3d_core.meshes.raycast import Hits, RayCaster
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

Colour = tuple[float, float, float]
"""sRGB, 0 to 1."""

SKIN_TONES: tuple[Colour, ...] = (
    (0.95, 0.82, 0.75), (0.91, 0.74, 0.64), (0.85, 0.66, 0.53), (0.76, 0.56, 0.42),
    (0.62, 0.43, 0.31), (0.47, 0.31, 0.22), (0.34, 0.22, 0.16),
)  # fmt: skip
"""Skin tones from light to dark."""
HAIR_COLOURS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06), (0.16, 0.11, 0.08), (0.29, 0.19, 0.12), (0.44, 0.30, 0.18),
    (0.70, 0.55, 0.34), (0.86, 0.75, 0.55), (0.55, 0.25, 0.12), (0.62, 0.60, 0.58),
    (0.85, 0.84, 0.82),
)  # fmt: skip
"""Hair colours: dark, brown, blond, red, then two greys."""
EYE_COLOURS: tuple[Colour, ...] = (
    (0.25, 0.15, 0.08), (0.38, 0.25, 0.13), (0.35, 0.40, 0.25), (0.32, 0.45, 0.55),
    (0.45, 0.50, 0.52),
)  # fmt: skip
"""Iris colours from brown to grey."""


@dataclass(frozen=True)
class Materials:
    """Colours and patterns of a head.  Colours are sRGB, strengths 0 to 1."""

    skin: Colour = SKIN_TONES[2]
    flush: float = 0.5
    """Redness of cheeks, nose and ears."""
    blotches: float = 0.3
    """Contrast of blotches."""
    freckles: float = 0.0
    """Density of freckles."""
    stubble: float = 0.0
    """Density of stubble."""
    lips: float = 0.5
    """Redness of the lips beyond that of the skin."""
    brows: float = 0.8
    """Density of the brows."""
    brow_thickness: float = 1.0
    """Factor on the thickness of the brows, 0.6 to 1.4."""
    hair: Colour = HAIR_COLOURS[2]
    streaks: float = 0.5
    """Contrast among strands of hair."""
    eyes: Colour = EYE_COLOURS[1]
    cloth: Colour = (0.25, 0.35, 0.55)
    cloth2: Colour = (0.8, 0.8, 0.8)
    """Second colour of patterned clothes."""
    pattern: str = "plain"
    """Pattern of the clothes: ``plain``, ``stripes``, ``checks``, ``dots`` or ``melange``."""
    hat: Colour = (0.6, 0.15, 0.15)
    glasses: Colour = (0.08, 0.08, 0.08)
    gloss: float = 0.15
    """Strength of view-dependent highlights; 0 makes all views agree exactly."""
    seed: int = 0
    """Seed of the noise of skin and iris."""

    def to_dict(self) -> dict[str, Any]:
        """The materials as JSON-ready values."""
        return {
            key: [round(v, 4) for v in value]
            if isinstance(value, tuple)
            else (round(value, 4) if isinstance(value, float) else value)
            for key, value in self.__dict__.items()
        }


def to_linear(srgb: Any) -> Array:
    """Convert sRGB, 0 to 1, to linear."""
    s = np.asarray(srgb, np.float64)
    return np.asarray(np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4))


def to_srgb(linear: Array) -> Array:
    """Convert linear to sRGB, both 0 to 1."""
    x = np.clip(linear, 0, 1)
    return np.asarray(np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055))


_SKIN_LABELS = (Label.EARS, Label.MOUTH, Label.EYES)
"""Labels of skin that change its colour."""


class HeadShader:
    """Shader of a head; see :class:`dp3d_core.meshes.raycast.Shader`."""

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
        """(k, 3) positions of hits on the average head, millimetres."""
        return np.asarray(
            np.einsum("kc,kcx->kx", hits.weights, self.head.rest[self.head.mesh.faces[hits.face]])
        )

    def labels(self, hits: Hits) -> Labels:
        """(k,) :class:`~dp3d_core.synthetic.labels.Label` of hits."""
        return hit_labels(
            self.head, hits, self.rest(hits), self.vertex_labels, self.materials.brow_thickness
        )

    def albedo(self, hits: Hits) -> Array:
        """(k, 3) linear albedo of hits."""
        corners = self.head.mesh.faces[hits.face]
        shares = [
            ((self.vertex_labels[corners] == label) * hits.weights).sum(1) for label in _SKIN_LABELS
        ]
        return self._albedo(self.rest(hits), self.head.mesh.parts[corners[:, 0]], *shares)

    def vertex_albedo(self) -> Array:
        """(n, 3) linear albedo of the vertices."""
        shares = [(self.vertex_labels == label).astype(np.float64) for label in _SKIN_LABELS]
        return self._albedo(self.head.rest, self.head.mesh.parts, *shares)

    def _albedo(
        self, rest: Array, part: Labels, ears: Array, mouth: Array, sockets: Array
    ) -> Array:
        materials = self.materials
        colours = np.zeros((len(rest), 3))
        for kind in np.unique(part):
            selected = part == kind
            positions = rest[selected]
            if kind == Surface.SKIN:
                colour = _skin(positions, ears[selected], materials, self.head.spec.hair)
                colour = _mix(colour, to_linear((0.30, 0.10, 0.10)), mouth[selected])
                lining = to_linear(materials.skin) * np.array([0.9, 0.55, 0.55])
                colour = _mix(colour, lining, sockets[selected])
            elif kind == Surface.EYE:
                colour = _eye(positions, materials)
            elif kind in (Surface.HAIR, Surface.BEARD):
                style = self.head.spec.hair if kind == Surface.HAIR else "crop"
                colour = _hair(positions, materials, style or "crop")
            elif kind == Surface.TEETH:
                colour = _teeth(positions)
            elif kind == Surface.TONGUE:
                colour = np.tile(to_linear((0.62, 0.28, 0.28)), (len(positions), 1))
            elif kind == Surface.GLASSES:
                colour = np.tile(to_linear(materials.glasses), (len(positions), 1))
            elif kind == Surface.HAT:
                colour = _cloth(positions, materials.hat, materials.hat, "melange")
            else:
                colour = _cloth(positions, materials.cloth, materials.cloth2, materials.pattern)
            colours[selected] = colour
        return colours

    def __call__(self, hits: Hits) -> Array:
        """(k, 3) sRGB colours, 0 to 1, of hits."""
        light = np.einsum(
            "kc,kcx->kx", hits.weights, self.irradiance[self.head.mesh.faces[hits.face]]
        )
        colour = self.albedo(hits) * light
        if self.materials.gloss:
            colour = colour + self._gloss(hits, light)
        # highlights are compressed, not clipped
        return to_srgb(np.where(colour < 0.7, colour, 0.7 + 0.3 * np.tanh((colour - 0.7) / 0.3)))

    def _gloss(self, hits: Hits, light: Array) -> Array:
        """(k, 3) linear specular light of hits (Blinn-Phong)."""
        part = self.head.mesh.parts[self.head.mesh.faces[hits.face, 0]]
        exponent = np.where(part == Surface.EYE, 220.0, np.where(part == Surface.HAIR, 14.0, 22.0))
        strength = np.array([0.10, 0.7, 0.35, 0.2, 0.10, 0.06, 0.6, 0.02, 0.01])[part]
        highlight = np.zeros((len(part), 3))
        to_eye = -hits.directions
        for lamp in self.lighting.lamps:
            half_vector = to_eye + np.asarray(lamp.direction)
            half_vector /= np.maximum(np.linalg.norm(half_vector, axis=1, keepdims=True), 1e-9)
            cosine = np.clip((half_vector * hits.normals).sum(1), 0, 1)
            highlight += (strength * cosine**exponent)[:, None] * np.asarray(lamp.colour)
        lit = np.clip(light.mean(1, keepdims=True) / 0.8, 0, 1)
        return np.asarray(highlight * lit * self.materials.gloss * 4)


# -- albedo of surfaces: positions on the average head in millimetres, linear colours ---------


def _mix(a: Array, b: Any, t: Array) -> Array:
    """Interpolate colours from ``a`` to ``b`` by ``t`` (n,), clipped to 0 to 1."""
    return np.asarray(a + (np.asarray(b) - a) * np.clip(t, 0, 1)[:, None])


def _shifted(p: Array, seed: int) -> Array:
    """Points shifted by a random offset, so that each subject has its own noise."""
    return np.asarray(p + np.random.default_rng(seed).uniform(0, 300, 3))


def _skin(p: Array, ears: Array, m: Materials, style: str | None) -> Array:
    """(n, 3) skin with flush, freckles, stubble, roots of hair, brows, lips and lashes.

    ``ears`` (n,) is the share of ear at each point, ``style`` the hair style.
    """
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
    # skin around the eyes is thinner and darker
    socket = bump(side, (float(EYE[0]), 22, 72), (22, 13, 24))
    colour *= 1 - socket[:, None] * np.array([0.10, 0.16, 0.12])
    if m.freckles:
        spots = noise(q, 3.2, 3) * smoothstep(noise(q, 20.0, 4), -0.4, 0.5)
        area = bump(side, (22, 0, 84), (46, 34, 46))
        colour = _mix(
            colour, base * [0.55, 0.42, 0.36], smoothstep(spots, 0.42, 0.65) * area * m.freckles
        )
    hair = to_linear(m.hair)
    if m.stubble:
        jaw = (
            smoothstep(p[:, 1], -14, -40)
            * smoothstep(p[:, 2], -4, 18)
            * smoothstep(p[:, 1], -118, -96)
        )
        lip = smoothstep(p[:, 1], -22, -27) * smoothstep(p[:, 2], 60, 75)
        dots = 0.6 + 0.4 * noise(q, 2.4, 5)
        density = np.maximum(jaw, lip) * smoothstep(lips(p), 0.0, 3.0) * dots
        colour = _mix(colour, 0.35 * hair + 0.25 * base, density * 0.65 * m.stubble)
    if style:
        # roots show in front of the hairline
        above = p[:, 1] - hairline(p, HAIR_STYLES[style])
        roots = smoothstep(above + 2.5 * noise(q, 4.0, 6), -7, 5)
        colour = _mix(colour, hair, 0.8 * roots * smoothstep(ears, 0.6, 0.1))
    d = brows(p, m.brow_thickness)
    strokes = 0.75 + 0.25 * noise(
        np.stack([p[:, 0] + 0.9 * p[:, 1], p[:, 1] * 0.3, p[:, 2]], -1), (2.2, 6, 60), 7
    )
    colour = _mix(colour, 0.8 * hair, smoothstep(d, 0.9, -1.4) * strokes * m.brows)
    red_lip = base * np.array([1.02, 0.52, 0.55])
    lines = 1 + 0.10 * noise(p, (2.2, 14, 14), 8)
    d = lips(p)
    tone = (base * 0.35 + red_lip * 0.65) * (1 - m.lips) + red_lip * m.lips
    colour = _mix(colour, tone, smoothstep(d, 1.2, -0.8))
    colour *= np.where(d < 0, lines, 1)[:, None]
    parting = smoothstep(np.abs(p[:, 1] - lip_line(x[:, 0])), 1.6, 0.5) * (d < 0.5)
    colour *= (1 - 0.45 * parting)[:, None]
    rim = np.linalg.norm(side - EYE, axis=1) - EYE_RADIUS
    lashes = smoothstep(rim, 2.6, 1.4) * (p[:, 2] > 60) * smoothstep(p[:, 1] - EYE[1], 1.5, 4)
    colour = _mix(colour, 0.6 * hair + 0.01, 0.75 * lashes)
    return np.asarray(colour)


def _eye(p: Array, m: Materials) -> Array:
    """(n, 3) eyeball: white, iris with limbal ring, pupil, glint."""
    unit = p - EYE * np.stack([np.sign(p[:, 0]), np.ones(len(p)), np.ones(len(p))], -1)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(unit[:, 2], -1, 1)))
    angle_around = np.arctan2(unit[:, 1], unit[:, 0])
    white = np.tile(to_linear((0.90, 0.88, 0.86)), (len(p), 1))
    white *= 1 - 0.25 * smoothstep(angle, 28, 60)[:, None] * np.array([0.2, 0.7, 0.7])
    rays = 1 + 0.25 * np.cos(angle_around * 23 + m.seed) * np.cos(angle_around * 37)
    iris = np.tile(to_linear(m.eyes), (len(p), 1)) * rays[:, None]
    iris *= (0.55 + 0.6 * smoothstep(angle, 22, 9.5))[:, None]
    colour = white + (iris - white) * smoothstep(angle, 24.0, 22.0)[:, None]
    colour *= (1 - 0.55 * smoothstep(np.abs(angle - 22.5), 2.4, 0.4))[:, None]  # limbal ring
    colour = _mix(colour, to_linear((0.03, 0.03, 0.03)), smoothstep(angle, 9.8, 8.2))
    glint = np.linalg.norm(unit - np.array([0.16, 0.2, 0.966]), axis=1)
    return _mix(colour, (1.6, 1.6, 1.6), smoothstep(glint, 0.075, 0.05))


def _hair(p: Array, m: Materials, style: str) -> Array:
    """(n, 3) hair, streaked along the strands of a style."""
    base = to_linear(m.hair)
    q = p - np.array([0, 45, -15.0])
    r = np.linalg.norm(q, axis=1)
    kind = HAIR_STYLES[style].strands
    hanging = smoothstep(p[:, 1], 30, 0)
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
        # below the ears strands hang down
        down = np.arctan2(q[:, 0], q[:, 2]) * 85
        across = across + (down - across) * (hanging if kind != "down" else 0)
        along = along + (-p[:, 1] - along) * hanging
        bend = 2.0 * noise(p, 30.0, 11)
        lines = np.stack([across + bend, along, np.zeros(len(p))], -1)
        fine, broad = noise(lines, (2.6, 46.0, 1.0), 9), noise(lines, (9.0, 70.0, 1.0), 10)
    light = 1 + m.streaks * (0.55 * fine + 0.35 * broad)
    return np.asarray(np.clip(base * 1.1, 0.008, 1) * np.clip(light, 0.25, 2.2)[:, None])


def _teeth(p: Array) -> Array:
    """(n, 3) teeth with gaps, and gums."""
    angle = np.degrees(np.arctan2(p[:, 0], np.maximum(p[:, 2] - 54, 1)))
    gap = smoothstep(np.abs(np.mod(angle + 9, 18) - 9), 8.2, 9.0)
    gum = np.maximum(smoothstep(p[:, 1], -30.5, -28.5), smoothstep(p[:, 1], -46.0, -48.0))
    colour = _mix(
        np.tile(to_linear((0.90, 0.87, 0.80)), (len(p), 1)), to_linear((0.75, 0.45, 0.42)), gum
    )
    return np.asarray(colour * (1 - 0.5 * gap * (1 - gum))[:, None])


def _cloth(p: Array, first: Colour, second: Colour, pattern: str) -> Array:
    """(n, 3) cloth in a pattern of two colours."""
    a, b = to_linear(first), to_linear(second)
    weave = 1 + 0.06 * noise(p, 3.0, 12) + 0.05 * noise(p, 30.0, 13)
    t = np.zeros(len(p))
    if pattern == "stripes":
        t = smoothstep(np.sin(2 * np.pi * p[:, 1] / 24), -0.15, 0.15)
    elif pattern == "checks":
        across = np.sin(2 * np.pi * p[:, 0] / 30)
        t = 0.5 * smoothstep(across, -0.1, 0.1) + 0.5 * smoothstep(
            np.sin(2 * np.pi * p[:, 1] / 30), -0.1, 0.1
        )
    elif pattern == "dots":
        cell = np.mod(p[:, :2] / 22 + 0.5, 1) - 0.5
        t = smoothstep(np.linalg.norm(cell, axis=1), 0.24, 0.18)
    elif pattern == "melange":
        weave = weave + 0.16 * noise(p, 3.5, 14)
    return np.asarray(_mix(np.tile(a, (len(p), 1)), b, t) * weave[:, None])
