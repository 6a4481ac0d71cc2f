"""Teeth that a photo shows between the lips: how low they reach, and their colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, percentile_filter

from dp3d_core.arrays import Array, Array32, Pixels, smoothstep
from dp3d_core.heads.space import MM
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.preview.texture.panorama import remap
from dp3d_core.preview.texture.tones import lab
from dp3d_core.rigged.lips import LEAST_SMILE_MM, inner_lips, lip_rims, pixels_per_mm, shows_lips
from dp3d_core.rigged.topology import rest_mm

_BRIGHT = (34.0, 20.0)
"""Lightness below that of the brightest teeth between which a pixel is a tooth, Lab."""
_IN_SHADE = (0.3, 0.5)
"""Places along the row between which teeth may lie in the dark of the mouth's corners."""
_BRIGHTEST = 0.85
"""Quantile of lightness among the pale pixels between the lips, of the brightest teeth."""
_NEAR_BRIGHTEST = 12.0
"""Lightness below that of the brightest teeth down to which their colour is measured, Lab."""
_MORE_COLOURFUL = 5.0
"""Chroma above the skin's from which bright pixels are no teeth, Lab."""
_LEAST_PALE = 0.15
"""Share of pixels between the lips that are not red from which they may be teeth."""
_DARKER_THAN_SKIN = 18.0
"""Lightness below the skin's from which the brightest pixels are no teeth, Lab."""
_REDDER = (10.0, 4.0)
"""Redness above the skin's between which a pixel is a tooth rather than tongue or gums, Lab."""
_AROUND = 41
"""Side of the surroundings of the mouth in which skin and lips are sampled, pixels."""
_COLUMNS = 41
"""Columns at which the edges of the lips are looked for."""
_ROWS = 49
"""Rows between the landmarks of the lips at which their edges are looked for."""
_LIP_REDDER = 3.0
"""Redness above the skin's from which a pixel is lip or gum rather than tooth, Lab."""
_DARK = 0.5
"""Lightness relative to the skin's below which a pixel is the dark of the mouth."""
_LEAST_PIXELS = 60
"""Pixels between the lips from which the light on what lies there is measured."""
_LEAST_LIGHT = 0.3
"""Least light on teeth in a dark mouth."""
_MIDDLE = (0.3, 0.7)
"""Part of the mouth's width in which the lower edge of the teeth is looked for."""
_ABOVE_LIP = 2.0
"""Height above the lower lip at which its teeth are looked for, pixels."""
_REACHING = 0.6
"""Least share of columns in which teeth reach the lower lip."""
_BEHIND_LIP_MM = 0.7
"""Length of teeth behind the lower lip that they reach, millimetres."""
_MOST_DROP_MM = 3.5
"""Greatest move of the upper teeth, millimetres."""


@dataclass(frozen=True, eq=False)
class Smile:
    """Teeth between the lips of a photo.

    Attributes:
        photo: the photo.
        edges: (2, k, 2) inner edges of the upper and of the lower lip, pixels, columns ascending:
            landmarks where the photo shows neither teeth nor the dark of the mouth.
        inside: (h, w) 1 between them, 0 elsewhere.
        brightest: lightness of the brightest teeth, Lab.
        skin: (3,) Lab of the skin.

    """

    photo: Projection
    edges: Array
    inside: Pixels
    brightest: float
    skin: Array

    @classmethod
    def of(cls, photo: Projection) -> Smile | None:
        """The smile of a photo; None if it shows no teeth, a turned head, or has no landmarks."""
        if photo.landmarks is None or photo.skin_tone is None or not shows_lips(photo.camera):
            return None
        landmarks = inner_lips(photo.landmarks)
        inside = _between(landmarks, photo.colours.shape[:2])
        middle = landmarks[:, 3:8].reshape(-1, 2).mean(0)
        height, width = inside.shape
        if not ((middle >= 0) & (middle < [width, height])).all() or not inside.any():
            return None
        opening = (landmarks[1, :, 1] - landmarks[0, :, 1]).max()
        if opening < LEAST_SMILE_MM * pixels_per_mm(photo.camera, _mean_mouth()):
            return None
        around = cv2.dilate(inside, np.ones((_AROUND, _AROUND), np.uint8)) > 0
        skin = np.median(lab(photo.colours[around & (inside == 0)]), axis=0)
        brightest = _brightest_teeth(lab(photo.colours[inside > 0]), skin)
        if brightest is None:
            return None
        edges = _refined(landmarks, photo.colours, brightest, skin)
        return cls(photo, edges, _between(edges, inside.shape), brightest, skin)

    def drop(self, upper: Array) -> float:
        """How much lower the upper teeth (n, 3) reach in the photo, head units."""
        pixels, depth = self.photo.camera.project(upper)
        low, high = self.edges[..., 0].min(), self.edges[..., 0].max()
        columns = low + (high - low) * np.linspace(*_MIDDLE, 9)
        lip = np.interp(columns, *self.edges[1].T)
        at = lab(sampled(self.photo.colours, columns, lip - _ABOVE_LIP))
        if (self.likeness(at) > 0.5).mean() < _REACHING:
            return 0.0
        near = np.abs(pixels[:, 0] - columns[:, None]) < columns[1] - columns[0]
        shown = near.any(1)
        if not shown.any():  # landmarks that miss the mouth
            return 0.0
        ends = np.where(near, pixels[:, 1], -np.inf).max(1)[shown]
        per_pixel = float(np.median(depth)) / self.photo.camera.K[1, 1]
        missing = float(np.median(lip[shown] - ends)) * per_pixel
        most = _MOST_DROP_MM * MM
        return float(np.clip(missing + _BEHIND_LIP_MM * MM, 0, most))

    def likeness(self, colours: Array, along: Array | float = 0.0) -> Array:
        """(n,) 0 to 1: whether colours (n, 3), Lab, are teeth at places (n,) along the row."""
        bright = smoothstep(colours[:, 0], *(self.brightest - np.array(_BRIGHT)))
        bright = np.maximum(bright, smoothstep(np.abs(along), *_IN_SHADE))
        pale = smoothstep(colours[:, 1], *(self.skin[1] + np.array(_REDDER)))
        dark = smoothstep(colours[:, 0], self.skin[0] * _DARK * 1.2, self.skin[0] * _DARK)
        return np.asarray(bright * np.maximum(pale, dark))


