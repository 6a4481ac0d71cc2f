"""Khronos' validator of glTF files, an npm package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

VALIDATOR = "DP3D_GLTF_VALIDATOR"
"""Variable that names the folder of the npm package ``gltf-validator``."""
_SCRIPT = """
const validator = require(process.argv[1]);
const data = new Uint8Array(require('fs').readFileSync(process.argv[2]));
validator.validateBytes(data, {maxIssues: 50}).then((r) => console.log(JSON.stringify(r.issues)));
"""


def validated(path: Path) -> Any:
    """What the validator says of a file; the test is skipped without it."""
    folder, node = os.environ.get(VALIDATOR), shutil.which("node")
    if folder is None or node is None:
        pytest.skip(f"needs node, and {VALIDATOR} naming the folder of npm's gltf-validator")
    done = subprocess.run(
        [node, "-e", _SCRIPT, folder, str(path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)
