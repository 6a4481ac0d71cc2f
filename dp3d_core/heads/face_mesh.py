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
INNER_LIPS = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
"""Inner edges of the upper and of the lower lip, from the person's right corner to the left."""
LIDS = {
    "Right": ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
    "Left": ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382)),
}
"""Edges of the upper and of the lower lid of the person's eyes, from the outer to the inner corner,
without the corners."""
