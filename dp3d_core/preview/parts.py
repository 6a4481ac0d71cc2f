"""Kinds of surface of a head that shows a photo."""

from __future__ import annotations

from enum import IntEnum


class Part(IntEnum):
    """Kinds of surface whose unseen sides are continued each from its own."""

    SKIN = 0
    HAIR = 1
    """Hair, and headwear that nobody named."""
    BODY = 2
    """Clothes."""
    HAT = 3
    """Headwear."""
