"""Views, fit and mesh through the server, with an interruption of the fit."""

from __future__ import annotations

import sys

import pytest

from tests.server.conftest import small_views, wait_until

pytestmark = [
    pytest.mark.nerf,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc"),
]


@pytest.fixture(autouse=True)
def usual_environment(nerf_environment, monkeypatch):
    """The NeRF environment of the machine, for a server with a temporary dp3d folder."""
    monkeypatch.setenv("DP3D_NERF_PYTHON", str(nerf_environment))


def test_a_killed_server_resumes_the_fit_and_a_mesh_follows(request, photo, tmp_path):
    server = request.getfixturevalue("server_process")
    with server.client() as client:
        params = small_views(client.put_file(photo), views=8)
        views = client.wait(client.create_job("views", **params)["id"])["views"]
        fit_id = client.create_job("fit", views=views, preset="tiny")["id"]

        def training():
            job = client.job(fit_id)
            return job["stage"] == "fit" and job["step"] >= 10

        wait_until(training, 120)
    server.kill()
    wait_until(lambda: not server.worker_pids(), 5)

    server.start()
    with server.client() as client:
        result = client.wait(fit_id)
        assert client.job(fit_id)["attempt"] == 2
        assert result["scores"]["psnr"] > 10
        mesh_id = client.create_job("mesh", fit=result["fit"], faces=1000, texture_size=64)["id"]
        result = client.wait(mesh_id)
        mesh = result["mesh"]
        assert mesh["name"] == "head.glb"
        assert result["stats"]["faces"] > 0
        glb = client.get_bytes(mesh["sha256"])
        assert glb[:4] == b"glTF"
        assert len(glb) == mesh["size"]
        announced = [e.data for e in client.events(mesh_id) if e.event == "artifact"]
        assert announced == [mesh]


def test_cancel_of_a_fit_frees_the_worker(request, photo):
    server = request.getfixturevalue("server_process")
    with server.client() as client:
        params = small_views(client.put_file(photo), views=8)
        views = client.wait(client.create_job("views", **params)["id"])["views"]
        fit_id = client.create_job("fit", views=views, preset="tiny", steps=5000)["id"]
        wait_until(lambda: client.job(fit_id)["stage"] == "fit", 120)
        client.cancel(fit_id)
        wait_until(lambda: client.job(fit_id)["state"] == "cancelled", 30)
        wait_until(lambda: client.health()["worker"] == "idle", 5)
