"""Kinds of surface of a head: ``parts`` of its mesh."""

from __future__ import annotations

from enum import IntEnum


class Part(IntEnum):
    """Kind of surface; each is completed from its own visible texels."""

    SKIN = 0
    """Skin and eyes of the bare head."""
    HAIR = 1
    """Hair, and headwear that was not detected as such."""
    BODY = 2
    """Clothes."""
    HAT = 3
    """Headwear."""
