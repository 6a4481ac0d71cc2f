# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of the scene: anchor, cameras, views, mesh, playback and exports.  Main thread only."""
