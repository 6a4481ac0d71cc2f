# SPDX-License-Identifier: GPL-3.0-or-later
"""The portrait from files and from all sorts of images; its small picture with boxes."""

import json
import time
from array import array
from pathlib import Path

import bpy
from common import enable_addon, main


def failure(operator, **arguments):
    try:
        operator(**arguments)
    except RuntimeError as error:
        return str(error)
    return ""


def code_of(function, *arguments):
    from addon.link.errors import AddonError

    try:
        function(*arguments)
    except AddonError as error:
        return error.code
    return ""


def painted(name, **arguments):
    """An image whose left half is red and right half blue, as painting leaves it."""
    image = bpy.data.images.new(name, 64, 40, **arguments)
    row = [1.0, 0.0, 0.0, 1.0] * 32 + [0.0, 0.0, 1.0, 1.0] * 32
    image.pixels.foreach_set(array("f", row * 40))
    image.update()
    return image


def drawn(pictures, scene):
    """Size of the small picture, and its pixels of the manual crop's colour."""
    preview = pictures._collection()[f"drawn:portrait {scene.session_uid}"]
    width, height = preview.image_size
    values = list(preview.image_pixels_float)
    rows = [values[4 * width * y : 4 * width * (y + 1)] for y in reversed(range(height))]
    from addon.scene import photo

    marked = [
        (x, y)
        for y, row in enumerate(rows)
        for x in range(width)
        if all(abs(row[4 * x + c] - photo.MANUAL_COLOUR[c]) < 0.01 for c in range(4))
    ]
    xs, ys = [x for x, _ in marked], [y for _, y in marked]
    return {
        "size": [width, height],
        "box": [min(xs), min(ys), max(xs), max(ys)] if marked else None,
        "corner": rows[2][8:12],
    }


