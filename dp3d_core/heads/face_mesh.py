"""Named points of MediaPipe's face mesh (``portraits.landmarks``): indices among its 468."""

from __future__ import annotations

POINTS = 468
"""Number of landmarks."""
RIGHT_EYE = 33
"""Outer corner of the person's right eye."""
LEFT_EYE = 263
"""Outer corner of the person's left eye."""
FOREHEAD = 10
"""Middle of the forehead at the hairline."""
CHIN = 152
"""Tip of the chin."""
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face, from the middle of the hairline once around the chin."""
