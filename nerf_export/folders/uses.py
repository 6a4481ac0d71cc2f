"""What transparent or black may mean."""

from __future__ import annotations

from enum import Enum

DARK = 128
"""Alpha, and brightness of a mask, 8 bit, below which a pixel is background or unknown."""


class Use(Enum):
    """What something black means."""

    NOTHING = "nothing"
    BACKGROUND = "background"
    UNKNOWN = "unknown"
