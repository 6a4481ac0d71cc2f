"""``dp3d engines``."""

from __future__ import annotations

from tests.server.cli.conftest import result


def test_engines(dp3d):
    engines = result(dp3d("engines", "--json"))["result"]["engines"]
    assert engines[0]["name"] == "preview"
    assert engines[0]["references"] == 8
    lines = dp3d("engines").stdout
    assert "preview:" in lines
    assert "takes 8 photos of a person at most" in lines
