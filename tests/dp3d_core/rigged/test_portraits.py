"""Blend shapes of heads fitted to real pictures: nothing comes through the skin."""

from __future__ import annotations

import pytest

from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.head import PreviewHead
from dp3d_core.rigged.asset import neutral_head
from dp3d_core.rigged.keys import HeadKeys
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, arkit_names
from dp3d_core.rigged.sheet import with_company
from tests.conftest import shared_path
from tests.support.rig_checks import Piercings

COUNT = 18
"""Number of portraits."""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", range(COUNT))
def test_nothing_comes_through_the_skin_of_a_portrait(number) -> None:
    pictures = sorted(shared_path("data/portraits").glob("*.jpg"))
    assert len(pictures) == COUNT
    keys = HeadKeys.of(neutral_head(PreviewHead(load_portrait(pictures[number].read_bytes()))))
    piercings = Piercings(keys, 2.0, 3)
    poses = {"rest": {}, PHOTO_EXPRESSION: {PHOTO_EXPRESSION: 1.0}}
    for key in arkit_names():
        poses |= {f"{key} {weight}": with_company(key, weight) for weight in (0.5, 1.0)}
    counts = {name: piercings.of(weights) for name, weights in poses.items()}
    assert {name: parts for name, parts in counts.items() if parts} == {}
