"""``dp3d bench``: every measurement runs, and the documented bounds hold."""

from __future__ import annotations

import subprocess

import pytest

from tests.server.cli.conftest import result


def test_bench_status_measures_a_server(dp3d):
    sizes = ("--queued", 4, "--listeners", 6)
    run = dp3d("bench", "status", "--requests", 5, *sizes, "--json")
    assert run.returncode == 0, run.stderr
    data = result(run)["result"]
    assert data["heard"]["listeners"] == 6
    assert data["heard"]["events"] >= 6
    assert data["heard"]["faulty"] == 0
    assert 0 < data["busy_ms"]["p50"] <= data["busy_ms"]["p99"]
    assert data["idle_ms"]["p50"] > 0


def test_bench_synth_measures_synthetic_heads(dp3d):
    run = dp3d("bench", "synth", "--count", 1, "--size", 32, "--json")
    assert run.returncode == 0, run.stderr
    data = result(run)["result"]
    assert 0 < data["view_s"] <= data["slowest_view_s"]
    run = dp3d("bench", "synth", "--count", 0, "--json")
    assert result(run)["error"]["code"] == "bench.bad_option"


@pytest.mark.nerf
def test_bench_nerf_measures_fit_and_mesh(dp3d, tmp_path, nerf_environment):
    run = dp3d(
        *("bench", "nerf", "--seeds", 9001, "--views", 12, "--size", 64, "--preset", "tiny"),
        *("--faces", 2000, "--texture-size", 128, "--out", tmp_path / "out", "--json"),
        DP3D_NERF_PYTHON=str(nerf_environment),
    )
    assert run.returncode == 0, run.stderr
    (case,) = result(run)["result"]["cases"]
    assert case["way"] == "distance"
    assert case["components"] == 1
    assert case["watertight"]
    assert case["chamfer"] < 0.06
    assert 0.2 < case["f_score"] <= 1
    assert case["texture_psnr"] > 12
    assert (tmp_path / "out/009001/compare.png").is_file()


@pytest.mark.nerf
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bench_nerf_meets_the_documented_bounds(dp3d, tmp_path, nerf_environment):
    """The bounds of docs/benchmarks.md, except the time."""
    run = dp3d(
        *("bench", "nerf", "--seeds", 9001, "--out", tmp_path / "out", "--json"),
        timeout_s=1100,
        DP3D_NERF_PYTHON=str(nerf_environment),
    )
    assert run.returncode == 0, run.stderr
    (case,) = result(run)["result"]["cases"]
    assert case["psnr"] >= 28
    assert case["texture_psnr"] >= 25
    assert max(case["to_truth"], case["to_surface"]) <= 0.01
    assert case["f_score"] >= 0.95
    assert (case["components"], case["watertight"]) == (1, True)
    assert max(case["lips"], case["iris"]) <= 0.05


@pytest.mark.nerf
def test_a_comparison_names_missing_packages_first(dp3d, tmp_path, nerf_environment):
    import_packages = [nerf_environment, "-c", "import open3d, pymeshlab"]
    if subprocess.run(import_packages, check=False, capture_output=True).returncode == 0:
        pytest.skip("the NeRF environment has these packages")
    run = dp3d(
        *("bench", "nerf", "--compare", "--out", tmp_path / "out"),
        DP3D_NERF_PYTHON=str(nerf_environment),
    )
    assert run.returncode == 4
    assert "nerf.package_missing" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.nerf
def test_bench_fits_the_published_frames(dp3d, tmp_path, nerf_environment, official_outputs):
    run = dp3d(
        *("bench", "official", "--data", official_outputs, "--fit", "tiny"),
        *("--out", tmp_path / "out", "--json"),
        DP3D_NERF_PYTHON=str(nerf_environment),
    )
    assert run.returncode == 0, run.stderr
    fits = result(run)["result"]["fits"]
    assert set(fits) == {"0000028", "0000380"}
    assert fits["0000380"]["foreground_psnr"] > 14
    for name in fits:
        assert (tmp_path / "out" / name / "sheet.png").is_file()
        assert (tmp_path / "out" / name / "fit/report/report.html").is_file()
    run = dp3d("bench", "official", "--data", official_outputs, "--fit", "tiny", "--json")
    assert result(run)["error"]["code"] == "bench.bad_option"
