"""Texels of some triangles alone, and colours that are computed once, are those of the whole."""

from __future__ import annotations

import numpy as np

from dp3d_core.preview.asset import padded
from dp3d_core.rigged.baking import Raster
from dp3d_core.rigged.layout import skin_layout
from dp3d_core.rigged.mouth_material import as_shown
from dp3d_core.rigged.rig import PHOTO_EXPRESSION
from dp3d_core.rigged.shell import Shell
from dp3d_core.rigged.skin_material import lid_zone
from dp3d_core.rigged.topology import halves, part_topology


def test_texels_of_some_triangles_have_the_values_of_the_whole() -> None:
    topology = part_topology("skin")
    triangles, zone = halves(topology.quads), lid_zone()
    raster = Raster.of(skin_layout(), halves(topology.quad_uv), 128)
    whole = raster.interpolated(zone, triangles)
    rows = raster.rows_in(zone > 0, triangles)
    assert 0 < len(rows) < len(whole) / 2
    assert not np.delete(whole, rows).any()
    eyes = raster.only(rows)
    np.testing.assert_array_equal(eyes.interpolated(zone, triangles), whole[rows])
    np.testing.assert_array_equal(
        eyes.image(eyes.interpolated(zone, triangles)), raster.image(whole)
    )


def test_empty_texels_take_the_nearest_colour_and_others_stay() -> None:
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    filled = np.zeros((5, 5), bool)
    filled[1:4, :2] = True
    complete = padded(image, filled)
    np.testing.assert_array_equal(complete[1:4], image[1:4, [0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(complete[[0, 4]], image[[1, 3]][:, [0, 1, 1, 1, 1]])


def test_the_shell_has_its_colours_whatever_the_skin_below(fitted, rig) -> None:
    skin = rig.part("skin").posed({PHOTO_EXPRESSION: 1.0})
    before, after = Shell.of(fitted), Shell.of(as_shown(fitted, skin))
    assert before is not None
    assert after is not None
    assert before.delit.std() > 0.05
    np.testing.assert_array_equal(before.photographed, after.photographed)
    np.testing.assert_array_equal(before.delit, after.delit)
