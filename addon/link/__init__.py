# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side: HTTP, files and runs.  Nothing here imports bpy, so threads may use it."""
