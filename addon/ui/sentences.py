# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws sentences in a panel with line breaks, since Blender's labels do not wrap."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

_LETTER = 7.2
"""Width of a letter, pixels at a user interface scale of 1."""
_BESIDE = 4
"""Letters that icon and margins take."""
_LEAST = 16
_NO_REGION = 400.0


def letters(context: bpy.types.Context, width: float | None = None) -> int:
    """Letters of a line beside an icon.

    Args:
        context: of the drawing.
        width: of the layout, pixels at a user interface scale of 1; None for the region's.

    """
    if width is None:
        region = context.region
        scale = max(0.1, context.preferences.system.ui_scale)
        width = (region.width if region is not None else _NO_REGION) / scale
    return max(_LEAST, int(width / _LETTER) - _BESIDE)


def lines(context: bpy.types.Context, text: str, width: float | None = None) -> list[str]:
    """A sentence in lines of at most ``letters``."""
    return textwrap.wrap(text, letters(context, width), break_on_hyphens=False)


def draw(
    layout: Any,
    context: bpy.types.Context,
    text: str,
    icon: str = "NONE",
    width: float | None = None,
    active: bool = True,
) -> None:
    """Draw a sentence, its icon before the first line.

    Args:
        layout: where to draw.
        context: of the drawing.
        text: the sentence.
        icon: Blender's name of the icon.
        width: see ``letters``.
        active: False draws it grey.

    """
    column = layout.column(align=True)
    column.scale_y = 0.8
    column.active = active
    for line in lines(context, text, width):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else "NONE"
