"""Jobs of kind ``render``: a fit along any cameras, through a real server."""

from __future__ import annotations

import io
import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.camera import (
    Camera,
)
from dp3d_core.cameras.files import BLENDER_PATH_SCHEMA, cameras_to_dict
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.field.render import render_fit, render_warnings
from tests.server.conftest import wait_until
from tests.support.blender_cameras import (
    blender_pose_from_head,
    default_anchor,
    projection_from_intrinsics,
)

WIDTH, HEIGHT = 56, 40


def moving_cameras():
    """Cameras with a shifted centre and pixels that are not square."""
    cameras = []
    for i in range(4):
        canonical = canonical_camera(yaw_deg=25 * i - 30, pitch_deg=8, size=WIDTH)
        K = canonical.K.copy()
        K[1, 1] *= 0.8
        K[:2, 2] = 0.6 * WIDTH, 0.4 * HEIGHT
        cameras.append(Camera(canonical.c2w, K, WIDTH, HEIGHT))
    return cameras


def blender_path(cameras):
    """The cameras as the extension sends them: an anchor that walks, turns and grows."""
    frames = []
    for i, camera in enumerate(cameras):
        turn = np.eye(4)
        angle = 0.3 * i
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        anchor = turn @ default_anchor((i, 0.5 * i, 1.6), 0.25 + 0.05 * i)
        pose = blender_pose_from_head(camera.c2w, anchor)
        projection = projection_from_intrinsics(camera.K, camera.width, camera.height)
        frames.append(
            {
                "anchor_world": anchor.tolist(),
                "camera_world": pose.tolist(),
                "projection": projection.tolist(),
            }
        )
    return {"schema": BLENDER_PATH_SCHEMA, "width": WIDTH, "height": HEIGHT, "frames": frames}


@pytest.mark.nerf
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")
class TestRenders:
    @pytest.fixture(autouse=True)
    def usual_environment(self, nerf_environment, monkeypatch):
        """The NeRF environment of the machine, for a server with a temporary dp3d folder."""
        monkeypatch.setenv("DP3D_NERF_PYTHON", str(nerf_environment))

    def test_a_blender_path_is_rendered_as_its_cameras(self, request, tiny_fit, tmp_path):
        cameras = moving_cameras()
        front = canonical_camera(size=WIDTH)
        facing_away = front.c2w @ np.diag([1.0, -1.0, -1.0, 1.0])  # turned by 180 degrees
        cameras.append(Camera(facing_away, cameras[0].K, WIDTH, HEIGHT))
        server = request.getfixturevalue("server_process")
        with server.client() as client:
            params = {
                "fit": client.put_tree(tiny_fit.root),
                "cameras": blender_path(cameras),
                "video": "webm",
                "fps": 12,
            }
            job = client.create_job("render", **params)
            events = list(client.events(job["id"]))
            job = client.job(job["id"])
            assert job["state"] == "succeeded", job["error"]
            result = job["result"]
            assert set(result) == {"views", "count", "video", "warnings"}
            views = ViewSet.open(client.get_tree(result["views"], tmp_path / "got"))
            video = tmp_path / "video.webm"
            video.write_bytes(client.get_bytes(result["video"]["sha256"]))

            artifacts = [e.data for e in events if e.event == "artifact"]
            names = [f"rgba/{i:04d}.png" for i in range(5)]
            assert [a["name"] for a in artifacts] == [*names, "render.webm"]
            assert artifacts[-1] == result["video"]
            first = Image.open(io.BytesIO(client.get_bytes(artifacts[0]["sha256"])))
            assert (first.mode, first.size) == ("RGBA", (WIDTH, HEIGHT))
            np.testing.assert_array_equal(np.asarray(first), views.rgba(0))
            first_picture = next(e.id for e in events if e.event == "artifact")
            last_progress = [
                e for e in events if e.event == "progress" and e.data["stage"] == "render"
            ][-1]
            assert first_picture < last_progress.id, "the first frame waits for the last"
            assert (last_progress.data["step"], last_progress.data["of"]) == (5, 5)

        assert result["count"] == len(views) == 5
        assert result["warnings"] == [
            "1 of 5 frames shows nothing of the head, the first is frame 5: their cameras look "
            "past it or stand in it."
        ]
        reader = cv2.VideoCapture(str(video))
        assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
        reader.release()
        local = render_fit(
            tiny_fit, cameras, tmp_path / "local", progress=no_progress, cancel=never_cancel
        )
        for i, camera in enumerate(cameras):
            np.testing.assert_allclose(views.cameras[i].K, camera.K, atol=1e-6)
            for a, b in ((views.rgba(i), local.rgba(i)), (views.frame(i), local.frame(i))):
                difference = np.abs(a.astype(int) - b)
                assert difference.mean() < 0.05
                assert np.quantile(difference, 0.999) <= 2
            assert (np.isfinite(views.depth(i)) == np.isfinite(local.depth(i))).mean() > 0.995
        assert views.mask(0).max() > 250, "the cameras show no head: nothing was compared"

    def test_a_render_resumes_after_cancel_and_kill(self, request, tiny_fit):
        server = request.getfixturevalue("server_process")
        with server.client() as client:
            params = {
                "fit": client.put_tree(tiny_fit.root),
                "cameras": {"preset": "orbit", "views": 30, "size": 96},
            }
            job_id = client.create_job("render", **params)["id"]
            wait_until(lambda: client.job(job_id)["step"] >= 3)
            client.cancel(job_id)
            *_, last = client.events(job_id)
            assert last.data["state"] == "cancelled"
            finished = len(
                list((server.data / "work" / job_id / "render/frames").glob("[0-9]*.png"))
            )
            assert 3 <= finished < 30

            again = client.create_job("render", **params)["id"]
            assert again != job_id
            folder = server.data / "work" / again / "render/frames"
            wait_until(lambda: len(list(folder.glob("[0-9]*.png"))) > finished)
        server.kill()
        wait_until(lambda: not server.worker_pids(), 5)
        first = folder / "0000.png"
        written_at = first.stat().st_mtime_ns

        server.start()
        with server.client() as client:
            for event in client.events(again):
                if event.event == "progress" and first.is_file():
                    assert first.stat().st_mtime_ns == written_at, "a frame was rendered again"
            job = client.job(again)
            assert (job["state"], job["attempt"]) == ("succeeded", 2)
            assert job["result"]["count"] == 30
            assert job["result"]["video"] is None
            events = list(client.events(again))
            names = sorted(e.data["name"] for e in events if e.event == "artifact")
            assert names == [f"rgba/{i:04d}.png" for i in range(30)]
            steps = [
                e.data["step"]
                for e in events
                if e.event == "progress" and e.data["message"] == "Rendering the field"
            ]
            assert steps[0] >= finished
            assert steps[-1] > finished
            tree = json.loads(client.get_bytes(job["result"]["views"]))["files"]
            assert {name.partition("/")[0] for name in tree} == {
                "cameras.json", "meta.json", "frames", "masks", "rgba", "depth",
            }  # fmt: skip


