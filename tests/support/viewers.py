"""Readers of glTF that are no Python: Khronos' validator in node, three.js in headless Chromium.

``make env-viewers`` installs what ``tests/viewers/package-lock.json`` names.  Chromium is the
machine's own.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "tests" / "viewers"
"""Folder of the page that loads a head."""
PACKAGES = REPOSITORY / ".viewers" / "node_modules"
"""What ``make env-viewers`` installs."""
CHROMIUM = "DP3D_CHROMIUM"
"""Variable that names the Chromium to use."""
BROWSERS = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"
"""Commands that are looked for without it."""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a GPU
)
_TYPES = {".html": "text/html", ".js": "text/javascript", ".glb": "model/gltf-binary"}
_VALIDATE = """
const validator = require(process.argv[1]);
const data = new Uint8Array(require('fs').readFileSync(process.argv[2]));
validator.validateBytes(data, {maxIssues: 50}).then((r) => console.log(JSON.stringify(r.issues)));
"""


def find_node() -> str | None:
    """The node that the packages run in: on PATH, or brought by ``make env-viewers``."""
    return shutil.which("node") or shutil.which("node", path=str(REPOSITORY / ".viewers/bin"))


def find_chromium() -> str | None:
    """A Chromium that has a mode without a window."""
    chosen = os.environ.get(CHROMIUM)
    return next(filter(None, map(shutil.which, [chosen] if chosen else BROWSERS)), None)


def validate(node: str, file: Path) -> dict[str, Any]:
    """Issues that Khronos' validator finds in a file: numbers by severity, and messages."""
    done = subprocess.run(
        [node, "-e", _VALIDATE, str(PACKAGES / "gltf-validator"), str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def look_at(chromium: str, head: Path, seconds: float = 240) -> dict[str, Any]:
    """What three.js makes of a GLB, as ``page.js`` reports it.

    Raises:
        AssertionError: the page failed, or said nothing for ``seconds``.

    """
    with _served(head) as (address, reports), _browser(chromium, address) as log:
        try:
            report = reports.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no report from Chromium:\n{log.read_text()}") from None
    assert "error" not in report, report["error"]
    return report


@contextmanager
def _served(head: Path) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """Page, three.js and head on a loopback port; its address, and the reports of the page."""
    reports: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = _file(self.path, head)
            if file is None:
                self.send_error(404)
                return
            data = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", _TYPES[file.suffix])
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/page.html", reports
        finally:
            server.shutdown()


def _file(path: str, head: Path) -> Path | None:
    """The file of an address of the page; None for others, such as the browser's own icon."""
    if path == "/head.glb":
        return head
    root = PACKAGES if path.startswith("/three/") else PAGE
    file = (root / path.lstrip("/")).resolve()
    inside = root.resolve() in file.parents
    return file if inside and file.is_file() and file.suffix in _TYPES else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a browser with all its processes."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


@contextmanager
def _browser(chromium: str, address: str) -> Iterator[Path]:
    """Chromium with the page, and its log; both end with the context."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "chromium.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [chromium, *FLAGS, f"--user-data-dir={folder}/profile", address],
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Debian's command is a script that Chromium outlives
            )
            try:
                yield log
            finally:
                _end(process)
