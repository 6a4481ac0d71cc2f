"""``dp3d evaluate``: what can be computed is computed, what cannot says what it lacks."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import frontal_arc
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation import learned
from dp3d_core.evaluation.compare import evaluate
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.dataset import write_subject
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import ViewMeta
from dp3d_core.viewsets.writer import ViewSetWriter


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_subject(random_subject(5), frontal_arc(4, size=96), tmp_path_factory.mktemp("t"))


def noisy(truth, folder, amount=12, seed=0):
    rng = np.random.default_rng(seed)
    writer = ViewSetWriter(folder, truth.cameras, ViewMeta(engine="noise", seed=amount))
    for i in range(len(truth)):
        frame = truth.frame(i) + rng.normal(0, amount, truth.frame(i).shape)
        writer.write(i, np.clip(frame, 0, 255).astype(np.uint8))
    return writer.finish()


def plain(cameras, folder):
    """Grey views from cameras."""
    writer = ViewSetWriter(folder, cameras, ViewMeta(engine="plain"))
    for i, camera in enumerate(cameras):
        writer.write(i, np.full((camera.height, camera.width, 3), 128, np.uint8))
    return writer.finish()


def run(views, reference=None, **more):
    return evaluate(views, reference, progress=no_progress, cancel=never_cancel, **more)


def test_a_set_is_like_itself(truth, tmp_path):
    comparison = run(truth, truth, metrics=("psnr", "ssim", "sharpness", "seam"), window=2)
    assert comparison.values["ssim"] == pytest.approx(1)
    assert comparison.values["psnr"] == 100
    assert comparison.values["sharpness"] == pytest.approx(1)
    other = run(noisy(truth, tmp_path / "n"), truth, metrics=("psnr", "ssim"))
    assert 20 < other.values["psnr"] < 30
    assert other.values["ssim"] < 0.95


def test_reprojection_on_the_true_mesh(truth, tmp_path):
    comparison = run(truth, metrics=("reprojection",), surface=truth.root / "head.glb")
    worse = run(
        noisy(truth, tmp_path / "n"), metrics=("reprojection",), surface=truth.root / "head.glb"
    )
    assert comparison.values["reprojection"] > worse.values["reprojection"] + 2
    with pytest.raises(Dp3dError) as caught:
        run(truth, metrics=("reprojection",), surface=truth.root / "cameras.json")
    assert caught.value.code == "mesh.unreadable"


def test_what_lacks_its_weights_does_not_keep_the_others(truth, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    comparison = run(truth, truth, metrics=("ssim", "id", "reprojection", "seam"))
    assert set(comparison.values) == {"ssim"}  # four views are one window
    assert "--mesh" in comparison.missing["reprojection"].remedy
    assert "neighbouring views" in comparison.missing["seam"].problem
    assert "--against" in run(truth, metrics=("psnr",)).missing["psnr"].remedy
    error = comparison.missing["id"]
    assert error.code == "metrics.missing"
    assert learned.FACE_EMBEDDING in error.remedy + error.problem


def test_the_pose_needs_the_face_models(truth, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path))
    comparison = run(truth, truth, metrics=("ssim", "pose"))
    assert set(comparison.values) == {"ssim"}
    assert comparison.missing["pose"].code == "portrait.model_missing"


def test_views_in_another_order_are_compared_by_their_poses(truth, tmp_path):
    order = [2, 0, 3, 1]
    mixed = ViewSetWriter(tmp_path / "mixed", [truth.cameras[i] for i in order], truth.meta)
    for i, j in enumerate(order):
        mixed.write(i, truth.frame(j), truth.mask(j))
    results = run(truth, mixed.finish(), metrics=("ssim",))
    assert results.values["ssim"] == pytest.approx(1)
    assert "another order" in results.notes[0]
    assert run(truth, truth, metrics=("ssim",)).notes == []


def test_views_that_cannot_be_compared(truth, tmp_path):
    few = plain(frontal_arc(3, size=96), tmp_path / "few")
    small = plain(frontal_arc(4, size=64), tmp_path / "small")
    other = plain(frontal_arc(8, size=96)[:4], tmp_path / "other")
    lens = [
        Camera(c.c2w, c.K * [[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]], 96, 96) for c in truth.cameras
    ]
    longer = plain(lens, tmp_path / "lens")
    for reference, problem in (
        (few, "the other 3"),
        (small, "size"),
        (other, "another camera pose"),
        (longer, "another lens"),
    ):
        with pytest.raises(Dp3dError) as caught:
            run(truth, reference)
        assert caught.value.code == "metrics.mismatch"
        assert problem in caught.value.problem
    with pytest.raises(Dp3dError) as caught:
        run(truth, window=1)
    assert caught.value.code == "metrics.bad_option"
    with pytest.raises(Dp3dError) as caught:
        run(truth, metrics=("beauty",))
    assert caught.value.code == "metrics.bad_option"


def head_pictures(count=2):
    head = SyntheticHead(random_subject(5))
    return [head.render(camera).rgb for camera in frontal_arc(count, size=96)]


class TestLearned:
    """Real networks of torchvision with random weights, where the true ones would lie."""

    @pytest.fixture(autouse=True)
    def hub(self, tmp_path, monkeypatch):
        pytest.importorskip("torchmetrics", reason="the extra 'metrics' is not installed")
        pytest.importorskip("torchvision")
        import torch

        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        # nothing may be fetched
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        self.checkpoints = tmp_path / "checkpoints"
        self.checkpoints.mkdir()

    @pytest.mark.parametrize("metric", [learned.lpips, learned.dists, learned.fid])
    def test_without_weights(self, metric):
        pictures = head_pictures()
        with pytest.raises(Dp3dError) as caught:
            metric(pictures, pictures)
        assert caught.value.code == "metrics.missing"
        assert str(self.checkpoints) in caught.value.remedy

    def test_lpips(self):
        import torch
        from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

        torch.manual_seed(0)
        name = SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[1]
        torch.save(squeezenet1_1(weights=None).state_dict(), self.checkpoints / name)
        pictures = head_pictures()
        assert learned.lpips(pictures, pictures, "squeeze") == pytest.approx(0, abs=1e-6)
        blurred = [np.asarray(np.roll(p, 8, 1)) for p in pictures]
        assert learned.lpips(blurred, pictures, "squeeze") > 1e-4


def test_unknown_pixels_and_odd_sizes(tmp_path):
    cameras = frontal_arc(3, size=64)
    head = SyntheticHead(random_subject(5))
    frames = [head.render(camera).rgb for camera in cameras]
    valid = np.zeros((64, 64), bool)
    valid[16:48] = True
    truth = ViewSetWriter(tmp_path / "truth", cameras, ViewMeta(engine="test"))
    half = ViewSetWriter(tmp_path / "half", cameras, ViewMeta(engine="test"))
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 8, frame.shape) for frame in frames]
    for i, frame in enumerate(frames):
        truth.write(i, frame)
        noisy = (frame + noise[i]).clip(0, 255).astype(np.uint8)
        half.write(i, np.where(valid[..., None], noisy, 0).astype(np.uint8), valid=valid)
    comparison = run(half.finish(), truth.finish(), metrics=("psnr", "ssim", "seam"), window=2)
    assert comparison.values["psnr"] == pytest.approx(20 * np.log10(255 / 8), abs=0.6)
    assert comparison.details["known"] == 0.5
    mixed = [cameras[0], cameras[1].resized(48, 48), cameras[2].resized(6, 6)]
    odd = ViewSetWriter(tmp_path / "odd", mixed, ViewMeta(engine="test"))
    for i, camera in enumerate(mixed):
        odd.write(i, np.zeros((camera.height, camera.width, 3), np.uint8))
    views = odd.finish()
    comparison = run(views, views, metrics=("seam", "ssim", "psnr"), window=2)
    assert set(comparison.missing) == {"seam", "ssim", "psnr"}
