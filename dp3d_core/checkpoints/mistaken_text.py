"""Texts in place of weights: pointers, links, web pages and answers of servers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dp3d_core.checkpoints.refusals import (
    PARTIAL_ENDINGS,
    bytes_for_people,
    refuse_other,
    refuse_partial,
    refuse_placeholder,
    shortened,
)
from dp3d_core.errors import Dp3dError


@dataclass(frozen=True)
class _Pattern:
    """A kind of text, recognised by a regular expression at its beginning."""

    expression: str
    refuse: Callable[[Path, str, int], NoReturn]


def refuse_text(path: Path, text: str, size: int) -> NoReturn:
    """Raise the error for a text in place of weights.

    Args:
        path: the file.
        text: its beginning.
        size: bytes of the file.

    Raises:
        Dp3dError: ``weights.placeholder``, ``weights.web_page``, ``weights.incomplete``,
            ``weights.other_format``.

    """
    stripped = text.lstrip()
    for pattern in _TEXTS:
        if re.match(pattern.expression, stripped, re.IGNORECASE | re.DOTALL):
            pattern.refuse(path, stripped, size)
    if stripped[:1] in {"{", "["}:
        _refuse_json(path, stripped)
    if size < 4096 and re.search(_SERVER_REFUSALS, stripped, re.IGNORECASE):
        refuse_page(path, f"the answer of a web server ({shortened(stripped)})", stripped)
    if path.suffix.lower() in PARTIAL_ENDINGS:
        refuse_partial(path, size)
    refuse_other(path, "a text file")


_SERVER_REFUSALS = (
    r"not found|unauthori[sz]ed|forbidden|denied|invalid (username|credentials|token)|restricted|"
    r"log ?in|sign ?in|quota|rate limit|too many requests|gated|expired|bad gateway|unavailable"
)
"""Expression for short answers of web servers that refuse a request."""


def _refuse_pointer(path: Path, text: str, size: int) -> NoReturn:
    size_line = re.search(r"^size (\d+)", text, re.MULTILINE)
    full_size = f" that stands for {bytes_for_people(int(size_line[1]))}" if size_line else ""
    refuse_placeholder(
        path,
        f"a Git LFS pointer of {bytes_for_people(size)}{full_size}",
        "Run 'git lfs install' and 'git lfs pull' in the repository's folder, or fetch the file "
        "itself from its page.",
    )


def _refuse_annex(path: Path, text: str, size: int) -> NoReturn:
    refuse_placeholder(
        path,
        f"a git-annex pointer of {bytes_for_people(size)}",
        f"Run 'git annex get {path.name}' in the repository's folder.",
    )


def _refuse_shortcut(path: Path, text: str, size: int) -> NoReturn:
    refuse_placeholder(
        path, "a link to a download", "Follow the link in it, and fetch the file itself."
    )


def _refuse_dvc(path: Path, text: str, size: int) -> NoReturn:
    refuse_placeholder(
        path, "a DVC pointer", "Run 'dvc pull' in the repository's folder, and give the file."
    )


def _refuse_headers(path: Path, text: str, size: int) -> NoReturn:
    status = text.splitlines()[0].strip()
    refuse_page(path, f"the answer of a web server with its headers ({status[:60]})", text)


def _refuse_html(path: Path, text: str, size: int) -> NoReturn:
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    title_text = f" ({shortened(title[1])})" if title and title[1].strip() else ""
    refuse_page(path, f"a web page{title_text}", text)


def _refuse_xml(path: Path, text: str, size: int) -> NoReturn:
    code = re.search(r"<(?:Code|Message)>(.*?)</", text, re.DOTALL)
    if code or "<error" in text.lower():
        code_text = f" ({shortened(code[1])})" if code else ""
        refuse_page(path, f"the answer of a web server{code_text}", text)
    refuse_other(path, "an XML file")


_TEXTS = (
    _Pattern(r"version https?://(git-lfs\.github\.com|hawser\.github\.com)/spec", _refuse_pointer),
    _Pattern(r"(\.\./)*(\.git)?/?annex/objects/", _refuse_annex),
    _Pattern(r"outs:\s*\n\s*-\s+(md5|hash|size|path):", _refuse_dvc),
    _Pattern(r"(\[InternetShortcut\]|\[Desktop Entry\])", _refuse_shortcut),
    _Pattern(r"(magnet:\?\S+|https?://\S+)\s*$", _refuse_shortcut),
    _Pattern(r"(<\?xml[^>]*>\s*)?(<!DOCTYPE plist[^>]*>\s*)?<plist", _refuse_shortcut),
    _Pattern(r"(<\?xml[^>]*>\s*)?<metalink", _refuse_shortcut),
    _Pattern(r"HTTP/\d(\.\d)? \d{3}", _refuse_headers),
    _Pattern(
        r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!DOCTYPE html|html|head|body|title|script|meta)\b",
        _refuse_html,
    ),
    _Pattern(r"<[?!a-z]", _refuse_xml),
)
"""Kinds of text; the first that matches counts."""


def _refuse_json(path: Path, text: str) -> NoReturn:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        message = next(
            (str(data[k]) for k in ("error", "message", "detail", "errors") if data.get(k)), None
        )
        if message is not None:
            refuse_page(path, f"the answer of a web server ({shortened(message)})", message)
        if "weight_map" in data:
            refuse_other(path, "the index of weights that lie in several files")
    refuse_other(path, "a JSON file")


def refuse_page(path: Path, what: str, text: str) -> NoReturn:
    """Raise ``weights.web_page`` with a remedy that fits the page's text."""
    remedy = "Fetch it again, in a browser, and wait until the download itself has ended."
    for expression, remedy_of_page in _PAGE_REMEDIES:
        if re.search(expression, text, re.IGNORECASE):
            remedy = remedy_of_page
            break
    raise Dp3dError("weights.web_page", f"{path.name} is {what}, not the file itself.", remedy)


_PAGE_REMEDIES = (
    (
        r"virus scan|can't scan|cannot scan|download_warning|confirm=",
        "Open the link in a browser, confirm 'Download anyway', and wait until the download has "
        "ended.",
    ),
    (
        r"quota|too many users|too many requests|rate limit|download limit",
        "Try again tomorrow: its host gives the file to no more people today. Or copy it into your "
        "own drive first, and fetch that copy.",
    ),
    (
        r"restricted|gated|request access|accept .{0,30}(license|terms|conditions)|need access",
        "Log in at its page, accept its terms or ask for access there, and fetch it again.",
    ),
    (
        r"log ?in|sign ?in|password|unauthori[sz]ed|authenticat|credentials|invalid token|forbidden"
        r"|denied|\b40[13]\b",
        "Log in at its page with an account that may have the file, and fetch it again.",
    ),
    (
        r"not ?found|no longer|nosuchkey|\b404\b|\b410\b|expired",
        "Check the address: there is no such file at its host any more. 'dp3d models list' names "
        "the pages.",
    ),
    (
        r"just a moment|captcha|cloudflare|enable javascript|robot",
        "Fetch it in a browser: its host gives it to no other program.",
    ),
    (
        r"bad gateway|unavailable|internal server error|time-?out|\b50[0234]\b",
        "Try again later: its host has trouble.",
    ),
)
"""Expression in a page's text and remedy; the first that matches counts."""
