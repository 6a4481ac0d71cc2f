"""Light from above, and how strongly a photo shows it."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.light import sky_light, strength
from dp3d_core.raycast import RayCaster


def test_the_throat_lies_in_shade_and_the_forehead_in_light():
    mesh = BareHead.of(np.zeros(0), {}).mesh
    light = sky_light(RayCaster(mesh))
    x, y, z = mesh.vertices.T
    middle = np.abs(x) < 0.03
    throat = middle & (y < -0.2) & (y > -0.24) & (z > 0) & (mesh.normals[:, 2] > 0)
    forehead = middle & (y > 0.1) & (y < 0.15) & (mesh.normals[:, 2] > 0.5)
    assert np.median(light[throat]) < 0.85 * np.median(light[forehead])
    assert 0.9 < np.median(light[forehead]) <= 1.15


def test_the_strength_of_a_known_light_is_found():
    rng = np.random.default_rng(0)
    light = rng.uniform(0.5, 1.15, 4000)
    truth = np.array([0.3, 0.5, 0.7])
    colours = np.array([0.8, 0.6, 0.5]) * light[:, None] ** truth
    colours *= np.exp(rng.normal(0, 0.1, colours.shape))
    assert strength(light, colours) == pytest.approx(truth, abs=0.05)
    flat = np.full((4000, 3), 0.6)
    assert (strength(light, flat) == strength(light, flat * 0.5)).all()
    assert (strength(light[:10], colours[:10]) < 0.5).all()  # nothing to go by: a usual one
