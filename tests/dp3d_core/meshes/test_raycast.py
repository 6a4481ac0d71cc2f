"""Ray casting: only rays that cannot hit are left out, and edges are smooth."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.meshes.raycast import Hits, RayCaster, render
from dp3d_core.preview.bare_head import BareHead


@pytest.fixture(scope="module")
def caster() -> RayCaster:
    return RayCaster(BareHead.of(np.zeros(0), {}).mesh)


@pytest.mark.parametrize(
    "camera",
    [
        canonical_camera(30.0, size=200),
        canonical_camera(120.0, 40.0, 150, radius=2.0, focal=8.0),
        canonical_camera(30.0, -60.0, 120, radius=0.8, focal=0.5),
        canonical_camera(200.0, 10.0, 90, focal=60.0),
        canonical_camera(10.0, size=90, radius=0.25, focal=0.4),  # inside the head
    ],
    ids=["whole", "near", "wide", "a_patch", "inside"],
)
def test_a_picture_misses_no_hit(caster: RayCaster, camera) -> None:
    rays = camera.directions(camera.pixel_centres().reshape(-1, 2))
    all_hits, picture_hits = caster.cast(camera.position, rays), caster.seen(camera)
    np.testing.assert_array_equal(picture_hits.ray, all_hits.ray)
    np.testing.assert_array_equal(picture_hits.face, all_hits.face)


def test_outline_and_folds_are_smooth(caster: RayCaster) -> None:
    camera = canonical_camera(60.0, size=128)

    def by_depth(hits: Hits) -> np.ndarray:
        return np.repeat((hits.points[:, 2:] > 0.1).astype(float), 3, 1)

    view = render(caster, camera, by_depth)
    partly = (view.alpha > 0.01) & (view.alpha < 0.99)
    large = np.isfinite(caster.depth(camera.resized(512, 512)))
    covered = large.reshape(128, 4, 128, 4).mean((1, 3))
    assert partly.sum() > 100
    assert np.abs(view.alpha - covered).max() < 0.35
    assert np.abs(view.alpha - covered)[partly].mean() < 0.1
