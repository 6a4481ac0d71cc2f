"""An example take of ours, set key by key: a blink, expressions, vowels, the tongue, glances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.rigged.rig import arkit_names
from dp3d_core.rigged.take import Take

RATE = 60
"""Moments per second."""

_Marks = tuple[tuple[float, float], ...]
"""Times in seconds and values there."""
_SIDES = ("Left", "Right")
_SMILE: _Marks = ((0.9, 0), (1.3, 1), (2.0, 1), (2.4, 0), (9.0, 0), (9.4, 0.7))
_SURPRISE: _Marks = ((2.4, 0), (2.75, 1), (3.3, 1), (3.6, 0))
_FROWN: _Marks = ((3.6, 0), (3.9, 1), (4.4, 1), (4.7, 0))
_BLINK: _Marks = (
    *((0.4, 0), (0.5, 1), (0.56, 1), (0.7, 0), (3.5, 0), (3.6, 1), (3.66, 1), (3.8, 0)),
    *((8.1, 0), (8.2, 1), (8.26, 1), (8.4, 0)),
)
_VOWELS_START, _VOWEL_SECONDS = 4.7, 0.36
"""Time of the first vowel and duration of each, seconds."""
_VOWELS: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.6, "mouthLowerDown": 0.15},
    {"jawOpen": 0.25, "mouthStretch": 0.4, "mouthSmile": 0.25, "mouthLowerDown": 0.3},
    {"jawOpen": 0.1, "mouthSmile": 0.5, "mouthUpperUp": 0.3, "mouthLowerDown": 0.45},
    {"jawOpen": 0.35, "mouthFunnel": 0.75},
    {"jawOpen": 0.1, "mouthPucker": 0.85, "mouthFunnel": 0.3},
)
"""Weights at a, e, i, o, u; a name without a side stands for both."""
_TRACKS: Mapping[str, tuple[tuple[float, _Marks], ...]] = {
    "eyeBlink": ((1.0, _BLINK),),
    "mouthSmile": ((0.75, _SMILE),),
    "cheekSquint": ((0.4, _SMILE),),
    "eyeSquint": ((0.25, _SMILE), (0.3, _FROWN)),
    "browInnerUp": ((0.9, _SURPRISE),),
    "browOuterUp": ((0.8, _SURPRISE),),
    "eyeWide": ((0.6, _SURPRISE),),
    "jawOpen": ((0.22, _SURPRISE), (0.6, ((6.6, 0), (6.85, 1), (7.3, 1), (7.5, 0)))),
    "browDown": ((0.9, _FROWN),),
    "noseSneer": ((0.5, _FROWN),),
    "mouthFrown": ((0.5, _FROWN),),
    "tongueOut": ((1.0, ((6.75, 0), (6.95, 1), (7.2, 1), (7.4, 0))),),
    "eyeLookOutLeft": ((0.6, ((7.5, 0), (7.65, 1), (7.95, 1), (8.1, 0))),),
    "eyeLookInRight": ((0.6, ((7.5, 0), (7.65, 1), (7.95, 1), (8.1, 0))),),
    "eyeLookInLeft": ((0.6, ((8.1, 0), (8.3, 1), (8.6, 1), (8.9, 0))),),
    "eyeLookOutRight": ((0.6, ((8.1, 0), (8.3, 1), (8.6, 1), (8.9, 0))),),
}
"""Blend shapes to weights and the marks by which they come and go."""
_ANGLES_DEG: tuple[_Marks, ...] = (
    ((0.7, 0), (1.6, 14), (2.4, 6), (3.6, 0), (7.6, 0), (8.1, 16), (8.7, -18), (9.3, 0)),
    ((2.3, 0), (2.8, -6), (3.6, 0), (4.1, 7), (4.7, 0), (8.1, 0), (8.4, 4), (8.8, 0)),
    ((0.9, 0), (1.6, 5), (2.4, 0), (6.6, 0), (7.0, -5), (7.5, 0)),
)
"""Yaw, pitch and roll of the head, degrees."""
_SECONDS = 9.8
"""Duration, seconds; the last moment is like the first but for a smile."""


def example_take() -> Take:
    """The example: 9.8 seconds at :data:`RATE` moments per second."""
    times = np.arange(round(_SECONDS * RATE) + 1) / RATE
    weights = {name: np.zeros(len(times)) for name in arkit_names()}
    for name, shares in _TRACKS.items():
        for share, marks in shares:
            _add(weights, name, share * _eased(times, marks))
    for number, vowel in enumerate(_VOWELS):
        start = _VOWELS_START + number * _VOWEL_SECONDS
        # neighbours overlap, as in speech
        marks = ((start - 0.08, 0.0), (start + 0.1, 1.0), (start + 0.24, 1.0), (start + 0.42, 0.0))
        for name, weight in vowel.items():
            _add(weights, name, weight * _eased(times, marks))
    every = np.clip(np.stack(list(weights.values()), -1), 0, 1)
    angles = np.radians(np.stack([_eased(times, marks) for marks in _ANGLES_DEG], -1))
    return Take(times, every, angles)


def _add(weights: Mapping[str, Array], name: str, values: Array) -> None:
    """Add weights (n,) to a blend shape, or to those of both sides."""
    for full in (name,) if name in weights else tuple(name + side for side in _SIDES):
        weights[full] += values


def _eased(times: Array, marks: _Marks) -> Array:
    """(n,) values at times, with level curves at the marks."""
    at, values = np.array(marks).T
    after = np.clip(np.searchsorted(at, times, "right"), 1, len(at) - 1)
    along = np.clip((times - at[after - 1]) / (at[after] - at[after - 1]), 0, 1)
    eased = along * along * (3 - 2 * along)
    return np.asarray(values[after - 1] + (values[after] - values[after - 1]) * eased)
