# SPDX-License-Identifier: GPL-3.0-or-later
"""The server as the add-on starts and stops it: real processes."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.addon.support import ADDON, free_port, program_of, until

CLIENT_TOKEN = "a-token-of-the-preferences"
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows the latter ends a process as well


@pytest.fixture
def local(addon):
    return addon("link.local_server")


@pytest.fixture
def order(addon, local, home):
    """Maker of orders, on a free port."""

    def make(**changes):
        client = addon("link.client")
        port = changes.pop("port", None) or free_port()
        url = changes.pop("url", f"http://127.0.0.1:{port}")
        values = {"chosen": sys.executable, "log": home / "logs" / "server.log", **changes}
        return local.Order(client.Server(url), **values)

    return make


@pytest.fixture
def started(local, order):
    """Maker of servers; all are ended afterwards."""
    servers = []

    def make(**changes):
        server = local.LocalServer()
        servers.append(server)
        server.start(order(**changes))
        until(lambda: server.state != "starting")
        return server

    yield make
    for server in servers:
        if server.pid:
            os.kill(server.pid, KILL)
        server.wait(10)


def answers(addon, url: str) -> bool:
    client = addon("link.client")
    try:
        return bool(client.Client(client.Server(url)).handshake())
    except addon("link.errors").AddonError:
        return False


def test_it_starts_says_its_version_and_stops(addon, started):
    server = started()
    assert (server.state, server.version, server.code) == ("running", "0.1.0", "")
    assert answers(addon, server.url)
    assert server.program.command[0] == sys.executable
    assert server.log.is_file()
    changes = server.changes
    server.stop()
    server.wait(20)
    assert (server.state, server.code, server.pid) == ("stopped", "", 0)
    assert server.changes > changes
    assert not answers(addon, server.url)


def test_a_crash_is_noticed_and_it_can_be_started_again(addon, local, order, started):
    server_order = order()
    server = started(url=server_order.server.url)
    os.kill(server.pid, KILL)
    until(lambda: server.state == "failed", 5)
    assert server.code == "addon.server_ended"
    assert ("signal 9" if sys.platform != "win32" else "exit code") in server.problem
    until(lambda: not server.busy, 5)
    server.start(server_order)
    until(lambda: server.state != "starting")
    assert (server.state, server.code) == ("running", ""), server.problem


def test_a_running_server_is_used_and_never_stopped(addon, started):
    first = started()
    second = started(url=first.url)
    assert (second.state, second.version, second.pid) == ("connected", "0.1.0", 0)
    second.stop()
    second.release(1.0)
    second.wait(5)
    assert answers(addon, first.url)


def test_two_that_start_at_once_end_with_one_server(addon, local, order):
    server_order = order()
    servers = [local.LocalServer() for _ in range(2)]
    for server in servers:
        server.start(server_order)
    until(lambda: all(server.state != "starting" for server in servers))
    states = sorted(server.state for server in servers)
    problems = [server.problem for server in servers]
    for server in servers:
        server.stop()
        server.wait(20)
    assert states == ["connected", "running"], problems


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def test_a_port_of_another_program_is_named(started):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server = started(port=other.server_port)
        other.shutdown()
    assert (server.state, server.code) == ("failed", "server.port_taken")
    assert str(other.server_port) in server.problem
    assert f":{other.server_port + 1}" in server.remedy


def test_a_data_folder_in_use_is_named(local, started, monkeypatch):
    monkeypatch.setattr(local, "_CONTEST_S", 1.0)
    first = started()
    second = started()  # another port, the same DP3D_HOME
    assert first.state == "running"
    assert (second.state, second.code) == ("failed", "server.already_running"), second.problem


def test_a_wrong_path_is_named(started, tmp_path):
    server = started(chosen=str(tmp_path / "nothing"))
    assert (server.state, server.code) == ("failed", "addon.program_missing")


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")
def test_a_program_that_ends_at_once_shows_its_last_lines(started, tmp_path):
    chosen = program_of(tmp_path, "print(*range(20), sep='\\n', file=sys.stderr); sys.exit(3)")
    server = started(chosen=chosen)
    assert (server.state, server.code) == ("failed", "addon.server_failed")
    assert "exit code 3" in server.problem
    assert server.lines == tuple(map(str, range(12, 20)))


def test_another_computer_is_not_started(addon, local, order):
    for url in ("http://192.0.2.1:8765", "https://127.0.0.1:8765", "http://127.0.0.1:0", "nothing"):
        assert not local.startable(url)
        with pytest.raises(addon("link.errors").AddonError) as caught:
            local.LocalServer().start(order(url=url))
        assert caught.value.code == "addon.not_local"
    for url in ("http://localhost", "http://[::1]:8765", "http://127.0.0.1:8765"):
        assert local.startable(url)


def test_the_token_of_the_preferences_is_the_servers(addon, started):
    client = addon("link.client")
    server = started(token=CLIENT_TOKEN)
    assert client.Client(client.Server(server.url, CLIENT_TOKEN)).engines()
    with pytest.raises(addon("link.errors").AddonError) as caught:
        client.Client(client.Server(server.url, "another")).engines()
    assert caught.value.code == "server.unauthorized"


# What Blender does, in a process of its own: start a server, then end in some way.
HOST = """
import importlib, json, os, sys, time, types
package = types.ModuleType("dp3d_addon"); package.__path__ = [sys.argv[1]]
sys.modules["dp3d_addon"] = package
local = importlib.import_module("dp3d_addon.link.local_server")
client = importlib.import_module("dp3d_addon.link.client")
from pathlib import Path
server = local.LocalServer()
server.start(local.Order(client.Server(sys.argv[2]), chosen=sys.executable,
                         keep=sys.argv[4] == "keep", log=Path(sys.argv[3])))
while server.state == "starting":
    time.sleep(0.05)
if sys.argv[4] == "later":
    server.keep(True)
# Last, because the test kills this process as soon as it has read the line.
print(json.dumps([server.state, server.pid]), flush=True)
if sys.argv[5] == "release":
    server.release(5.0)
    os._exit(0)
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")
@pytest.mark.parametrize(
    ("keep", "end"),
    [("", "kill"), ("", "release"), ("keep", "kill"), ("keep", "release"), ("later", "kill")],
)
def test_it_ends_with_blender_however_that_ends_unless_it_is_kept(addon, home, keep, end):
    url = f"http://127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [sys.executable, "-c", HOST, ADDON, url, home / "server.log", keep, end],
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        state, pid = json.loads(host.stdout.readline())
        assert state == "running"
        if end == "kill":
            host.kill()
        host.wait(30)
    try:
        if keep:
            time.sleep(1.5)
            assert answers(addon, url)
        else:
            until(lambda: not answers(addon, url), 15)
    finally:
        if keep:
            os.kill(pid, KILL)
