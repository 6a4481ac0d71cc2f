"""Whatever our code imports is declared by the extras that bring it, and named by packages."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from dp3d_core import packages
from dp3d_core.weights import requirements
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
    return re.sub(r"[-_.]+", "-", packages.distribution(module)).lower()


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
    assert {distribution(m) for m in packages.ALWAYS} == distributions(PROJECT["dependencies"])
    extras = {extra: declared(extra) - {"dp3d"} for extra in packages.EXTRAS}
    extras["diffusion"] -= declared("core")
    extras["metrics"] -= declared("diffusion")
    for extra, modules in packages.EXTRAS.items():
        # transformers brings tokenizers
        assert {distribution(m) for m in modules} - {"tokenizers"} == extras[extra], extra
    assert set(packages.EXTRAS) < set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize(
    ("lowest_versions", "extra"),
    [(requirements._RUNNING, "diffusion-run"), (requirements._TEXT_ENCODER, "diffusion")],
)
def test_lowest_versions_are_those_that_are_declared(
    lowest_versions: dict[str, tuple[int, ...]], extra: str
) -> None:
    lines = PROJECT["optional-dependencies"][extra]
    for name, lowest in lowest_versions.items():
        version = ".".join(map(str, lowest))
        equal = f"{name}=={version}.*"
        assert any(line == equal or line.startswith(f"{name}>={version}") for line in lines), name
        assert (name in requirements._ONLY) == (equal in lines)
