from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.cameras.trajectories import canonical_camera, capture_sphere, full_orbit
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Progress, never_cancel, no_progress
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.field.fit import Fit, fit_views
from nerf_export.field.presets import get_preset
from nerf_export.field.render import render_fit
from nerf_export.folders.writing import export_views
from nerf_export.views.consistency import NO_MASKS, score_warnings
from tests.support.fits import fit_tiny
from tests.support.scene import HEAD, trace, write_views


@pytest.mark.nerf
def test_a_short_fit_predicts_held_out_views(tiny_fit: Fit) -> None:
    assert tiny_fit.scores["held_out_views"] == 3
    assert tiny_fit.scores["foreground_psnr"] > 18
    assert tiny_fit.scores["psnr"] > 20
    views = tiny_fit.meta.view_scores
    assert [view.file for view in views] == [f"{i:04d}.png" for i in tiny_fit.meta.held_out]
    assert (
        min(v.scores["foreground_psnr"] for v in views) == tiny_fit.scores["worst_foreground_psnr"]
    )
    assert tiny_fit.meta.poses["largest_change"] < 1e-6
    assert tiny_fit.meta.versions["nerfstudio"] == "1.1.5"
    assert tiny_fit.meta.start == "hull"
    assert 0 < tiny_fit.meta.training_error < 0.02
    assert tiny_fit.meta.silhouettes["mean"] > 0.97


@pytest.mark.nerf
def test_progress_is_typed_and_complete(tiny_fit: Fit, fit_events: list[Progress]) -> None:
    stages = [event.stage for event in fit_events]
    assert list(dict.fromkeys(stages)) == ["dataset", "shape", "fit", "score"]
    last = [event for event in fit_events if event.stage == "fit"][-1]
    assert last.step == last.of == get_preset("tiny").steps
    assert {"colour", "mask", "psnr"} <= set(last.values)


@pytest.mark.nerf
def test_a_finished_fit_has_no_pickles_and_no_working_files(tiny_fit: Fit) -> None:
    names = {path.name for path in tiny_fit.root.iterdir()}
    assert names == {"fit.json", "job.json", "field.safetensors", "dataset"}


@pytest.mark.nerf
def test_an_equal_job_returns_the_fit_and_another_is_refused(
    tiny_fit: Fit, head_views: ViewSet
) -> None:
    events: list[Progress] = []

    def again(seed: int) -> Fit:
        return fit_views(
            head_views.root,
            tiny_fit.root,
            preset="tiny",
            seed=seed,
            progress=events.append,
            cancel=never_cancel,
        )

    assert again(0).meta == tiny_fit.meta
    assert events == []
    with pytest.raises(Dp3dError) as caught:
        again(1)
    assert caught.value.code == "viewset.mismatch"


@pytest.mark.nerf
def test_new_cameras_render_the_head(tiny_fit: Fit, tmp_path: Path) -> None:
    cameras = [canonical_camera(20, 10, 64), canonical_camera(200, -5, 48).resized(64, 48)]
    views = render_fit(tiny_fit, cameras, tmp_path, progress=no_progress, cancel=never_cancel)
    assert views.meta.engine == "nerf"
    for i, camera in enumerate(cameras):
        frame, alpha = trace(camera)
        mask = views.mask(i)
        assert mask is not None
        overlap = np.minimum(mask, alpha).sum() / np.maximum(mask, alpha).sum()
        assert overlap > 0.93
        error = (views.frame(i).astype(float) - frame)[alpha > 250] / 255
        assert -10 * np.log10((error**2).mean()) > 17
        assert views.frame(i)[0, 0].min() > 250  # white behind
        depth = views.depth(i)
        assert depth is not None
        near = np.isfinite(depth) & (alpha > 250)
        rays = camera.directions(camera.pixel_centres())[near]
        along = rays @ camera.c2w[:3, 2]
        points = camera.position + rays * (depth[near] / along)[:, None]
        distances = np.abs(np.linalg.norm((points - HEAD.centre) / HEAD.radii, axis=1) - 1) * 0.2
        assert np.median(distances) < 0.01  # head units; nose, knob and ear are elsewhere
        assert not np.isfinite(depth[0, 0])
        with Image.open(tmp_path / f"rgba/{i:04d}.png") as picture:
            assert picture.mode == "RGBA"
            np.testing.assert_array_equal(np.asarray(picture)[..., 3], mask)


