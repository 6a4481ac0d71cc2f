"""Hair and beard of the average head, as distance fields in millimetres.

A style is a shell over the scalp behind a hairline, with hanging and protruding parts (fringe,
curtain, tails, bun) and a wavy surface.  ``head`` extracts the surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array, smoothstep
from dp3d_core.synthetic.average_bust import bare_body
from dp3d_core.synthetic.distance_fields import (
    capsule,
    ellipsoid,
    intersection,
    mirrored,
    polyline,
    union,
)
from dp3d_core.synthetic.noise import noise

_ANGLES = np.array([0, 22, 38, 52, 63, 71, 79, 85, 102, 112, 124, 145, 180.0])
"""Angles around the head at which the hairline is tabulated, degrees, 0 in front."""
_HAIRLINE = np.array([90, 88, 76, 56, 36, 16, 14, 38, 37, 8, -16, -36, -42.0])
"""Height of the hairline at ``_ANGLES``, millimetres."""


@dataclass(frozen=True)
class HairStyle:
    """One hair volume; lengths in millimetres.

    Attributes:
        top, side, back: thickness of the shell on the crown, over the ears and at the back.
        front: offset of the hairline above the forehead, negative downwards.
        temples: offset of the hairline beside the forehead, negative downwards.
        wave, wavelength: amplitude and length of the surface's waves.
        curtain: height of the ends of hanging hair; None if no hair hangs.
        opening: half the angle around the face without hanging hair, degrees.
        thickness: thickness of hanging hair.
        tails: rods (points, radii) of tails and buns; mirrored if they leave the plane x = 0.
        strands: direction of the strands for the texture: ``back``, ``down``, ``side``, ``curl``.

    """

    top: float = 14
    side: float = 7
    back: float = 12
    front: float = 0
    temples: float = 0
    wave: float = 1.0
    wavelength: float = 14.0
    curtain: float | None = None
    opening: float = 62
    thickness: float = 15
    tails: tuple[tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]], ...] = ()
    strands: str = "down"
    part: float | None = None
    """Sideways position of a parting; None without one."""


HAIR_STYLES: dict[str, HairStyle] = {
    "buzz": HairStyle(3.2, 2.4, 2.8, wave=0.2, strands="curl"),
    "crop": HairStyle(15, 5, 8, wave=1.8, wavelength=11, strands="back"),
    "receding": HairStyle(5, 5, 7, front=34, temples=26, wave=0.6, strands="back"),
    "side_part": HairStyle(20, 9, 11, part=32, wave=1.4, strands="side"),
    "quiff": HairStyle(27, 5, 8, front=-2, wave=2.2, wavelength=16, strands="back"),
    "slick_back": HairStyle(9, 6, 10, wave=0.9, wavelength=8, strands="back"),
    "fringe": HairStyle(17, 14, 18, front=-38, temples=-14, curtain=-52, wave=1.2, thickness=14),
    "bob": HairStyle(16, 12, 18, curtain=-84, wave=1.5, thickness=18, part=0, opening=60),
    "long": HairStyle(14, 11, 15, curtain=-178, wave=2.4, wavelength=20, thickness=17, part=18),
    "ponytail": HairStyle(
        8, 6, 9, wave=0.7, wavelength=8, strands="back",
        tails=((((0, 78, -104), (0, 62, -136), (0, 0, -146), (0, -70, -132), (0, -120, -124)),
                (13, 17, 20, 17, 6)),),
    ),
    "bun": HairStyle(
        9, 6, 9, wave=0.8, wavelength=9, strands="back",
        tails=((((0, 104, -88), (0, 118, -102)), (27, 29)),),
    ),
    "pigtails": HairStyle(
        9, 8, 9, wave=0.9, part=0,
        tails=((((70, 52, -58), (98, 40, -66), (108, -10, -58), (100, -80, -34)),
                (11, 17, 20, 8)),),
    ),
    "curly": HairStyle(30, 24, 28, front=-6, curtain=-40, thickness=30, wave=7, wavelength=19,
                       opening=66, strands="curl"),
    "waves": HairStyle(18, 15, 19, curtain=-130, wave=4.5, wavelength=24, thickness=22, part=12,
                       opening=64),
    "afro": HairStyle(48, 42, 46, front=4, wave=5, wavelength=13, strands="curl"),
}  # fmt: skip
"""Styles by name (``head.HeadSpec.hair``)."""


def azimuth(p: Array) -> Array:
    """(n,) absolute angle of points (n, 3) around the head's axis, degrees, 0 in front."""
    return np.asarray(np.degrees(np.arctan2(np.abs(p[:, 0]), p[:, 2] + 15)))


def hairline(p: Array, style: HairStyle) -> Array:
    """(n,) height of the hairline in the directions of points (n, 3), millimetres."""
    angles = azimuth(p)
    line = np.interp(angles, _ANGLES, _HAIRLINE)
    line = line + style.front * smoothstep(angles, 52, 28)
    return np.asarray(
        line + style.temples * smoothstep(angles, 20, 40) * smoothstep(angles, 70, 58)
    )


