# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnail of the portrait with boxes for face and crop, and the server's report in words.

Both are updated when a setting changes, never while the panel is drawn.  Where the shown thumbnail
is outdated, ``shown`` has a timer make a new one.
"""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from bpy.app.handlers import persistent

from .. import portrait_file, settings, windows
from ..link.errors import AddonError
from ..link.storage import RECIPE
from ..scene import photo
from . import pictures

THUMBNAIL_SIDE = 192
"""Longest side of the small picture, pixels."""


class ShownPortrait(NamedTuple):
    """What the panel shows of a scene's portrait."""

    settings: tuple[Any, ...]
    """Settings that the picture was made with; when they differ, it is outdated."""
    icon: int
    problem: str
    """Why there is no picture, a sentence; empty where there is one."""
    lines: list[str]
    """The server's report in words, one line each."""
    report: photo.Report | None
    path: Path | None = None
    """File of the portrait; it is not written again while only the crop changes."""
    picture: photo.Picture | None = None
    boxes: tuple[photo.Box, ...] = ()
    """Boxes drawn on the icon; with ``picture``, they decide whether it is drawn anew."""


_shown: dict[int, ShownPortrait] = {}
"""Session id of a scene -> what its panel shows."""
_photos: dict[str, tuple[int, photo.Picture | None]] = {}
"""Path of a photo -> change time and small picture; the last few."""
_waiting: set[int] = set()
"""Session ids of scenes whose picture is to be made anew."""
_KEPT_PHOTOS = 4


def shown(scene: bpy.types.Scene) -> ShownPortrait | None:
    """What the panel shows of a scene's portrait; asks for a picture of other settings.

    For drawing functions: a new picture is made by a timer.
    """
    latest = _shown.get(scene.session_uid)
    if latest is None or latest.settings != _settings_of(scene):
        _refresh_soon(scene)
    return latest


def _settings_of(scene: bpy.types.Scene) -> tuple[Any, ...]:
    """Everything that a scene's picture depends on."""
    s, run = scene.dp3d, scene.dp3d_run
    image = getattr(s, "portrait_image", None)
    return (
        s.portrait,
        (image.session_uid, image.is_dirty) if image is not None else None,
        tuple(s.crop) if s.use_crop else None,
        getattr(run, "portrait_report", ""),
        run.folder,
    )


def refresh(scene: bpy.types.Scene, *, same_portrait: bool = False) -> None:
    """Make the portrait's small picture anew; the photo itself is read only if it changed.

    Args:
        scene: which has the portrait.
        same_portrait: an image that was written to a file before is not written again.

    """
    _waiting.discard(scene.session_uid)
    chosen = _settings_of(scene)
    if not chosen[0] and chosen[1] is None:
        _forget(scene.session_uid)
        return
    try:
        shown = _shown.get(scene.session_uid)
        kept = shown.path if shown and same_portrait and shown.settings[:2] == chosen[:2] else None
        path = kept if kept and kept.is_file() else portrait_file.resolve_portrait(scene)
        picture = _small(path)
    except AddonError as error:
        _shown[scene.session_uid] = ShownPortrait(chosen, 0, error.problem, [], None)
    else:
        report = _report(scene, path, picture)
        lines = photo.in_words(report) if report else []
        icon, boxes = 0, []
        problem = "" if picture else "Blender cannot show this kind of file."
        if picture is not None:
            boxes = photo.report_boxes(report) if report else []
            if chosen[2] is not None:
                left, top, side = chosen[2]
                boxes.append(photo.Box(left, top, side, photo.MANUAL_COLOUR))
            if shown and shown.picture is picture and shown.boxes == tuple(boxes):
                icon = shown.icon
            else:
                icon = _drawn(scene, picture, boxes)
        _shown[scene.session_uid] = ShownPortrait(
            chosen, icon, problem, lines, report, path, picture, tuple(boxes)
        )
    windows.redraw_sidebars()


