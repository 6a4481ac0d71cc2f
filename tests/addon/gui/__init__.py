# SPDX-License-Identifier: GPL-3.0-or-later
"""A real window, real clicks, pictures to look at.  Run by hand: needs X tools and a Blender."""
