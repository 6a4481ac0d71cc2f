"""Hooks of MkDocs: the home page, the navigation, and a page for every module.

The README and its neighbours in the root become pages of the site, with their links turned.  The
API's pages come from the packages' folders, so a new module appears by itself; a module or room
that a page names by its path in the repository becomes a link to its API page.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("dp3d_core", "nerf_export", "server", "addon")
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""File in the repository's root -> page of the site."""
FIRST_GUIDES = (
    "cli",
    "blender",
    "limits",
    "glossary",
    "errors",
    "coordinates",
    "folders",
    "http-api",
)
"""Guides in the order of their reading; the others follow by name."""

_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")
_CODE = re.compile(rf"(?<!\[)`((?:{'|'.join(PACKAGES)})(?:/[\w/]+?)?)(\.py|/)?`(?!\])")
_FENCE = re.compile(r"^(```.*?^```)$", re.M | re.S)
_EXTERNAL = re.compile(
    r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\s\">]+"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation, and anchors as the forges and ``tests/test_docs.py`` make them."""
    guides = sorted((REPOSITORY / "docs").glob("*.md"), key=_guide_order)
    decisions = sorted((REPOSITORY / "docs/decisions").glob("[0-9]*.md"))
    config.nav = [
        {"Home": "index.md"},
        {"Guides": [page.name for page in guides]},
        {"API": ["api/index.md", *(_room(REPOSITORY / name) for name in PACKAGES)]},
        {"Decisions": ["decisions/README.md", *(f"decisions/{page.name}" for page in decisions)]},
        {"Project": [page for page in ROOT_PAGES.values() if page != "index.md"]},
    ]
    config.mdx_configs["toc"]["slugify"] = anchor
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere or are made here."""
    for name, page in ROOT_PAGES.items():
        text = (REPOSITORY / name).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for uri, text in api_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    sources = {uri: name for name, uri in ROOT_PAGES.items()}
    uri = page.file.src_uri
    turned = turn_links(markdown, sources.get(uri, f"docs/{uri}"), uri)
    return turned if uri.startswith("api/") else link_code(turned, uri)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse what would be fetched from the network when the page is opened."""
    if external := _EXTERNAL.search(output):
        raise PluginError(f"{page.file.src_uri} needs the network: {external[0]}")
    return output


def anchor(heading: str, separator: str) -> str:
    """Anchor of a heading, as the forges make it."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", separator)


def turn_links(markdown: str, source: str, uri: str) -> str:
    """Links of a file of the repository, for its page.

    Args:
        markdown: the file's text.
        source: its path in the repository.
        uri: the page's path in the site.

    """

    def turned(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        page = ROOT_PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{link[2]})"

    return _LINK.sub(turned, markdown)


def link_code(markdown: str, uri: str) -> str:
    """Paths of modules and rooms, outside of code blocks, as links to their API pages.

    Args:
        markdown: text of a page.
        uri: its path in the site.

    """

    def linked(code: re.Match[str]) -> str:
        path = REPOSITORY / code[1]
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not file.is_file():
            return code[0]
        return f"[{code[0]}]({posixpath.relpath(_uri(file), posixpath.dirname(uri) or '.')})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _CODE.sub(linked, part) for part in parts)


def api_pages() -> dict[str, str]:
    """Path in the site -> text, for every module; a room's page lists what lies in it."""
    packages = [REPOSITORY / name / "__init__.py" for name in PACKAGES]
    pages = {"api/index.md": "# API\n\n" + "".join(_entry(file, "api") for file in packages)}
    for package in packages:
        for file in sorted(package.parent.rglob("*.py")):
            uri, name = _uri(file), _module(file)
            pages[uri] = f"::: {name}\n"
            if file.name == "__init__.py":
                inside = (_entry(child, posixpath.dirname(uri)) for child in _children(file.parent))
                pages[uri] += "\n" + "".join(inside)
    return pages


def _room(folder: Path) -> dict[str, Any]:
    """Navigation of a package or room: its own page first, then what lies in it."""
    inside = [
        _room(child.parent) if child.name == "__init__.py" else {child.stem: _uri(child)}
        for child in _children(folder)
    ]
    return {folder.name: [_uri(folder / "__init__.py"), *inside]}


def _children(folder: Path) -> list[Path]:
    """Files of the rooms in a folder, then of its modules."""
    rooms = sorted(folder.glob("*/__init__.py"))
    return rooms + sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")


def _uri(file: Path) -> str:
    """Path in the site of a module's page."""
    path = file.relative_to(REPOSITORY)
    page = path.with_name("index.md") if file.name == "__init__.py" else path.with_suffix(".md")
    return f"api/{page.as_posix()}"


def _module(file: Path) -> str:
    """Dotted name of a module."""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _entry(file: Path, folder: str) -> str:
    """A line on a module for the page of its room, which lies in ``folder`` of the site."""
    name = file.parent.name if file.name == "__init__.py" else file.stem
    return f"- [`{name}`]({posixpath.relpath(_uri(file), folder)}): {_summary(file)}\n"


def _summary(file: Path) -> str:
    """First sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s", paragraph)[0].rstrip(":")
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", sentence)


def _guide_order(page: Path) -> tuple[int, str]:
    known = page.stem in FIRST_GUIDES
    return (FIRST_GUIDES.index(page.stem) if known else len(FIRST_GUIDES), page.stem)
