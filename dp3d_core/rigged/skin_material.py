"""The skin's material: colours of the photo, mouth and sockets, roughness and relief."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Indices, Indices32, Mask, Pixels, smoothstep
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets
from dp3d_core.heads.space import MM
from dp3d_core.preview.asset import padded
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.texture.tones import lab
from dp3d_core.rigged.baking import (
    Raster,
    Twins,
    blurred,
    continued,
    fine_normals,
    resized,
    surface_looks,
    to_pixels,
)
from dp3d_core.rigged.layout import FACE, FIRST_SOCKET, MOUTH, SECOND_SOCKET, skin_layout
from dp3d_core.rigged.mouth_material import LIP_MM, rim_distance, without_teeth
from dp3d_core.rigged.narrowing import eye_rims
from dp3d_core.rigged.rig import Material
from dp3d_core.rigged.shell import HAIR_ROUGHNESS, Shell, likeness_to_hair
from dp3d_core.rigged.topology import halves, part_topology, rest_mm, skin_twins
from dp3d_core.rigged.worn import light_off_hair

_WET_TINT = np.array([0.92, 0.62, 0.58])
"""Colour of the inside of lids and lips relative to the skin."""
_MOUTH = np.array([0.52, 0.21, 0.20])
"""sRGB of the inside of the mouth under even light."""
_MOUTH_DARKENS = (62.0, 30.0)
"""Depths on the average head between which the inside of the mouth turns dark, millimetres."""
_DEEP = 0.12
"""Brightness of the deep mouth relative to its front."""
_DEFAULT_SKIN = np.array([0.72, 0.56, 0.47], np.float32)
"""sRGB of skin that no photo shows."""
_ROUGHNESS = {
    Region.FACE: 0.54,
    Region.FOREHEAD: 0.48,
    Region.SCALP: 0.68,
    Region.EAR: 0.56,
    Region.NECK: 0.6,
    Region.TORSO: 0.62,
}
"""Roughness of the skin by region."""
_UNDER_FRINGE = (Region.FOREHEAD, Region.SCALP)
"""Regions on which a fringe may be painted."""
_LIP_ROUGHNESS = 0.36
"""Roughness of lips."""
_NOSE_ROUGHNESS = 0.44
"""Roughness of the tip of the nose."""
_WET_ROUGHNESS = 0.22
"""Roughness of the inside of mouth and lids."""
_SLIDING = (0.12, 0.6)
"""Moves by a blink, relative to the largest, between which skin belongs to a lid."""
_BESIDE_LIDS = (3.2, 0.8)
"""Distances from the rim of a lid between which skin may show the eye, millimetres."""
_UNLIKE_SKIN = (9.0, 20.0)
"""Lab distances from the skin around between which a lid shows something else."""
_ALWAYS_MM = (2.6, 1.4)
"""Distances from the rim of a lid between which the skin around replaces what is painted, mm."""
_BROW_DARKER = 14.0
"""Lightness, Lab, by which brows are at least darker than the skin around an eye."""
_BROW_MARGIN = 2
"""Texels around brows that may show their edge."""
_LITTLE = 0.05
"""Share of a replacement below which a texel shows the photo."""
_LID_REACH = 150
"""Texture sides per reach within which lids continue what the photo shows of them."""
_CHEEK_SHARE = 0.6
"""Share of the cheeks' colour in that of lids."""
_LID_TINT = 0.91
"""Brightness of lids relative to the skin around them."""
_VIVID = 0.2
"""Range of the channels, relative to the largest, from which a photo has colours."""
_LEAST_BRIGHT = 0.25
"""Least value by which that range is divided, 0 to 1: noise of dark pixels is no colour."""
_FAR_MM = 1e3
"""Distance from the lips of what is no outer skin, millimetres."""
_COVERED = 0.15
"""Coverage by clothes from which skin below them is never seen."""
_CHEEK_DEPTH_MM = 35.0
"""Depth on the average head from which skin belongs to the cheeks, millimetres."""
_HIDDEN_MM = 7.0
"""Height of hair over the scalp from which the scalp is never seen, millimetres."""
_RELIEF_MM = 0.35
"""Height of relief per unit of log brightness, millimetres."""
_RELIEF_SIGMAS = (0.0006, 0.0035)
"""Blurs between which brightness is relief, texture sides."""


