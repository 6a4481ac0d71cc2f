"""``dp3d engines``."""

from __future__ import annotations

from tests.server.cli.conftest import result


def test_engines(dp3d):
    engines = result(dp3d("engines", "--json"))["result"]["engines"]
    assert engines[0]["name"] == "preview"
    assert "preview:" in dp3d("engines").stdout