def work(request):
    enable_addon()
    from addon import portrait_file
    from addon.scene import photo
    from addon.ui import pictures, portrait_picture

    scene, out = bpy.context.scene, {}
    scene.dp3d.portrait = ""
    out["nothing"] = code_of(portrait_file.resolve_portrait, scene)
    scene.dp3d.portrait = "/nowhere/x.png"
    out["absent"] = code_of(portrait_file.resolve_portrait, scene)
    out["absent_error"] = failure(bpy.ops.dp3d.choose_portrait, filepath="/nowhere/x.png")

    # a file
    bpy.ops.dp3d.choose_portrait(filepath=request["turned"])
    out["chosen"] = [scene.dp3d.portrait, str(portrait_file.resolve_portrait(scene))]
    out["upright"] = drawn(pictures, scene)
    scene.dp3d.use_crop = True
    scene.dp3d.crop = (100, 200, 300)
    out["cropped"] = drawn(pictures, scene)
    began = time.perf_counter()
    for left in range(20):
        scene.dp3d.crop = (left, 200, 300)
    out["drag_ms"] = (time.perf_counter() - began) * 50
    out["images_left"] = len(bpy.data.images)

    # the server's report
    out["no_report"] = failure(bpy.ops.dp3d.crop_from_report)
    folder = Path(request["folder"])
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"portrait": request["turned"]}))
    from addon import run_records

    run_records.set_run(scene, folder=str(folder), portrait_report=request["report"])
    bpy.ops.dp3d.crop_from_report()
    out["from_report"] = [*scene.dp3d.crop]
    out["words"] = portrait_picture._shown[scene.session_uid].lines
    (folder / "run.json").write_text(json.dumps({"portrait": "/another/photo.jpg"}))
    portrait_picture._shown.clear()
    out["other_photo"] = failure(bpy.ops.dp3d.crop_from_report)

    # images
    scene.dp3d.use_crop = False
    out["images"] = {}

    def take(image):
        bpy.ops.dp3d.portrait_from_image(image=image.name)
        path = portrait_file.resolve_portrait(scene)
        again = portrait_file.resolve_portrait(scene)
        out["images"][image.name] = [
            str(path), path == again, image.file_format, image.is_dirty, image.filepath
        ]  # fmt: skip

    take(painted("dirty"))
    written, plainly = [], portrait_file._written
    portrait_file._written = lambda *arguments: written.append(1) or plainly(*arguments)
    scene.dp3d.use_crop = True
    for left in range(5):
        scene.dp3d.crop = (left, 2, 30)
    out["written_while_dragging"] = len(written)
    portrait_file._written = plainly
    scene.dp3d.use_crop = False
    take(painted("float", float_buffer=True))
    take(bpy.data.images.new("generated", 64, 40))
    loaded = bpy.data.images.load(request["plain"])
    loaded.name = "loaded"
    take(loaded)
    packed = bpy.data.images.load(request["plain"], check_existing=False)
    packed.name = "packed"
    packed.pack()
    packed.filepath = "//gone.jpg"
    take(packed)
    touched = bpy.data.images.load(request["plain"], check_existing=False)
    touched.name = "touched"
    touched.pixels[0] = 0.25
    touched.update()
    take(touched)
    exr = painted("exr", float_buffer=True)
    exr.filepath_raw, exr.file_format = request["exr"], "OPEN_EXR"
    exr.save()
    bpy.data.images.remove(exr)
    scene.dp3d.portrait_image = None
    bpy.ops.dp3d.drop_portrait(filepath=request["exr"])
    out["images"]["exr"] = [str(portrait_file.resolve_portrait(scene)), True, "", False, ""]

    render = scene.render
    render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.device = 1, "CPU"
    scene.cycles.use_denoising = False
    render.resolution_x, render.resolution_y, render.resolution_percentage = 64, 40, 100
    scene.world = scene.world or bpy.data.worlds.new("World")
    scene.camera = bpy.data.objects.new("c", bpy.data.cameras.new("c"))
    scene.collection.objects.link(scene.camera)
    render.image_settings.file_format = "JPEG"
    bpy.ops.render.render()
    bpy.ops.dp3d.portrait_from_image(image="Render Result")
    out["render"] = [
        str(portrait_file.resolve_portrait(scene)),
        render.image_settings.file_format,
        scene.dp3d.portrait_image is None,
    ]
    movie = bpy.data.images.new("tiles", 64, 40, tiled=True)
    out["tiles"] = code_of(portrait_file.image_file, movie)

    # further photos are hidden until an engine takes them
    from addon import settings

    out["further"] = [
        portrait_file.takes_further_photos(scene),
        portrait_file.further_photos(scene),
    ]
    settings.ENGINES[:] = [{"name": scene.dp3d.engine, "references": 3}]
    bpy.ops.dp3d.choose_portrait(filepath=request["plain"], target="LEFT")
    out["further"] += [
        portrait_file.takes_further_photos(scene),
        {k: str(v) for k, v in portrait_file.further_photos(scene).items()},
    ]
    out["red"] = list(photo.CROP_COLOUR)

    # thumbnails of files
    absent = Path(request["folder"]) / "later.png"
    out["thumbnails"] = [pictures.thumbnail(absent), pictures.thumbnail(request["plain"])]
    absent.write_bytes(Path(request["plain"]).read_bytes())
    out["thumbnails"].append(pictures.thumbnail(absent))
    files = []
    for index in range(pictures.MAX_THUMBNAILS + 10):
        path = absent.with_name(f"{index:04d}.png")
        path.write_bytes(b"x")
        files.append(path)
    began = time.perf_counter()
    icons = pictures.strip(files)
    out["load_ms"] = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    again = pictures.strip(files[-12:])
    out["draw_ms"] = (time.perf_counter() - began) * 1000
    out["kept"] = [len(icons), len(pictures._keys), again == icons[-12:]]
    import addon

    addon.unregister()
    out["released"] = pictures._previews is None
    return out


main(work)