def hair(p: Array, style: HairStyle, hat_line: float | None = None) -> Array:
    """(n,) signed distance to hair, millimetres.

    Args:
        p: (n, 3) points, millimetres.
        style: the style.
        hat_line: height above which a hat flattens the hair, millimetres; None without a hat.

    """
    folded = mirrored(p)
    skull = bare_body(p)
    angles = azimuth(p)
    above_brow = np.clip((p[:, 1] - 40) / 80, 0, 1)
    around = np.interp(angles, [0, 60, 100, 180], [style.top, style.side, style.side, style.back])
    thickness_at = around + (style.top - around) * above_brow**1.2
    if hat_line is not None:
        thickness_at = np.where(
            p[:, 1] > hat_line - 12, np.minimum(thickness_at, 5.0), np.minimum(thickness_at, 14.0)
        )
    above = p[:, 1] - hairline(p, style)
    # thick hair is rounded towards the hairline
    thickness = -3.5 + (thickness_at + 3.5) * smoothstep(
        above, -3, np.maximum(20.0, 1.1 * thickness_at)
    )
    thickness = thickness - np.clip(
        -3 - above, 0, 90
    )  # well below the skin, also in sockets and mouth
    if style.part is not None and hat_line is None:
        from_part = np.abs(p[:, 0] - style.part) / 9
        thickness = thickness - 0.35 * thickness_at * np.exp(
            -from_part * from_part
        ) * above_brow * smoothstep(p[:, 2], -40, 10)
    stretch = {"down": (1, 3, 1), "back": (1, 1, 3), "side": (3, 1, 1), "curl": (1, 1, 1)}
    w = style.wavelength * np.array(stretch[style.strands])
    waves = style.wave * (noise(p, tuple(w)) + 0.5 * noise(p, tuple(w / 2), 1))
    d = skull - thickness - waves * np.clip(thickness / 6, 0, 1)
    if style.curtain is not None:
        d = union(d, _curtain(p, style) - waves, 26)
        if style.curtain < -110:  # long hair lies on the back
            ends = style.curtain + 6 * noise(p, (9, 60, 9), 2)
            lying = np.maximum(skull - 13, np.abs(p[:, 0]) - 78)
            lying = np.maximum(np.maximum(lying, p[:, 2] + 40), ends - p[:, 1])
            d = union(d, np.maximum(lying, p[:, 1] + 60) - waves, 14)
    for points, radii in style.tails:
        d = union(d, polyline(folded, points, radii, 4) - waves, 8)
    return np.asarray(d)


def _curtain(p: Array, style: HairStyle) -> Array:
    """(n,) signed distance to hair that hangs around the neck, open in front, with ragged ends."""
    assert style.curtain is not None
    lowness = np.clip((30 - p[:, 1]) / 200, 0, 1)
    width, depth = 82 + 20 * lowness, 84 - 8 * lowness
    # locks: the radius varies around the head, increasingly towards the ends
    swing = 7 * noise(p * [1, 0.25, 1], 26.0, 3) + 3 * noise(p * [1, 0.3, 1], 11.0, 4)
    q = np.stack([p[:, 0] / width, (p[:, 2] + 22) / depth], -1)
    r = np.linalg.norm(q, axis=1)
    radius = np.hypot(p[:, 0], p[:, 2] + 22) / np.maximum(r, 1e-6)
    outside = (r - 0.96) * radius - swing * smoothstep(lowness, 0.0, 0.5)
    half_thickness = style.thickness / 2 * (1 - 0.35 * smoothstep(lowness, 0.5, 1.0))
    shell = np.abs(outside) - half_thickness
    inner = -bare_body(p) - 6
    shell = np.where(p[:, 2] < -40, np.maximum(outside - half_thickness, inner), shell)
    ends = style.curtain + 8 * noise(p, (9, 60, 9), 2) + 9 * noise(p, (30, 90, 30), 5)
    opening_angle = style.opening + 7 * noise(p, (40, 40, 40), 6)
    opening = np.radians(opening_angle - azimuth(p)) * np.hypot(p[:, 0], p[:, 2] + 15)
    hanging = intersection(shell, opening, 12)
    return intersection(hanging, np.maximum(ends - p[:, 1], p[:, 1] - 60), 6)


def beard(p: Array, length: float) -> Array:
    """(n,) signed distance to a full beard of a length, both in millimetres."""
    folded = mirrored(p)
    face = bare_body(p)
    jaw = smoothstep(p[:, 1], -8, -38) * smoothstep(azimuth(p), 96, 74)
    # the lower edge rises from the chin towards the back of the jaw
    jaw = jaw * smoothstep(p[:, 1] + 106 - 0.35 * np.clip(60 - p[:, 2], 0, None), -6, 8)
    mouth = ellipsoid(folded, (0, -43, 92), (27, 11, 30))
    around_mouth = smoothstep(mouth, -1, 4)
    chin = capsule(folded, (0, -70, 70), (0, -92, 62), 24)
    thickness = -9 + (length * (0.6 + 0.8 * smoothstep(chin, 14, -6)) + 9) * jaw * around_mouth
    moustache = -9 + 11 * smoothstep(folded[:, 0], 30, 22) * smoothstep(
        p[:, 1], -24, -29
    ) * smoothstep(p[:, 1], -41, -36)
    return np.minimum(face - thickness - 0.8 * noise(p, (4, 12, 4)), face - moustache)
