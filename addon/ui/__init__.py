# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels, buttons and preferences.  No module below imports one of these."""
