"""Poses of photos without landmarks, fitted against the head that other photos gave.

Profiles and backs show no face that a landmark model finds.  Their silhouette is matched with that
of the head from all sides; then points on the head's rim are moved onto the photo's outline and
points on its surface onto pixels of their colour, as in iterated closest points (Chen and Medioni
1992) and direct alignment.  Front and back have nearly equal silhouettes: colours tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from scipy.optimize import least_squares

from dp3d_core.arrays import Array, Array32, Mask, Pixels, smoothstep
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.landmark_map import POSE
from dp3d_core.heads.space import MM
from dp3d_core.limits import PhotoSide
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.portraits.crop import CROP_FOCAL, CROP_SIZE, Crop, canonical_crop, cut
from dp3d_core.portraits.matting import find_matte, segment
from dp3d_core.portraits.portrait import Portrait, Reference
from dp3d_core.portraits.pose import posed_camera
from dp3d_core.portraits.references import SIDE_YAW_DEG
from dp3d_core.preview.parts import Part
from dp3d_core.preview.shape.placement import PlacedHead, place_head
from dp3d_core.preview.texture.panorama import remap
from dp3d_core.preview.texture.tones import lab
from dp3d_core.progress import StepCallback, no_step

_SIDE = 160
"""Side of the images in which poses are fitted, pixels."""
_YAWS_DEG = np.arange(-180.0, 180.0, 30.0)
"""Yaws of the camera from which a search starts."""
_SCALES = 1.09 ** np.arange(-12, 17)
"""Sizes of the head, relative to that of the canonical crop, from which a search starts."""
_STARTS = 6
"""Number of starts that are refined."""
_FINALISTS = 2
"""Number of refined starts that are refined again."""
_NECK = -112.0
"""Height above which silhouettes are compared, millimetres: shoulders turn apart from heads."""
_START_DEG = 45.0
"""Greatest difference of a start from an expected yaw, degrees."""
_RIM_SCALE = 1.6
"""Distance of a rim from the photo's outline that counts as one, pixels."""
_HAIR_RIM = 0.4
"""Weight of rims of hair, whose shape is a guess where no photo has shown it."""
_MOST_OFF = 3.0
"""Greatest cost of a point of the rim: a brim that the head lacks is far off everywhere."""
_COLOUR_SCALE = 14.0
"""Lab distance that counts as one."""
_COLOUR_WEIGHT = 0.5
"""Weight of all colours relative to all rims."""
_LIGHTNESS = 0.5
"""Factor on lightness in colours that are compared."""
_OTHER_LIGHT = np.array([12.0, 8.0, 8.0])
"""Greatest shift of all colours between two photos: exposure and white balance, Lab."""
_PRIOR_DEG = np.array([60.0, 14.0, 10.0])
"""Standard deviations of yaw about its start, and of pitch and roll about 0."""
_STEPS = np.array([0.01, 0.01, 0.01, 0.005, 0.002, 0.002, 0.5, 0.5, 0.5])
"""Steps of finite differences: angles (radians), log of the scale, shifts (image widths), hair
(millimetres)."""
_HAIR_MOVES = 3
"""Number of parameters of the hair (:func:`_hair_moves`)."""
_PRIOR_HAIR_MM = np.array([8.0, 14.0, 10.0])
"""Standard deviations of these parameters, millimetres."""
_PRIOR_WEIGHT = 0.3
"""Weight of the priors relative to the photo."""
_PRIOR_SCALE = 0.25
"""Standard deviation of the log of the scale about its start."""
_PRIOR_SHIFT = 0.12
"""Standard deviation of the head's position about its start, image widths."""
_TRUNCATED = 18.0
"""Distance from the photo's outline beyond which it no longer counts, pixels."""
_GUESSED = 0.35
"""Weight of colours of the head that no photo shows yet."""
_LANDMARKS_DEG = 50.0
"""Absolute yaw up to which the pose of a face with landmarks is reliable, degrees."""
_FRONT_DEG = 45.0
"""Absolute yaw up to which a photo shows the front, degrees."""
_FRAMINGS = (1.0, 0.75, 1.3)
"""Sides of the squares in which a person is looked for, longer sides of the photo."""
_BORDER = 5.0
"""Width of the photo's border that is taken for background, pixels."""
_BORDER_ENDS = 0.5
"""Height at which that border ends above the shoulders, image heights."""
_PROFILE_CONFIDENCE = 0.2
"""Confidence from which a face that only the detector sees is a profile; it takes buns and
ponytails for faces of less."""
_PROFILE_DEG = 20.0
"""Standard deviation of the yaw of such a profile."""
_UNSEEN_FACE_DEG = (95.0, 60.0)
"""Absolute yaws between which a face that no detector sees becomes unlikely."""
_MIN_FACING = 0.3
"""Least cosine to the camera of a vertex whose colour a photo shows."""
_LIFT = 0.004
"""Offset of ray origins from the surface, head units."""
_MIN_PERSON = 0.01
"""Least share of a photo that a person covers."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A head with rough colours, for the fit of poses.

    Attributes:
        mesh: the head, head units.
        colours: (n, 3) Lab colours of the vertices, lightness scaled by ``_LIGHTNESS``.
        weight: (n,) weight of each colour: 1 where a photo shows it, ``_GUESSED`` elsewhere.

    """

    mesh: Mesh
    colours: Array
    weight: Array

    @cached_property
    def caster(self) -> RayCaster:
        """Ray caster of the mesh."""
        return RayCaster(self.mesh)

    @classmethod
    def of(cls, placed: PlacedHead, portrait: Portrait) -> HeadModel:
        """Colours of a head as its portrait shows them; elsewhere the median of their surface."""
        mesh, camera = placed.mesh, portrait.camera
        to_camera = unit(camera.position - mesh.vertices)
        visible = np.einsum("ni,ni->n", to_camera, mesh.normals) > _MIN_FACING
        lifted = mesh.vertices + _LIFT * mesh.normals
        visible &= ~RayCaster(mesh).blocked(lifted, to_camera)
        uv, _ = camera.project(mesh.vertices)
        solid = ((portrait.matte > 200) & portrait.inside).astype(np.uint8)
        visible &= _at(cv2.erode(solid, np.ones((5, 5), np.uint8)) > 0, uv) > 0.99
        image = cv2.GaussianBlur(portrait.image, (0, 0), 3)
        colours = lab(_sampled(image.astype(np.float32), uv) / 255) * [_LIGHTNESS, 1, 1]
        surface = _surfaces(placed)
        overall = np.median(colours[visible], axis=0) if visible.any() else np.zeros(3)
        for kind in np.unique(surface):
            of_kind = surface == kind
            shown = of_kind & visible
            median = np.median(colours[shown], axis=0) if shown.sum() > 20 else overall
            colours[of_kind & ~visible] = median
        return cls(mesh, colours, np.where(visible, 1.0, _GUESSED))


