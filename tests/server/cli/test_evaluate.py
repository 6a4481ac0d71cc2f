"""``dp3d evaluate``."""

from __future__ import annotations

import json

import pytest


@pytest.mark.nerf
def test_a_metric_that_is_named_and_cannot_be_computed(dp3d, head_views):
    run = dp3d("evaluate", head_views.root, "--metrics", "psnr", "seam", "--json")
    assert list(json.loads(run.stdout)["result"]["missing"]) == ["psnr"]
    assert run.returncode == 4
