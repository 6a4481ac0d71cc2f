"""Appearance: the colour of every point of the head.

Where the photo sees a point well, the photo's own pixel is its colour.  Elsewhere the colour
comes from a **panorama** around the head that is completed once: known texels from the photo,
those of the mirrored side, then for each kind of surface (skin, hair, clothes) its own colour
and its own texture by example.  Both are functions of the point alone, so all views agree by
construction.  Only within a few degrees of the photo's own camera the photo is shown as it is,
its grazing rims, too: they would smear in any other view.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.beard import PaintedBeard, beard_density
from dp3d_core.preview.blending import blending
from dp3d_core.preview.choices import ALL_AUTO, AUTO
from dp3d_core.preview.clothes import Clothes
from dp3d_core.preview.completion import NO_HAIR, PANORAMA, SHADE_FREE, Completion
from dp3d_core.preview.disagreement import covered, disagreement, without
from dp3d_core.preview.foreign import doubted_skin, foreign_on_skin
from dp3d_core.preview.hair_marks import SHELL
from dp3d_core.preview.head_light import HeadLight, light_over_mirror
from dp3d_core.preview.light import Light, sky_light
from dp3d_core.preview.panorama import wrap
from dp3d_core.preview.parsing import PARSING_SIDE
from dp3d_core.preview.parts import Part
from dp3d_core.preview.placement import PlacedHead
from dp3d_core.preview.projection import Projection
from dp3d_core.preview.strands import down_at_edge
from dp3d_core.preview.tones import apart, nearer, skin_tone
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.raycast import Hits, RayCaster
from dp3d_core.smoothstep import ramp

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_NO_SKIN = np.array([0.72, 0.56, 0.47])
"""sRGB of skin where nothing is known of a photo."""
_ON_CHEEKS = ("stubble", "full")
"""Beards that reach up to the ears."""
_EAR_ASIDE = (0.3, 0.5)
"""Sine of the angle from the front between which the photo's camera begins to see an ear flat."""
_EAR_REACH = 24.0
"""Millimetres around an ear where a photo from the front may show the ear itself."""
_EAR_MARGIN = 15
"""Texels of the panorama around an ear."""
_BRIGHTEST_SKIN = 0.93
"""Greatest channel of a tone of skin, sRGB."""
_LEAST_SKIN = 120
"""Vertices of seen skin of which fewer say nothing of its brightness."""
_USUAL_NECK, _SHADE = 0.9, (0.7, 1.05)
"""Brightness of a neck that is not seen, over that of the face, and limits of such factors."""
_TURNED = 22.0
"""Degrees; of a head that is turned further, the far half mirrors the near one."""
_SEAM = 5.0
"""Half the width of the seam between the halves, millimetres."""
_FACE_FRONT, _FACING_UP, _LEAST_ON_FACE = (0.0, 30.0), (-0.5, -0.1), 0.9
"""Depths, millimetres, and heights of normals between which a face begins to see the sky, and the
least light there."""
_MIDDLE, _BEFORE = (20.0, 46.0), (30.0, 60.0)
"""Millimetres from the middle of the face between which its colours begin to give way to those of
the sides, and depths behind which they all do."""
_OTHER_LIGHT, _OTHER_HUE = (0.2, 0.5), (9.0, 17.0)
"""Logarithm of the ratio of light, and Lab distance from the tone of skin, between which the other
side's skin is no more taken."""

APPEARANCE_STEPS = 3
"""Steps of :class:`Appearance`."""
_ABOVE_BRIM = 55.0
"""Millimetres above a brim where the panorama shows the crown of its hat."""


