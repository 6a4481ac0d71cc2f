# SPDX-License-Identifier: GPL-3.0-or-later
"""New anchors stand where a head is, and the ghost's lines are those of the canonical head."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads.space import EYE, MM
from dp3d_core.synthetic.average_bust import bare_body

pytestmark = pytest.mark.bpy


def test_anchor_and_ghost(blender) -> None:
    result = blender("head_anchor")
    first = result["first"]
    np.testing.assert_allclose(first["location"], (0, 0, 1.589), atol=1e-5)
    np.testing.assert_allclose(first["scale"], 0.5)
    assert first["selected"] == [first["active"]] == ["Head Anchor"]
    assert result["above_cube"] > 0.4
    # eyes of a figure of 1.75 m, by the head that the server fits
    eye_height = first["location"][2] + 0.5 * EYE[1] * MM
    assert abs(eye_height - 1.62) < 0.002

    assert result["again"] == first  # selected again, and not a second one
    assert result["unhidden"] == [first, False]
    moved = result["moved_cursor"]
    np.testing.assert_allclose(moved["location"], (3, -4, 1.589), atol=1e-5)
    assert moved["anchors"] == 2
    assert moved["selected"] == [moved["active"]] == ["Head Anchor.001"]
    np.testing.assert_allclose(result["cursor"]["location"], (3, -4, 0.5))
    assert result["after_delete"]["anchors"] == 3  # made anew where the scene's was deleted
    np.testing.assert_allclose(result["centimetres"]["location"], (3, -4, 158.9), atol=1e-3)
    np.testing.assert_allclose(result["centimetres"]["scale"], 50, rtol=1e-6)
    np.testing.assert_allclose(result["no_units"]["scale"], 0.5)
    assert result["sight"] == [True, False, False, False]
    assert abs(result["animated_x"] - 5) < 1e-6
    #        plain  off    hidden shown elsewhere, at it, hidden mesh, unlinked, none
    assert result["shown"] == [True, False, False, True, True, False, True, False, False]

    lines = [np.array(line) for line in result["lines"]]
    assert result["segments"] == 2 * sum(len(line) - 1 for line in lines)
    profile = lines[0]
    distance = bare_body(profile[(profile[:, 1] > -0.19)] / MM) * MM
    assert np.abs(distance).max() < 0.02  # the skin of the model, about
    everything = np.concatenate(lines)
    mirrored = everything * (-1, 1, 1)
    gaps = np.linalg.norm(everything[:, None] - mirrored[None], axis=2).min(0)
    assert gaps.max() < 1e-6
    assert everything[:, 2].max() > profile[:, 2].max() + 0.1  # an arrow out of the face
