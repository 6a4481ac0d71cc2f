"""Whether a further photo shows the person of the portrait.

Skin, hair, clothes and shape of the face are compared with what the portrait shows, after the light
that explains all colours best has been taken out.  Each measure is log-normal among photos of one
person and among photos of two people; the sum of the log likelihood ratios decides (naive Bayes).
Means and deviations were measured on 14 synthetic people, three photos of each and six of others;
those of the shape on 20.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.heads.bust import BustRegion
from dp3d_core.limits import PhotoSide
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.further.head_model import (
    CHIN,
    PHOTO_SIDE,
    SHELL_SURFACE,
    HeadModel,
    PhotoTarget,
)

_MOST = 2.0
"""Greatest log likelihood ratio of one measure."""
_STRANGER = 1.0
"""Sum of the log likelihood ratios above which a photo shows somebody else."""
_SURE = 3.0
"""Sum of the log likelihood ratios above which a photo whose side the user named shows somebody
else."""
_SAME_VIEW_DEG = 25.0
"""Angle between two photos beyond which their shapes differ by the view as well, degrees."""
_MOST_TURNED = 1.5
"""Greatest log likelihood ratio of the shape beyond that angle."""
_LEAST_COVERED = 0.2
"""Share of the head that the photo's mask covers, below which the mask is not believed."""
_LIGHT_DEVIATION = 8.0
"""Standard deviation of the shift of all colours between two photos of a person, Lab."""
_COLOUR_DEVIATION = 3.0
"""Standard deviation of the shift of one surface's colour, Lab."""
_MIN_PIXELS = 40
"""Least number of pixels of a surface whose colour is compared."""


@dataclass(frozen=True)
class _Measure:
    """Log-normal distributions of one measure.

    Attributes:
        least: floor before the logarithm.
        same: mean and standard deviation of the logarithm, photos of one person.
        other: mean and standard deviation of the logarithm, photos of two people.
        what: what differs, in sentences.

    """

    least: float
    same: tuple[float, float]
    other: tuple[float, float]
    what: str

    def log_ratio(self, value: float) -> float:
        """Log likelihood ratio of two people to one, within ``_MOST``."""
        log = float(np.log(max(value, self.least)))
        same, other = ((log - mean) / deviation for mean, deviation in (self.same, self.other))
        ratio = (same**2 - other**2) / 2 + np.log(self.same[1] / self.other[1])
        return float(np.clip(ratio, -_MOST, _MOST))


_MEASURES = {
    "pattern": _Measure(0.3, (0.93, 0.89), (1.83, 1.12), "the colours of the head"),
    "skin": _Measure(0.3, (0.98, 1.13), (1.36, 1.09), "the skin"),
    "hair": _Measure(0.3, (0.97, 0.88), (2.58, 1.04), "the hair"),
    "clothes": _Measure(0.3, (1.22, 1.25), (3.11, 0.89), "the clothes"),
    "light": _Measure(0.3, (1.57, 0.68), (2.17, 0.65), "all colours"),
    "shape": _Measure(0.1, (-0.65, 0.25), (-0.05, 0.25), "the shape of the face"),
}
"""Measures of :func:`differences`: Lab distances with reduced lightness, and ``shape_distance``."""


def stranger_reason(
    differences: dict[str, float], by_hand: bool, side: PhotoSide, apart_deg: float
) -> str:
    """Sentence on why a photo does not show the person; empty if it may.

    Args:
        differences: of :func:`differences`.
        by_hand: whether the user named the side that the photo shows: then evidence must be
            stronger.
        side: side that the photo shows.
        apart_deg: angle between the cameras of photo and portrait, degrees.

    """
    ratios = _log_ratios(differences, apart_deg)
    if sum(ratios.values()) <= (_SURE if by_hand else _STRANGER):
        return ""
    reason = f"It seems to show somebody else, by {_differing(ratios)}."
    if by_hand:
        return reason
    return f"{reason} If it is the same person, name the side that it shows: {side}."