class Appearance:
    """Colour of the points of one head."""

    def __init__(
        self,
        placed: PlacedHead,
        portrait: Portrait,
        caster: RayCaster,
        seed: int = 0,
        repeat_photo: bool = True,
        on_step: StepCallback = no_step,
    ) -> None:
        """Prepare the colours; ``on_step`` is called :data:`APPEARANCE_STEPS` times."""
        self.mesh: Mesh = placed.mesh
        self.region = placed.bare.region
        self.hair_mm = placed.hair_mm
        self.hair_doubted = placed.choices.hair == AUTO
        self.repeat_photo, self.lit = repeat_photo, True
        on_step("Projecting the photo")
        self.clothes = Clothes.of(placed.bare, portrait, placed.parsing, placed.choices.clothes)
        self.projection = Projection.of(
            self._evidence(placed, portrait, caster), caster, placed.parsing
        )
        yaw = portrait.report.yaw_deg
        self.far_side = 0.0 if abs(yaw) < _TURNED else -float(np.sign(yaw))
        on_step("Finding the light")
        self.light = self._find_light(placed, caster)
        self.tone = self._find_tone(placed)
        self.projection = dataclasses.replace(
            self.projection,
            tone=np.asarray(self.tone, np.float64),
            bearded=placed.seen["beard"].choice in _ON_CHEEKS,
        )
        self.projection = dataclasses.replace(self.projection, foreign=self._foreign(caster))
        self.neck_tone = self._find_neck_tone(placed)
        on_step("Completing what the photo does not show")
        self.hair_colour = NO_HAIR
        self.panorama = self._complete(caster, np.random.default_rng(seed))
        self.seed = seed
        self.beard_choice = self._chosen_beard(placed)
        self.beard = self._painted_beard()

    @classmethod
    def of_parts(
        cls,
        mesh: Mesh,
        region: NDArray[np.int8],
        projection: Projection,
        clothes: Clothes,
        light: HeadLight,
        panorama: Image,
        relight: Image,
        blend: Image,
        hair_colour: Array,
        far_side: float,
        beard_choice: str | None,
        seed: int,
    ) -> Appearance:
        """Colours that were prepared before; arguments as the attributes of those names."""
        look = cls.__new__(cls)
        look.mesh, look.region, look.repeat_photo, look.lit = mesh, region, True, True
        look.projection, look.clothes, look.light = projection, clothes, light
        look.panorama, look.hair_colour, look.far_side = panorama, hair_colour, far_side
        look.relight, look.blend = relight, blend
        look.beard_choice, look.seed = beard_choice, seed
        look.beard = look._painted_beard()
        return look

    def __call__(self, hits: Hits) -> Array:
        """(k, 3) colours of ray hits, 0 to 1."""
        shown, light = self._of_points(hits)
        if self.repeat_photo and self.lit:
            near, colours, trust = self.projection.as_seen(hits.points, hits.directions)
            shown[near] += (colours - shown[near]) * trust[:, None]
        return shown if self.beard is None else self.beard.painted(shown, hits, light)

    def of_surface(self, face: NDArray[np.int64], weights: Array) -> Array:
        """(k, 3) colours, 0 to 1, of places in triangles (k,) with barycentric weights (k, 3)."""
        corners = self.mesh.faces[face]
        points = np.einsum("kc,kcx->kx", weights, self.mesh.vertices[corners])
        normals = unit(np.einsum("kc,kcx->kx", weights, self.mesh.normals[corners]))
        hits = Hits(
            np.arange(len(face)), points, normals, face, weights, np.zeros(len(face)), -normals
        )
        shown, light = self._of_points(hits)
        return shown if self.beard is None else self.beard.painted(shown, hits, light)

    def _of_points(self, hits: Hits) -> tuple[Array, Array]:
        """Colours (k, 3) of hits from whatever side they are seen, and light (k, 3) there."""
        parts = self._parts(hits)
        colours, trust = self._seen(hits, parts)
        light = self.light.at(self.light.shown, hits, parts)
        # around a brim the panorama shows what is below it, too
        brim = self.mesh.faces[hits.face, 0] >= len(self.region) + SHELL
        places = hits.points + np.where(brim, _ABOVE_BRIM * MM, 0.0)[:, None] * [0, 1, 0]
        layers = (self.panorama, self.blend, self.relight)[: 3 if self.far_side else 2]
        even, *factors = PANORAMA.look_up_all(layers, places)
        filled = np.clip(even * light, 0, 1)
        blend = np.exp(factors[0])
        colours = np.clip(colours * blend, 0, 1)
        # of the far half of a turned face the mirrored photo is sharper than the panorama
        if self.far_side:
            mirrored, other = self._mirrored(hits, parts)
            help_ = _where_unseen(other, trust)
            mirrored = mirrored * np.exp(factors[1]) * blend
            filled += (mirrored - filled) * help_[:, None]
        if not self.lit:
            filled, colours = self.light.unlit(filled, colours, hits, parts)
            light = np.ones_like(light)
        return filled + (colours - filled) * trust[:, None], light

    def _evidence(self, placed: PlacedHead, portrait: Portrait, caster: RayCaster) -> Portrait:
        """The photo without the pixels that show something else than was chosen."""
        parsing, choices = placed.parsing, placed.choices
        if parsing is None or choices == ALL_AUTO:
            return portrait
        camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = caster.cast(camera.position, rays)
        flat = np.full(len(rays), -1, np.int8)
        flat[hits.ray] = self._parts(hits)
        parts = flat.reshape(PARSING_SIDE, PARSING_SIDE)
        ignored = disagreement(parsing, parts, choices)
        if placed.ignored is not None:
            ignored |= placed.ignored & ~covered(parts)
        return without(portrait, ignored)

    @staticmethod
    def _chosen_beard(placed: PlacedHead) -> str | None:
        """The beard that is chosen and not seen."""
        choice = placed.choices.beard
        return None if choice in (AUTO, "none", placed.seen["beard"].choice) else choice

    def _painted_beard(self) -> PaintedBeard | None:
        if self.beard_choice is None:
            return None
        rng = np.random.default_rng(self.seed)
        colour = np.asarray(self.hair_colour, np.float64)
        return PaintedBeard(self.beard_choice, self.mesh, colour, rng)

    def _seen(self, hits: Hits, parts: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Colours (k, 3) and trust (k,) of hits in the photo, the far half left out."""
        colours, trust = self.projection.sample(hits.points, hits.normals, parts)
        if self.far_side:
            trust = trust * (1 - self._far(hits.points) * (parts == Part.SKIN))
        return colours, trust * self._ears_seen(hits, 1.0)

    def _mirrored(self, hits: Hits, parts: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Colours (k, 3) of the other side's points, and their trust (k,)."""
        flip = np.array([-1.0, 1, 1])
        colours, other = self.projection.sample(hits.points * flip, hits.normals * flip, parts)
        # folds of headwear are not symmetric
        return colours, other * (parts != Part.HAT) * self._ears_seen(hits, -1.0)

    def _ears_seen(self, hits: Hits, flip: float) -> Array:
        """(k,) 0 on ears that the photo sees edge on: their shape is the model's, so is their look.

        ``flip`` is -1 for the ear of the other side.
        """
        ear = self._on_bust(_ear_nearness(), hits)
        eye = self.projection.camera.position
        aside = flip * np.sign(hits.points[:, 0]) * eye[0] / np.linalg.norm(eye)
        return np.asarray(1 - ear * (1 - ramp(aside, *_EAR_ASIDE)))

    def _on_bust(self, values: Array, hits: Hits) -> Array:
        """(k,) values of the bust's vertices (n,) at hits; 0 on hair."""
        corners = self.mesh.faces[hits.face]
        inside = corners < len(values)
        at_corners = np.where(inside, values[np.where(inside, corners, 0)], 0.0)
        return np.asarray(np.einsum("kv,kv->k", at_corners, hits.weights))

    def _far(self, points: Array) -> Array:
        """(n,) 1 on the half that a turned head shows least."""
        return ramp(points[:, 0] * self.far_side, -_SEAM * MM, _SEAM * MM)

    def _find_light(self, placed: PlacedHead, caster: RayCaster) -> HeadLight:
        """The light on the head, as it shows on the face in the photo."""
        mesh, sky = self.mesh, sky_light(caster)
        count = len(placed.bare.region)
        region = placed.bare.region
        # a fringe hides the sky from a forehead and dips below it, but a photo's face is lit
        face = np.ones(len(sky), bool)
        face[:count] = np.isin(region, (Region.FACE, Region.FOREHEAD))
        face[count:] = mesh.vertices[count:, 1] > 0
        front = ramp(mesh.vertices[:, 2] / MM, *_FACE_FRONT) * ramp(mesh.normals[:, 1], *_FACING_UP)
        sky = np.maximum(sky, _LEAST_ON_FACE * front * face)
        skin = np.flatnonzero(np.isin(region, (Region.FACE, Region.FOREHEAD, Region.NECK)))
        skin = skin[mesh.parts[:count][skin] == Part.SKIN]
        parts = np.full(len(skin), Part.SKIN, np.uint8)
        colours, trust = self.projection.sample(mesh.vertices[skin], mesh.normals[skin], parts)
        good = (trust > 0.9) & (self.projection.chance(mesh.vertices[skin], parts) > 0.85)
        bare = skin[good]
        light = Light.of(sky[bare], mesh.normals[bare], colours[good])
        return HeadLight.of(mesh, light, sky)

    def _find_tone(self, placed: PlacedHead) -> Image:
        """(3,) the colour of the skin on nose, cheeks and forehead under even light."""
        mesh, region = self.mesh, placed.bare.region
        face = np.flatnonzero(np.isin(region, (Region.FACE, Region.FOREHEAD)))
        x, y, z = (mesh.vertices[face] / MM).T
        x = np.abs(x)
        cheek = (x > 18) & (x < 50) & (y < 4) & (y > -28)
        forehead = (x < 34) & (y > 50) & (y < 68)
        tones = []
        # cheeks blush: the forehead counts twice
        for zone in (forehead, forehead, cheek):
            at = face[zone & (z > 35)]
            parts = np.full(len(at), Part.SKIN, np.uint8)
            colours, trust = self.projection.sample(mesh.vertices[at], mesh.normals[at], parts)
            good = (trust > 0.8) & (self.projection.chance(mesh.vertices[at], parts) > 0.8)
            tones.append(skin_tone(colours[good] / self.light.shown[at[good]]))
        seen = [tone for tone in tones if tone is not None]
        if not seen:
            return np.asarray(_NO_SKIN, np.float32)
        # of a face in strong light and shade, what nobody sees is as dark as the whole face is
        colours, good = self._skin_at(face)
        both = np.mean(seen, axis=0)
        if good.sum() > _LEAST_SKIN:
            both = (both + np.median(colours[good], axis=0)) / 2
        both = both * min(1.0, _BRIGHTEST_SKIN / max(float(both.max()), 1e-3))
        return np.asarray(both, np.float32)

    def _foreign(self, caster: RayCaster) -> Image:
        """(h, w) of the photo, 1 where cheeks show no skin, and a hat shows hair."""
        full = self.projection.camera
        camera = full.resized(full.width // 2, full.height // 2)
        hits = caster.seen(camera)
        parts = self._parts(hits)
        shape = camera.height, camera.width
        even = np.zeros((*shape, 3), np.float32)
        skin = np.zeros(shape, bool)
        doubted, glaring = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        colours = cv2.resize(self.projection.colours, shape[::-1], interpolation=cv2.INTER_AREA)
        light = self.light.at(self.light.evening, hits, parts)
        even.reshape(-1, 3)[hits.ray] = colours.reshape(-1, 3)[hits.ray] / light
        skin.ravel()[hits.ray] = parts == Part.SKIN
        ear = self._on_bust(_ear_nearness(), hits)
        doubt, glare = doubted_skin(hits.points, self._middle(hits.points), ear)
        if self.projection.bearded:
            doubt *= 1 - self._on_bust(beard_density("full"), hits)
        doubted.ravel()[hits.ray], glaring.ravel()[hits.ray] = doubt, glare
        foreign = foreign_on_skin(even, skin, doubted, glaring, np.asarray(self.tone, np.float64))
        worn, hair = parts == Part.HAT, parts == Part.HAIR
        shown = even.reshape(-1, 3)[hits.ray]
        foreign.ravel()[hits.ray[worn]] = nearer(shown[worn], shown[worn], shown[hair])
        return np.asarray(cv2.resize(foreign, (full.width, full.height)), np.float32)

    def _find_neck_tone(self, placed: PlacedHead) -> Image:
        """(3,) the colour of the skin below the chin under even light."""
        region = placed.bare.region
        low = np.flatnonzero(np.isin(region, (Region.NECK, Region.TORSO)))
        colours, good = self._skin_at(low)
        if good.sum() < _LEAST_SKIN:
            return np.asarray(self.tone * _USUAL_NECK, np.float32)
        own = (np.median(colours[good], axis=0) + self.tone) / 2
        # in the chin's shadow a neck looks darker than it is
        share = float(own.mean() / max(float(self.tone.mean()), 1e-3))
        return np.asarray(own * np.clip(share, *_SHADE) / max(share, 1e-3), np.float32)

    def _skin_at(self, index: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        """Colours (n, 3) under even light of vertices, and whether (n,) the photo shows skin."""
        mesh = self.mesh
        parts = np.full(len(index), Part.SKIN, np.uint8)
        colours, trust = self.projection.sample(mesh.vertices[index], mesh.normals[index], parts)
        good = (trust > 0.7) & (self.projection.chance(mesh.vertices[index], parts) > 0.8)
        return colours / self.light.evening[index], good

    def _parts(self, hits: Hits) -> NDArray[np.uint8]:
        """(k,) :class:`Part` of hits: below the chin the clothes say where skin ends."""
        corner = hits.weights.argmax(1)
        parts = self.mesh.parts[self.mesh.faces[hits.face, corner]]
        lower = (parts != Part.HAIR) & (parts != Part.HAT) & self.clothes.below_chin(hits.points)
        parts = np.array(parts, np.uint8)
        cover = self.clothes.cover(hits.points[lower])
        parts[lower] = np.where(cover > 0.5, Part.BODY, Part.SKIN)
        return parts

    def _complete(self, caster: RayCaster, rng: np.random.Generator) -> Image:
        shape = PANORAMA.rows, PANORAMA.columns
        n = shape[0] * shape[1]
        # from outside inwards: the outermost surface is the one that is seen
        hits = caster.cast(*PANORAMA.inward())
        part = np.full(n, int(Part.BODY), np.uint8)
        part[hits.ray] = self._parts(hits)
        evening = np.ones((n, 3))
        evening[hits.ray] = self.light.at(self.light.evening, hits, part[hits.ray])
        known, weight = np.zeros((n, 3)), np.zeros(n)
        own, trust = self._seen(hits, part[hits.ray])
        other, other_trust = self._mirrored(hits, part[hits.ray])
        both = np.minimum(_where_unseen(other_trust, np.zeros(len(trust))), trust)
        self.relight = light_over_mirror(hits, own, other, both)
        relight = np.asarray(self.relight.reshape(-1, 3)[hits.ray], np.float64)
        other = other * np.exp(relight)
        skin = part[hits.ray] == Part.SKIN
        help_ = _where_unseen(other_trust, trust)
        kept = self._keeps_colour(hits)
        help_ = help_ * (1 - skin * self._unlike_mirror(kept.ravel()[hits.ray], other, relight))
        total = trust + help_
        mixed = own * trust[:, None] + other * help_[:, None]
        known[hits.ray] = mixed / np.maximum(total, 1e-6)[:, None]
        weight[hits.ray] = total
        weight *= self._beside_ears(hits, part).ravel()

        # from here on colours are as under even light
        even = known / evening
        image = even.reshape(*shape, 3).astype(np.float32)
        weights = weight.reshape(shape).astype(np.float32)
        parts = part.reshape(shape)
        depth = np.full(n, np.nan)
        depth[hits.ray] = self.clothes.depth(hits.points)
        person = Completion(
            self.tone,
            self.neck_tone,
            self._field_of_beard(hits) if self.projection.bearded else None,
            self.hair_mm,
            self.hair_doubted,
            self.clothes.seen,
            depth.reshape(shape),
            PANORAMA.rays()[0][:: PANORAMA.columns, 1] / MM,
        )
        filled = np.zeros_like(image)
        hair: Image | None = None
        for kind in Part:
            region = parts == kind
            if region.any():
                of_kind, main = person.continued(image, weights * region, region, kind, rng)
                filled[region] = of_kind[region]
                if kind is Part.HAIR:
                    self.hair_colour = np.asarray(main, np.float64)
                    hair = of_kind
        soft = cv2.GaussianBlur(wrap(filled, 16), (0, 0), 1.5)[:, 16:-16]
        edge = cv2.morphologyEx(parts, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        seam = cv2.GaussianBlur((edge > 0).astype(np.float32), (0, 0), 1.5)[..., None]
        filled += (soft - filled) * np.clip(seam * 2, 0, 1)
        if hair is not None:
            radius = np.zeros(n)
            radius[hits.ray] = PANORAMA.radius(hits.points) / MM
            filled += (hair - filled) * down_at_edge(parts, radius.reshape(shape), rng)[..., None]
        self.blend = blending(image, filled, weights, parts, kept)
        image = image * np.exp(self.blend)
        return np.asarray(filled + (image - filled) * weights[..., None], np.float32)

    def _unlike_mirror(self, kept: Image, other: Array, relight: Array) -> Array:
        """(k,) how little the other side's skin says of this one, 0 to 1.

        Where its light differs much, its noise and its hue come along; where its hue is not the
        tone's, it shows hair or an ear.  Of a face that is turned nothing else is known.
        """
        lit = ramp(np.abs(relight).mean(1), *_OTHER_LIGHT)
        unlike = np.maximum(lit, ramp(apart(other, self.tone, SHADE_FREE), *_OTHER_HUE))
        if self.far_side:
            unlike = unlike * (1 - kept)
        return np.asarray(unlike)

    def _keeps_colour(self, hits: Hits) -> Image:
        """(r, c) 1 on the middle of the face, whose colours are the photo's in every view."""
        kept = np.zeros(PANORAMA.rows * PANORAMA.columns, np.float32)
        kept[hits.ray] = self._middle(hits.points)
        return kept.reshape(PANORAMA.rows, PANORAMA.columns)

    @staticmethod
    def _middle(points: Array) -> Array:
        """(k,) 1 at points of the middle of the face."""
        x, _, z = (points / MM).T
        return np.asarray((1 - ramp(np.abs(x), *_MIDDLE)) * ramp(z, *_BEFORE))

    def _field_of_beard(self, hits: Hits) -> Image:
        """(r, c) how densely a beard grows where it is seen to grow, 0 to 1."""
        field = np.zeros(PANORAMA.rows * PANORAMA.columns, np.float32)
        field[hits.ray] = self._on_bust(beard_density("full"), hits)
        return field.reshape(PANORAMA.rows, PANORAMA.columns)

    def _beside_ears(self, hits: Hits, part: NDArray[np.uint8]) -> Image:
        """(r, c) 0 for hair beside an ear: what the photo shows there may be the ear itself."""
        ear = np.zeros(part.size, np.float32)
        corner = self.mesh.faces[hits.face, hits.weights.argmax(1)]
        own = corner < len(self.region)
        ear[hits.ray[own]] = self.region[corner[own]] == Region.EAR
        near = cv2.dilate(
            wrap(ear.reshape(PANORAMA.rows, PANORAMA.columns), 16),
            cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_EAR_MARGIN, _EAR_MARGIN)),
        )[:, 16:-16]
        hair = part.reshape(near.shape) == Part.HAIR
        return np.asarray(1 - near * hair, np.float32)


@lru_cache(maxsize=1)
def _ear_nearness() -> Array:
    """(n,) 1 at the bust's vertices of ears, 0 from :data:`_EAR_REACH` on."""
    shape = bust()
    distance, _ = cKDTree(shape.rest[shape.region == Region.EAR]).query(shape.rest)
    return ramp(distance, _EAR_REACH, 2.0)


def _where_unseen(other: Array, trust: Array) -> Array:
    """(k,) trust of the other side's colours where the photo's own trust (k,) leaves room."""
    return np.minimum(other, 1 - trust) * 0.999
