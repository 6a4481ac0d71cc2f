"""Projections as named arrays and JSON values, for the files of fitted heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras.camera import Camera
from dp3d_core.preview.photo.parsing import Parsing
from dp3d_core.preview.photo.projection import Projection

Arrays = dict[str, NDArray[Any]]
"""Arrays of a file by name."""
_OPTIONAL = {
    "oval": "oval",
    "skin_tone": "tone",
    "occlusion": "foreign",
    "landmarks": "landmarks",
}
"""Attributes that may be None, with their names in the file."""


def projection_to_arrays(projection: Projection) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and JSON values of a projection."""
    camera, parsing = projection.camera, projection.parsing
    values: dict[str, Any] = {
        "size": [camera.width, camera.height],
        "bearded": projection.bearded,
    }
    arrays: Arrays = {
        "c2w": camera.c2w,
        "K": camera.K,
        "colours": np.rint(projection.colours * 255).astype(np.uint8),
        "trusted": projection.confidence,
        "within": projection.hair_margin,
        "solid": projection.core,
        "depth": projection.depth,
    }
    for attribute, name in _OPTIONAL.items():
        if (value := getattr(projection, attribute)) is not None:
            arrays[name] = value
    if parsing is not None:
        values["scalp_hair"] = parsing.scalp_hair
        arrays |= {
            "chances": parsing.probabilities,
            "regions": parsing.region,
            "known": parsing.valid,
        }
    return arrays, values


def projection_of_arrays(
    arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]
) -> Projection:
    """Restore a projection; inverse of :func:`projection_to_arrays`."""
    parsing = None
    if "chances" in arrays:
        parsing = Parsing(
            arrays["chances"], arrays["regions"], arrays["known"], values["scalp_hair"]
        )
    return Projection(
        Camera(arrays["c2w"], arrays["K"], *values["size"]),
        np.asarray(arrays["colours"], np.float32) / np.float32(255),
        arrays["trusted"],
        arrays["within"],
        arrays["solid"],
        arrays["depth"],
        arrays.get("oval"),
        parsing,
        values["bearded"],
        arrays.get("tone"),
        arrays.get("foreign"),
        arrays.get("landmarks"),
    )
