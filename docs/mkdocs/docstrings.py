"""Docstrings as Markdown: the roles of reStructuredText become links, its literal blocks code.

An extension of griffe, which reads the packages for mkdocstrings.  ``scoped_crossrefs`` in
``mkdocs.yml`` resolves short names; a name that leads nowhere is a warning, which ends the build.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|data|attr|exc|mod):`([^`]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.M)
_LONE_COLON = re.compile(r"^:\n", re.M)
_TABLE = re.compile(r"^(?P<rule>=+(?: +=+)+)\n(?P<rows>.*?)^(?P=rule)$", re.M | re.S)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring once its package is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """Drop what a module hands on from another library; its pages are not ours to write."""
        ours = mod.path.partition(".")[0]
        foreign = {
            name
            for name, member in mod.members.items()
            if member.is_alias and member.target_path.partition(".")[0] != ours
        }
        for name in foreign:
            del mod.members[name]
        if mod.exports is not None:
            mod.exports = [name for name in mod.exports if name not in foreign]

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstring of a package, which is no object of another."""
        self.on_object(obj=pkg)


def markdown(text: str) -> str:
    """A docstring with reStructuredText in it as Markdown."""
    text = _TABLE.sub(lambda table: _code(table["rows"]), text)
    text = _LONE_COLON.sub("", _LITERAL_BLOCK.sub(":", text))
    return _ROLE.sub(lambda role: _link(role[1]), text)


def _link(target: str) -> str:
    """A link as autorefs reads it; names with an underscore in front have no page."""
    path = target.removeprefix("~")
    shown = path.rpartition(".")[2] if target.startswith("~") else path
    if path.rpartition(".")[2].startswith("_"):
        return f"`{shown}`"
    return f"[`{shown}`][{path}]"


def _code(rows: str) -> str:
    """A table without heads as it stands in the source."""
    return "".join(f"    {row}\n" for row in rows.splitlines())
