"""Appearance: the colour of every point of the head.

Where the photo sees a point well, the photo's own pixel is its colour.  Elsewhere the colour
comes from a **panorama** around the head (a cylinder around neck and face with a dome over the
skull) that is completed once: known texels from the photo, for a turned head those of the
mirrored side, then for each kind of surface (skin, hair or hat, clothes) a smooth continuation
of its own known colours with a texture of its own kind.  Both are functions of the point
alone, so all views agree by construction.  Only within a few degrees of the photo's own camera
the photo is shown as it is, its grazing rims, too: they would smear in any other view.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dp3d_core.mesh import Mesh
from dp3d_core.portrait import Portrait
from dp3d_core.preview.light import sky_light, strength
from dp3d_core.preview.parts import Part
from dp3d_core.preview.projection import SIDE_OF_FACE, Projection, remap
from dp3d_core.preview.skin import SkinTones, colour_groups
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.raycast import Hits, RayCaster

Array = NDArray[np.float64]

PANORAMA = (384, 768)
"""Rows (crown first) and columns (longitude, from the back over -x, the face and +x)."""
DOME_ROWS = 176
"""Rows of the dome: latitude 90 to 0 degrees around :data:`AXIS`.  The other rows are the
cylinder below it; a sphere would see the shoulders before the neck."""
AXIS = np.array([0.0, 0.02, -0.03])
"""Centre of the dome and top of the cylinder's axis, head space."""
CYLINDER_HEIGHT = 0.47
"""Height of the cylinder, head units: down to the bust's cut."""

_NECK = -0.17
"""Height, head units, below which skin may end in a collar."""
_HIGH_COLLAR, _BESIDE_NECK = -0.26, 0.17
"""Height and distance from the neck's axis, head units."""
_STRIP = 40.0
"""Texels of the panorama from which on a kind of surface has a colour of its own."""
_BRIGHT = 0.35
"""sRGB; on darker surfaces grain is fainter."""
_COLLAR = -0.28
"""Height of a collar that nothing is known of, head units."""

APPEARANCE_STEPS = 3
"""Steps of :class:`Appearance`."""


