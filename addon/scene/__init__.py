# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's side: anchor, cameras, views and mesh.  Main thread only."""
