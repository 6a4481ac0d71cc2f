"""The list of engines, and the refusal of an unavailable engine."""

from __future__ import annotations

from tests.server.conftest import small_views
from tests.server.web.conftest import problem, raw


def test_preview_is_listed_with_its_options(client):
    engines = {engine["name"]: engine for engine in client.engines()}
    members = {"name", "title", "available", "problem", "options", "error", "references"}
    assert all(set(engine) == members for engine in engines.values())
    assert engines["preview"]["error"] is None
    assert engines["preview"]["references"] == 8
    assert {engine["references"] for engine in engines.values()} <= {1, 4, 8}
    members = {
        *("name", "type", "default", "description"),
        *("choices", "minimum", "maximum", "step"),
    }
    for engine in engines.values():
        assert all(set(option) == members for option in engine["options"])


def test_an_unavailable_engine_is_refused(client, shared_server, portrait):
    """The server of the tests has a home without weights."""
    engine = next(e for e in client.engines() if e["name"] == "diffportrait360")
    assert not engine["available"]
    before = client.jobs()
    body = {"kind": "views", "params": small_views(portrait, engine="diffportrait360")}
    response = raw(shared_server, "POST", "/v1/jobs", json=body)
    assert problem(response) == (424, engine["error"]["code"])
    assert response.json()["remedy"] == engine["error"]["remedy"]
    assert response.json()["code"] in {"engine.packages_missing", "weights.missing"}
    assert client.jobs() == before
