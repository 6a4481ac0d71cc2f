"""Photos of synthetic people with their true poses and mattes."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Labels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.portraits.crop import CROP_SIZE
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.photo.parsing import PARSING_SIDE
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png

_SIDE = 560
"""Side of the photos, pixels."""


@lru_cache
def person_with(hair: str | None, seed: int = 11) -> SyntheticHead:
    """A synthetic person with that hair, None for a bald one, without hat, beard and glasses."""
    subject = random_subject(seed)
    spec = dataclasses.replace(subject.spec, hair=hair, hat=None, beard=0.0, glasses=None)
    return SyntheticHead(dataclasses.replace(subject, spec=spec))


def posed_photo(head: SyntheticHead, yaw: float, gain: Array) -> tuple[Portrait, Labels]:
    """A photo from a yaw, degrees, with its true pose and matte, and labels of its parsed pixels.

    Args:
        head: the person.
        yaw: yaw of the camera, degrees.
        gain: (3,) factors on red, green and blue.

    """
    true = canonical_camera(yaw, 2, _SIDE, focal=2.8)
    view = head.render(true)
    photo = load_portrait(encode_png(np.clip(view.rgb * gain, 0, 255).astype(np.uint8)))
    crop, scale = photo.report.crop, CROP_SIZE / photo.report.crop.side
    lens = true.K.copy()
    lens[:2] *= scale
    lens[:2, 2] -= np.array([crop.x, crop.y]) * scale
    pixels = np.stack(np.meshgrid(*2 * [np.arange(CROP_SIZE) + 0.5]), -1)
    u, v = np.clip(crop.to_photo(pixels).astype(int), 0, _SIDE - 1).transpose(2, 0, 1)
    matte = np.where(photo.inside, view.rgba[v, u, 3], 0).astype(np.uint8)
    camera = Camera(true.c2w, lens, CROP_SIZE, CROP_SIZE)
    step = CROP_SIZE // PARSING_SIDE
    labels = view.labels[v, u][step // 2 :: step, step // 2 :: step]
    report = dataclasses.replace(photo.report, matte_source="segmenter")
    return dataclasses.replace(photo, camera=camera, matte=matte, report=report), labels


def portrait_of(head: SyntheticHead) -> Portrait:
    """A portrait of a person from nearly in front, with the pose that the loader finds."""
    camera = canonical_camera(4, 2, _SIDE, focal=2.8)
    return load_portrait(encode_png(head.render(camera).rgb))
