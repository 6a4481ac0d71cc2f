"""Whatever our code imports is declared by the extras that bring it, and named by packages."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from dp3d_core import packages
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
OURS = {"dp3d_core", "nerf_export", "server", "addon", "tests"}
CHILD = REPOSITORY / "nerf_export" / "child"
EXTRAS = {
    "dp3d_core": ("core", "diffusion", "metrics", "heic"),
    "nerf_export": ("nerf",),
    "server": ("core", "server", "diffusion"),
}
"""Extras that each package may import from, beside the base dependencies."""


def imported(files: list[Path]) -> set[str]:
    """Top modules that files import, without ours and the standard library's."""
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules.add(node.module)
    return {name.partition(".")[0] for name in modules} - OURS - sys.stdlib_module_names


def distributions(requirements: list[str]) -> set[str]:
    """Names of distributions, as pip compares them."""
    names = (re.match(r"[\w.-]+", line) for line in requirements)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def declared(*extras: str) -> set[str]:
    """Distributions of extras of ours, and of those that they include."""
    names = set()
    for extra in extras:
        lines = PROJECT["optional-dependencies"][extra]
        names |= distributions(lines)
        for line in lines:
            if included := re.match(r"dp3d\[([\w,-]+)\]", line):
                names |= declared(*included[1].split(","))
    return names


def distribution(module: str) -> str:
    return re.sub(r"[-_.]+", "-", packages._DISTRIBUTIONS.get(module, module)).lower()


@pytest.mark.parametrize("package", EXTRAS)
def test_what_is_imported_is_declared(package: str) -> None:
    files = [f for f in (REPOSITORY / package).rglob("*.py") if CHILD not in f.parents]
    names = distributions(PROJECT["dependencies"]) | declared(*EXTRAS[package])
    names.add("jaxtyping")  # of tests: arrays.py imports it only where it is loaded already
    assert {m for m in imported(files) if distribution(m) not in names} == set()


def test_what_the_child_imports_is_in_its_environment() -> None:
    locked = set()
    for name in ("nerf.txt", "nerf-nodeps.txt"):
        lines = (REPOSITORY / "nerf_export" / "locks" / name).read_text("utf-8").splitlines()
        locked |= distributions([line for line in lines if not line.startswith(("#", "-"))])
    modules = imported(list(CHILD.rglob("*.py"))) | {"filelock"}  # for dp3d_core's locks
    assert {m for m in modules if distribution(m) not in locked} == set()


def test_packages_names_what_is_declared() -> None:
    assert {distribution(m) for m in packages._ALWAYS} == distributions(PROJECT["dependencies"])
    for extra, modules in packages._EXTRAS.items():
        # transformers brings tokenizers
        assert {distribution(m) for m in modules} - {"tokenizers"} <= declared(extra), extra
