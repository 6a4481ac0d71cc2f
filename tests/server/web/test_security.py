"""SECURITY.md names a test for each of its promises, and the tests exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)+)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name):
    path, *parts = name.split("::")
    body = ast.parse((REPOSITORY / path).read_text("utf-8")).body
    for part in parts:
        (node,) = [n for n in body if getattr(n, "name", None) == part]
        body = node.body
    assert parts[-1].startswith("test_")


def test_every_promise_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []
