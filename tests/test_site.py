"""The documentation site: links that are turned, pages that appear by themselves, docstrings."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.test_docs import headings


def _load(name: str, needs: str) -> ModuleType:
    pytest.importorskip(needs, reason="the extra 'docs' is not installed (make docs)")
    path = REPOSITORY / "docs/mkdocs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"site_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return _load("pages", "mkdocs")


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    return _load("docstrings", "griffe")


@pytest.mark.parametrize(
    ("link", "source", "uri", "turned"),
    [
        ("docs/cli.md#weights", "README.md", "index.md", "cli.md#weights"),
        ("SECURITY.md", "README.md", "index.md", "security.md"),
        ("../README.md#start", "docs/blender.md", "blender.md", "index.md#start"),
        ("../cli.md", "docs/decisions/0011.md", "decisions/0011.md", "../cli.md"),
        ("images/a.jpg", "docs/blender.md", "blender.md", "images/a.jpg"),
    ],
)
def test_links_between_files_become_links_between_pages(pages, link, source, uri, turned):
    assert pages.turn_links(f"a [b]({link}) c", source, uri) == f"a [b]({turned}) c"


@pytest.mark.parametrize("link", ["https://pypi.org/a.md", "#here"])
def test_other_links_stay(pages, link):
    assert pages.turn_links(f"[b]({link})", "README.md", "index.md") == f"[b]({link})"


def test_paths_of_modules_become_links(pages):
    assert pages.link_code("in `dp3d_core/cameras/camera.py`,", "cli.md") == (
        "in [`dp3d_core/cameras/camera.py`](api/dp3d_core/cameras/camera.md),"
    )
    assert pages.link_code("`server/`", "decisions/0001.md") == (
        "[`server/`](../api/server/index.md)"
    )
    for same in ("`dp3d_core/no_such.py`", "```\n`server/`\n```", "[`server/`](architecture.md)"):
        assert pages.link_code(same, "cli.md") == same


def test_every_module_has_a_page_and_a_place_in_the_navigation(pages):
    modules = {
        pages._module(file) for name in pages.PACKAGES for file in (REPOSITORY / name).rglob("*.py")
    }
    made = pages.api_pages()
    shown = {text.split()[1] for text in made.values() if text.startswith(":::")}
    assert shown == modules
    navigation = [pages._room(REPOSITORY / name) for name in pages.PACKAGES]
    assert sorted([*_uris(navigation), "api/index.md"]) == sorted(made)


def _uris(item: Any) -> list[str]:
    if isinstance(item, dict):
        return [uri for inside in item.values() for uri in _uris(inside)]
    return [item] if isinstance(item, str) else [uri for inside in item for uri in _uris(inside)]


def test_anchors_are_those_of_the_forges(pages):
    for page in (REPOSITORY / "docs").glob("*.md"):
        lines = page.read_text("utf-8").splitlines()
        anchors = {pages.anchor(x.lstrip("# "), "-") for x in lines if x.startswith("#")}
        assert anchors == headings(page)


@pytest.mark.parametrize("tag", ['<script src="https://a.b/c.js">', "<img src=//a.b/c.png>"])
def test_what_needs_the_network_ends_the_build(pages, tag):
    page = type("Page", (), {"file": type("File", (), {"src_uri": "cli.md"})})
    with pytest.raises(Exception, match=r"cli\.md needs the network"):
        pages.on_post_page(f"<p>{tag}", page)
    link = '<a href="https://a.b">'
    assert pages.on_post_page(link, page) == link


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":class:`~a.b.C` of :func:`d`", "[`C`][a.b.C] of [`d`][d]"),
        (":func:`~a._b`", "`_b`"),
        ("A folder::\n\n    x\n", "A folder:\n\n    x\n"),
        ("First.\n\n::\n\n    x\n", "First.\n\n\n    x\n"),
        ("==  ===\nA   one\n==  ===\n", "    A   one\n\n"),
    ],
)
def test_restructured_text_becomes_markdown(docstrings, text, expected):
    assert docstrings.markdown(text) == expected