def light_in_mouth(photo: Projection) -> float:
    """Light on teeth between parted lips of a photo that shows none clearly, 0 to 1.

    Relative to teeth that a photo shows; 1 without landmarks or with closed lips.
    """
    if photo.landmarks is None:
        return 1.0
    edges = inner_lips(photo.landmarks)
    inside = _between(edges, photo.colours.shape[:2])
    if inside.sum() < _LEAST_PIXELS:
        return 1.0
    around = cv2.dilate(inside, np.ones((_AROUND, _AROUND), np.uint8)) > 0
    skin = float(np.median(photo.colours[around & (inside == 0)]))
    own = float(np.quantile(photo.colours[inside > 0].mean(-1), _BRIGHTEST))
    return float(np.clip(own / max(skin, 0.05), _LEAST_LIGHT, 1))


def _mean_mouth() -> Array:
    """(3,) middle of the lips of the average head, head units."""
    return np.asarray(rest_mm("skin")[np.concatenate(lip_rims())].mean(0) * MM)


def _brightest_teeth(pixels: Array, skin: Array) -> float | None:
    """Lightness of the brightest teeth among pixels (n, 3) between lips, Lab; None if none are.

    Teeth are pale and less colourful than the skin (3,) around: gloss on a lip is not.
    """
    pale = pixels[pixels[:, 1] < skin[1] + _LIP_REDDER]
    if len(pale) < _LEAST_PALE * len(pixels):
        return None
    brightest = float(np.quantile(pale[:, 0], _BRIGHTEST))
    colours = pale[pale[:, 0] > brightest - _NEAR_BRIGHTEST, 1:]
    colourful = np.hypot(*np.median(colours, axis=0)) - np.hypot(*skin[1:])
    dark = brightest < skin[0] - _DARKER_THAN_SKIN
    return None if dark or colourful > _MORE_COLOURFUL else brightest


def _between(edges: Array, shape: tuple[int, ...]) -> Pixels:
    """(h, w) 1 between the inner edges of the lips (2, k, 2), 0 elsewhere."""
    outline = np.concatenate([edges[0], edges[1][::-1]])
    inside = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(outline).astype(np.int32)], 1)
    return inside


def _refined(landmarks: Array, image: Array32, brightest: float, skin: Array) -> Array:
    """(2, k, 2) edges of the lips, from landmarks (2, 11, 2) and the colours between them.

    Landmarks of smiling lips lie on the lips, some pixels beside their edges.
    """
    columns = np.linspace(landmarks[:, 0, 0].mean(), landmarks[:, -1, 0].mean(), _COLUMNS)
    upper, lower = (np.interp(columns, *edge.T) for edge in landmarks)
    share = np.linspace(0, 1, _ROWS)[:, None]
    rows = upper + (lower - upper) * share
    at = sampled(image, np.broadcast_to(columns, rows.shape).ravel() - 0.5, rows.ravel() - 0.5)
    colours = lab(at).reshape(*rows.shape, 3)
    tooth = colours[..., 0] > brightest - _BRIGHT[0]
    tooth &= colours[..., 1] < skin[1] + _LIP_REDDER
    mouth = tooth | (colours[..., 0] < skin[0] * _DARK)
    opened = mouth.any(0)
    first = np.where(opened, mouth.argmax(0), 0) / (_ROWS - 1)
    last = np.where(opened, 1 - mouth[::-1].argmax(0) / (_ROWS - 1), 1.0)
    # gums reach down between teeth, and one column may show a highlight
    first, last = (
        gaussian_filter1d(percentile_filter(of, quantile, 7), 1.5)
        for of, quantile in ((first, 25), (last, 75))
    )
    height = np.stack([upper + (lower - upper) * first, upper + (lower - upper) * last])
    return np.stack([np.broadcast_to(columns, height.shape), height], -1)


def sampled(image: Array32, x: Array, y: Array) -> Array:
    """(n, c) bilinear samples of an image at columns and rows (n,)."""
    return remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
