"""Array types by element type, jaxtyping shapes for annotations, and ``smoothstep``.  numpy only.

    def vertex_normals(vertices: Float[Array, "n 3"], faces: Int[Indices32, "m 3"]) -> ...

A shape is jaxtyping's: an axis is a number or a name, and a name stands for one length within a
call.  A single name begins with a space, or linters take it for a forward reference.  Shapes are
checked in tests only (``tests/support/shape_checks.py``).  Elsewhere ``Float[Array, "n 3"]`` is
``Array`` and jaxtyping is not imported: its import takes as long as numpy's, and every command
imports cameras.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Shaped, UInt8
else:

    class Float:
        """``Float[Array, "n 3"]`` without jaxtyping: the array type alone."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            """The array type."""
            return item[0]

    Bool = Int = Shaped = UInt8 = Float

__all__ = [
    "Array", "Array32", "Bool", "Float", "Indices", "Indices32", "Int", "Labels", "Mask",
    "Parts", "Pixels", "Regions", "Shaped", "UInt8", "smoothstep",
]  # fmt: skip

Array = NDArray[np.float64]
"""Double precision: positions, directions, matrices and results computed from them."""
Array32 = NDArray[np.float32]
"""Single precision: textures, depth and distance maps, and their weights."""
Pixels = NDArray[np.uint8]
"""Colours or alpha of a picture, 0 to 255."""
Labels = NDArray[np.uint8]
"""Label of each vertex or pixel; the code that makes the array defines the numbers."""
Regions = NDArray[np.int8]
"""``BustRegion`` of each vertex, ray or pixel of a head; -1 for pixels beside the head."""
Parts = NDArray[np.int8]
"""``Part`` of a preview head that each pixel shows; -1 for pixels beside the head."""
Mask = NDArray[np.bool_]
"""One boolean for each vertex, pixel or ray."""
Indices = NDArray[np.int64]
"""Indices of vertices, triangles, rays or pixels."""
Indices32 = NDArray[np.int32]
"""Indices of vertices in files and meshes."""


def smoothstep(x: Array, low: float | Array, high: float | Array) -> Array:
    """Hermite step: 0 at ``low``, 1 at ``high``, clamped outside; ``low`` may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