def _drawn(scene: bpy.types.Scene, picture: photo.Picture, boxes: list[photo.Box]) -> int:
    """Icon of the small picture with its boxes."""
    drawn = photo.with_boxes(picture, boxes)
    return pictures.drawn(
        f"portrait {scene.session_uid}",
        drawn.width,
        drawn.height,
        photo.rows_swapped(drawn.pixels, drawn.width),
    )


def portrait_changed(scene: bpy.types.Scene) -> None:
    """Another portrait was chosen: show it."""
    refresh(scene)


def crop_changed(scene: bpy.types.Scene) -> None:
    """A number of the manual crop changed: show its box."""
    refresh(scene, same_portrait=True)


def report_of(scene: bpy.types.Scene) -> photo.Report | None:
    """The server's report on the portrait that is chosen now, if it has spoken of it."""
    shown = _shown.get(scene.session_uid)
    if shown is None or shown.settings != _settings_of(scene):
        refresh(scene, same_portrait=True)
        shown = _shown.get(scene.session_uid)
    return shown.report if shown else None


def _report(
    scene: bpy.types.Scene, path: Path, picture: photo.Picture | None
) -> photo.Report | None:
    """The run's report where it is about this photo, not about one chosen before."""
    report = photo.read_report(getattr(scene.dp3d_run, "portrait_report", ""))
    if report is None:
        return None
    if picture and not photo.is_of(report, picture.photo_width, picture.photo_height):
        return None
    recipe = Path(bpy.path.abspath(scene.dp3d_run.folder)) / RECIPE
    try:
        used = json.loads(recipe.read_text("utf-8"))["portrait"]
    except (OSError, ValueError, KeyError, TypeError):
        return report
    return report if Path(used) == path else None


def _small(path: Path) -> photo.Picture | None:
    """Small upright picture of a photo; None where Blender cannot read it."""
    changed = path.stat().st_mtime_ns
    known = _photos.pop(str(path), None)
    if known is None or known[0] != changed:
        known = (changed, _read(path))
    _photos[str(path)] = known
    while len(_photos) > _KEPT_PHOTOS:
        del _photos[next(iter(_photos))]
    return known[1]


def _read(path: Path) -> photo.Picture | None:
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        return None
    try:
        width, height = image.size
        if not width or not height:
            return None
        scale = min(1.0, THUMBNAIL_SIDE / max(width, height))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        if small != (width, height):
            image.scale(*small)
        pixels = array("f", bytes(16 * small[0] * small[1]))
        image.pixels.foreach_get(pixels)
        if image.is_float:
            pixels = array("f", map(_display, pixels))
    finally:
        bpy.data.images.remove(image)
    turn = photo.orientation_of(path)
    upright = photo.upright(photo.rows_swapped(pixels, small[0]), *small, turn)
    if turn > 4:
        width, height = height, width
    return upright._replace(photo_width=width, photo_height=height)


def _display(value: float) -> float:
    """Linear light to sRGB."""
    if value <= 0.0031308:
        return 12.92 * max(0.0, value)
    return float(min(1.0, 1.055 * value ** (1 / 2.4) - 0.055))


def _forget(session_uid: int) -> None:
    if _shown.pop(session_uid, None) is not None:
        pictures.forget_drawn(f"portrait {session_uid}")


def _refresh_soon(scene: bpy.types.Scene) -> None:
    _waiting.add(scene.session_uid)
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.01)


def _tick() -> None:
    for scene in bpy.data.scenes:
        if scene.session_uid in _waiting:
            refresh(scene, same_portrait=True)
    _waiting.clear()


@persistent
def _after_load(*_: Any) -> None:
    _clear()
    pictures.clear()


def _clear() -> None:
    _shown.clear()
    _photos.clear()
    _waiting.clear()


def attach() -> None:
    """Forget the pictures when another file is opened; make them anew when a setting changes."""
    settings.listen("portrait", portrait_changed)
    settings.listen("crop", crop_changed)
    bpy.app.handlers.load_post.append(_after_load)


def detach() -> None:
    """Forget the pictures: the add-on ends."""
    settings.stop_listening("portrait", portrait_changed)
    settings.stop_listening("crop", crop_changed)
    if _after_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_after_load)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    _clear()