@dataclass(frozen=True, eq=False)
class SkinBase:
    """What the textures of skin and clothes share.

    Attributes:
        head: the fitted head.
        fitted: (n, 3) skin with the photo's expression, head units.
        side: side of the texture, texels.
        hair_mm: (n,) height of hair and headwear over the skin, millimetres.
        shell: the head's hair and headwear; None without any.
        shows_teeth: whether the lips are parted, so that teeth may be seen on their rims.

    """

    head: PreviewHead
    fitted: Array
    side: int
    hair_mm: Array
    shell: Shell | None
    shows_teeth: bool = False


def skin_material(base: SkinBase) -> tuple[Material, float]:
    """The material of the skin, with skin under the clothes continued from the neck.

    Returns:
        The material, and the :func:`vividness` of the photo, 0 to 1.

    """
    topology = part_topology("skin")
    triangles = halves(topology.quads)
    uv_triangles = halves(topology.quad_uv)
    raster = Raster.of(skin_layout(), uv_triangles, base.side)
    twins = Twins.of(skin_twins()[triangles].astype(np.int32), base.head)
    island = np.tile(topology.island, 2)
    wanted = _uncovered(base, raster, triangles, island)
    photographed, delit, known = surface_looks(base.head, twins, raster, wanted)
    fringe = _unlight_fringe(base, raster, triangles, photographed, delit)
    known = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    lids, rims = (zone * known for zone in _lid_images(raster, triangles))
    to_rim = _rim_image(raster, triangles, island == FACE) if base.shows_teeth else None
    cheeks, vivid = _cheeks(raster, triangles) & known, vividness(delit)
    looks = []
    for image in (photographed, delit):
        tone = _skin_tone(image, cheeks)
        filled = continued(image, known, tone)
        filled = without_eyes(filled, lids, rims, tone)
        if to_rim is not None:
            filled = without_teeth(filled, to_rim)
        _paint_inside(filled, raster, triangles, island, tone, vivid)
        looks.append(padded(filled, raster.mask()))
    texel = _texel_mm(raster, base.fitted, triangles, uv_triangles)
    rough = _roughness(base.side // 4)
    rough = rough + (HAIR_ROUGHNESS - rough) * resized(fringe, base.side // 4)
    relief = np.full((base.side, base.side), _RELIEF_MM, np.float32)
    relief[~known] = 0
    relief = blurred(relief, base.side / 400)
    low, high = _RELIEF_SIGMAS
    normals = fine_normals(looks[1], texel, relief, (low * base.side, high * base.side))
    return Material(
        to_pixels(looks[0]),
        to_pixels(looks[1]),
        roughness=float(rough.mean()),
        roughness_map=to_pixels(rough),
        normal_map=normals,
    ), vivid  # fmt: skip


def _uncovered(base: SkinBase, raster: Raster, triangles: Indices32, island: Indices) -> Mask:
    """(t,) texels of the outer skin that neither clothes nor hair always cover.

    Args:
        base: what the textures share.
        raster: texels of the skin.
        triangles: (m, 3) corners of its triangles.
        island: (m,) pieces of the skin that they belong to.

    """
    uncovered = ~np.isin(island, (MOUTH, FIRST_SOCKET, SECOND_SOCKET))[raster.triangle]
    clothes = base.head.appearance.clothes
    low = raster.rows_in(clothes.below_chin(base.fitted), triangles)
    points = raster.only(low).interpolated(base.fitted, triangles)
    uncovered[low] &= np.asarray(clothes.cover(points)) <= _COVERED
    scalp = (skin_twins() >= 0) & (bust().region[skin_twins()] == Region.SCALP)
    hidden_mm = np.where(scalp, base.hair_mm, 0.0)
    below_hair = raster.rows_in(hidden_mm >= _HIDDEN_MM, triangles)
    height = raster.only(below_hair).interpolated(hidden_mm, triangles)
    uncovered[below_hair] &= height < _HIDDEN_MM
    return np.asarray(uncovered)


def _lid_images(raster: Raster, triangles: Indices32) -> tuple[Array32, Array32]:
    """(s, s) :func:`lid_zone`, and 1 at the rims of the lids, which are always replaced."""
    zone, distance = lid_zone(), lid_distance()
    near = raster.only(raster.rows_in((zone > 0) | (distance < _ALWAYS_MM[0]), triangles))
    rims = smoothstep(near.interpolated(distance, triangles), *_ALWAYS_MM)
    return near.image(near.interpolated(zone, triangles)), near.image(rims)


def _rim_image(raster: Raster, triangles: Indices32, outer: Mask) -> Array32:
    """(s, s) :func:`rim_distance` around the mouth on the outer triangles (m,), large elsewhere."""
    distance = rim_distance()
    near = raster.only(
        raster.rows_in(np.asarray(outer & (distance < 2 * LIP_MM)[triangles].any(1)))
    )
    return near.image(near.interpolated(distance, triangles), _FAR_MM)


def _cheeks(raster: Raster, triangles: Indices32) -> Mask:
    """(s, s) texels of the cheeks."""
    mean = rest_mm("skin")
    front = raster.only(raster.rows_in(mean[:, 2] > _CHEEK_DEPTH_MM, triangles))
    x, y, z = front.interpolated(mean, triangles).T
    return front.mask(
        (np.abs(x) > 18) & (np.abs(x) < 50) & (y > -28) & (y < 4) & (z > _CHEEK_DEPTH_MM)
    )


def _unlight_fringe(
    base: SkinBase, raster: Raster, triangles: Indices32, photographed: Array32, delit: Array32
) -> Array32:
    """Take the light out of hair that is painted on skin as out of the hair beside it, in place.

    Returns:
        (s, s) likeness of the skin to hair, 0 to 1, where hair may be painted.

    """
    factors, near = light_off_hair(base.head, base.fitted, base.shell)
    twins = skin_twins()
    forehead = (twins >= 0) & np.isin(bust().region[twins], _UNDER_FRINGE)
    near *= forehead
    fringe = raster.only(raster.rows_in(near > 0, triangles))
    flat = delit.reshape(-1, 3)
    soft = blurred(delit, base.side / 1200).reshape(-1, 3)[fringe.texel]
    likeness = likeness_to_hair(base.head, soft.astype(np.float64))
    likeness *= fringe.interpolated(near, triangles)
    as_hair = photographed.reshape(-1, 3)[fringe.texel] * fringe.interpolated(factors, triangles)
    own = flat[fringe.texel]
    flat[fringe.texel] += (np.clip(as_hair, 0, 1) - own) * likeness[:, None]
    return fringe.image(likeness)


@lru_cache(maxsize=1)
def lid_zone() -> Array:
    """(n,) 1 at skin that slides over an eye when it closes, 0 beyond the lids."""
    topology = part_topology("skin")
    zone = np.zeros(topology.refine.shape[0])
    for side in ("Left", "Right"):
        blink = topology.refine @ expression_offsets({f"eyeBlink{side}": 1.0}) / MM
        moves = np.linalg.norm(blink, axis=1)
        zone = np.maximum(zone, smoothstep(moves / moves.max(), *_SLIDING))
    return np.asarray(np.maximum(zone, smoothstep(lid_distance(), *_BESIDE_LIDS)))


@lru_cache(maxsize=1)
def lid_distance() -> Array:
    """(n,) distance of skin from the rims of the lids on the average head, millimetres."""
    rest = rest_mm("skin")
    distance, _ = cKDTree(rest[eye_rims()]).query(rest)
    return np.asarray(distance)


def without_eyes(image: Array32, lids: Array32, rims: Array32, tone: Array32) -> Array32:
    """The image with eyes that the photo shows on the lids replaced by the skin around them.

    Lids of the photo and of the head differ by a millimetre or two, and a closing lid stretches
    what is painted on it.

    Args:
        image: (s, s, 3) colours, 0 to 1.
        lids: (s, s) :func:`lid_zone`.
        rims: (s, s) 1 at the rims of the lids, which are always replaced.
        tone: (3,) colour of skin far from any.

    """
    rows, columns = np.nonzero(lids > 0.02)
    if not len(rows):
        return image
    margin = len(image) // 40
    box = tuple(
        slice(max(int(at.min()) - margin, 0), int(at.max()) + margin) for at in (rows, columns)
    )
    part, zone = image[box], lids[box].astype(np.float64)
    brows = _brows(part, zone)
    skin = continued(part, (zone < 0.02) & ~brows, tone)
    # the skin around an eye is often in the shade of its lashes
    skin = np.asarray((skin + (tone - skin) * _CHEEK_SHARE) * _LID_TINT, np.float32)
    far = (lab(part.reshape(-1, 3)) - lab(skin.reshape(-1, 3))) * [0.8, 1, 1]
    unlike = smoothstep(np.linalg.norm(far, axis=1), *_UNLIKE_SKIN).reshape(zone.shape)
    mask = np.maximum(unlike * smoothstep(zone, 0.02, 0.3), rims[box]).astype(np.float32)
    mask = np.maximum(mask, blurred(mask, len(image) / 300))
    mask = blurred(mask, len(image) / 900)
    # lids that the photo shows are continued; where it shows none, the skin around takes over
    lid = continued(part, (mask < _LITTLE) & ~brows, tone)
    shown = (mask < _LITTLE).astype(np.float32)
    near = blurred(shown, len(image) / _LID_REACH).astype(np.float64)
    other = skin + (lid - skin) * smoothstep(near, 0.02, 0.2)[..., None].astype(np.float32)
    mended = image.copy()
    mended[box] = part + (other - part) * mask[..., None]
    return mended


def _brows(image: Array32, zone: Array) -> Mask:
    """(h, w) brows, lashes and other dark texels beside the lids, which the skin of lids never is.

    Args:
        image: (h, w, 3) colours around both eyes, 0 to 1.
        zone: (h, w) :func:`lid_zone`.

    """
    lightness = lab(image.reshape(-1, 3))[:, 0].reshape(zone.shape)
    dark = np.zeros(zone.shape, bool)
    middle = zone.shape[1] // 2
    for half in (slice(0, middle), slice(middle, None)):  # light may come from one side
        skin = np.median(lightness[:, half][zone[:, half] < 0.02])
        dark[:, half] = lightness[:, half] < skin - _BROW_DARKER
    wide = np.ones((2 * _BROW_MARGIN + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(dark.astype(np.uint8), wide) > 0)


def vividness(texture: NDArray[np.floating] | Pixels) -> float:
    """0 to 1: how colourful the face in the middle of the skin's texture (s, s, 3) is.

    0 for a photo without colours.  The most colourful tenth counts: a pale face has lips.
    """
    side = len(texture)
    middle = texture[side // 3 : side // 2, side // 3 : 2 * side // 3].reshape(-1, 3)
    colours = middle.astype(np.float64) / (255 if texture.dtype == np.uint8 else 1)
    largest = np.maximum(colours.max(-1), _LEAST_BRIGHT)
    return float(np.clip(np.quantile(np.ptp(colours, axis=-1) / largest, 0.9) / _VIVID, 0, 1))


def muted(colours: Array, vivid: float) -> Array:
    """Colours (..., 3) brought towards grey by a factor, 0 to 1."""
    grey = colours.mean(-1, keepdims=True)
    return np.asarray(grey + (colours - grey) * vivid)


def _skin_tone(image: Array32, cheeks: Mask) -> Array32:
    """(3,) median colour of known texels of the cheeks (s, s); a default if there are none."""
    if cheeks.sum() < 50:
        return _DEFAULT_SKIN
    return np.asarray(np.median(image[cheeks], axis=0), np.float32)


def _paint_inside(
    image: Array32,
    raster: Raster,
    triangles: Indices32,
    island: Indices,
    tone: Array32,
    vivid: float,
) -> None:
    """Paint mouth and sockets, in place.

    Args:
        image: (s, s, 3) colours, 0 to 1.
        raster: texels of the skin.
        triangles: (m, 3) corners of its triangles.
        island: (m,) pieces of the skin that they belong to.
        tone: (3,) colour of the skin.
        vivid: :func:`vividness` of the photo.

    """
    flat = image.reshape(-1, 3)
    sockets = raster.rows_in(np.isin(island, (FIRST_SOCKET, SECOND_SOCKET)))
    flat[raster.texel[sockets]] = tone * _WET_TINT
    mouth = raster.only(raster.rows_in(island == MOUTH))
    shade = smoothstep(mouth.interpolated(rest_mm("skin"), triangles)[:, 2], *_MOUTH_DARKENS)
    brightness = 1 - (1 - _DEEP) * shade
    # a dark photo has a dark mouth, a grey one a grey one
    own = muted(_MOUTH, vivid) * np.clip(tone.mean() / 0.58, 0.35, 1.3)
    flat[mouth.texel] = own * brightness[:, None]


def _texel_mm(
    raster: Raster, vertices: Array, triangles: Indices32, uv_triangles: Indices32
) -> Array32:
    """(side, side) millimetres per texel."""

    def area(a: Array, b: Array) -> Array:
        cross = np.cross(a, b)
        return np.abs(cross) if cross.ndim == 1 else np.linalg.norm(cross, axis=1)

    solid = vertices[triangles] / MM
    flat = np.concatenate([skin_layout(), np.zeros((len(skin_layout()), 1))], 1)[uv_triangles]
    flat = flat * raster.side
    in_space = area(solid[:, 1] - solid[:, 0], solid[:, 2] - solid[:, 0])
    in_texture = area(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])
    size = np.sqrt(in_space / np.maximum(in_texture, 1e-6))
    image = raster.image(np.clip(size, 0.02, 5.0)[raster.triangle], 1.0)
    return blurred(image, raster.side / 300)


@lru_cache(maxsize=2)
def _roughness(side: int) -> Array32:
    """(side, side) roughness, 0 to 1; it does not depend on the person."""
    topology = part_topology("skin")
    triangles = halves(topology.quads)
    raster = Raster.of(skin_layout(), halves(topology.quad_uv), side)
    island = np.tile(topology.island, 2)[raster.triangle]
    rest = raster.interpolated(rest_mm("skin"), triangles)
    twin = skin_twins()
    region = np.where(twin >= 0, bust().region[twin], int(Region.FACE))
    table = np.array([_ROUGHNESS[Region(i)] for i in range(len(_ROUGHNESS))])
    rough = raster.interpolated(table[region], triangles)
    x, y, z = rest.T
    lips = np.exp(-((x / 24) ** 4) - ((y + 41) / 8.5) ** 4) * smoothstep(z, 78, 86)
    nose = np.exp(-((x / 13) ** 2) - ((y + 8) / 14) ** 2) * smoothstep(z, 88, 100)
    rough = rough + (_LIP_ROUGHNESS - rough) * lips
    rough = rough + (_NOSE_ROUGHNESS - rough) * nose
    rough[np.isin(island, (MOUTH, FIRST_SOCKET, SECOND_SOCKET))] = _WET_ROUGHNESS
    image = padded(raster.image(rough), raster.mask())
    return blurred(image, raster.side / 250)


def removed_light(material: Material) -> Array:
    """(n, 3) factors from the photographed to the de-lit colours at the skin's vertices."""
    topology = part_topology("skin")
    uv = np.zeros((len(skin_twins()), 2))
    uv[topology.quads] = skin_layout()[topology.quad_uv]
    side = len(material.delit)
    column, row = np.clip(uv * [side, -side] + [0, side], 0, side - 1).astype(int).T
    ratios = [
        np.asarray(blurred(look.astype(np.float32), side / 250), np.float64)[row, column]
        for look in (material.delit, material.photographed)
    ]
    return np.asarray(np.clip(ratios[0] / np.maximum(ratios[1], 4), 0.3, 3.0))
