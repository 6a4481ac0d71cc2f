"""Head space: its unit and where the average head lies in it.

X to the head's left, Y up, the face towards +Z; the origin is the centre of the head.
"""

from __future__ import annotations

import numpy as np

MM = 0.00228
"""Millimetres to head units."""
BUST_CUT_MM = -205.0
"""Height of the flat cut through the shoulders, millimetres."""
EYE = np.array([29.1, 27.0, 62.5])
"""Centre of the average head's left eyeball, millimetres."""
EYE_RADIUS = 14.7
"""Millimetres."""
MOUTH_Y, MOUTH_HALF = -40.6, 25.0
"""Height of the line between the average head's closed lips, and half its width, millimetres."""
