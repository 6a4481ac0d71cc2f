# SPDX-License-Identifier: GPL-3.0-or-later
"""Start Server and the setup page in Blender, on a machine where nothing was set up."""

from __future__ import annotations

import socket
import sys

import pytest


@pytest.mark.bpy
def test_start_setup_page_and_stop(blender) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    answers = blender("server_page", url=url, python=sys.executable)

    assert answers["before"] == ["No server yet", "dp3d.start_server"]
    assert answers["can_start"]
    assert answers["wrong"] == answers["no_dp3d"] == "addon.program_missing"
    assert answers["wrong_shown"][:2] == ["Server failed", "dp3d.start_server"]
    assert "/no/such/folder" in " ".join(answers["wrong_shown"])
    assert {"make env", "dp3d.copy_command"} <= set(answers["no_dp3d_shown"])

    assert answers["no_port"] == ["addon.not_local", ""]
    short, page = " ".join(answers["setup_shown"]), " ".join(answers["page_shown"])
    assert answers["setup_shown"].count("dp3d.run_setup") == 2
    assert "Face Models" in short
    assert "NeRF Environment" in short
    assert "Weights" not in short
    assert "Weights diffportrait360" in page
    assert "dp3d 0.1.0" in page
    assert sys.executable in page
    assert answers["offline"] == "addon.online_access_off"
    assert answers["unknown"] == "addon.nothing_to_install"

    assert answers["state"] == "running"
    assert "preview" in answers["engines"]
    assert answers["running_shown"] == ["dp3d 0.1.0 runs", "dp3d.stop_server"]
    assert answers["error"] == ""
    assert answers["log"]
    assert not answers["can_start_again"]
    assert answers["other_address_shown"] == [f"dp3d runs at {url}", "dp3d.stop_server"]
    assert answers["elsewhere_running"] == ["connected", False]
    assert answers["elsewhere_running_shown"] == ["dp3d 0.1.0 runs, started elsewhere"]
    assert answers["elsewhere_gone_shown"] == ["No server yet", "dp3d.start_server"]
    assert answers["stopped"] == "stopped"
    assert answers["elsewhere"] == [False, "addon.not_local"]
    assert answers["elsewhere_shown"] == ["Server on another computer"]
    assert answers["switched_off"] == ["stopped", 0]
