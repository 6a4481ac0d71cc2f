"""Materials of hair, headwear, brims and clothes."""

from __future__ import annotations

import numpy as np

from dp3d_core.arrays import Array, Array32, Indices32, smoothstep
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.preview.asset import padded
from dp3d_core.preview.hair.outline_marks import GRID, SHELL
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.texture.panorama import wrap
from dp3d_core.rigged.baking import (
    Raster,
    Twins,
    blurred,
    fine_normals,
    surface_looks,
    to_pixels,
)
from dp3d_core.rigged.layout import cloth_layout
from dp3d_core.rigged.neutral import neighbour_weights
from dp3d_core.rigged.rig import Material, RiggedPart
from dp3d_core.rigged.shell import HAIR_ROUGHNESS, Shell, likeness_to_hair
from dp3d_core.rigged.topology import halves, part_topology, skin_twins

_COVERED_MM = -1.0
"""Height of the shell over the skin from which hair covers it, millimetres."""
_NO_HAIR_MM = -1e3
"""Height of hair over the skin of a head without any, millimetres."""
_EDGE_MM = (-1.6, -0.2)
"""Heights of hair over the skin between which it begins to cover, millimetres."""
_STRANDS_MM = 1.2
"""Standard deviation of that height among strands, millimetres."""
_STRAND = (0.7, 12.0)
"""Size of strands in the alpha of hair, texels across and along, in a texture of 1024."""
_CLOTH_ROUGHNESS = 0.88
_RELIEF_MM = 0.5
"""Height of relief of hair and cloth per unit of log brightness, millimetres."""


def shell_materials(
    head: PreviewHead,
    parts: dict[str, RiggedPart],
    shell: Shell,
    side: int,
    skin: Array,
    removed: Array,
    hair_mm: Array,
) -> dict[str, Material]:
    """Materials of hair and headwear, which share a grid.

    Args:
        head: the fitted head.
        parts: those of ``worn.shell_parts``, by name.
        shell: the head's hair and headwear.
        side: side of the texture, texels.
        skin: (n, 3) skin with the photo's expression, head units.
        removed: (n, 3) factors by which the light was taken out of it.
        hair_mm: (n,) :func:`hair_over` it.

    """
    materials = {}
    first = len(bust().rest)
    for name, part in parts.items():
        corners, uv_corners = part.faces["full"].triangles()
        raster = Raster.of(part.uv, uv_corners, side)
        twins = Twins.of((corners + first).astype(np.int32), head)
        photographed, delit, painted = surface_looks(head, twins, raster)
        hairness = np.zeros(len(raster.texel))
        if name == "hair":
            # skin beside the hairline is part of the shell, and is de-lit as the skin beside it
            hairness = _hairness(head, delit, raster)
            bare = hair_mm < _COVERED_MM
            near = neighbour_weights(skin[bare] / MM, part.vertices / MM)
            plain = photographed.reshape(-1, 3)[raster.texel] * raster.interpolated(
                np.asarray(near @ removed[bare]), corners
            )
            own = delit.reshape(-1, 3)
            own[raster.texel] += (plain - own[raster.texel]) * (1 - hairness)[:, None]
        looks = [padded(image, painted) for image in (photographed, delit)]
        pixels = [to_pixels(look) for look in looks]
        if name == "hair":
            alpha = to_pixels(_hair_alpha(shell.height_mm, raster, corners, hairness))
            pixels = [np.dstack([look, alpha]) for look in pixels]
        texel = np.full((side, side), 600.0 / side, np.float32)
        relief = np.full((side, side), _RELIEF_MM, np.float32)
        materials[name] = Material(
            pixels[0],
            pixels[1],
            roughness=HAIR_ROUGHNESS if name == "hair" else _CLOTH_ROUGHNESS,
            normal_map=fine_normals(looks[1], texel, relief, (0.8, 4.0)),
            alpha=name == "hair",
            double_sided=True,
        )
    return materials


