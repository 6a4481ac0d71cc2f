# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the add-on's preferences: the path of dp3d, and the server with its token."""

from __future__ import annotations

from typing import Protocol, cast

import bpy

from .link.client import DEFAULT_URL, Server

ADDON = __package__
"""Name the extension is registered under."""


class Preferences(Protocol):
    """The fields of the preferences; ``ui/preferences_page.py`` defines and draws them."""

    dp3d_path: str
    keep_server: bool
    server_url: str
    token: str


def settings() -> Preferences | None:
    """The preferences; None where the add-on was registered by a script, not installed."""
    entry = bpy.context.preferences.addons.get(ADDON)
    return None if entry is None else cast(Preferences, entry.preferences)


def url() -> str:
    """Address of the server; reads no file, unlike :func:`server`, so panels may call it."""
    chosen = settings()
    address = chosen.server_url.strip() if chosen is not None else ""
    return (address or DEFAULT_URL).rstrip("/")


def server() -> Server:
    """The server as configured now, with its token."""
    chosen = settings()
    online = bool(getattr(bpy.app, "online_access", False))
    if chosen is None:
        return Server.configured(DEFAULT_URL, "", online)
    return Server.configured(chosen.server_url, chosen.token, online)
