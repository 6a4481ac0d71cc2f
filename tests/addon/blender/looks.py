# SPDX-License-Identifier: GPL-3.0-or-later
"""The looks of a texture, rendered: colours of a flat quad and of a head, under hard light."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from mathutils import Vector
from mathutils.geometry import barycentric_transform

SIZE = 96


def harsh_light(scene):
    """A strong coloured lamp and something that throws a shadow."""
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "SUN"))
    lamp.data.energy, lamp.data.color = 8.0, (1.0, 0.6, 0.3)
    lamp.rotation_euler = (0.6, 0.7, 0.2)
    scene.collection.objects.link(lamp)
    bpy.ops.mesh.primitive_cube_add(size=0.3, location=(0.5, 0.2, 1.2))
    bpy.context.object.visible_camera = False


def set_render(scene, size):
    render = scene.render
    render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    # One sample in the very middle of each pixel: what the ray hits can be computed.
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    render.resolution_x = render.resolution_y = size
    render.film_transparent = True
    render.image_settings.color_mode, render.image_settings.color_depth = "RGBA", "16"
    scene.view_settings.view_transform = "Standard"


def rendered(scene, path):
    """Rows of the rendered picture from the bottom up, four values a pixel."""
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path), check_existing=False)
    image.colorspace_settings.name = "Non-Color"
    values, (width, height) = list(image.pixels), image.size
    bpy.data.images.remove(image)
    return [[values[4 * (y * width + x) :][:4] for x in range(width)] for y in range(height)]


def camera_at(scene, place, towards, width):
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.location = place
    camera.rotation_euler = (towards - place).to_track_quat("-Z", "Y").to_euler()
    camera.data.type, camera.data.ortho_scale = "ORTHO", width
    scene.camera = camera
    bpy.context.view_layer.update()
    return camera


def texel(pixels, size, u, v):
    """Colour between texels, in the numbers of the file."""
    width, height = size
    x, y = u * width - 0.5, v * height - 0.5
    i, j = int(x // 1), int(y // 1)
    total = [0.0, 0.0, 0.0]
    for di, wi in ((0, 1 - (x - i)), (1, x - i)):
        for dj, wj in ((0, 1 - (y - j)), (1, y - j)):
            at = 4 * (min(max(j + dj, 0), height - 1) * width + min(max(i + di, 0), width - 1))
            for channel in range(3):
                total[channel] += wi * wj * pixels[at + channel]
    return total


def head_error(scene, head, camera, picture):
    """Largest differences between the rendered head and its texture where each pixel's ray hits."""
    image = head.data.materials[0]["dp3d_texture"]
    size, pixels = tuple(image.size), list(image.pixels)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    inverse, uvs = head.matrix_world.inverted(), head.data.uv_layers[0].data
    errors = []
    step = camera.data.ortho_scale / SIZE
    for row in range(SIZE):
        for column in range(SIZE):
            start = camera.matrix_world @ Vector(
                ((column + 0.5 - SIZE / 2) * step, (row + 0.5 - SIZE / 2) * step, 0)
            )
            along = camera.matrix_world.to_3x3() @ Vector((0, 0, -1))
            hit, point, _, face, thing, _ = scene.ray_cast(depsgraph, start, along)
            if not hit or thing.name != head.name:
                continue
            polygon = head.data.polygons[face]
            corners = [head.data.vertices[v].co for v in polygon.vertices]
            places = [Vector((*uvs[loop].uv, 0)) for loop in polygon.loop_indices]
            u, v, _ = barycentric_transform(inverse @ point, *corners, *places)
            expected = texel(pixels, size, u, v)
            shown = picture[row][column]
            errors.append(max(abs(a - b) for a, b in zip(shown, expected, strict=False)))
    return sorted(errors)


