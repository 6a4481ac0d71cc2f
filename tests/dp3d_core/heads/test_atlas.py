"""The bust's UV atlas."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.heads import base_files
from dp3d_core.heads.atlas import _face_triangles, bust_atlas
from dp3d_core.heads.bust import bust

pytestmark = pytest.mark.skipif(not base_files.installed(), reason="dp3d setup models")


def test_the_face_has_two_fifths_of_the_texels() -> None:
    corners = bust_atlas().uv[bust_atlas().faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    assert area[_face_triangles()].sum() > 0.4


def test_the_atlas_is_the_busts_mesh_and_nothing_is_mirrored() -> None:
    atlas = bust_atlas()
    np.testing.assert_array_equal(atlas.source[atlas.faces], bust().faces)
    assert 0 <= atlas.uv.min() <= atlas.uv.max() <= 1
    a, b, c = (atlas.uv[atlas.faces[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()
    assert 0.6 < area.sum() / 2 < 1
