"""Photos of many kinds to look at: people, an animal, a painting, a hat, a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.portraits.photo_file import default_photo
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.trajectories import canonical_camera
from dp3d_core.viewset import encode_png

Pixels = NDArray[np.uint8]


def kinds() -> dict[str, Callable[[], bytes]]:
    """Names and what makes the PNG of each; nothing is made before it is asked for.

    The first two are photographs in the public domain that scikit-image carries.
    """
    return {
        "astronaut": lambda: default_photo().read_bytes(),
        "cat": lambda: _sample("cat"),
        "painting": _painting,
        "hat_and_glasses": _hat_and_glasses,
        "profile": lambda: encode_png(_subject(1008, 57.0)),
    }


def _sample(name: str) -> bytes:
    from skimage import data

    return encode_png(getattr(data, name)())


def _subject(seed: int, yaw_deg: float, **wear: str) -> Pixels:
    subject = random_subject(seed)
    spec = dataclasses.replace(subject.spec, **wear)  # type: ignore[arg-type]
    head = SyntheticHead(dataclasses.replace(subject, spec=spec))
    return head.render(canonical_camera(yaw_deg, 3.0, 720, focal=2.7)).rgb


def _hat_and_glasses() -> bytes:
    return encode_png(_subject(1021, 14.0, hat="brim", glasses="round", hair="bob"))


def _painting() -> bytes:
    """Flat patches of colour with the furrows of a brush."""
    picture = cv2.pyrMeanShiftFiltering(_subject(1005, -18.0), 9, 22)
    rng = np.random.default_rng(3)
    furrows = cv2.GaussianBlur(rng.normal(size=picture.shape[:2]), (0, 0), 6.0, sigmaY=0.8)
    furrows = furrows / furrows.std() * 6
    return encode_png(np.clip(picture + furrows[..., None], 0, 255).astype(np.uint8))
