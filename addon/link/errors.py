# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures the panel shows: a code, what is wrong, what to do next.

The server's own failures arrive as RFC 9457 bodies with the same three members and are shown
unchanged; codes that begin with ``addon.`` can only arise here (``docs/blender.md``).
"""

from __future__ import annotations


class AddonError(Exception):
    """A failure to show to a person: stable code, problem sentence, remedy sentence."""

    def __init__(self, code: str, problem: str, remedy: str) -> None:
        self.code, self.problem, self.remedy = code, problem, remedy
        super().__init__(f"{problem} {remedy} [{code}]")


def from_body(body: object) -> AddonError | None:
    """The failure a JSON body of the server describes, or None if it describes none."""
    if not isinstance(body, dict) or not body.get("code") or not body.get("problem"):
        return None
    return AddonError(
        str(body["code"]), str(body["problem"]), str(body.get("remedy") or "See the server's log.")
    )
