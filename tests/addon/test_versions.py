# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that runs these tests on every Blender: its table and exit codes."""

from __future__ import annotations

import sys

import pytest

from tests.addon import versions as blender_versions
from tests.addon.support import REPOSITORY
from tests.addon.versions import Row, exit_code, find_python, read_report

GOOD = '<testcase classname="a" name="t{}" time="1.5"/>'
BAD = '<testcase classname="a.b" name="u" time="1"><failure/></testcase>'
SKIPPED = '<testcase classname="a" name="s" time="0"><skipped/></testcase>'


@pytest.mark.parametrize(
    ("cases", "code", "outcome", "detail"),
    [
        (GOOD + SKIPPED, 0, "passed", "1 passed, 0 failed, 1 skipped, 2 s"),
        (GOOD + BAD, 1, "failed", "1 passed, 1 failed, 0 skipped"),
        (SKIPPED, 0, "failed", "0 passed"),  # nothing was tested
        (GOOD, 3, "failed", "1 passed"),  # pytest itself broke
    ],
)
def test_a_report_is_read(tmp_path, cases, code, outcome, detail):
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    row = read_report("4.2", report, code)
    assert row.outcome == outcome
    assert row.detail.startswith(detail)
    assert row.failures == (["a.b::u"] if BAD in cases else [])


def test_no_report_is_a_failure(tmp_path):
    assert read_report("4.2", tmp_path / "none.xml", 2).outcome == "failed"


@pytest.mark.parametrize(
    ("outcomes", "strict", "code"),
    [
        (("passed", "passed"), True, 0),
        (("passed", "not run"), False, 0),
        (("passed", "not run"), True, 4),
        (("failed", "not run"), False, 1),
    ],
)
def test_what_was_not_run_counts_when_it_is_strict(outcomes, strict, code):
    assert exit_code([Row("x", outcome) for outcome in outcomes], strict) == code


def test_a_version_without_its_python_is_not_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHON313", str(tmp_path / "none"))
    monkeypatch.setattr(blender_versions, "REPOSITORY", tmp_path)
    (tmp_path / "tests" / "addon").mkdir(parents=True)
    (tmp_path / "tests" / "addon" / "bpy-requirements-5.2.txt").touch()
    row = blender_versions.run(blender_versions.VERSIONS[-1], [])
    assert (row.outcome, "PYTHON313" in row.detail) == ("not run", True)


def test_a_stand_in_that_runs_nothing_is_no_python(monkeypatch, tmp_path):
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if sys.version_info[:2] != (3, 13):
        assert find_python((3, 13)) is None
    assert find_python(sys.version_info[:2]) == sys.executable


def test_every_version_is_pinned():
    for version in blender_versions.VERSIONS:
        text = (REPOSITORY / "tests" / "addon" / version.requirements).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all("==" in line for line in lines)
        assert any(line.startswith(f"bpy=={version.name}.") for line in lines)
