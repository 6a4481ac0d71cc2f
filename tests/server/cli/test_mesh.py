"""``dp3d mesh``: refusals."""

from __future__ import annotations

import pytest

from tests.server.cli.conftest import result


@pytest.mark.parametrize(
    ("out", "code"), [("head.glb", "fit.not_found"), ("head.stl", "mesh.bad_format")]
)
def test_mesh_without_a_fit(dp3d, tmp_path, out, code):
    run = dp3d("mesh", tmp_path, "--out", tmp_path / out, "--json")
    assert (run.returncode, result(run)["error"]["code"]) == (3, code)
