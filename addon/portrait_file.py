# SPDX-License-Identifier: GPL-3.0-or-later
"""File of the portrait: the chosen file, or a PNG of an image that only Blender can read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from contextlib import suppress
from pathlib import Path

import bpy

from . import settings
from .limits import DEFAULT_ENGINE
from .link.errors import AddonError
from .scene import files

READ_BY_SERVER = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".tga", ".jp2"),
    *(".avif", ".heic", ".heif"),
)
"""Suffixes of files that are uploaded unchanged."""
SENT_AS_PNG = (".exr", ".hdr", ".dpx", ".cin", ".sgi", ".rgb", ".psd")
"""Suffixes of files that Blender reads and the server does not: uploaded as PNG."""
FURTHER = ("left", "right", "back")
"""Sides of the head that the further photos show; the left photo shows the person's left ear."""

_MAGIC = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
"""First bytes of a file and its suffix, for packed images that are uploaded unchanged."""


def resolve_portrait(scene: bpy.types.Scene) -> Path:
    """File of the chosen portrait.

    An image of the .blend counts before a path; it is written to a file where its own file does
    not hold what is shown.

    Raises:
        AddonError: ``portrait.not_found`` without a portrait or where its file is missing;
            ``addon.portrait_image`` for an image that is no single picture.

    """
    image = getattr(scene.dp3d, "portrait_image", None)
    if image is not None:
        return image_file(image)
    if not scene.dp3d.portrait:
        raise AddonError(
            "portrait.not_found", "There is no portrait.", "Choose a photograph of one person."
        )
    return _readable(existing(scene.dp3d.portrait))


def further_photos(scene: bpy.types.Scene) -> dict[str, Path]:
    """Files of the further photos by side (``FURTHER``); none where the engine takes one photo.

    Raises:
        AddonError: ``portrait.not_found`` where a file is missing.

    """
    if not takes_further_photos(scene):
        return {}
    chosen = {side: getattr(scene.dp3d_portrait, f"further_{side}") for side in FURTHER}
    return {side: _readable(existing(text)) for side, text in chosen.items() if text}


def takes_further_photos(scene: bpy.types.Scene) -> bool:
    """Whether the server said that the chosen engine takes more than one photo."""
    name = scene.dp3d.engine or DEFAULT_ENGINE
    return any(
        engine["name"] == name and int(engine.get("references") or 1) > 1
        for engine in settings.ENGINES
    )


def existing(text: str) -> Path:
    """A chosen file.

    Raises:
        AddonError: ``portrait.not_found``.

    """
    path = Path(bpy.path.abspath(text))
    if not path.is_file():
        raise AddonError(
            "portrait.not_found",
            f"There is no file {path}.",
            "Choose a picture file that exists.",
        )
    return path


def _readable(path: Path) -> Path:
    """The file itself, or a PNG of it where the server cannot read its format."""
    if path.suffix.lower() not in SENT_AS_PNG:
        return path
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        return _written(image, path.stem)
    finally:
        bpy.data.images.remove(image)


def image_file(image: bpy.types.Image) -> Path:
    """A file with the pixels of an image of the .blend; the image's own file where it is current.

    Raises:
        AddonError: ``addon.portrait_image``.

    """
    if image.source in ("MOVIE", "TILED", "SEQUENCE"):
        raise AddonError(
            "addon.portrait_image",
            f"The image {image.name!r} is not a single picture.",
            "Save the picture that you want as PNG, and choose that file.",
        )
    if not image.is_dirty and image.packed_file is not None:
        data = bytes(image.packed_file.data)
        suffix = next((s for magic, s in _MAGIC.items() if data.startswith(magic)), "")
        if suffix:
            return _stored(data, image.name, suffix)
    elif not image.is_dirty and image.source == "FILE" and image.filepath:
        path = Path(bpy.path.abspath(image.filepath, library=image.library))
        if path.is_file() and path.suffix.lower() in READ_BY_SERVER:
            return path
    return _written(image, image.name)


def _written(image: bpy.types.Image, name: str) -> Path:
    """Write an image as PNG to the extension's folder; the image is not changed.

    Raises:
        AddonError: ``addon.portrait_image``.

    """
    handle, text = tempfile.mkstemp(".png", "dp3d-")
    os.close(handle)
    try:
        if image.type in ("RENDER_RESULT", "COMPOSITING"):
            _save_as_rendered(image, text)
        else:
            _save_copy(image, text)
        data = Path(text).read_bytes()
        if not data:
            raise RuntimeError("it has no pixels")
    except RuntimeError as error:
        reason = str(error).strip().removeprefix("Error: ").rstrip(".")
        raise AddonError(
            "addon.portrait_image",
            f"The image {image.name!r} cannot be written ({reason}).",
            "Save it as PNG in the image editor, and choose that file.",
        ) from error
    finally:
        Path(text).unlink(missing_ok=True)
    return _stored(data, name, ".png")


def _save_copy(image: bpy.types.Image, text: str) -> None:
    """Save an image as PNG without changing the image."""
    if "save_copy" in image.bl_rna.functions["save"].parameters:
        kind = image.file_format
        try:
            image.file_format = "PNG"
            image.save(filepath=text, save_copy=True)
        finally:
            image.file_format = kind
        return
    # Blender before 4.4 takes the saved image for the file's own from then on: save a double.
    width, height = image.size
    if not width or not height:
        raise RuntimeError("it has no pixels")
    double = bpy.data.images.new("", width, height, alpha=True, float_buffer=image.is_float)
    try:
        double.colorspace_settings.name = image.colorspace_settings.name
        double.alpha_mode = image.alpha_mode
        pixels = array("f", bytes(16 * width * height))
        image.pixels.foreach_get(pixels)
        double.pixels.foreach_set(pixels)
        double.filepath_raw, double.file_format = text, "PNG"
        double.save()
    finally:
        bpy.data.images.remove(double)


def _save_as_rendered(image: bpy.types.Image, text: str) -> None:
    """Save a render with the scene's view transform, as the image editor shows it."""
    scene = bpy.context.scene
    output = scene.render.image_settings
    names: tuple[str, ...] = ("file_format", "color_mode", "color_depth", "compression")
    if hasattr(output, "media_type"):  # Blender 5
        names = ("media_type", *names)
    before = {name: getattr(output, name) for name in names}
    try:
        if "media_type" in before:
            output.media_type = "IMAGE"
        output.file_format, output.color_mode, output.color_depth = "PNG", "RGBA", "8"
        image.save_render(text, scene=scene)
    finally:
        for name, value in before.items():
            with suppress(TypeError):  # a depth that the former format alone knows comes later
                setattr(output, name, value)


def _stored(data: bytes, name: str, suffix: str) -> Path:
    """A file with these bytes in the extension's folder; equal bytes have equal paths.

    Raises:
        AddonError: ``output.not_writable``.

    """
    folder = files.own("portraits")
    stem = "".join(c if c.isalnum() else "-" for c in Path(name).stem)[:40].strip("-") or "portrait"
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.stat().st_size != len(data):
            path.write_bytes(data)
    except OSError as error:
        raise AddonError(
            "output.not_writable",
            f"The portrait cannot be written to {folder} ({error.strerror}).",
            "Make room on the disk, or save the image yourself and choose its file.",
        ) from error
    return path
