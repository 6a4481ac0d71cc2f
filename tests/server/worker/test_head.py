"""Jobs of kind ``head``: a photo to a rigged head, through a real server."""

from __future__ import annotations

import json
import struct

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.rigged.rig import PHOTO_EXPRESSION
from tests.server.conftest import wait_until

SMALL = {"detail": "quarter", "texture_size": 512}


@pytest.fixture(scope="module")
def done(shared_server, photo):
    """A finished job: its events and the job as it ended."""
    with shared_server.client() as client:
        params = {"portrait": client.put_file(photo), "format": "obj", **SMALL}
        job = client.create_job("head", **params, options={"clothes": "none"})
        client.wait(job["id"])
        return list(client.events(job["id"])), client.job(job["id"])


@pytest.mark.slow
def test_the_result_is_a_rigged_glb(done, client):
    _, job = done
    result = job["result"]
    glb = client.get_bytes(result["glb"]["sha256"])
    assert len(glb) == result["glb"]["size"]
    length = struct.unpack("<I", glb[12:16])[0]
    document = json.loads(glb[20 : 20 + length])
    assert glb[:4] == b"glTF"
    assert {mesh["name"] for mesh in document["meshes"]} == set(result["parts"])
    assert "clothes" not in result["parts"], "the option was followed"
    assert result["choices"]["clothes"]["by_user"]
    keys = [set(mesh["extras"]["targetNames"]) for mesh in document["meshes"]]
    assert set.union(*keys) == set(result["keys"])
    assert len(result["keys"]) == 53
    assert PHOTO_EXPRESSION in result["keys"]
    assert result["expression"]
    assert document["asset"]["extras"]["photo_sha256"] == job["params"]["portrait"]
    assert document["asset"]["extras"]["further_photos_sha256"] == []
    assert result["photos"] == []


@pytest.mark.slow
def test_an_obj_is_a_tree_of_its_own(done, client, tmp_path):
    folder = client.get_tree(done[1]["result"]["obj"], tmp_path)
    names = {path.name for path in folder.iterdir()}
    assert {"head.obj", "head.mtl"} <= names
    lines = (folder / "head.obj").read_text().splitlines()
    assert sum(line.startswith("f ") for line in lines) > 1900


@pytest.mark.slow
def test_stages_and_artifacts_are_announced(done):
    events, job = done
    stages = [e.data["stage"] for e in events if e.event == "progress"]
    assert list(dict.fromkeys(s for s in stages if s != "models")) == ["portrait", "head", "rig"]
    announced = [e.data for e in events if e.event == "artifact"]
    assert announced == [job["result"]["portrait_picture"], job["result"]["glb"]]


@pytest.mark.slow
def test_an_identical_request_is_answered_at_once(done, client):
    _, job = done
    assert client.create_job("head", **job["params"])["id"] == job["id"]


@pytest.mark.slow
def test_without_an_obj_there_is_none(done, client):
    params = done[1]["params"] | {"format": "glb"}
    job = client.create_job("head", **params)
    assert client.wait(job["id"])["obj"] is None
    assert client.create_job("head", **params)["id"] == job["id"], "complete without an OBJ"


@pytest.mark.slow
def test_cancel_while_the_head_is_rigged(done, client):
    job = client.create_job("head", **(done[1]["params"] | {"texture_size": 4096}))
    wait_until(lambda: client.job(job["id"])["stage"] == "rig")
    client.cancel(job["id"])
    wait_until(lambda: client.job(job["id"])["state"] == "cancelled", 10)


def test_an_unknown_option_fails_before_any_work(client, photo):
    job = client.create_job("head", portrait=client.put_file(photo), options={"no": 1})
    with pytest.raises(Dp3dError) as caught:
        client.wait(job["id"])
    assert caught.value.code == "engine.bad_option"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"portrait": 64 * "0"}, "artifact.not_found"),
        ({"detail": "fine"}, "server.bad_request"),
        ({"texture_size": 300}, "server.bad_request"),
        ({"format": "fbx"}, "server.bad_request"),
        ({"cameras": {}}, "server.bad_request"),
    ],
)
def test_a_bad_request_is_refused(client, photo, changes, code):
    params = {"portrait": client.put_file(photo), **changes}
    with pytest.raises(Dp3dError) as caught:
        client.create_job("head", **params)
    assert caught.value.code == code