@pytest.mark.nerf
def test_a_field_of_another_size_is_refused(tiny_fit: Fit, tmp_path: Path) -> None:
    broken = tmp_path / "fit"
    shutil.copytree(tiny_fit.root, broken)
    data = (broken / "field.safetensors").read_bytes()
    (broken / "field.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(Dp3dError) as caught:
        render_fit(
            Fit.open(broken),
            [canonical_camera(size=8)],
            tmp_path / "views",
            progress=no_progress,
            cancel=never_cancel,
        )
    assert caught.value.code == "fit.invalid"


@pytest.mark.nerf
def test_a_damaged_fit_is_made_anew(tiny_fit: Fit, head_views: ViewSet, tmp_path: Path) -> None:
    broken = tmp_path / "fit"
    shutil.copytree(tiny_fit.root, broken)
    (broken / "field.safetensors").write_bytes(b"half a field")
    with pytest.raises(Dp3dError) as caught:
        Fit.open(broken)
    assert caught.value.code == "fit.invalid"
    events: list[Progress] = []
    again = fit_views(
        head_views.root, broken, preset="tiny", progress=events.append, cancel=never_cancel
    )
    assert [e.step for e in events if e.stage == "fit"]
    assert again.meta.job == tiny_fit.meta.job


def test_a_fit_that_fails_before_training_resets_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP3D_NERF_PYTHON", sys.executable)
    views = write_views(tmp_path / "views", full_orbit(4, size=16))
    (views.root / "frames/0002.png").write_bytes(b"no picture")
    with pytest.raises(Dp3dError) as caught:
        fit_views(views.root, tmp_path / "fit", progress=no_progress, cancel=never_cancel)
    assert caught.value.code == "viewset.invalid"
    assert list((tmp_path / "fit").iterdir()) == []


def test_folders_without_a_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Dp3dError) as caught:
        Fit.open(tmp_path)
    assert caught.value.code == "fit.not_found"
    (tmp_path / "fit.json").write_text(json.dumps({"schema": "dp3d.fit/1"}))
    with pytest.raises(Dp3dError) as caught:
        Fit.open(tmp_path)
    assert caught.value.code == "fit.invalid"


@pytest.mark.parametrize(("preset", "steps"), [("huge", None), ("tiny", 0)])
def test_unknown_presets_are_refused(
    preset: str, steps: int | None, head_views: ViewSet, tmp_path: Path
) -> None:
    with pytest.raises(Dp3dError) as caught:
        fit_views(
            head_views.root,
            tmp_path,
            preset=preset,
            steps=steps,
            progress=no_progress,
            cancel=never_cancel,
        )
    assert caught.value.code == "fit.bad_option"


@pytest.mark.nerf
def test_an_empty_held_out_view_is_left_out_of_the_mean(
    nerf_environment: Path, tmp_path: Path
) -> None:
    cameras = capture_sphere(12, (-20.0, 5.0, 35.0), 64)
    writer = ViewSetWriter(tmp_path / "views", cameras, ViewMeta(engine="test"))
    for i, camera in enumerate(cameras):
        frame, alpha = trace(camera)
        shown = i != 5  # the first that is held out
        writer.write(i, frame if shown else np.full_like(frame, 255), alpha * np.uint8(shown))
    writer.finish()
    fit = fit_tiny(tmp_path / "views", tmp_path / "fit")
    empty, head_view = fit.meta.view_scores
    assert empty.scores["foreground_psnr"] is None
    assert empty.scores["psnr"] < 18  # the field shows a head, the empty view none
    assert fit.scores["held_out_views"] == 1
    assert fit.scores["foreground_psnr"] == head_view.scores["foreground_psnr"] > 14


@pytest.mark.nerf
def test_views_without_masks(nerf_environment: Path, tmp_path: Path) -> None:
    """Few of them, of a head without pattern, are not enough: the fit ends, and says so."""
    write_views(tmp_path / "views", capture_sphere(12, (-20.0, 5.0, 35.0), 64), masks=False)
    fit = fit_tiny(tmp_path / "views", tmp_path / "fit")
    assert fit.meta.warnings[0] == NO_MASKS
    assert fit.meta.field_size.backdrop
    assert fit.meta.silhouettes is None
    assert fit.scores["psnr"] > 10
    assert list(fit.meta.warnings[1:]) == score_warnings(fit.scores, has_masks=False)


@pytest.mark.nerf
@pytest.mark.slow
def test_five_hundred_views(nerf_environment: Path, tmp_path: Path) -> None:
    write_views(tmp_path / "views", capture_sphere(500, (-20.0, 5.0, 35.0), 48))
    fit = fit_tiny(tmp_path / "views", tmp_path / "fit")
    assert len(fit.meta.held_out) == 6
    assert fit.scores["foreground_psnr"] > 18


@pytest.mark.nerf
def test_a_nerfstudio_folder_fits_as_its_views_do(
    head_views: ViewSet, nerf_environment: Path, tmp_path: Path
) -> None:
    """Its own names of held-out frames are kept, its poses left where they are."""
    folder = tmp_path / "theirs"
    export_views(head_views, folder, "nerfstudio", progress=no_progress, cancel=never_cancel)
    file = folder / "transforms.json"
    data = json.loads(file.read_text())
    names = [frame["file_path"] for frame in data["frames"]]
    data |= {"train_filenames": names[2:], "test_filenames": names[:2]}
    file.write_text(json.dumps(data))
    fit = fit_tiny(folder, tmp_path / "fit")
    assert fit.meta.held_out == (0, 1)
    assert fit.scores["held_out_views"] == 2
    assert fit.scores["foreground_psnr"] > 14
    for ours, theirs in zip(fit.cameras, head_views.cameras, strict=True):
        np.testing.assert_allclose(ours.c2w, theirs.c2w, atol=1e-9)
    again = fit_tiny(folder, tmp_path / "fit")
    assert again.meta == fit.meta
