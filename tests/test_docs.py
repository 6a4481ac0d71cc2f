"""The pages that people read: links that lead somewhere, commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.cli.main import parse
from tests.conftest import REPOSITORY

PAGES = [
    *REPOSITORY.glob("*.md"),
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "addon").rglob("*.md"),
]
names = pytest.mark.parametrize(
    "page", PAGES, ids=[p.relative_to(REPOSITORY).as_posix() for p in PAGES]
)


def headings(page: Path) -> set[str]:
    """Anchors of a page, as the forges make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in titles}


@names
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked_page = page.parent / path if path else page
        assert linked_page.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in headings(linked_page), f"{page.name}: {target}"


@names
def test_nothing_is_left_to_be_filled_in(page: Path) -> None:
    assert not re.findall(r"@[A-Z]+@|TODO|TBD", page.read_text("utf-8"))


@names
def test_files_that_are_named_exist(page: Path) -> None:
    pattern = (
        r"`((?:addon|docs|dp3d_core|nerf_export|server|tests)/[\w./-]*\.(?:py|md|toml|txt|json))`"
    )
    for name in re.findall(pattern, page.read_text("utf-8")):
        assert (REPOSITORY / name).exists(), f"{page.name}: {name}"


@names
def test_tests_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`(tests/[^`]+?\.py::[^`]+)`", page.read_text("utf-8")):
        file, *parts = name.split("::")
        text = (REPOSITORY / file).read_text("utf-8")
        for part in parts:
            assert re.search(rf"^ *(?:def|class) {part}\b", text, re.M), f"{page.name}: {name}"


@names
def test_commands_in_code_blocks_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```(?:bash|powershell)?\n(.*?)```", page.read_text("utf-8"), re.S)
    for line in "\n".join(blocks).splitlines():
        command = re.sub(r"^\$ ", "", line.strip()).partition("#")[0]
        words = re.split(r"  +", command)[0].split()
        if words[:1] != ["dp3d"] or re.search(r"[\[\]|]|COMMAND|[A-Z]{3,}", command):
            continue
        try:
            parse(words[1:])
        except SystemExit:
            pytest.fail(f"{page.name}: {line}\n{capsys.readouterr().err}")


def test_every_command_is_in_cli_md() -> None:
    page = (REPOSITORY / "docs/cli.md").read_text("utf-8")
    text = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=None,
    ).stdout
    commands = set(re.findall(r"^[^\w]*([a-z]+)  +[A-Z]", text, re.M))
    assert {"demo", "generate", "bench"} <= commands
    assert all(f"dp3d {command}" in page for command in commands)


@pytest.mark.parametrize("room", ["evaluation", "synthetic"])
def test_tables_of_modules_are_complete(room: str) -> None:
    page = (REPOSITORY / "docs/architecture.md").read_text("utf-8")
    table = page.partition(f"\n`dp3d_core/{room}/`:\n\n")[2].partition("\n\n")[0]
    modules = {path.stem for path in (REPOSITORY / "dp3d_core" / room).glob("[!_]*.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == modules


@pytest.mark.parametrize(
    "page", [*PAGES, REPOSITORY / ".github/workflows/ci.yml"], ids=lambda page: page.name
)
def test_targets_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M)
    named = re.findall(r"(?:`|run: |^)make ([a-z][a-z-]*)", page.read_text("utf-8"), re.M)
    assert set(named) <= set(targets), page.name
