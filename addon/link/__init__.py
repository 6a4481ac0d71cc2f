# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to the server and runs dp3d's programs: HTTP, files, processes.  No bpy: for threads."""
