"""``dp3d models list``."""

from __future__ import annotations

import pytest

from dp3d_core.weights.installed import SOURCES
from server.cli.models import List


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path / "home"))


def test_a_list_names_files_sizes_and_commits():
    outcome = List().run(console=None)
    listed = outcome.data["weights"]
    assert set(listed) == {str(variant) for variant in SOURCES}
    for variant, source in SOURCES.items():
        row = listed[str(variant)]
        assert (row["installed"], row["source"], row["page"]) == (False, source.file, source.page)
        assert row["published_gigabytes"] == source.gigabytes
        assert row["published_revision"] == source.revision
    text = "\n".join(outcome.lines)
    assert "model_state-340000.th, 10.8 GB, commit 474069d" in text
    assert "Run 'dp3d models install diffportrait360' (10.8 GB)." in text
