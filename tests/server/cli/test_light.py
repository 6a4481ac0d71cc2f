"""Imports that must not load heavy packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "cv2", "trimesh", "scipy", "skimage", "embreex", "nerf_export", "diffusers"),
    *("jaxtyping", "beartype"),
)


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import server.web.app, server.jobs.local, server.serving.serve", HEAVY),
        ("import server.cli.main", (*HEAVY, "fastapi", "sqlmodel", "uvicorn", "httpx")),
        ("import server.client", (*HEAVY, "fastapi", "sqlmodel", "uvicorn")),
        ("import dp3d_core.storage.paths", (*HEAVY, "numpy")),
    ],
)
def test_import_is_light(statement, forbidden):
    code = f"{statement}; import sys; print(*(m for m in {forbidden!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
