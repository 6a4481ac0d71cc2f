"""Photos of a person as references of the networks: which ones, in which order, as pictures.

Reference attention reads any number of pictures (DiffPortrait360, equation 5); the published
networks were trained with one, and with a front and a back view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.framing import reframe
from dp3d_core.pipelines.options import MOST_REFERENCES
from dp3d_core.portraits.matting import LEAST_CONFIDENCE
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.viewsets.viewset import over

if TYPE_CHECKING:
    from dp3d_core.preview.further.photos import PhotoUse

BACK_YAW_DEG = 120.0
"""Absolute yaw above which a photo shows the back of the head."""
_STRAIGHT_BEHIND = np.array([0.0, 0.0, -1.0])
"""Direction of the camera of a generated back view."""


@dataclass(frozen=True)
class ChosenPhotos:
    """References of a generation, and what became of all further photos."""

    references: tuple[int, ...]
    """Indices of the further photos that follow the portrait, a back view first."""
    shows_back: bool
    """Whether a photo takes the place of the generated back view."""
    uses: tuple[PhotoUse, ...]
    """All further photos; those that are no reference are left out."""


def choose_photos(camera: Camera, uses: Sequence[PhotoUse], *, back_view: bool) -> ChosenPhotos:
    """Choose at most :data:`~dp3d_core.pipelines.options.MOST_REFERENCES` references.

    The portrait comes first, then the back view: the photo from nearest to straight behind, or a
    generated one.  Each further reference is the photo whose direction differs most from those of
    the references before it.

    Args:
        camera: of the portrait.
        uses: further photos with fitted poses.
        back_view: whether a back view is generated where no photo shows it.

    """
    candidates = [index for index, use in enumerate(uses) if use.used]
    chosen: list[int] = []
    directions = [_direction(camera)]
    backs = [i for i in candidates if abs(uses[i].camera.yaw_pitch_deg[0]) > BACK_YAW_DEG]
    free = MOST_REFERENCES - 1
    if back_view:
        if backs:
            cosines = [_direction(uses[i].camera) @ _STRAIGHT_BEHIND for i in backs]
            chosen.append(backs[int(np.argmax(cosines))])
        directions.append(_direction(uses[chosen[0]].camera) if backs else _STRAIGHT_BEHIND)
        free -= 1
    rest = [i for i in candidates if i not in chosen]
    while rest and free:
        nearest = [max(_direction(uses[i].camera) @ other for other in directions) for i in rest]
        best = rest.pop(int(np.argmin(nearest)))
        chosen.append(best)
        directions.append(_direction(uses[best].camera))
        free -= 1
    generated = ", one of them the generated back view" if back_view and not backs else ""
    reason = (
        f"The engine takes {MOST_REFERENCES} pictures of a person{generated}, and the others "
        "differ more from each other."
    )
    return ChosenPhotos(
        references=tuple(chosen),
        shows_back=back_view and bool(backs),
        uses=tuple(
            replace(use, used=False, reason=reason) if index in rest else use
            for index, use in enumerate(uses)
        ),
    )


def reference_picture(photo: Portrait, seen_from: Camera) -> Pixels:
    """(h, w, 3) uint8 picture of a photo in the networks' framing.

    Args:
        photo: the photo.
        seen_from: camera of the networks' framing at the photo's position.

    """
    return reframe(photo.image, photo.camera, seen_from)


def on_background(photo: Portrait, background: tuple[int, int, int]) -> Portrait:
    """A further photo before the portrait's background, where its matte is certain.

    The networks would mix the backgrounds of different places into the views.
    """
    if photo.report.matte_confidence <= LEAST_CONFIDENCE:
        return photo
    return replace(photo, image=over(np.dstack([photo.image, photo.matte]), background))


def _direction(camera: Camera) -> np.ndarray:
    """(3,) unit vector from the head to a camera."""
    return np.asarray(camera.position / np.linalg.norm(camera.position))
