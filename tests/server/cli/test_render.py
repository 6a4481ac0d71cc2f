"""``dp3d render``: refusals."""

from __future__ import annotations

from tests.server.cli.conftest import result


def test_render_without_a_fit(dp3d, tmp_path):
    run = dp3d("render", tmp_path, "--out", tmp_path / "views", "--json")
    assert (run.returncode, result(run)["error"]["code"]) == (3, "fit.not_found")
