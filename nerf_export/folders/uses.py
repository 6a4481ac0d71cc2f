"""The meanings that transparent pixels and black pixels of masks may have."""

from __future__ import annotations

from enum import Enum

DARK = 128
"""Value of alpha or of a mask, 0 to 255, below which a pixel is background or unknown."""


class Use(Enum):
    """Meaning of transparent pixels, or of black pixels of a mask."""

    NOTHING = "nothing"
    BACKGROUND = "background"
    UNKNOWN = "unknown"
