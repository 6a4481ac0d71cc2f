"""Light of a photo: shade under the sky, and the side from which it comes."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.meshes.mesh import unit
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.photo.light import Light, sky_light

SKIN = np.array([0.8, 0.6, 0.5])


def test_the_throat_lies_in_shade_and_the_forehead_in_light():
    mesh = BareHead.of(np.zeros(0), {}).mesh
    light = sky_light(RayCaster(mesh))
    x, y, z = mesh.vertices.T
    middle = np.abs(x) < 0.03
    throat = middle & (y < -0.2) & (y > -0.24) & (z > 0) & (mesh.normals[:, 2] > 0)
    forehead = middle & (y > 0.1) & (y < 0.15) & (mesh.normals[:, 2] > 0.5)
    assert np.median(light[throat]) < 0.85 * np.median(light[forehead])
    assert 0.9 < np.median(light[forehead]) <= 1.15


def face(aim: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sky, normals and colours of noisy skin seen from the front, a tenth of it features."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(9000, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    normals = unit(normals)
    sky = rng.uniform(0.5, 1.0, len(normals))
    colours = SKIN * sky[:, None] ** strength * np.exp(normals @ aim.T)
    colours *= np.exp(rng.normal(0, 0.1, colours.shape))
    colours[rng.random(len(colours)) < 0.1] *= 0.4
    return sky, normals, colours / colours.max()


def test_a_known_light_is_measured():
    aim = np.array([[0.3, 0.1, 0.2], [0.4, 0.1, 0.25], [0.5, 0.1, 0.3]])
    light = Light.of(*face(aim, 0.5))
    assert light.direction == pytest.approx(aim, abs=0.1)
    assert light.sky_power == pytest.approx(np.full(3, 0.45), abs=0.1)
    # brightness of the skin is no light
    sky, normals, colours = face(aim, 0.5)
    darker = Light.of(sky, normals, colours / 2)
    assert darker.direction == pytest.approx(light.direction, abs=1e-6)


def test_even_light_has_no_direction():
    light = Light.of(*face(np.zeros((3, 3)), 0.35))
    assert np.abs(light.direction).max() < 0.04
    sky, normals, colours = face(np.eye(3), 0.8)
    unknown = Light.of(sky[:100], normals[:100], colours[:100])
    assert (unknown.direction == 0).all()
    assert (unknown.directional(normals) == 1).all()


def test_the_dark_side_is_dark_and_the_back_no_darker_than_the_sides():
    light = Light(np.full(3, 0.35), np.tile([0.4, 0.0, 0.3], (3, 1)))
    front, lit, dark, back = light.directional(
        np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 0, -1.0]])
    )
    assert front == pytest.approx(np.ones(3), abs=0.02)
    assert (dark < lit).all()
    assert ((dark < back) & (back < lit)).all()


def test_cheeks_that_outshine_a_nose_say_nothing_of_the_back():
    light = Light.of(*face(np.tile([0.0, 0.0, -0.4], (3, 1)), 0.35))
    assert (light.direction[:, 2] == 0).all()
    assert (light.directional(np.array([[0, 0, -1.0]])) < 1.05).all()