class Appearance:
    """Colour of the points of one head."""

    def __init__(
        self,
        mesh: Mesh,
        portrait: Portrait,
        caster: RayCaster,
        seed: int = 0,
        repeat_photo: bool = True,
        on_step: StepCallback = no_step,
    ) -> None:
        """Prepare the colours; ``on_step`` is called :data:`APPEARANCE_STEPS` times."""
        self.mesh, self.repeat_photo = mesh, repeat_photo
        on_step("Projecting the photo")
        self.projection = Projection.of(portrait, caster)
        self.skin = self._skin_tones()
        self.collar, self.collar_seen = self._find_collar(caster)
        on_step("Finding the light")
        self.light = self._find_light(caster)
        on_step("Completing what the photo does not show")
        self.panorama = self._complete(caster, portrait, np.random.default_rng(seed))

    def __call__(self, hits: Hits) -> Array:
        """(k, 3) colours of ray hits, 0 to 1."""
        colours, trust = self.projection.sample(
            hits.points, hits.normals, self.skin, self._parts(hits)
        )
        filled = np.clip(self._look_up(hits.points) * self._light_at(hits), 0, 1)
        shown = filled + (colours - filled) * trust[:, None]
        if not self.repeat_photo:
            return shown
        near, colours, trust = self.projection.as_seen(hits.points, hits.directions)
        shown[near] += (colours - shown[near]) * trust[:, None]
        return shown

    def _skin_tones(self) -> SkinTones | None:
        """The tones of the face, None when too little of one is seen."""
        mesh = self.mesh
        front = np.flatnonzero((mesh.parts == Part.SKIN) & (mesh.vertices[:, 2] > 0.05))
        points, normals = mesh.vertices[front], mesh.normals[front]
        colours, trust = self.projection.sample(points, normals)
        good = (trust > 0.95) & (self.projection.cosine(points, normals) > SIDE_OF_FACE[1])
        return SkinTones.of(colours[good])

    def _find_light(self, caster: RayCaster) -> Array:
        """(n, 3) light at the vertices, as strong as it shows on the face in the photo."""
        mesh, light = self.mesh, sky_light(caster)
        skin = np.flatnonzero((mesh.parts == Part.SKIN) & (mesh.vertices[:, 1] > _COLLAR))
        if self.skin is None:
            skin = skin[:0]
        colours, trust = self.projection.sample(
            mesh.vertices[skin], mesh.normals[skin], self.skin, mesh.parts[skin]
        )
        good = trust > 0.9
        if self.skin is not None:
            good &= self.skin.bare(colours) > 0.3
        return light[:, None] ** strength(light[skin[good]], colours[good])

    def _parts(self, hits: Hits) -> NDArray[np.uint8]:
        corner = hits.weights.argmax(1)
        parts = self.mesh.parts[self.mesh.faces[hits.face, corner]]
        if self.collar is None:
            return np.asarray(parts)
        longitude = np.arctan2(hits.points[:, 0], hits.points[:, 2])
        at = (longitude / (2 * np.pi) + 0.5) * len(self.collar)
        count = len(self.collar)
        height = np.interp(at, np.arange(count) + 0.5, self.collar, period=count)
        neck = (parts != Part.HAIR) & (parts != Part.HAT) & (hits.points[:, 1] < _NECK)
        dressed = np.where(hits.points[:, 1] < height, Part.BODY, Part.SKIN)
        # what stands high beside the neck is a collar
        high = (parts == Part.BODY) & (hits.points[:, 1] > _HIGH_COLLAR)
        high &= np.hypot(hits.points[:, 0], hits.points[:, 2] - AXIS[2]) > _BESIDE_NECK
        dressed[high] = Part.BODY
        return np.asarray(np.where(neck, dressed, parts), np.uint8)

    def _find_collar(self, caster: RayCaster) -> tuple[Array | None, bool]:
        """Height of the collar at each of 72 longitudes, and whether the photo shows one.

        None where nobody's skin is known.

        From the neck downwards the first colour that no part of the face has is cloth.  What the
        photo does not show is taken to be as high as the middle of what it shows (without any,
        :data:`_COLLAR`), and higher in the nape.
        """
        if self.skin is None:
            return None, False
        longitude = ((np.arange(72) + 0.5) / 72 - 0.5) * 2 * np.pi
        heights = np.linspace(_NECK, -0.46, 90)
        lon, y = np.meshgrid(longitude, heights)
        outward = np.stack([np.sin(lon), np.zeros_like(lon), np.cos(lon)], -1).reshape(-1, 3)
        origin = outward * 2.0 + np.column_stack(
            [np.zeros((y.size, 1)), y.ravel(), np.full(y.size, AXIS[2])]
        )
        hits = caster.cast(origin, -outward)
        colours, trust = self.projection.sample(hits.points, hits.normals)
        seen = np.zeros(y.size, bool)
        cloth = np.zeros(y.size, bool)
        seen[hits.ray] = trust > 0.6
        cloth[hits.ray] = self.skin.bare(colours) < 0.3
        seen, cloth = seen.reshape(y.shape), (seen & cloth).reshape(y.shape)
        found = np.full(72, np.nan)
        for column in np.flatnonzero(seen.sum(0) >= 6):
            rows = np.flatnonzero(seen[:, column])
            is_cloth = cloth[rows, column].astype(float)
            # below a collar all is cloth, above it nothing: the cut with the fewest exceptions
            wrong = np.append(0, np.cumsum(is_cloth)) + np.append(
                np.cumsum((1 - is_cloth)[::-1])[::-1], 0
            )
            cut = int(wrong.argmin())
            if cut < len(rows) and is_cloth[cut:].mean() > 0.7:
                found[column] = heights[rows[cut]]
        known = np.isfinite(found)
        nape = 0.04 * (1 - np.cos(longitude)) / 2
        if known.sum() < 5:
            return np.asarray(_COLLAR + nape), False
        middle = float(np.median(found[known]))
        smooth = np.interp(np.arange(72), np.flatnonzero(known), found[known], period=72)
        nape += middle
        distance = np.abs(np.arange(72)[:, None] - np.flatnonzero(known)[None])
        distance = np.minimum(distance, 72 - distance).min(1)
        own = np.clip(1 - distance / 4, 0, 1)
        height = gaussian_filter1d(smooth * own + nape * (1 - own), 1.2, mode="wrap")
        return np.asarray(height, np.float64), True

    def _light_at(self, hits: Hits) -> Array:
        """(k, 3) factors of the colours under even light."""
        corners = self.light[self.mesh.faces[hits.face]]
        return np.asarray(np.einsum("kvc,kv->kc", corners, hits.weights))

    def _look_up(self, points: Array) -> Array:
        rows, columns = PANORAMA
        d = points - AXIS
        longitude = np.arctan2(d[:, 0], d[:, 2])
        latitude = np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))
        # one column is repeated on each side, so that interpolation crosses the back
        x = (longitude / (2 * np.pi) + 0.5) * columns - 0.5 + 1
        dome = (1 - latitude / (np.pi / 2)) * DOME_ROWS
        cylinder = DOME_ROWS - d[:, 1] / CYLINDER_HEIGHT * (rows - DOME_ROWS)
        y = np.where(d[:, 1] > 0, dome, cylinder) - 0.5
        wrapped = np.concatenate([self.panorama[:, -1:], self.panorama, self.panorama[:, :1]], 1)
        return remap(wrapped, x, y, cv2.INTER_LINEAR)

    def _complete(
        self, caster: RayCaster, portrait: Portrait, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        rows, columns = PANORAMA
        row = np.arange(rows) + 0.5
        latitude = np.where(row < DOME_ROWS, (1 - row / DOME_ROWS) * np.pi / 2, 0.0)
        below = np.maximum(row - DOME_ROWS, 0) / (rows - DOME_ROWS) * CYLINDER_HEIGHT
        longitude = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
        lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
        outward = np.stack(
            [np.sin(lon) * np.cos(lat), np.sin(lat), np.cos(lon) * np.cos(lat)], -1
        ).reshape(-1, 3)
        origin = np.repeat(AXIS - below[:, None] * [0.0, 1.0, 0.0], columns, axis=0)
        # from outside inwards: the outermost surface is the one that is seen
        hits = caster.cast(origin + 2.0 * outward, -outward)
        part = np.full(rows * columns, int(Part.BODY))
        of_hits = self._parts(hits)
        part[hits.ray] = of_hits
        light = np.ones((rows * columns, 3))
        light[hits.ray] = self._light_at(hits)

        colours = np.zeros((rows * columns, 3))
        trust = np.zeros(rows * columns)
        colours[hits.ray], trust[hits.ray] = self.projection.sample(
            hits.points, hits.normals, self.skin, of_hits
        )
        flip = np.array([-1.0, 1, 1])
        mirrored = np.zeros_like(colours)
        mirrored_trust = np.zeros_like(trust)
        mirrored[hits.ray], mirrored_trust[hits.ray] = self.projection.sample(
            hits.points * flip, hits.normals * flip, self.skin, of_hits
        )
        # the mirrored half helps only where the photo itself does not see
        help_ = np.minimum(mirrored_trust, 1 - trust) * 0.999
        total = trust + help_
        known = (colours * trust[:, None] + mirrored * help_[:, None]) / np.maximum(total, 1e-6)[
            :, None
        ]

        shape = (rows, columns)
        # from here on colours are as under even light
        known /= light
        known_image = known.reshape(*shape, 3).astype(np.float32)
        weight = total.reshape(shape).astype(np.float32)
        parts = part.reshape(shape)
        filled = np.zeros_like(known_image)
        for kind in Part:
            region = parts == kind
            if not region.any():
                continue
            own = weight * region
            if kind is Part.SKIN:
                own = own * np.clip((weight - 0.6) / 0.4, 0, 1)
            if kind is not Part.SKIN and self.skin is not None:
                # hair and cloth go on in their own colour, not in that of the skin beside them
                bare = self.skin.bare(known * light).reshape(shape).astype(np.float32)
                other = own * (1 - bare)
                # where a collar is seen, a narrow strip below it says what the clothes are made of
                dressed = kind is Part.BODY and self.collar_seen
                least = _STRIP if dressed else max(60.0, 0.5 * own.sum())
                own = other if other.sum() > least else own
            if own.sum() < _STRIP:  # nothing of this kind is seen: take what is nearest
                own = weight
            smooth = pull_push(known_image, own, _main_colour(known_image, own))
            grain = _grain(known_image, own, kind, rng)
            # cloth and strands are lighter and darker in proportion: black ones hardly sparkle
            grain *= np.clip(smooth.mean(-1, keepdims=True) / _BRIGHT, 0.2, 1.0)
            filled[region] = np.maximum(smooth + grain, 0)[region]
        soft = cv2.GaussianBlur(_wrap(filled, 16), (0, 0), 1.5)[:, 16:-16]
        edge = cv2.morphologyEx(
            parts.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        seam = cv2.GaussianBlur((edge > 0).astype(np.float32), (0, 0), 2)[..., None]
        filled += (soft - filled) * np.clip(seam * 2, 0, 1)
        return (filled + (known_image - filled) * weight[..., None]).astype(np.float32)


def _wrap(image: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return np.concatenate([image[:, -n:], image, image[:, :n]], axis=1)


def _main_colour(colours: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3,) the colour that most known texels have: the hat's cloth, not its mix with the badge."""
    known = colours[weight > 0.5]
    if len(known) < 20:
        known = colours[weight > 0.05]
    if not len(known):
        return np.full(3, 0.5, np.float32)
    if len(known) < 20:
        return np.asarray(known.mean(0), np.float32)
    labels, _ = colour_groups(known.astype(np.float64), 4)
    return np.asarray(known[labels == np.bincount(labels).argmax()].mean(0), np.float32)


def pull_push(
    colours: NDArray[np.float32], weight: NDArray[np.float32], far: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Smooth continuation of known texels over a panorama (Gortler et al. 1996, section 3.4).

    Args:
        colours: (r, c, 3); columns wrap around.
        weight: (r, c), 0 unknown to 1 known.
        far: (3,) colour far away from everything known.

    Returns:
        (r, c, 3), equal to ``colours`` where the weight is 1.

    """
    rows, columns = weight.shape
    if min(rows, columns) <= 12 or float(weight.min()) >= 1:
        coarse = np.broadcast_to(far, colours.shape).astype(np.float32)
    else:
        pad = 4
        weighted = np.dstack([colours * weight[..., None], weight]).astype(np.float32)
        blurred = cv2.GaussianBlur(_wrap(weighted, pad), (0, 0), 1.0)[:, pad:-pad]
        small = cv2.resize(blurred, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        below = np.asarray(small[..., :3] / np.maximum(small[..., 3:], 1e-6), np.float32)
        coarse_small = pull_push(
            below, np.asarray(np.clip(small[..., 3] * 2, 0, 1), np.float32), far
        )
        wide = cv2.resize(
            _wrap(coarse_small, 2),
            ((columns // 2 + 4) * 2, rows),
            interpolation=cv2.INTER_LINEAR,
        )
        fitted = cv2.resize(wide[:, 4:-4], (columns, rows), interpolation=cv2.INTER_LINEAR)
        blurry = cv2.GaussianBlur(_wrap(np.asarray(fitted, np.float32), pad), (0, 0), 0.8)
        coarse = np.asarray(blurry[:, pad:-pad], np.float32)
    return np.asarray(coarse + (colours - coarse) * weight[..., None], np.float32)


def _grain(
    colours: NDArray[np.float32],
    weight: NDArray[np.float32],
    kind: Part,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(r, c, 1) fine variation as strong as that of the known texels: strands for hair."""
    grey = colours.mean(-1)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 3)
    inner = cv2.erode(weight, np.ones((7, 7), np.uint8)) > 0.9
    most = {Part.HAIR: 0.05, Part.SKIN: 0.012}.get(kind, 0.02)
    strength = float(np.clip(fine[inner].std(), 0.004, most)) if inner.sum() > 50 else 0.01
    noise = rng.normal(size=grey.shape).astype(np.float32)
    sigma = {Part.HAIR: (0.8, 7.0), Part.SKIN: (1.5, 1.5)}.get(kind, (1.0, 1.0))
    noise = cv2.GaussianBlur(_wrap(noise, 32), (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])[:, 32:-32]
    return np.asarray(noise / noise.std() * strength * 0.8, np.float32)[..., None]
