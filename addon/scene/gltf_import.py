# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's glTF importer, and the selection that an import must not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from ..link.errors import AddonError


def import_objects(path: Path, what: str, remedy: str, **wanted: Any) -> list[bpy.types.Object]:
    """Objects of a GLB.

    Args:
        path: the file.
        what: noun for it in messages.
        remedy: sentence on how to get another file.
        wanted: options of the importer; those that this Blender lacks are left out.

    Raises:
        AddonError: ``addon.import_failed``.

    """
    if "gltf" not in dir(bpy.ops.import_scene):
        raise AddonError(
            "addon.import_failed",
            "Blender's glTF importer is switched off.",
            "Switch on the add-on 'glTF 2.0 format' in the preferences.",
        )
    importer: Any = bpy.ops.import_scene.gltf
    options = importer.get_rna_type().properties
    before = {thing.as_pointer() for thing in bpy.data.objects}
    try:
        importer(
            filepath=str(path), **{name: value for name, value in wanted.items() if name in options}
        )
    except RuntimeError as error:
        raise AddonError(
            "addon.import_failed",
            f"Blender cannot import the {what} ({str(error).strip()}).",
            remedy,
        ) from error
    return [thing for thing in bpy.data.objects if thing.as_pointer() not in before]


@contextmanager
def kept_selection(view_layer: bpy.types.ViewLayer) -> Iterator[None]:
    """Put selection and active object of a view layer back after an import."""
    selected = {thing.session_uid for thing in view_layer.objects.selected}
    active = view_layer.objects.active
    yield
    view_layer.update()  # before, the layer lists objects that are gone
    for thing in view_layer.objects:
        thing.select_set(thing.session_uid in selected)
    view_layer.objects.active = active
    view_layer.update()
