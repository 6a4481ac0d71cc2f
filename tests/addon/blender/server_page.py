# SPDX-License-Identifier: GPL-3.0-or-later
"""Start Server, the setup page and Stop Server, by their operators and without a window."""

import os
import sys
from pathlib import Path

import bpy
from common import enable_addon, main

os.environ.pop("DP3D_MODELS", None)  # a machine where nothing was set up


class Layout:
    """What a drawing function would show: texts and buttons, in order."""

    def __init__(self, shown):
        self.shown = shown

    def __getattr__(self, name):
        if name in ("row", "column", "box", "split"):
            return lambda *_, **__: Layout(self.shown)
        return lambda *_, **__: None

    def label(self, text="", icon="NONE"):
        bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items[icon]
        self.shown.append(text)

    def operator(self, name, text="", icon="NONE"):
        bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items[icon]
        self.shown.append(name)
        return type("Properties", (), {})()

    def progress(self, **_):
        self.shown.append("progress")


class Context:
    """A context with a region, which there is none of without a window."""

    region = type("Region", (), {"width": 400})

    def __getattr__(self, name):
        return getattr(bpy.context, name)


def drawn(function):
    shown = []
    function(Layout(shown), Context())
    return shown


def failing(operator, **values):
    """Code of an operator's failure."""
    try:
        operator(**values)
    except RuntimeError as error:
        return str(error).rpartition("[")[2].partition("]")[0]
    return ""


def work(request):
    enable_addon(request["url"])
    from addon import local_dp3d, preferences
    from addon.ui import server_page

    chosen = bpy.context.preferences.addons["addon"].preferences
    answers = {"before": drawn(server_page.draw_server), "can_start": local_dp3d.can_start()}

    chosen.dp3d_path = "/no/such/folder"
    answers["wrong"] = failing(bpy.ops.dp3d.start_server)
    sys.modules["addon.settings"].SERVER_REPORT[:] = ["an old answer"]
    answers["wrong_shown"] = drawn(server_page.draw_server)
    sys.modules["addon.settings"].SERVER_REPORT.clear()
    answers["no_dp3d"] = failing(bpy.ops.dp3d.check_setup)
    answers["no_dp3d_shown"] = drawn(server_page.draw_setup)

    chosen.dp3d_path = request["python"]
    chosen.server_url = "http://127.0.0.1:99999"
    answers["no_port"] = [failing(bpy.ops.dp3d.start_server), failing(bpy.ops.dp3d.check_setup)]
    chosen.server_url = request["url"]
    bpy.ops.dp3d.check_setup()
    answers["setup_shown"] = drawn(server_page.draw_setup)
    answers["page_shown"] = drawn(server_page.draw_page)
    answers["offline"] = failing(bpy.ops.dp3d.run_setup, what="models")
    answers["unknown"] = failing(bpy.ops.dp3d.run_setup, what="magic")

    bpy.ops.dp3d.start_server()
    answers["state"] = local_dp3d.SERVER.state
    answers["engines"] = [e["name"] for e in sys.modules["addon.settings"].ENGINES]
    answers["running_shown"] = drawn(server_page.draw_server)
    answers["error"] = bpy.context.scene.dp3d_run.error_code
    answers["can_start_again"] = local_dp3d.can_start()
    answers["log"] = Path(local_dp3d.SERVER.log).is_file()
    chosen.server_url = "http://127.0.0.1:1"
    answers["other_address_shown"] = drawn(server_page.draw_server)
    chosen.server_url = request["url"]

    # another Blender finds it, and then it is gone
    ours, local_dp3d.SERVER = local_dp3d.SERVER, type(local_dp3d.SERVER)()
    bpy.ops.dp3d.start_server()
    sys.modules["addon.settings"].SERVER_REPORT[:] = ["dp3d 0.1.0 answers"]
    answers["elsewhere_running"] = [local_dp3d.SERVER.state, local_dp3d.can_start()]
    answers["elsewhere_running_shown"] = drawn(server_page.draw_server)
    sys.modules["addon.settings"].SERVER_REPORT.clear()  # as a check without an answer does
    answers["elsewhere_gone_shown"] = drawn(server_page.draw_server)
    local_dp3d.SERVER = ours

    bpy.ops.dp3d.stop_server()
    answers["stopped"] = local_dp3d.SERVER.state

    chosen.server_url = "http://192.0.2.1:8765"
    answers["elsewhere"] = [local_dp3d.can_start(), failing(bpy.ops.dp3d.start_server)]
    answers["elsewhere_shown"] = drawn(server_page.draw_server)

    # switched off while the server runs
    chosen.server_url = request["url"]
    bpy.ops.dp3d.start_server()
    server = local_dp3d.SERVER
    sys.modules["addon"].unregister()
    server.wait(10)
    answers["switched_off"] = [server.state, server.pid]
    assert preferences is not None
    return answers


main(work)
