"""Parsing of requests for jobs: counts and bounds."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FIT_PRESETS, MESH_FACES, PATH_VIEWS, TEXTURE_SIDE
from server.jobs.params import MeshParams
from server.storage.artifacts import ArtifactStore
from server.web import requests
from server.web.requests import MAX_OPTIONS_BYTES, parse_job_request

CAMERA = {
    "c2w": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.7], [0, 0, 0, 1]],
    "K": [[100, 0, 32], [0, 100, 32], [0, 0, 1]],
    "width": 64,
    "height": 64,
}


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


def views(store, **changes: Any) -> bytes:
    params = {"portrait": store.add_bytes(b"photo").sha256, "cameras": {"preset": "orbit"}}
    return json.dumps({"kind": "views", "params": {**params, **changes}}).encode()


def refusal(body, store):
    with pytest.raises(Dp3dError) as caught:
        parse_job_request(body, store)
    return caught.value.code


def document(count, name="cameras", **members: Any):
    return {"schema": "dp3d.cameras/1", name: [CAMERA] * count, **members}


@pytest.mark.parametrize("name", ["cameras", "frames"])
def test_cameras_are_counted_before_one_is_read(store, monkeypatch, name):
    monkeypatch.setattr(
        requests, "cameras_from_request", lambda _: pytest.fail("the cameras were read")
    )
    cameras = document(PATH_VIEWS.high + 1, name)
    assert refusal(views(store, cameras=cameras), store) == "camera.invalid"


def test_the_camera_limit_is_that_of_the_reader(store):
    most = document(PATH_VIEWS.high)
    assert len(cameras_from_request(most)) == PATH_VIEWS.high
    assert parse_job_request(views(store, cameras=most), store).params["cameras"] == most
    with pytest.raises(Dp3dError) as caught:
        cameras_from_request(document(PATH_VIEWS.high + 1))
    assert caught.value.code == "camera.invalid"


def test_a_path_of_many_cameras_is_accepted(store):
    job = parse_job_request(views(store, cameras=document(700)), store)
    assert len(job.params["cameras"]["cameras"]) == 700


def test_a_fit_accepts_only_existing_presets(store):
    files = {
        name: {"sha256": store.add_bytes(b"{}").sha256, "size": 2}
        for name in ("cameras.json", "meta.json")
    }
    tree = store.add_bytes(json.dumps({"schema": "dp3d.tree/1", "files": files}).encode()).sha256

    def fit(preset: str) -> bytes:
        return json.dumps({"kind": "fit", "params": {"views": tree, "preset": preset}}).encode()

    for preset in FIT_PRESETS:
        assert parse_job_request(fit(preset), store).params["preset"] == preset
    assert refusal(fit("huge"), store) == "server.bad_request"


def test_options_are_bounded(store):
    many = {f"option{i}": "x" * 4000 for i in range(MAX_OPTIONS_BYTES // 4000 + 1)}
    assert refusal(views(store, options=many), store) == "server.bad_request"
    assert parse_job_request(views(store, options={"size": 512}), store).params["options"]


def test_other_members_of_a_camera_file_are_bounded(store):
    members = {"notes": ["x" * 4000] * 60}
    assert refusal(views(store, cameras=document(2, **members)), store) == "server.bad_request"


def test_the_portrait_of_a_request_is_marked_as_used(store):
    body = views(store)
    path = store.find(json.loads(body)["params"]["portrait"])
    before = path.stat().st_mtime - 5000
    os.utime(path, (before, before))
    parse_job_request(body, store)
    assert path.stat().st_mtime > before + 1000


def test_mesh_limits_are_those_of_dp3d_core():
    fields = MeshParams.model_json_schema()["properties"]
    limits = {name: (f.get("minimum"), f.get("maximum")) for name, f in fields.items()}
    assert limits["faces"] == MESH_FACES
    assert limits["texture_size"] == TEXTURE_SIDE