def _hairness(head: PreviewHead, delit: Array32, raster: Raster) -> Array:
    """(t,) 0 at texels of the shell with the colour of skin, 1 at those with that of hair."""
    colours = blurred(delit, 1.5).reshape(-1, 3)[raster.texel]
    image = raster.image(likeness_to_hair(head, colours.astype(np.float64)))
    return np.asarray(blurred(image, 1.5).reshape(-1)[raster.texel], np.float64)


def _hair_alpha(height_mm: Array, raster: Raster, corners: Indices32, hairness: Array) -> Array32:
    """(side, side) alpha of hair: strands end where the shell comes near the skin."""
    at = raster.interpolated(height_mm, corners)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((raster.side, raster.side)).astype(np.float32)
    across, along = (size * raster.side / 1024 for size in _STRAND)
    margin = 8
    strands = blurred(wrap(noise, margin), max(across, 0.4), max(along, 0.8))[:, margin:-margin]
    strands /= strands.std()
    ragged = at + _STRANDS_MM * hairness * strands.reshape(-1)[raster.texel]
    return padded(raster.image(smoothstep(ragged, *_EDGE_MM)), raster.mask())


def hair_over(shell: Shell | None, skin: Array) -> Array:
    """(n,) height of hair or headwear over skin (n, 3), mm; very low where there is none."""
    if shell is None:
        return np.full(len(skin), _NO_HAIR_MM)
    height = shell.height_mm[:-1].reshape(GRID.rows, GRID.columns)
    return np.asarray(GRID.look_up(height.astype(np.float32), skin)[:, 0], np.float64)


def clothes_material(head: PreviewHead, part: RiggedPart, fitted: Array, side: int) -> Material:
    """Material of clothes, whose alpha ends at the neckline.

    Args:
        head: the fitted head.
        part: its clothes.
        fitted: (n, 3) skin with the photo's expression, head units.
        side: side of the texture, texels.

    """
    topology = part_topology("skin")
    used = np.zeros(len(fitted), bool)
    used[part.faces["full"].quads] = True
    rows = np.tile(used[topology.quads].all(1), 2)
    triangles, uv_triangles = halves(topology.quads)[rows], halves(topology.quad_uv)[rows]
    raster = Raster.of(cloth_layout(), uv_triangles, side)
    twins = Twins.of(skin_twins()[triangles].astype(np.int32), head)
    photographed, delit, painted = surface_looks(head, twins, raster)
    points = raster.interpolated(fitted, triangles)
    cover = np.asarray(head.appearance.clothes.cover(points))
    known = painted & raster.mask(cover > 0.6)
    alpha = to_pixels(padded(raster.image(cover), raster.mask()))
    looks = [padded(image, known) for image in (photographed, delit)]
    texel = np.full((side, side), 500.0 / side, np.float32)
    relief = np.full((side, side), _RELIEF_MM, np.float32)
    pixels = [np.dstack([to_pixels(look), alpha]) for look in looks]
    return Material(
        pixels[0],
        pixels[1],
        roughness=_CLOTH_ROUGHNESS,
        normal_map=fine_normals(looks[1], texel, relief, (0.8, 4.0)),
        alpha=True,
        double_sided=True,
    )


def brim_material(head: PreviewHead, part: RiggedPart, side: int) -> Material:
    """Material of a brim."""
    corners, uv_corners = part.faces["full"].triangles()
    first = len(bust().rest) + SHELL
    raster = Raster.of(part.uv, uv_corners, side)
    twins = Twins.of((corners + first).astype(np.int32), head)
    photographed, delit, painted = surface_looks(head, twins, raster)
    looks = [padded(image, painted) for image in (photographed, delit)]
    return Material(
        to_pixels(looks[0]), to_pixels(looks[1]), roughness=_CLOTH_ROUGHNESS, double_sided=True
    )