def _surfaces(placed: PlacedHead) -> Array:
    """(n,) kind of surface of each vertex: its part, on skin the region of the bare head."""
    surface = 100 + placed.mesh.parts.astype(np.float64)
    surface[: len(placed.bare.region)] = placed.bare.region
    return surface


@dataclass(frozen=True)
class PoseFit:
    """A fitted pose.

    Attributes:
        theta: (POSE,) parameters of ``pose.posed_camera``.
        cost: mean cost of rims and colours; about 0.3 for a good fit, 1 for none.

    """

    theta: Array
    cost: float


@dataclass(frozen=True, eq=False)
class _Target:
    """A photo prepared for the fit of a pose; side ``_SIDE``.

    Attributes:
        mask: (s, s) bool, the person.
        distance: (s, s) signed distance from the person's outline, positive inside, truncated.
        colours: (s, s, 3) blurred Lab colours, lightness scaled by ``_LIGHTNESS``.
        valid: (s, s) bool, pixels of the photo away from its border.

    """

    mask: Mask
    distance: Array32
    colours: Array32
    valid: Mask

    @classmethod
    def of(cls, image: Pixels, mask: Mask, valid: Mask) -> _Target:
        size = (_SIDE, _SIDE)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64) / 255
        solid = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        inside = cv2.resize(valid.astype(np.uint8), size) > 0
        inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        inside[[0, 1, -2, -1]] = False
        inside[:, [0, 1, -2, -1]] = False
        within = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 5)
        beyond = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 5)
        distance = np.clip(within - beyond, -_TRUNCATED, _TRUNCATED).astype(np.float32)
        colours = lab(small.reshape(-1, 3)).reshape(*size, 3) * [_LIGHTNESS, 1, 1]
        blurred = cv2.GaussianBlur(colours.astype(np.float32), (0, 0), 1.5)
        return cls(solid, distance, np.asarray(blurred, np.float32), inside)


