"""A ``views`` job from several photos of a person: uploads, records, refusals."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from dp3d_core.errors import Dp3dError
from dp3d_core.viewsets.viewset import ViewSet
from server.web.requests import JobRequest
from server.web.routes import _check_engine
from tests.server.conftest import small_views
from tests.server.web.conftest import problem, raw


@pytest.fixture(scope="module")
def portrait(shared_server, person_pngs):
    """A synthetic person from the front."""
    with shared_server.client() as client:
        return client.put_bytes(person_pngs[0])


@pytest.fixture(scope="module")
def further(person_pngs, tmp_path_factory):
    """Files of two further photos: the person's right side, and one without a face."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "side.png").write_bytes(person_pngs[1])
    Image.new("RGB", (96, 96), (90, 70, 50)).save(folder / "back.png")
    return folder / "side.png", folder / "back.png"


@pytest.fixture(scope="module")
def finished(shared_server, portrait, further):
    """The job of three photos: its references and the job as it ended."""
    with shared_server.client() as client:
        references = [client.put_reference(further[0]), client.put_reference(further[1], "back")]
        job = client.create_job("views", **small_views(portrait, views=2, references=references))
        client.wait(job["id"])
        return references, client.job(job["id"])


def test_the_result_names_each_photo(finished):
    references, job = finished
    assert job["params"]["references"] == references
    assert [r["side"] for r in references] == ["auto", "back"]
    photos = {photo["sha256"]: photo for photo in job["result"]["photos"]}
    assert set(photos) == {reference["portrait"] for reference in references}
    side, back = (photos[reference["portrait"]] for reference in references)
    assert (side["name"], back["name"]) == ("Photo 2", "Photo 3 (back)")
    assert (side["side"], back["side"]) == ("right", "back")
    assert side["used"]
    assert not back["used"]
    assert -85 < side["yaw_deg"] < -50
    for photo in photos.values():
        assert {"yaw_deg", "pitch_deg", "roll_deg"} < set(photo)
        assert photo["used"] is not bool(photo["reason"])
    warnings = job["result"]["warnings"]
    assert any(warning.startswith("Photo 3 (back) is left out: ") for warning in warnings)


def test_the_view_set_records_the_photos(finished, client, tmp_path):
    references, job = finished
    meta = ViewSet.open(client.get_tree(job["result"]["views"], tmp_path)).meta
    recorded = {(r["sha256"], r["side"]) for r in meta.parameters["references"]}
    assert recorded == {(r["portrait"], r["side"]) for r in references}
    assert meta.photos == job["result"]["photos"]


def test_another_order_is_another_request_with_equal_parameters(
    finished, client, portrait, tmp_path
):
    references, job = finished
    params = small_views(portrait, views=2, references=references)
    assert client.create_job("views", **params)["id"] == job["id"]
    turned = small_views(portrait, views=2, references=references[::-1])
    other = client.create_job("views", **turned)
    assert other["id"] != job["id"]
    client.wait(other["id"])
    one, two = (
        ViewSet.open(client.get_tree(client.job(i)["result"]["views"], tmp_path / i))
        for i in (job["id"], other["id"])
    )
    assert one.meta.parameters == two.meta.parameters


def test_the_photos_are_kept_like_the_portrait(finished, shared_server):
    references, _ = finished
    for reference in references:
        response = raw(shared_server, "DELETE", f"/v1/artifacts/{reference['portrait']}")
        assert problem(response) == (409, "artifact.in_use")


def test_more_photos_than_an_engine_takes_are_refused(shared_server, portrait):
    references = 8 * [{"portrait": portrait, "side": "auto"}]
    body = json.dumps({"kind": "views", "params": small_views(portrait, references=references)})
    response = raw(shared_server, "POST", "/v1/jobs", content=body.encode())
    assert problem(response) == (422, "server.bad_request")
    assert "7 items" in response.json()["problem"]


def test_the_number_of_the_engine_counts():
    """As with installed weights, which the server of these tests has not."""
    engines = [{"name": "diffportrait360", "error": None, "references": 4}]
    services = SimpleNamespace(executor=SimpleNamespace(engines=engines))

    def request(count):
        params = {"engine": "diffportrait360", "references": count * [{}]}
        return JobRequest("views", params, False)

    _check_engine(services, request(3))
    with pytest.raises(Dp3dError) as error:
        _check_engine(services, request(4))
    assert error.value.code == "portrait.too_many_photos"
    assert "takes 4 photos" in error.value.problem
