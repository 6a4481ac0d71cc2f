"""Sample photos of several kinds: a person, an animal, a painting, a hat, a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.portraits.photo_file import default_photo
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png


def sample_photos() -> dict[str, Callable[[], bytes]]:
    """Makers of sample photos, as PNG, by name.

    The first two are photographs in the public domain from scikit-image, the others are rendered.
    """
    return {
        "astronaut": lambda: default_photo().read_bytes(),
        "cat": lambda: _sample("cat"),
        "painting": _painting,
        "hat_and_glasses": _hat_and_glasses,
        "profile": lambda: encode_png(_subject(1008, 57.0)),
    }


def _sample(name: str) -> bytes:
    """PNG of a sample image of scikit-image."""
    from skimage import data

    return encode_png(getattr(data, name)())


def _subject(seed: int, yaw_deg: float, **accessories: str) -> Pixels:
    """(720, 720, 3) view of a random subject with other fields of its :class:`HeadSpec`."""
    subject = random_subject(seed)
    spec = dataclasses.replace(subject.spec, **accessories)  # type: ignore[arg-type]
    head = SyntheticHead(dataclasses.replace(subject, spec=spec))
    return head.render(canonical_camera(yaw_deg, 3.0, 720, focal=2.7)).rgb


def _hat_and_glasses() -> bytes:
    """A head with hat and glasses."""
    return encode_png(_subject(1021, 14.0, hat="brim", glasses="round", hair="bob"))


def _painting() -> bytes:
    """PNG of a subject as a painting: flat patches of colour with brush strokes."""
    picture = cv2.pyrMeanShiftFiltering(_subject(1005, -18.0), 9, 22)
    rng = np.random.default_rng(3)
    strokes = cv2.GaussianBlur(rng.normal(size=picture.shape[:2]), (0, 0), 6.0, sigmaY=0.8)
    strokes = strokes / strokes.std() * 6
    return encode_png(np.clip(picture + strokes[..., None], 0, 255).astype(np.uint8))
