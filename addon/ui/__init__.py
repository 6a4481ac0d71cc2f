# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: panels, buttons, preferences."""
