# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the Blender extension (GPL, as the extension itself)."""
