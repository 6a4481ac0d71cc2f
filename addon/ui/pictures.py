# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panel: thumbnails of files, the strip of frames, generated pictures.

Blender reads the file of a thumbnail in a thread of its own when the thumbnail is first drawn;
nothing is decoded while the panel is drawn.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from .. import windows
from .grid import chosen_indices, columns_for

MAX_THUMBNAILS = 96
"""Thumbnails kept; the one that was not drawn for longest goes first."""
MAX_SCALE = 9.0
"""Height of the largest picture, in heights of a button."""

_UNIT = 20.0
"""Height of a button at a user interface scale of 1, pixels."""
_MARGIN = 2.6
"""Left of the sidebar for tabs, panel margins and scroll bar, in heights of a button."""
_LOOK_AGAIN_S = 1.0
"""Time for which a file is taken as unchanged without asking the disk."""
_REDRAWS_S = (0.3, 0.6, 1.5)
"""When the sidebars are drawn again after a new thumbnail: its file is read by then."""

_previews: Any = None
"""Preview collection of the add-on; made with the first picture."""
_keys: dict[str, tuple[str, float]] = {}
"""Path of a thumbnail's file -> name of its preview (path and change time), when that was seen.
In the order of use."""
_redraws: list[float] = []
"""Clock times at which the sidebars are to be drawn again."""


def _collection() -> Any:
    global _previews  # noqa: PLW0603
    if _previews is None:
        _previews = bpy.utils.previews.new()
    return _previews


def thumbnail(path: str | Path) -> int:
    """Icon of an image file, for ``UILayout.template_icon``; 0 while there is no file.

    A file that is written anew shows its new picture within a second.  Cheap enough for draw().
    """
    text = str(path)
    now = time.monotonic()
    key, seen = _keys.pop(text, ("", 0.0))
    if not key or now - seen > _LOOK_AGAIN_S:
        try:
            fresh = f"{text}:{Path(text).stat().st_mtime_ns}"
        except OSError:
            _drop(key)
            return 0
        if fresh != key:
            _drop(key)
            _collection().load(fresh, text, "IMAGE")
            _draw_again()
        key, seen = fresh, now
    _keys[text] = (key, seen)
    while len(_keys) > MAX_THUMBNAILS:
        oldest = next(iter(_keys))
        _drop(_keys.pop(oldest)[0])
    return int(_collection()[key].icon_id)


def _drop(key: str) -> None:
    if key and key in _collection():
        del _collection()[key]


def drawn(key: str, width: int, height: int, pixels: array[float]) -> int:
    """Icon of a picture made here.

    Args:
        key: name of the picture; one of the same name is replaced.
        width: pixels.
        height: pixels.
        pixels: RGBA, 0 to 1, rows from the bottom.

    """
    name = f"drawn:{key}"
    collection = _collection()
    preview = collection[name] if name in collection else collection.new(name)
    preview.image_size = (width, height)
    preview.image_pixels_float.foreach_set(pixels)
    return int(preview.icon_id)


def forget_drawn(key: str) -> None:
    """Release a picture that was made here."""
    _drop(f"drawn:{key}")


def strip(paths: Sequence[str | Path]) -> list[int]:
    """Icons of image files, without those that are not there."""
    return [icon for icon in map(thumbnail, paths) if icon]


def width_in_units(context: bpy.types.Context) -> float:
    """Width of the panel's contents in heights of a button."""
    scale = max(0.1, context.preferences.system.ui_scale)
    width = 0 if context.region is None else context.region.width
    return float(max(4.0, width / (_UNIT * scale) - _MARGIN))


def draw_strip(
    layout: Any, context: bpy.types.Context, paths: Sequence[str | Path], columns: int = 0
) -> int:
    """Show frames as far as they exist: one large, several in a grid as wide as the sidebar.

    Args:
        layout: where to.
        context: of draw().
        paths: files of the frames, in order; those that do not exist yet are left out.
        columns: of the grid; 0 chooses by number and width.

    Returns:
        How many pictures are shown.

    """
    icons = strip([paths[index] for index in chosen_indices(len(paths))])
    if not icons:
        return 0
    units = width_in_units(context)
    columns = columns or columns_for(len(icons), units)
    if columns == 1:
        for icon in icons:
            draw_icon(layout, context, icon)
        return len(icons)
    grid = layout.grid_flow(
        row_major=True, columns=columns, even_columns=True, even_rows=False, align=True
    )
    for icon in icons:
        grid.template_icon(icon_value=icon, scale=min(MAX_SCALE, units / columns))
    return len(icons)


def draw_icon(layout: Any, context: bpy.types.Context, icon: int, scale: float = MAX_SCALE) -> None:
    """Show one picture, not wider than the sidebar."""
    layout.template_icon(icon_value=icon, scale=min(scale, width_in_units(context)))


def _draw_again() -> None:
    """Draw the sidebars once more when Blender has read the file of a new thumbnail."""
    if bpy.app.background:
        return
    now = time.monotonic()
    _redraws[:] = [now + delay for delay in _REDRAWS_S]
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_REDRAWS_S[0])


def _tick() -> float | None:
    now = time.monotonic()
    if any(due <= now for due in _redraws):
        windows.redraw_sidebars()
    _redraws[:] = [due for due in _redraws if due > now]
    return max(0.05, _redraws[0] - now) if _redraws else None


def clear() -> None:
    """Forget all pictures (another file was opened)."""
    _keys.clear()
    if _previews is not None:
        _previews.clear()


def detach() -> None:
    """Release all pictures."""
    global _previews  # noqa: PLW0603
    _redraws.clear()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    _keys.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None
