"""Blending: towards its end the photo takes on the colours of what continues it."""

from __future__ import annotations

import numpy as np

from dp3d_core.preview.texture.blending import blending

SHAPE = (96, 256)


def picture(colour: tuple[float, float, float]) -> np.ndarray:
    """(rows, columns, 3) of one colour."""
    return np.broadcast_to(np.array(colour, np.float32), (*SHAPE, 3)).copy()


def factors(kept: np.ndarray | None = None) -> np.ndarray:
    """Factors of a dark photo in the middle columns that lighter skin continues."""
    weight = np.zeros(SHAPE, np.float32)
    weight[:, 64:192] = 1.0
    kept = np.zeros(SHAPE, np.float32) if kept is None else kept
    parts = np.zeros(SHAPE, np.uint8)
    logarithm = blending(picture((0.4, 0.3, 0.2)), picture((0.6, 0.45, 0.4)), weight, parts, kept)
    return np.exp(logarithm)


def test_the_end_has_the_continuations_colour_and_the_middle_its_own() -> None:
    result = factors()
    np.testing.assert_allclose(result[48, 66], [1.5, 1.5, 2.0], rtol=0.05)
    np.testing.assert_allclose(result[48, 128], 1.0, atol=0.01)
    along = result[48, 66:128, 0]
    assert (np.diff(along) < 1e-3).all()
    assert np.abs(np.diff(along)).max() < 0.03


def test_what_is_kept_keeps_its_colour() -> None:
    kept = np.zeros(SHAPE, np.float32)
    kept[:, 64:100] = 1.0
    np.testing.assert_allclose(factors(kept)[48, 70:90], 1.0, atol=0.02)


def test_a_small_gap_is_no_end() -> None:
    weight = np.ones(SHAPE, np.float32)
    weight[46:50, 100:104] = 0.0
    result = blending(
        picture((0.4, 0.3, 0.2)),
        picture((0.6, 0.45, 0.4)),
        weight,
        np.zeros(SHAPE, np.uint8),
        np.zeros(SHAPE, np.float32),
    )
    np.testing.assert_allclose(result, 0.0, atol=1e-6)