def quad(scene, folder, blocks):
    """A flat quad with a texture of coloured blocks, as an import of ours; one block is clear."""
    from addon.scene import look, tags

    image = bpy.data.images.new("blocks", 64, 64, alpha=True)
    count = len(blocks)
    values = []
    for _ in range(64):
        for x in range(64):
            values += blocks[x * count // 64]
    image.pixels.foreach_set(values)
    image.filepath_raw, image.file_format = str(folder / "blocks.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    bpy.ops.mesh.primitive_plane_add(size=1)
    thing = bpy.context.object
    material = bpy.data.materials.new("blocks")
    material.use_nodes = True
    tree = material.node_tree
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(folder / "blocks.png"))
    surface = next(n for n in tree.nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    tree.links.new(texture.outputs[0], surface.inputs["Base Color"])
    thing.data.materials.append(material)
    tags.mark(thing, "quad", "mesh")
    look.adopt(material, "quad")
    return thing


def principled(material):
    node = next(n for n in material.node_tree.nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    return {
        "roughness": node.inputs["Roughness"].default_value,
        "specular": node.inputs["Specular IOR Level"].default_value,
        "color": node.inputs["Base Color"].is_linked,
        "normal": node.inputs["Normal"].is_linked,
    }


def work(request):
    enable_addon()
    from addon.scene import look, mesh

    scene, layer = bpy.context.scene, bpy.context.view_layer
    folder, blocks = Path(request["folder"]), request["blocks"]
    out = {"warning": {}}
    for transform in ("AgX", "Filmic", "Standard"):
        scene.view_settings.view_transform = transform
        out["warning"][transform] = look.view_transform_warning(scene)
    scene.view_settings.exposure = 0.5
    out["warning"]["exposure"] = look.view_transform_warning(scene)
    scene.view_settings.exposure = 0.0

    set_render(scene, len(blocks))
    harsh_light(scene)
    flat = quad(scene, folder, blocks)
    camera_at(scene, Vector((0, 0, 3)), Vector(), 1.0)
    for kind in (look.PHOTO, look.LIT):
        look.apply([flat], kind)
        out[f"quad {kind}"] = rendered(scene, folder / "quad.png")[len(blocks) // 2]
    look.apply([flat], look.PHOTO)
    out["quad back"] = rendered(scene, folder / "quad.png")[len(blocks) // 2]
    scene.view_settings.view_transform = "AgX"
    out["quad AgX"] = rendered(scene, folder / "quad.png")[len(blocks) // 2]
    bpy.data.objects.remove(flat)

    set_render(scene, SIZE)
    anchor = make_anchor("turned")
    (head,) = mesh.load(scene, layer, anchor, Path(request["glb"]), "run", "Anna", look.PHOTO)
    centre = anchor.matrix_world.translation.copy()
    camera = camera_at(scene, centre + Vector((1.5, -2.5, 0.8)), centre, 0.9)
    errors = head_error(scene, head, camera, rendered(scene, folder / "head.png"))
    out["head"] = {
        "pixels": len(errors),
        "errors": [errors[len(errors) * k // 1000] for k in (500, 990, 998)],
    }
    material = head.data.materials[0]
    out["applied"] = [
        look.kind_of([head]),
        look.apply([head], look.LIT).changed,
        look.kind_of([head]),
    ]
    out["lit"] = principled(material)
    # Reversible, and saved with the file; a node the user changed is the user's.
    look.apply([head], look.PHOTO)
    look.apply([head], look.LIT)
    out["lit again"] = principled(material)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "x.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "x.blend"))
    head = bpy.data.objects["Anna · Head"]
    material = head.data.materials[0]
    out["reopened"] = list(look.apply([head], look.LIT))
    node = next(n for n in material.node_tree.nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    node.location.x += 50
    out["shifted node"] = list(look.apply([head], look.LIT))
    node.inputs["Roughness"].default_value = 0.2
    out["edited"] = list(look.apply([head], look.PHOTO))
    head.data.materials[0] = bpy.data.materials.new("gold")
    out["replaced"] = list(look.apply([head], look.PHOTO))
    return out


main(work)
