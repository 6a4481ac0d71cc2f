"""Appearance: the colour of every point of the head.

Where the photo sees a point well, its pixel is the colour.  Elsewhere the colour comes from a
panorama around the head that is completed once: known texels of the photo, texels of the mirrored
side, then for each kind of surface (skin, hair, clothes) its own colour and texture.  Both depend
on the point alone, so all views are consistent by construction.  Only within a few degrees of the
photo's camera the photo is repeated as it is, with its grazing rims, which would smear in any
other view.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Array32, Indices, Labels, Regions, smoothstep
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import Hits, RayCaster
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import ALL_AUTO, AUTO
from dp3d_core.preview.clothing.neckline import Clothes
from dp3d_core.preview.colouring.completion import (
    DEFAULT_HAIR,
    PANORAMA,
    SKIN_LIGHTNESS,
    Completion,
)
from dp3d_core.preview.colouring.head_light import HeadLight, light_over_mirror
from dp3d_core.preview.colouring.photographs import Photograph, Photographs
from dp3d_core.preview.colouring.skin import VisibleSkin
from dp3d_core.preview.hair.beard import PaintedBeard, beard_density
from dp3d_core.preview.hair.disagreement import covers_skull, disagreement, exclude_pixels
from dp3d_core.preview.hair.outline_marks import SHELL
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.light import Light, sky_light
from dp3d_core.preview.photo.occlusions import occluded_skin, occlusion_prior
from dp3d_core.preview.photo.parsing import PARSING_SIDE
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.preview.shape.placement import PlacedHead
from dp3d_core.preview.texture.blending import blending
from dp3d_core.preview.texture.panorama import wrap
from dp3d_core.preview.texture.strands import edge_hairs
from dp3d_core.preview.texture.tones import lab_distance, other_surface
from dp3d_core.progress import StepCallback, no_step

_ON_CHEEKS = ("stubble", "full")
"""Beards that extend to the ears."""
_EAR_REACH = 24.0
"""Distance from an ear within which a frontal photo may show the ear itself, millimetres."""
_EAR_MARGIN = 15
"""Dilation of ears on the panorama, texels."""
_FACE_FRONT = (0.0, 30.0)
"""Depths between which the face begins, where light has a lower limit, millimetres."""
_FACING_UP = (-0.5, -0.1)
"""Heights of unit normals between which that limit begins."""
_MIN_FACE_LIGHT = 0.9
"""Least light of the sky on the face."""
_MIDDLE = (20.0, 46.0)
"""Distances from the plane of symmetry between which the middle of the face ends, millimetres."""
_BEFORE = (30.0, 60.0)
"""Depths between which the middle of the face begins, millimetres."""
_OTHER_LIGHT = (0.2, 0.5)
"""Absolute log ratios of light between which mirrored skin ceases to be used."""
_OTHER_HUE = (9.0, 17.0)
"""Lab distances from the skin tone between which mirrored skin ceases to be used."""

APPEARANCE_STEPS = 3
"""Number of steps of :class:`Appearance`."""
_ABOVE_BRIM = 55.0
"""Height over a brim at which the panorama shows the crown of its hat, millimetres."""


class Appearance:
    """Colours of the points of one head; a shader of ray hits.

    Attributes:
        mesh: the head.
        region: (n,) :class:`~dp3d_core.heads.bust.BustRegion` of the bare head's vertices.
        repeat_photo: whether views near the photo's own repeat it as it is.
        lit: whether colours include the photo's light.
        projection: the portrait as a projective texture.
        photographs: the portrait and the further photos.
        clothes: the neckline.
        light: the photo's light at the vertices.
        panorama: (r, c, 3) completed colours without light.
        blend: (r, c, 3) log factors from the photo's coarse colours to the completion's.
        relight: (r, c, 3) log ratio of the light to that of the mirrored side.
        hair_colour: (3,) sRGB of the hair without light.
        far_side: -1 or 1, side whose half mirrors the near one; 0 for a frontal photo.
        beard_choice: chosen beard that is painted; None if there is none.

    """

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
        self.hair_doubtful = placed.choices.hair == AUTO
        self.repeat_photo, self.lit = repeat_photo, True
        on_step("Projecting the photo")
        further = [(photo.portrait, photo.parsing) for photo in placed.further]
        choice = placed.choices.clothes
        self.clothes = Clothes.of(placed.bare, portrait, placed.parsing, choice, further)
        self.projection = Projection.of(
            self._consistent_portrait(placed, portrait, caster), caster, placed.parsing
        )
        self.photographs = Photographs((Photograph(self.projection),))
        on_step("Finding the light")
        visible_skin = VisibleSkin(self.mesh, self.region, self.projection)
        self.light = self._find_light(visible_skin, caster)
        self.tone = visible_skin.face_tone(self.light)
        self.projection = dataclasses.replace(
            self.projection,
            skin_tone=np.asarray(self.tone, np.float64),
            bearded=placed.observed["beard"].choice in _ON_CHEEKS,
        )
        self.projection = dataclasses.replace(
            self.projection, occlusion=self._find_occlusion(caster)
        )
        self.photographs = self._all_photographs(placed, caster)
        visible_skin = VisibleSkin(self.mesh, self.region, self.projection)
        self.neck_tone = visible_skin.neck_tone(self.light, self.tone)
        on_step("Completing what the photo does not show")
        self.hair_colour = DEFAULT_HAIR
        self.panorama = self._complete(caster, np.random.default_rng(seed))
        self.seed = seed
        self.beard_choice = self._chosen_beard(placed)
        self.beard = self._painted_beard()

    @classmethod
    def of_parts(
        cls,
        mesh: Mesh,
        region: Regions,
        photographs: Photographs,
        clothes: Clothes,
        light: HeadLight,
        panorama: Array32,
        relight: Array32,
        blend: Array32,
        hair_colour: Array,
        beard_choice: str | None,
        seed: int,
    ) -> Appearance:
        """Restore prepared colours (``kept_heads``); the arguments are the attributes."""
        look = cls.__new__(cls)
        look.mesh, look.region, look.repeat_photo, look.lit = mesh, region, True, True
        look.photographs, look.clothes, look.light = photographs, clothes, light
        look.projection = photographs.photos[0].projection
        look.panorama, look.hair_colour = panorama, hair_colour
        look.relight, look.blend = relight, blend
        look.beard_choice, look.seed = beard_choice, seed
        look.beard = look._painted_beard()
        return look

    def __call__(self, hits: Hits) -> Array:
        """(k, 3) colours of ray hits, 0 to 1."""
        colours, light = self._of_points(hits)
        if self.repeat_photo and self.lit:
            repeated, photo_colours, confidence = self.projection.repeat(
                hits.points, hits.directions
            )
            colours[repeated] += (photo_colours - colours[repeated]) * confidence[:, None]
        return colours if self.beard is None else self.beard.painted(colours, hits, light)

    def of_surface(self, face: Indices, weights: Array) -> Array:
        """(k, 3) colours, 0 to 1, of points in triangles (k,) with barycentric weights (k, 3)."""
        hits = self._surface_hits(face, weights)
        colours, light = self._of_points(hits)
        return colours if self.beard is None else self.beard.painted(colours, hits, light)

    def looks_of_surface(self, face: Indices, weights: Array) -> tuple[Array, Array]:
        """Colours as of :meth:`of_surface`, with the photo's light and without, (k, 3) each.

        Independent of :attr:`lit`; quicker than both one after the other.
        """
        hits = self._surface_hits(face, weights)
        looks = []
        for colours, light in self._looks_of_points(hits, (True, False)):
            own = colours if self.beard is None else self.beard.painted(colours, hits, light)
            looks.append(own)
        return looks[0], looks[1]

    def _surface_hits(self, face: Indices, weights: Array) -> Hits:
        """Points of the surface as hits of rays along their normals."""
        corners = self.mesh.faces[face]
        points = np.einsum("kc,kcx->kx", weights, self.mesh.vertices[corners])
        normals = unit(np.einsum("kc,kcx->kx", weights, self.mesh.normals[corners]))
        return Hits(
            np.arange(len(face)), points, normals, face, weights, np.zeros(len(face)), -normals
        )

    def _of_points(self, hits: Hits) -> tuple[Array, Array]:
        """View-independent colours (k, 3) of hits, and the light (k, 3) there."""
        return self._looks_of_points(hits, (self.lit,))[0]

    def _looks_of_points(self, hits: Hits, lit: tuple[bool, ...]) -> list[tuple[Array, Array]]:
        """Colours and light as of :meth:`_of_points`, for each value of :attr:`lit`."""
        parts = self._parts(hits)
        colours, confidence = self._projected(hits, parts)
        light = self.light.at(self.light.applied, hits, parts)
        # the panorama also shows what lies below a brim, so a brim is looked up above itself
        brim = self.mesh.faces[hits.face, 0] >= len(self.region) + SHELL
        points = hits.points + np.where(brim, _ABOVE_BRIM * MM, 0.0)[:, None] * [0, 1, 0]
        layers = (self.panorama, self.blend, self.relight)[: 3 if self.far_side else 2]
        unlit, *factors = PANORAMA.look_up_all(layers, points)
        filled = np.clip(unlit * light, 0, 1)
        blend = np.exp(factors[0])
        colours = np.clip(colours * blend, 0, 1)
        # on the far half of a turned face the mirrored photo is sharper than the panorama
        if self.far_side:
            mirrored, mirrored_confidence = self._mirrored(hits, parts)
            mirrored_weight = _remaining(mirrored_confidence, confidence)
            mirrored = mirrored * np.exp(factors[1]) * blend
            filled += (mirrored - filled) * mirrored_weight[:, None]
        looks = []
        for with_light in lit:
            if with_light:
                base, own, there = filled, colours, light
            else:
                base, own = self.light.unlit(filled, colours, hits, parts)
                there = np.ones_like(light)
            looks.append((base + (own - base) * confidence[:, None], there))
        return looks

    def _consistent_portrait(
        self, placed: PlacedHead, portrait: Portrait, caster: RayCaster
    ) -> Portrait:
        """The portrait without the pixels that contradict the user's choices."""
        parsing, choices = placed.parsing, placed.choices
        if parsing is None or choices == ALL_AUTO:
            return portrait
        camera = portrait.camera.resized(PARSING_SIDE, PARSING_SIDE)
        rays = camera.directions(camera.pixel_centres()).reshape(-1, 3)
        hits = caster.cast(camera.position, rays)
        flat = np.full(len(rays), -1, np.int8)
        flat[hits.ray] = self._parts(hits)
        parts = flat.reshape(PARSING_SIDE, PARSING_SIDE)
        excluded = disagreement(parsing, parts, choices)
        if placed.excluded is not None:
            excluded |= placed.excluded & ~covers_skull(parts)
        return exclude_pixels(portrait, excluded)

    @staticmethod
    def _chosen_beard(placed: PlacedHead) -> str | None:
        """The chosen beard if the photo does not show it; None otherwise."""
        choice = placed.choices.beard
        return None if choice in (AUTO, "none", placed.observed["beard"].choice) else choice

    def _painted_beard(self) -> PaintedBeard | None:
        """The chosen beard, ready to paint; None if there is none to paint."""
        if self.beard_choice is None:
            return None
        rng = np.random.default_rng(self.seed)
        colour = np.asarray(self.hair_colour, np.float64)
        return PaintedBeard(self.beard_choice, self.mesh, colour, rng)

    @property
    def far_side(self) -> float:
        """-1 or 1, side whose half mirrors the near one; 0 for a frontal portrait."""
        return self.photographs.photos[0].far_side

    def _all_photographs(self, placed: PlacedHead, caster: RayCaster) -> Photographs:
        """The portrait and the further photos, brought to its light."""
        photographs = Photographs((Photograph(self.projection),))
        if not placed.further:
            return photographs
        hits = caster.cast(*PANORAMA.inward_rays())
        parts, ear = self._parts(hits), self._on_bust(_ear_nearness(), hits)
        for photo in placed.further:
            projection = dataclasses.replace(
                Projection.of(photo.portrait, caster, photo.parsing),
                bearded=self.projection.bearded,
            )
            photographs = photographs.with_photo(projection, hits, parts, ear)
        return photographs

    def _projected(self, hits: Hits, parts: Labels) -> tuple[Array, Array]:
        """Colours (k, 3) and confidence (k,) of hits in the photos."""
        ear = self._on_bust(_ear_nearness(), hits)
        return self.photographs.sample(hits.points, hits.normals, parts, ear)

    def _mirrored(self, hits: Hits, parts: Labels) -> tuple[Array, Array]:
        """Colours (k, 3) and confidence (k,) of the mirror images of hits in the photos."""
        flip = np.array([-1.0, 1, 1])
        ear = self._on_bust(_ear_nearness(), hits)
        points, normals = hits.points * flip, hits.normals * flip
        colours, confidence = self.photographs.sample(points, normals, parts, ear)
        # folds of headwear are not symmetric
        return colours, confidence * (parts != Part.HAT)

    def _on_bust(self, values: Array, hits: Hits) -> Array:
        """(k,) values at hits, interpolated from values (n,) of the bust's vertices; 0 on hair."""
        corners = self.mesh.faces[hits.face]
        inside = corners < len(values)
        at_corners = np.where(inside, values[np.where(inside, corners, 0)], 0.0)
        return np.asarray(np.einsum("kv,kv->k", at_corners, hits.weights))

    def _find_light(self, visible_skin: VisibleSkin, caster: RayCaster) -> HeadLight:
        """Fit the photo's light to visible skin and evaluate it on the head."""
        mesh, region, sky = self.mesh, self.region, sky_light(caster)
        count = len(region)
        # the model's fringe occludes the sky over a forehead, yet faces in photos are lit
        face = np.ones(len(sky), bool)
        face[:count] = np.isin(region, (Region.FACE, Region.FOREHEAD))
        face[count:] = mesh.vertices[count:, 1] > 0
        front = smoothstep(mesh.vertices[:, 2] / MM, *_FACE_FRONT) * smoothstep(
            mesh.normals[:, 1], *_FACING_UP
        )
        sky = np.maximum(sky, _MIN_FACE_LIGHT * front * face)
        skin = np.flatnonzero(np.isin(region, (Region.FACE, Region.FOREHEAD, Region.NECK)))
        skin = skin[mesh.parts[:count][skin] == Part.SKIN]
        colours, reliable = visible_skin.sample(skin, 0.9, 0.85)
        bare = skin[reliable]
        light = Light.of(sky[bare], mesh.normals[bare], colours[reliable])
        return HeadLight.of(mesh, light, sky)

    def _find_occlusion(self, caster: RayCaster) -> Array32:
        """(h, w) occlusion of the photo: 1 where cheeks do not show skin, or a hat shows hair."""
        full = self.projection.camera
        camera = full.resized(full.width // 2, full.height // 2)
        hits = caster.seen(camera)
        parts = self._parts(hits)
        shape = camera.height, camera.width
        unlit = np.zeros((*shape, 3), np.float32)
        skin = np.zeros(shape, bool)
        plain, hairy = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        colours = cv2.resize(self.projection.colours, shape[::-1], interpolation=cv2.INTER_AREA)
        light = self.light.at(self.light.removed, hits, parts)
        unlit.reshape(-1, 3)[hits.ray] = colours.reshape(-1, 3)[hits.ray] / light
        skin.ravel()[hits.ray] = parts == Part.SKIN
        ear = self._on_bust(_ear_nearness(), hits)
        plain_hits, hairy_hits = occlusion_prior(hits.points, self._middle(hits.points), ear)
        if self.projection.bearded:
            plain_hits *= 1 - self._on_bust(beard_density("full"), hits)
        plain.ravel()[hits.ray], hairy.ravel()[hits.ray] = plain_hits, hairy_hits
        occlusion = occluded_skin(unlit, skin, plain, hairy, np.asarray(self.tone, np.float64))
        hat, hair = parts == Part.HAT, parts == Part.HAIR
        colours_hit = unlit.reshape(-1, 3)[hits.ray]
        occlusion.ravel()[hits.ray[hat]] = other_surface(
            colours_hit[hat], colours_hit[hat], colours_hit[hair]
        )
        return np.asarray(cv2.resize(occlusion, (full.width, full.height)), np.float32)

    def _parts(self, hits: Hits) -> Labels:
        """(k,) :class:`Part` of hits; below the chin the neckline divides skin from clothes."""
        corner = hits.weights.argmax(1)
        parts = self.mesh.parts[self.mesh.faces[hits.face, corner]]
        lower = (parts != Part.HAIR) & (parts != Part.HAT) & self.clothes.below_chin(hits.points)
        parts = np.array(parts, np.uint8)
        cover = self.clothes.cover(hits.points[lower])
        parts[lower] = np.where(cover > 0.5, Part.BODY, Part.SKIN)
        return parts

    def _complete(self, caster: RayCaster, rng: np.random.Generator) -> Array32:
        """(r, c, 3) the completed panorama, without light; sets relight, blend, hair_colour."""
        shape = PANORAMA.rows, PANORAMA.columns
        n = shape[0] * shape[1]
        # rays from outside: the outermost surface is the visible one
        hits = caster.cast(*PANORAMA.inward_rays())
        part = np.full(n, int(Part.BODY), np.uint8)
        part[hits.ray] = self._parts(hits)
        light = np.ones((n, 3))
        light[hits.ray] = self.light.at(self.light.removed, hits, part[hits.ray])
        known, weight = np.zeros((n, 3)), np.zeros(n)
        own, confidence = self._projected(hits, part[hits.ray])
        mirrored, mirrored_confidence = self._mirrored(hits, part[hits.ray])
        both_visible = np.minimum(
            _remaining(mirrored_confidence, np.zeros(len(confidence))), confidence
        )
        self.relight = light_over_mirror(hits, own, mirrored, both_visible)
        relight = np.asarray(self.relight.reshape(-1, 3)[hits.ray], np.float64)
        mirrored = mirrored * np.exp(relight)
        skin = part[hits.ray] == Part.SKIN
        mirrored_weight = _remaining(mirrored_confidence, confidence)
        kept = self._keeps_colour(hits)
        mirrored_weight = mirrored_weight * (
            1 - skin * self._unlike_mirror(kept.ravel()[hits.ray], mirrored, relight)
        )
        total_weight = confidence + mirrored_weight
        mixed = own * confidence[:, None] + mirrored * mirrored_weight[:, None]
        known[hits.ray] = mixed / np.maximum(total_weight, 1e-6)[:, None]
        weight[hits.ray] = total_weight
        weight *= self._beside_ears(hits, part).ravel()

        # from here on colours are without light
        unlit = known / light
        image = unlit.reshape(*shape, 3).astype(np.float32)
        weights = weight.reshape(shape).astype(np.float32)
        parts = part.reshape(shape)
        depth = np.full(n, np.nan)
        depth[hits.ray] = self.clothes.depth(hits.points)
        completion = Completion(
            self.tone,
            self.neck_tone,
            self._beard_map(hits) if self.projection.bearded else None,
            self.hair_mm,
            self.hair_doubtful,
            self.clothes.visible,
            depth.reshape(shape),
            PANORAMA.rays()[0][:: PANORAMA.columns, 1] / MM,
        )
        filled = np.zeros_like(image)
        hair: Array32 | None = None
        for kind in Part:
            region = parts == kind
            if region.any():
                of_kind, main = completion.complete(image, weights * region, region, kind, rng)
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
            filled += (hair - filled) * edge_hairs(parts, radius.reshape(shape), rng)[..., None]
        self.blend = blending(image, filled, weights, parts, kept)
        image = image * np.exp(self.blend)
        return np.asarray(filled + (image - filled) * weights[..., None], np.float32)

    def _unlike_mirror(self, kept: Array32, mirrored: Array, relight: Array) -> Array:
        """(k,) unsuitability of mirrored skin, 0 to 1.

        If its light differs much, relighting would amplify noise and hue; if its hue differs from
        the skin tone, it shows hair or an ear.  On the middle of a turned face it is used anyway,
        for lack of anything else.
        """
        other_light = smoothstep(np.abs(relight).mean(1), *_OTHER_LIGHT)
        unlike = np.maximum(
            other_light, smoothstep(lab_distance(mirrored, self.tone, SKIN_LIGHTNESS), *_OTHER_HUE)
        )
        if self.far_side:
            unlike = unlike * (1 - kept)
        return np.asarray(unlike)

    def _keeps_colour(self, hits: Hits) -> Array32:
        """(r, c) 1 on the middle of the face, where the photo's colours are not blended."""
        kept = np.zeros(PANORAMA.rows * PANORAMA.columns, np.float32)
        kept[hits.ray] = self._middle(hits.points)
        return kept.reshape(PANORAMA.rows, PANORAMA.columns)

    @staticmethod
    def _middle(points: Array) -> Array:
        """(k,) 1 at points (k, 3) on the middle of the face."""
        x, _, z = (points / MM).T
        return np.asarray((1 - smoothstep(np.abs(x), *_MIDDLE)) * smoothstep(z, *_BEFORE))

    def _beard_map(self, hits: Hits) -> Array32:
        """(r, c) density of a full beard, 0 to 1."""
        density = np.zeros(PANORAMA.rows * PANORAMA.columns, np.float32)
        density[hits.ray] = self._on_bust(beard_density("full"), hits)
        return density.reshape(PANORAMA.rows, PANORAMA.columns)

    def _beside_ears(self, hits: Hits, part: Labels) -> Array32:
        """(r, c) 0 for hair beside an ear, where the photo may show the ear itself."""
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
    """(n,) nearness of the bust's vertices to an ear: 1 on ears, 0 beyond ``_EAR_REACH``."""
    topology = bust()
    distance, _ = cKDTree(topology.rest[topology.region == Region.EAR]).query(topology.rest)
    return smoothstep(np.asarray(distance), _EAR_REACH, 2.0)


def _remaining(mirrored: Array, confidence: Array) -> Array:
    """(k,) weight of mirrored colours, where the photo's own confidence (k,) is below 1."""
    return np.minimum(mirrored, 1 - confidence) * 0.999
