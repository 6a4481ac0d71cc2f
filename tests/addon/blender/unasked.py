# SPDX-License-Identifier: GPL-3.0-or-later
"""The server is asked without a button: what the panel says then, and after another address."""

import time

import bpy
from common import enable_addon, main


def work(request):
    enable_addon()
    from addon import check, local_dp3d, preferences, run_records
    from addon.link.client import Server, is_loopback
    from addon.ui import server_page

    scene = bpy.context.scene
    codes = []
    for nobody in (True, False):
        server = Server.configured(f"http://127.0.0.1:{request['port']}", "", False)
        check._current = check.Check(server, unasked=nobody)
        while check._tick() is not None:
            time.sleep(0.02)
        codes.append(run_records.run(scene)["error_code"])
    preferences.settings().server_url = "http://127.0.0.1:1"
    codes.append(run_records.run(scene)["error_code"])
    preferences.settings().server_url = "http://[::1"
    return {
        "codes": codes,
        "broken_is_loopback": is_loopback("http://[::1"),
        "text": server_page.server_text()[0],
        "can_start": local_dp3d.can_start(),
    }


main(work)
