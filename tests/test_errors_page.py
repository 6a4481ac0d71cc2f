"""docs/errors.md and the catalogue in the code say the same, both ways."""

from __future__ import annotations

import re

from dp3d_core.errors import CATALOGUE, Dp3dError, ExitCode
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/errors.md").read_text("utf-8")


def test_the_table_is_the_catalogue():
    rows = re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)?)` \| (.+) \| (\d{3}) \| (\d+) \|$", PAGE, re.M)
    written = {code: (title, int(status), int(leave)) for code, title, status, leave in rows}
    known = {
        code: (kind.title, kind.http_status, int(kind.exit_code))
        for code, kind in CATALOGUE.items()
    }
    assert written == known
    assert len(rows) == len(known)


def test_every_exit_code_is_explained():
    written = {int(n) for n in re.findall(r"^\| (\d+) \| ", PAGE, re.M)}
    assert written == {int(code) for code in ExitCode}


def test_every_code_in_the_source_is_in_the_catalogue():
    # Dp3dError refuses an unknown code when it is raised; this finds it before.
    codes = set()
    for room in ("dp3d_core", "nerf_export", "server"):
        for path in (REPOSITORY / room).rglob("*.py"):
            source = path.read_text("utf-8")
            codes |= set(re.findall(r"Dp3dError\(\s*\"([a-z_.]+)\"", source))
    assert codes
    assert codes <= set(CATALOGUE)


def test_an_error_survives_the_network():
    error = Dp3dError("camera.invalid", "It is.", "Mend it.", "more")
    back = Dp3dError.from_dict(error.to_dict())
    assert back.to_dict() == error.to_dict()
