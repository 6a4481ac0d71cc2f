"""Views whose frames are RGBA themselves, as Blender renders them: fits and exports take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp3d_core.decoding.png import read_png
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.storage.files import write_atomic
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet, encode_png
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.folders.writing import export_views
from nerf_export.views.dataset import write_dataset
from tests.support.fits import fit_tiny


@pytest.fixture(scope="module")
def rgba_views(head_views: ViewSet, tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    """The ellipsoid head, frames with straight alpha, no masks."""
    root = tmp_path_factory.mktemp("rgba")
    ViewSetWriter(root, head_views.cameras, ViewMeta(engine="blender"))
    for i in range(len(head_views)):
        write_atomic(root / f"frames/{i:04d}.png", encode_png(head_views.rgba(i)))
    return ViewSet.open(root)


def test_the_dataset_is_that_of_frames_and_masks(
    head_views: ViewSet, rgba_views: ViewSet, tmp_path: Path
) -> None:
    sets = [
        write_dataset(v, tmp_path / n, 64, progress=no_progress, cancel=never_cancel)
        for n, v in (("masks", head_views), ("alpha", rgba_views))
    ]
    assert all(dataset.has_masks for dataset in sets)
    for folder in ("images", "originals", "masks"):
        for i in range(len(head_views)):
            a, b = (read_png(d.root / f"{folder}/{i:04d}.png", "RGBA") for d in sets)
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("to", ["nerfstudio", "colmap"])
def test_exports_carry_the_alpha(rgba_views: ViewSet, tmp_path: Path, to: str) -> None:
    export_views(rgba_views, tmp_path, to, progress=no_progress, cancel=never_cancel)
    pictures = sorted(tmp_path.glob("images/*.png"))
    assert len(pictures) == len(rgba_views)
    np.testing.assert_array_equal(read_png(pictures[3], "RGBA"), rgba_views.rgba(3))


@pytest.mark.nerf
def test_a_fit_knows_the_silhouettes(
    nerf_environment: Path, rgba_views: ViewSet, tmp_path: Path
) -> None:
    fit = fit_tiny(rgba_views.root, tmp_path / "fit", steps=80)
    assert fit.meta.warnings == ()
    assert fit.meta.silhouettes["mean"] > 0.95
    assert fit.scores["foreground_psnr"] > 14
