"""Head space: its unit, and landmarks of the average head.

X to the head's left, Y up, the face towards +Z; the origin is the centre of the head.
"""

from __future__ import annotations

import numpy as np

MM = 0.00228
"""Head units per millimetre."""
BUST_CUT_MM = -205.0
"""Height of the plane that cuts the shoulders, millimetres."""
EYE = np.array([29.1, 27.0, 62.5])
"""Centre of the average head's left eyeball, millimetres."""
EYE_RADIUS = 14.7
"""Radius of the eyeballs, millimetres."""
MOUTH_Y = -40.6
"""Height of the line between the average head's closed lips, millimetres."""
MOUTH_HALF = 25.0
"""Half the width of the average head's mouth, millimetres."""
