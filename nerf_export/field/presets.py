"""Sizes and lengths of a fit.  Distances are in cells or ratios, so any head size fits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FIT_STEPS

AGREEING_ERROR = 0.001
"""Mean squared training error, colours in [0, 1], up to which views count as consistent: 30 dB."""
REFERENCE_CORNERS = 160
"""Corners along the longest side of the grid for which lengths in cells, and weights that depend
on the cell size, are given."""

_JSON_KEYS = {
    "softness_start": "width_start",
    "softness_end": "width_end",
    "gradient_smoothing_until": "spread_until",
}
"""Keys in ``fit.json`` and ``job.json`` of the preset's fields whose names differ from their keys.
"""
_NOT_OF_THE_MODEL = ("name", "image_size", "grid", "steps", "rays")
"""Preset's fields for dataset, hull and trainer; all others are settings of the model."""


@dataclass(frozen=True)
class Preset:
    """Grid sizes, ray counts, steps and loss weights of a fit."""

    name: str
    image_size: int
    """Longer side of the training pictures, pixels; smaller frames stay as they are."""
    grid: int
    """Corners of the distance grid along the longest axis of the box."""
    colour_levels: tuple[tuple[float, int], ...]
    """(part of ``grid``, channels) of each level of the colour grid."""
    hidden: int
    """Width of the colour network."""
    steps: int
    rays: int
    """Rays in a step."""
    coarse_samples: int
    """Samples along a ray that look for the surface (no gradient)."""
    fine_samples: int
    """Samples placed where the coarse ones found density."""
    softness_start: float = 0.3
    """Softness of the surface at the first step, cells."""
    softness_end: float = 0.15
    """Softness of the surface at the last step, cells.  Thin parts of a softer surface are
    transparent, and the fit thickens them: brims of hats grow."""
    gradient_smoothing_until: float = 0.9
    """Part of the steps up to which gradients of the distance grid are smoothed."""
    gloss: int = 16
    """Width of the network for view-dependent colour; 0 for none."""
    gloss_weight: float = 2e-5
    """Weight of the penalty on view-dependent colour."""
    gains_weight: float = 0.05
    """Weight of the penalty on the views' exposures."""
    mask_weight: float = 0.1
    """Weight of the silhouette loss."""
    eikonal_weight: float = 0.003
    """Weight of the eikonal loss, which keeps gradients of the distance at length 1."""
    curvature_weight: float = 0.004
    """Weight of the curvature loss at the last step."""
    contrast_weight: float = 0.0125
    """Weight of the loss on the pictures' local contrast."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the keys of ``fit.json``."""
        return {json_key(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preset:
        """From JSON."""
        keys = {field.name: json_key(field.name) for field in fields(cls)}
        values = {name: data[key] for name, key in keys.items() if key in data}
        levels = tuple((float(part), int(channels)) for part, channels in data["colour_levels"])
        return cls(**{**values, "colour_levels": levels})

    def model_settings(self) -> dict[str, Any]:
        """Settings of the model, by their names in ``HeadModelConfig``."""
        return {k: v for k, v in vars(self).items() if k not in _NOT_OF_THE_MODEL}


def json_key(name: str) -> str:
    """Key in ``fit.json`` of a preset's field."""
    return _JSON_KEYS.get(name, name)


PRESETS = {
    "tiny": Preset(
        name="tiny",
        image_size=64,
        grid=40,
        colour_levels=((0.5, 4), (1.0, 4)),
        hidden=16,
        steps=120,
        rays=1024,
        coarse_samples=40,
        fine_samples=16,
    ),
    "draft": Preset(
        name="draft",
        image_size=256,
        grid=160,
        colour_levels=((0.2, 8), (0.4, 8), (0.8, 4)),
        hidden=32,
        steps=2000,
        rays=1024,
        coarse_samples=64,
        fine_samples=20,
    ),
    "standard": Preset(
        name="standard",
        image_size=512,
        grid=192,
        colour_levels=((0.17, 8), (0.34, 8), (0.67, 8), (1.0, 4)),
        hidden=64,
        steps=5000,
        rays=2048,
        coarse_samples=96,
        fine_samples=32,
    ),
    "high": Preset(
        name="high",
        image_size=1024,
        grid=256,
        colour_levels=((0.125, 8), (0.25, 8), (0.5, 8), (1.0, 4)),
        hidden=64,
        steps=20000,
        rays=4096,
        coarse_samples=128,
        fine_samples=32,
    ),
}


def get_preset(name: str, steps: int | None = None) -> Preset:
    """The preset of a name, with ``steps`` in place of its number of steps.

    Raises:
        Dp3dError: ``fit.bad_option``.

    """
    if name not in PRESETS:
        raise Dp3dError(
            "fit.bad_option",
            f"There is no fit preset called {name!r}.",
            f"Choose one of: {', '.join(PRESETS)}.",
        )
    if steps is None:
        return PRESETS[name]
    if not FIT_STEPS.holds(steps):
        raise Dp3dError(
            "fit.bad_option",
            f"A fit cannot have {steps} steps.",
            f"Give a number from {FIT_STEPS}.",
        )
    return replace(PRESETS[name], steps=steps)