def stranger_note(differences: dict[str, float], apart_deg: float) -> str:
    """Sentence on a used photo that may show somebody else; empty for a photo without doubt.

    Two photos of one real person may differ as much as those of two (1.5 against 1.8 on the first
    pairs seen), so a photo whose side is named is used between ``_STRANGER`` and ``_SURE``.
    Arguments are those of :func:`stranger_reason`.
    """
    ratios = _log_ratios(differences, apart_deg)
    if sum(ratios.values()) <= _STRANGER:
        return ""
    return (
        f"It may show somebody else, by {_differing(ratios)}; it is used because its side is "
        "named. Leave it out if it shows another person."
    )


def _log_ratios(differences: dict[str, float], apart_deg: float) -> dict[str, float]:
    """Log likelihood ratio of each measure, see :func:`stranger_reason`."""
    ratios = {name: _MEASURES[name].log_ratio(value) for name, value in differences.items()}
    if "shape" in ratios and apart_deg > _SAME_VIEW_DEG:
        ratios["shape"] = float(np.clip(ratios["shape"], -_MOST_TURNED, _MOST_TURNED))
    return ratios


def _differing(ratios: dict[str, float]) -> str:
    """The one or two measures that differ most, in words."""
    order = sorted(ratios, key=lambda name: -ratios[name])
    return " and ".join(_MEASURES[name].what for name in order[:2] if ratios[name] > 0)


def differences(
    model: HeadModel, photo: Portrait, shape_distance: float | None
) -> dict[str, float]:
    """Measures of how a photo differs from the head of the others.

    Args:
        model: the head with the colours of the portrait.
        photo: the photo with its pose.
        shape_distance: difference of the shapes of two faces; None if one is not known.

    """
    target = PhotoTarget.of(photo.image, (photo.matte > 127) & photo.inside, photo.inside)
    camera = photo.camera.resized(PHOTO_SIDE, PHOTO_SIDE)
    hits = model.caster.seen(camera)
    corners = model.mesh.faces[hits.face]
    expected = np.einsum("kc,kcx->kx", hits.weights, model.colours[corners])
    seen = target.colours.reshape(-1, 3)[hits.ray].astype(np.float64)
    on_person = target.mask.ravel()[hits.ray]
    if on_person.mean() < _LEAST_COVERED:  # the segmenter missed the head, the fit did not
        on_person = target.valid.ravel()[hits.ray]
    above = hits.points[:, 1] > CHIN
    surface = model.surface[corners[:, 0]]
    is_hair = (surface >= SHELL_SURFACE + 1) | (surface == BustRegion.SCALP)
    groups = {
        "skin": ~is_hair & (surface != BustRegion.TORSO) & above,
        "hair": is_hair & above,
        "clothes": surface == BustRegion.TORSO,
    }
    shifts: dict[str, Array] = {}
    for name, group in groups.items():
        shown = group & on_person
        if shown.sum() > _MIN_PIXELS:
            shifts[name] = np.median(seen[shown], axis=0) - np.median(expected[shown], axis=0)
    if not shifts:
        return {}
    light = _light(np.array(list(shifts.values())))
    measured = {name: float(np.linalg.norm(shift - light)) for name, shift in shifts.items()}
    measured["light"] = float(np.linalg.norm(light))
    head = on_person & above
    if head.sum() > _MIN_PIXELS:
        residual = seen[head] - expected[head]
        off = np.linalg.norm(residual - np.median(residual, axis=0), axis=1)
        measured["pattern"] = float(np.median(off))
    if shape_distance is not None:
        measured["shape"] = shape_distance
    return measured


def _light(shifts: Array) -> Array:
    """(3,) shift of light that explains the shifts (k, 3) of k surfaces best.

    Maximum a posteriori under a normal prior, with Huber's weights: clothes may be changed.
    """
    light = np.zeros(3)
    for _ in range(20):
        off = np.linalg.norm(shifts - light, axis=1)
        weights = 1 / (_COLOUR_DEVIATION * np.maximum(off, 2.0))
        light = (weights[:, None] * shifts).sum(0) / (weights.sum() + 1 / _LIGHT_DEVIATION**2)
    return light
