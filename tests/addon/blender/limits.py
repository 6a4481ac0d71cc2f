# SPDX-License-Identifier: GPL-3.0-or-later
"""Range, default and choices of the panel's properties; angles at the ends of their ranges."""

import math

import bpy
from common import enable_addon, main


def described(prop):
    if prop.type == "ENUM":
        return {"choices": [item.identifier for item in prop.enum_items], "default": prop.default}
    return {"range": [prop.hard_min, prop.hard_max], "default": prop.default}


def work(request):
    enable_addon()
    from addon.scene import camera_path

    properties = bpy.context.scene.dp3d.bl_rna.properties
    numbers = [p for p in properties if p.type in {"ENUM", "INT", "FLOAT"} and not p.is_readonly]
    described_properties = {
        known.identifier: described(known)
        for known in numbers
        if not getattr(known, "is_array", False)
    }
    settings, ends = bpy.context.scene.dp3d, []
    for degrees in (-90, 90):
        settings.pitch = math.radians(degrees)  # kept in single precision, beyond 90 degrees
        ends.append(camera_path.preset(bpy.context.scene)["pitch_deg"])
    return {"properties": described_properties, "ends": ends}


main(work)
