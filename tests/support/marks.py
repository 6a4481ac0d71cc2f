"""Tests that need another environment have the mark by which a run leaves them out."""

from __future__ import annotations

import pytest

MARKS = {
    "nerf_environment": "nerf",
    "bpy_python": "bpy",
    "node_command": "viewers",
    "chromium": "viewers",
}
"""Mark that a test needs, by the fixture that it uses, directly or through other fixtures."""


def missing_marks(item: pytest.Item) -> list[str]:
    """Marks that a test lacks although it uses their fixtures."""
    used = getattr(item, "fixturenames", ())
    return [
        mark
        for fixture, mark in MARKS.items()
        if fixture in used and item.get_closest_marker(mark) is None
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test without its marks before its fixtures can skip it."""
    if missing := missing_marks(item):
        pytest.fail(f"{item.nodeid} lacks the mark {', '.join(missing)}", pytrace=False)
