"""``dp3d fit``: refusals."""

from __future__ import annotations

from tests.server.cli.conftest import result


def test_fit_without_views(dp3d, tmp_path):
    run = dp3d("fit", tmp_path, "--out", tmp_path / "fit", "--json")
    assert (run.returncode, result(run)["error"]["code"]) == (3, "viewset.not_found")


def test_fit_without_its_environment(dp3d, photo, tmp_path):
    dp3d("generate", photo, "--out", tmp_path / "v", "--views", 8, "--size", 32)
    run = dp3d("fit", tmp_path / "v", "--out", tmp_path / "fit", "--json", DP3D_NERF_PYTHON="/nope")
    assert (run.returncode, result(run)["error"]["code"]) == (4, "nerf.environment_missing")
