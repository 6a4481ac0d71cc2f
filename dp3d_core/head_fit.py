"""The human head fitted to face landmarks: pose and shape by the learned map, then the points.

The map (``heads.landmark_map``) says what pose and shape the landmarks stand for; what the user
gave by hand is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp3d_core.alignment import Alignment, Known, posed_camera
from dp3d_core.cameras import CANONICAL_RADIUS
from dp3d_core.heads.landmark_map import POSE, landmark_map, pose_of

Array = NDArray[np.float64]

_SHRINK = 0.85
"""Shape components are predicted with less spread than people have; and what a photo's
expression adds is no shape: they are taken a little smaller still."""
_MOST = 2.5
"""Standard deviations to which a component is limited."""
_STRANGE = 0.05
"""Root mean square of normalised landmarks that the map's components do not explain, for one
point of the score."""


def fit_head(
    points: Array, depth: Array, side: int, focal: float, known: Known | None = None
) -> Alignment:
    """Pose and shape of the head whose landmarks were seen in a square picture.

    Args:
        points: (468, 2) pixels.
        depth: (468,) pixels, about the face's middle.
        side: of the picture, pixels.
        focal: of its lens, image widths.
        known: what is kept (the turn, the place in the picture).

    Returns:
        The alignment; ``shape`` holds components of ``heads.people.prior``, ``c00`` and so on,
        in standard deviations.

    """
    known = known or Known()
    frame, outputs = landmark_map()(points, depth)
    angles, scale, origin = pose_of(frame, outputs)
    theta = np.zeros(POSE)
    theta[:3] = known.turn.onto(angles)
    if not known.place:
        theta[3] = np.log(scale * CANONICAL_RADIUS / (focal * side))
        theta[4:] = origin / side - 0.5
    components = np.clip(outputs[POSE:] * _SHRINK, -_MOST, _MOST)
    shape = {f"c{i:02d}": round(float(v), 4) for i, v in enumerate(components)}
    return Alignment(posed_camera(theta, side, focal), shape, _score(points, depth))


def components_of(shape: dict[str, float]) -> Array:
    """(c,) components of an alignment's shape; none for a head of which nothing is known."""
    names = sorted(name for name in shape if name.startswith("c"))
    return np.array([shape[name] for name in names], float)


def _score(points: Array, depth: Array) -> float:
    """4 for landmarks like those of faces, less for strange ones."""
    from dp3d_core.heads.landmark_map import Frame

    learned = landmark_map()
    apart = Frame.of(points).normalised(points, depth) - learned.mean
    scores = apart @ learned.components.T
    length = 1 / np.einsum("kf,kf->k", learned.components, learned.components)
    left = apart - (scores * length) @ learned.components
    return 4.0 - float(np.sqrt((left**2).mean())) / _STRANGE