@dataclass(frozen=True)
class PhotoUse:
    """How a further photo is used.

    Attributes:
        name: of the photo, in messages.
        sha256: hash of its file.
        side: side of the head that it shows.
        crop: the head crop.
        camera: camera of the crop, in head space.
        used: whether the head has been made with it.
        reason: sentence on why it is left out; empty if it is used.

    """

    name: str
    sha256: str
    side: PhotoSide
    crop: Crop
    camera: Camera
    used: bool
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, unrounded."""
        yaw, pitch = self.camera.yaw_pitch_deg
        return {
            "name": self.name,
            "sha256": self.sha256,
            "side": self.side,
            "yaw_deg": yaw,
            "pitch_deg": pitch,
            "crop": [self.crop.x, self.crop.y, self.crop.side],
            "camera": self.camera.to_dict(),
            "used": self.used,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhotoUse:
        """Inverse of :meth:`to_dict`."""
        camera = values["camera"]
        return cls(
            values["name"],
            values["sha256"],
            values["side"],
            Crop(*values["crop"]),
            Camera(camera["c2w"], camera["K"], camera["width"], camera["height"]),
            values["used"],
            values["reason"],
        )

    def portrait(self, reference: Reference) -> Portrait:
        """The photo with this crop and camera, and a matte of the crop."""
        image, inside = cut(reference.portrait.photo, self.crop)
        matte, confidence = find_matte(image, inside)
        yaw, pitch = self.camera.yaw_pitch_deg
        report = replace(
            reference.portrait.report,
            crop=self.crop,
            crop_source="head",
            yaw_deg=yaw,
            pitch_deg=pitch,
            matte_source="segmenter",
            matte_confidence=confidence,
        )
        return replace(
            reference.portrait,
            image=image,
            matte=matte,
            inside=inside,
            camera=self.camera,
            report=report,
        )


def photo_steps(portrait: Portrait) -> int:
    """Number of steps of :func:`fit_photos`."""
    return len(portrait.references)


def fit_photos(
    portrait: Portrait, on_step: StepCallback = no_step
) -> tuple[tuple[PhotoUse, ...], list[Portrait]]:
    """Poses of the references of a portrait.

    Args:
        portrait: the portrait with its references.
        on_step: called :func:`photo_steps` times.

    Returns:
        How each reference is used, and the photos that are used, with their poses.

    """
    uses, photos = [], []
    model: HeadModel | None = None
    for number, reference in enumerate(portrait.references, 1):
        on_step(f"Placing further photo {number} of {len(portrait.references)}")
        own = reference.portrait
        if own.face is not None and abs(own.report.yaw_deg) < _LANDMARKS_DEG:
            placed: Portrait | None = own
        else:
            if model is None:
                model = HeadModel.of(place_head(portrait), portrait)
            placed = posed(reference, model)
        if placed is None:
            crop, camera, side = own.report.crop, own.camera, reference.side
            reason = "No person was found in it."
        else:
            crop, camera, reason = placed.report.crop, placed.camera, ""
            side = _side_of(camera)
            photos.append(placed)
        use = PhotoUse(reference.name, own.sha256, side, crop, camera, not reason, reason)
        uses.append(use)
    return tuple(uses), photos


def _side_of(camera: Camera) -> PhotoSide:
    """Side of the head that a camera sees."""
    yaw = camera.yaw_pitch_deg[0]
    if abs(yaw) < _FRONT_DEG:
        return "front"
    if abs(yaw) > 180 - _FRONT_DEG:
        return "back"
    return "left" if yaw > 0 else "right"


def posed(reference: Reference, model: HeadModel) -> Portrait | None:
    """A photo with crop, matte and camera fitted to a head; None if it shows no person.

    Args:
        reference: the photo.
        model: the head of the other photos.

    """
    photo = reference.portrait.photo
    window = _head_window(photo)
    if window is None:
        return None
    starts: list[Array] = []
    expected = _expected_yaw_deg(reference)

    def unlikely(theta: Array) -> float:
        yaw = float(np.degrees(theta[0]))
        if expected is not None:
            return 0.5 * min(abs((yaw - expected + 180) % 360 - 180) / _PROFILE_DEG, 3.0) ** 2 / 4
        away = np.array(abs((yaw + 180) % 360 - 180))
        return 0.5 * float(smoothstep(away, *_UNSEEN_FACE_DEG))

    for _ in range(3):
        image, inside = cut(photo, window)
        matte, _ = find_matte(image, inside)
        target = _Target.of(image, (matte > 127) & inside, inside)
        starts = starts or _starts(model, target, reference)
        fit = _fit(model, target, starts, unlikely)
        if not np.isfinite(fit.cost):
            return None
        window, starts = _moved(window, fit.theta)
    camera = posed_camera(starts[0], CROP_SIZE, CROP_FOCAL)
    use = PhotoUse(reference.name, "", "auto", window, camera, True)
    return use.portrait(reference)


def _moved(window: Crop, theta: Array) -> tuple[Crop, list[Array]]:
    """The canonical crop of a pose in another crop, and the pose there."""
    crop = canonical_crop(window, posed_camera(theta, CROP_SIZE, CROP_FOCAL))
    return crop, [np.concatenate([theta[:3], np.zeros(3)])]


def _person(image: Pixels, inside: Mask) -> Mask:
    """(h, w) the largest person in an image; ``inside`` (h, w) is its valid mask.

    The segmenter misses backs of heads.  GrabCut (Rother et al. 2004) completes its result by
    colour, with the upper borders of the photo as background.
    """
    size = (_SIDE, _SIDE)
    probability = cv2.resize(segment(image), size)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    valid = np.asarray(cv2.resize(inside.astype(np.uint8), size), np.uint8)
    labels = np.where(probability > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    border = cv2.copyMakeBorder(valid, 1, 0, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    border = cv2.copyMakeBorder(border, 0, 1, 0, 0, cv2.BORDER_REPLICATE)
    near_border = cv2.distanceTransform(border, cv2.DIST_L2, 5)[1:-1, 1:-1] < _BORDER
    lower = np.arange(_SIDE)[:, None] > _BORDER_ENDS * _SIDE
    labels[near_border & ~lower & (probability < 0.5)] = cv2.GC_BGD
    labels[(probability > 0.9)] = cv2.GC_FGD
    if (labels == cv2.GC_FGD).any() or (labels == cv2.GC_PR_FGD).any():
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(small, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    solid = np.asarray(cv2.resize(opened, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    count, components, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count < 2:
        return np.zeros(solid.shape, bool)
    return np.asarray(components == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _head_window(photo: Pixels) -> Crop | None:
    """Square around the upper part of the person; None without one."""
    height, width = photo.shape[:2]
    whole = float(max(width, height))
    for factor in _FRAMINGS:
        window = Crop.around(width / 2, height / 2, factor * whole)
        for _ in range(2):
            image, inside = cut(photo, window)
            mask = _person(image, inside) & inside
            if mask.sum() < _MIN_PERSON * inside.size:
                break
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            # a standing person is much higher than wide: the head is at the top
            extent = min(float(np.ptp(rows)), 1.4 * float(np.ptp(columns)))
            upper = mask[rows[0] : rows[0] + int(0.4 * extent) + 1]
            centre = np.array([np.nonzero(upper)[1].mean(), rows[0] + 0.45 * extent])
            x, y = window.to_photo(centre)
            side = max(1.25 * extent, 40.0) * window.side / CROP_SIZE
            window = Crop.around(float(x), float(y), side)
        else:
            return window
    return None


def _expected_yaw_deg(reference: Reference) -> float | None:
    """Yaw of the side that the user named, or of the profile that the detector sees; else None."""
    by_hand = SIDE_YAW_DEG[reference.side]
    report = reference.portrait.report
    if by_hand is None and reference.portrait.face is not None:
        return report.yaw_deg
    if by_hand is None and report.chosen and report.chosen.confidence > _PROFILE_CONFIDENCE:
        return report.chosen.yaw_deg
    return by_hand


def _starts(model: HeadModel, target: _Target, reference: Reference) -> list[Array]:
    """Poses from which the fit starts: best overlap of silhouettes for each yaw."""
    expected = _expected_yaw_deg(reference)
    scored: list[tuple[float, Array]] = []
    small = 64
    mask = cv2.resize(target.mask.astype(np.float32), (small, small), interpolation=cv2.INTER_AREA)
    rows = np.flatnonzero((mask > 0.5).any(1))
    if not rows.size:
        return []
    for yaw in _YAWS_DEG:
        if expected is not None and abs((yaw - expected + 180) % 360 - 180) > _START_DEG:
            continue
        theta = np.array([np.radians(yaw), 0, 0, 0, 0, 0.0])
        camera = posed_camera(theta, small, CROP_FOCAL)
        hits = model.caster.seen(camera)
        head = np.zeros((small, small), np.float32)
        upper = hits.points[:, 1] > _NECK * MM
        head.ravel()[hits.ray[upper]] = 1
        head_rows = np.flatnonzero(head.any(1))
        best: tuple[float, Array] | None = None
        for scale in _SCALES:
            height = round(scale * np.ptp(head_rows))
            if height < 8 or rows[0] + height > small:
                continue
            top = mask[rows[0] : rows[0] + max(height // 2, 2)] > 0.5
            middle = float(np.nonzero(top)[1].mean())
            head_top = head[head_rows[0] : head_rows[0] + max(int(np.ptp(head_rows)) // 2, 2)]
            shift = np.array(
                [
                    middle - small / 2 - scale * (np.nonzero(head_top)[1].mean() - small / 2),
                    rows[0] - small / 2 - scale * (head_rows[0] - small / 2),
                ]
            )
            centre = small / 2 + shift - scale * small / 2
            matrix = np.array([[scale, 0, centre[0]], [0, scale, centre[1]]])
            moved = cv2.warpAffine(head, matrix, (small, small)) > 0.5
            lowest = rows[0] + height
            region = np.zeros((small, small), bool)
            region[: lowest + 1] = True
            person = (mask > 0.5) & region
            overlap = (moved & person).sum() / max((moved | person).sum(), 1)
            if best is None or overlap > best[0]:
                pose = np.concatenate([theta[:3], [np.log(scale)], shift / small])
                best = float(overlap), pose
        if best is not None:
            scored.append(best)
    scored.sort(key=lambda item: -item[0])
    return [theta for _, theta in scored]


def _fit(
    model: HeadModel, target: _Target, starts: list[Array], unlikely: Callable[[Array], float]
) -> PoseFit:
    """The best fit from several starts; ``unlikely`` adds to the cost of a pose."""
    if not starts:
        return PoseFit(np.zeros(POSE), np.inf)
    fits = [_refined(model, target, theta, 3) for theta in starts[:_STARTS]]
    fits.sort(key=lambda fit: fit.cost + unlikely(fit.theta))
    finalists = [_refined(model, target, fit.theta, 5) for fit in fits[:_FINALISTS]]
    return min(finalists, key=lambda fit: fit.cost + unlikely(fit.theta))


def _refined(model: HeadModel, target: _Target, theta: Array, rounds: int) -> PoseFit:
    """Refine a pose: points of rim and surface are fixed in each round, then the pose is fitted.

    Hair is moved outwards as well (``_HAIR_MOVES``), or its unknown volume would turn the head.
    """
    start = theta
    values = np.concatenate([theta, np.zeros(_HAIR_MOVES)])
    for round_index in range(rounds + 1):
        points = _Correspondences.of(model, target, values)
        if points is None:
            return PoseFit(values[:POSE], np.inf)
        if round_index == rounds:
            residuals = points.residuals(values)
            return PoseFit(values[:POSE], float(np.sqrt((residuals**2).sum())))

        def all_residuals(values: Array, points: _Correspondences = points) -> Array:
            return np.concatenate([points.residuals(values), _priors(values, start)])

        values = _minimised(all_residuals, values)
    raise AssertionError("the loop returns")


def _priors(values: Array, start: Array) -> Array:
    """Residuals of the priors of pose and hair."""
    yaw = (values[0] - start[0] + np.pi) % (2 * np.pi) - np.pi
    angles = np.degrees([yaw, values[1], values[2]]) / _PRIOR_DEG
    scale = (values[3:4] - start[3]) / _PRIOR_SCALE
    shift = (values[4:POSE] - start[4:]) / _PRIOR_SHIFT
    return _PRIOR_WEIGHT * np.concatenate([angles, scale, shift, values[POSE:] / _PRIOR_HAIR_MM])


@dataclass(frozen=True, eq=False)
class _Correspondences:
    """Points of a head that are compared with a photo, from the pose in which they are visible.

    Attributes:
        target: the photo.
        rim: (k, 3) points of the silhouette.
        rim_moves: (k, _HAIR_MOVES, 3) their moves by the parameters of the hair, per millimetre.
        rim_weight: (k,) their weights, whose squares sum to 1.
        surface: (m, 3) points inside the silhouette.
        surface_moves: (m, _HAIR_MOVES, 3) their moves by the parameters of the hair.
        colours: (m, 3) their colours, shifted to the photo's light.
        weight: (m,) their weights.

    """

    target: _Target
    rim: Array
    rim_moves: Array
    rim_weight: Array
    surface: Array
    surface_moves: Array
    colours: Array
    weight: Array

    @classmethod
    def of(cls, model: HeadModel, target: _Target, values: Array) -> _Correspondences | None:
        """Choose points in a pose; None if the head is hardly visible there."""
        camera = posed_camera(values, _SIDE, CROP_FOCAL)
        hits = model.caster.seen(camera)
        height = hits.points[:, 1]
        if (height > _NECK * MM).sum() < 30:
            return None
        shown = np.zeros((_SIDE, _SIDE), np.uint8)
        shown.ravel()[hits.ray] = 1
        inner = cv2.erode(shown, np.ones((3, 3), np.uint8)).ravel()[hits.ray] > 0
        on_rim = ~inner & (height > _NECK * MM)
        grid = (hits.ray % 3 == 0) & ((hits.ray // _SIDE) % 3 == 0)
        inside = inner & grid & (height > 1.5 * _NECK * MM)
        corner = model.mesh.faces[hits.face, 0]
        is_hair = model.mesh.parts[corner] != Part.SKIN
        moves = _hair_moves(hits.points) * is_hair[:, None, None]
        rim_weight = np.where(is_hair[on_rim], _HAIR_RIM, 1.0)
        corners, weights = model.mesh.faces[hits.face[inside]], hits.weights[inside]
        colours = np.einsum("kc,kcx->kx", weights, model.colours[corners])
        weight = np.einsum("kc,kc->k", weights, model.weight[corners])
        surface = hits.points[inside]
        shift = _light_shift(target, camera, surface, colours, weight)
        return cls(
            target,
            hits.points[on_rim],
            moves[on_rim],
            rim_weight / np.sqrt((rim_weight**2).sum()),
            surface,
            moves[inside],
            colours + shift,
            weight / np.sqrt(max(len(surface), 1)),
        )

    def residuals(self, values: Array) -> Array:
        """(k + m,) weighted residuals of rims and colours in a pose, with moved hair."""
        camera = posed_camera(values, _SIDE, CROP_FOCAL)
        hair = values[POSE:]
        uv, _ = camera.project(self.rim + np.einsum("kpx,p->kx", self.rim_moves, hair))
        off_rim = (_sampled(self.target.distance, uv)[:, 0] - 0.5) * _at(self.target.valid, uv)
        rims = np.clip(off_rim / _RIM_SCALE, -_MOST_OFF, _MOST_OFF) * self.rim_weight
        uv, _ = camera.project(self.surface + np.einsum("kpx,p->kx", self.surface_moves, hair))
        difference = _sampled(self.target.colours, uv) - self.colours
        distance = np.linalg.norm(difference, axis=1) * _at(self.target.valid, uv)
        tints = np.minimum(distance / _COLOUR_SCALE, 4) * self.weight
        return np.concatenate([rims, _COLOUR_WEIGHT * tints])


def _hair_moves(points: Array) -> Array:
    """(n, _HAIR_MOVES, 3) moves per millimetre: outwards everywhere, behind, and above."""
    outward = unit(points - np.array([0.0, 20.0, 0.0]) * MM)
    share = np.stack(
        [np.ones(len(points)), np.maximum(-outward[:, 2], 0), np.maximum(outward[:, 1], 0)], -1
    )
    return np.asarray(share[..., None] * outward[:, None] * MM)


def _minimised(residuals: Callable[[Array], Array], theta: Array) -> Array:
    """Pose with least squares of the residuals near ``theta``, by finite differences."""

    def jacobian(values: Array) -> Array:
        base = residuals(values)
        columns = []
        for index, step in enumerate(_STEPS):
            moved = values.copy()
            moved[index] += step
            columns.append((residuals(moved) - base) / step)
        return np.stack(columns, -1)

    return np.asarray(least_squares(residuals, theta, jacobian, x_scale=10 * _STEPS, max_nfev=8).x)


def _light_shift(
    target: _Target, camera: Camera, points: Array, colours: Array, weight: Array
) -> Array:
    """(3,) Lab shift of the photo's colours against the head's, limited."""
    if not len(points):
        return np.zeros(3)
    difference = _sampled(target.colours, camera.project(points)[0]) - colours
    shown = weight > 0.9 if (weight > 0.9).sum() > 40 else np.ones(len(weight), bool)
    limit = _OTHER_LIGHT * [_LIGHTNESS, 1, 1]
    return np.clip(np.median(difference[shown], axis=0), -limit, limit)


def _sampled(image: Array32, uv: Array) -> Array:
    """(n, c) values of an image at pixel positions (n, 2), bilinear."""
    x, y = (np.nan_to_num(uv, nan=-1e3) - 0.5).astype(np.float32).T
    return remap(image, x, y, cv2.INTER_LINEAR).astype(np.float64)


def _at(mask: Mask, uv: Array) -> Array:
    """(n,) 1 where positions (n, 2) lie in a mask."""
    return _sampled(mask.astype(np.float32), uv)[:, 0]