class TestRefusals:
    @pytest.fixture
    def fit(self, client):
        blob = client.put_bytes(b"{}")
        names = ("fit.json", "field.safetensors")
        files = {name: {"sha256": blob, "size": 2} for name in names}
        tree = {"schema": "dp3d.tree/1", "files": files}
        return client.put_bytes(json.dumps(tree).encode())

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"fit": 64 * "0"}, "artifact.not_found"),
            ({"fit": None}, "server.bad_request"),
            ({"cameras": {"preset": "spiral"}}, "camera.invalid"),
            ({"cameras": {"schema": BLENDER_PATH_SCHEMA, "frames": []}}, "camera.file_invalid"),
            ({"video": "gif"}, "server.bad_request"),
            ({"fps": 0}, "server.bad_request"),
            ({"fps": 241}, "server.bad_request"),
            ({"fps": True}, "server.bad_request"),
            ({"engine": "preview"}, "server.bad_request"),
        ],
    )
    def test_bad_parameters(self, client, fit, changes, code):
        params = {"fit": fit, "cameras": {"preset": "orbit", "views": 2, "size": 16}}
        before = client.jobs()
        with pytest.raises(Dp3dError) as caught:
            client.create_job("render", **(params | changes))
        assert caught.value.code == code
        assert client.jobs() == before

    def test_frames_of_two_sizes_are_no_video(self, client, fit):
        cameras = cameras_to_dict([canonical_camera(size=16), canonical_camera(size=32)])
        with pytest.raises(Dp3dError) as caught:
            client.create_job("render", fit=fit, cameras=cameras, video="mp4")
        assert caught.value.code == "video.bad_option"

    def test_an_unreadable_fit_fails_the_job(self, client, fit):
        job = client.create_job("render", fit=fit, cameras={"preset": "orbit", "views": 1})
        assert job["params"]["fps"] == 24
        with pytest.raises(Dp3dError) as caught:
            client.wait(job["id"])
        assert caught.value.code == "fit.invalid"

    def test_a_tree_that_is_not_a_fit_is_refused(self, client):
        blob = client.put_bytes(b"{}")
        tree = {"schema": "dp3d.tree/1", "files": {"fit.json": {"sha256": blob, "size": 2}}}
        sha256 = client.put_bytes(json.dumps(tree).encode())
        with pytest.raises(Dp3dError) as caught:
            client.create_job("render", fit=sha256, cameras={"preset": "orbit"})
        assert caught.value.code == "fit.not_found"


def test_frames_without_a_head_are_counted(tmp_path):
    cameras = [canonical_camera(size=16)] * 3
    writer = ViewSetWriter(tmp_path, cameras, ViewMeta(engine="nerf"))
    for i, alpha in enumerate((0, 200, 100)):
        writer.write(i, np.full((16, 16, 3), 255, np.uint8), np.full((16, 16), alpha, np.uint8))
    assert render_warnings(writer.finish()) == [
        "2 of 3 frames show nothing of the head, the first is frame 1: their cameras look past "
        "it or stand in it."
    ]
