"""Fits of clients: each opens and can be used, or is refused as ``fit.invalid``."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.viewsets.viewset import encode_png
from nerf_export.field.fit import Fit
from nerf_export.field.fit_meta import FitMeta
from nerf_export.field.ns_commands import write_run_folder
from nerf_export.field.render import render_fit
from nerf_export.mesh.textured_mesh import build_mesh
from tests.conftest import shared_path
from tests.support.damage import damaged
from tests.support.fits import written_fit

DEEP = "@deep@"
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 1.5, 1e300, -1e300, float("nan"), float("inf"), 10**400),
    *(2**31, 2**63, 1000, 100_000, "", "abc", "1", "x" * 100_000, "../../etc/passwd", DEEP),
    *([], {}, [[]], [1, 2, 3], [None], {"a": 1}, [0] * 100_000),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_fit(tmp_path_factory.mktemp("fit") / "fit")


@pytest.fixture
def fit(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "fit"))


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a JSON document; of long lists only those of the first few."""
    if path:
        yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for i, value in enumerate(content[:6]):
            yield from places(value, (*path, i))


def changed(content: Any, source: random.Random) -> bytes:
    """JSON with a few members removed, scaled or replaced."""
    content = json.loads(json.dumps(content))
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        place = source.choice(list(places(content)))
        holder = content
        for key in place[:-1]:
            holder = holder[key]
        value, change = holder[place[-1]], source.randrange(4)
        if change == 0 and isinstance(holder, dict):
            del holder[place[-1]]
        elif change == 1 and isinstance(value, float):
            holder[place[-1]] = value * source.choice([-1, 0, 2, 1e6, 1e-6, 1.0000001, 1e30])
        else:
            holder[place[-1]] = source.choice(ODD)
    deep = "[" * source.choice([30, 300, 5000])
    return json.dumps(content).replace(f'"{DEEP}"', deep + "]" * len(deep)).encode()


def changes(whole: Path, source: random.Random) -> dict[str, bytes]:
    """New contents of some files of a fit, by name."""
    kind = source.choice(["meta"] * 5 + ["meta bytes", "field", "cameras", "cameras", "picture"])
    meta = json.loads((whole / "fit.json").read_text())
    cameras = whole / "dataset/transforms.json"
    if kind == "meta":
        return {"fit.json": changed(meta, source)}
    if kind == "meta bytes":
        return {"fit.json": damaged((whole / "fit.json").read_bytes(), source)}
    if kind == "cameras":
        data = cameras.read_bytes()
        as_json = source.random() < 0.7
        new = changed(json.loads(data), source) if as_json else damaged(data, source)
        return {"dataset/transforms.json": new}
    if kind == "field":
        field = (whole / "field.safetensors").read_bytes()
        field = damaged(field[:2500], source) + field[2500:]
        meta["field_sha256"] = hashlib.sha256(field).hexdigest()
        return {"field.safetensors": field, "fit.json": json.dumps(meta).encode()}
    name = f"dataset/originals/{source.randrange(12):04d}.png"
    return {name: damaged((whole / name).read_bytes(), source)}


def use(fit: Path) -> None:
    """All that the mesh and the renders take from a fit before a process of theirs begins."""
    opened = Fit.open(fit)
    assert np.isfinite(opened.bounds).all()
    assert np.isfinite(opened.box[1])
    for i in range(len(opened.cameras)):
        camera, pixels = opened.picture(i)
        assert pixels.shape == (camera.height, camera.width, 4)
        assert np.isfinite(opened.exposure(i)).all()
        opened.valid_mask(i)


def outcomes(whole: Path, fit: Path, count: int, seed: int) -> Counter[str]:
    source, counts = random.Random(seed), Counter()
    for _ in range(count):
        new = changes(whole, source)
        for name, data in new.items():
            (fit / name).write_bytes(data)
        try:
            use(fit)
            counts["used"] += 1
        except Dp3dError as error:
            counts[error.code] += 1
        for name in new:
            shutil.copyfile(whole / name, fit / name)
    return counts


def test_a_whole_fit_opens(whole: Path):
    use(whole)
    meta = Fit.open(whole).meta
    assert meta.job.preset.name == "tiny"
    assert meta.view_scores[0].scores["psnr"] == 22.0
    assert meta.view_scores[0].to_dict()["gain"] == (1.0, 1.0, 1.1)


@pytest.mark.filterwarnings("ignore:overflow")
def test_damaged_fits(whole: Path, fit: Path):
    counts = outcomes(whole, fit, 150, seed=0)
    assert set(counts) == {"used", "fit.invalid"}
    assert counts["fit.invalid"] > 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow")
def test_many_damaged_fits(whole: Path, fit: Path):
    counts = outcomes(whole, fit, 3000, seed=1)
    print(dict(counts))
    assert set(counts) == {"used", "fit.invalid"}


def refused(fit: Path) -> str:
    with pytest.raises(Dp3dError) as error:
        Fit.open(fit)
    assert error.value.code == "fit.invalid"
    return error.value.problem


@pytest.mark.parametrize("name", ["corners_1000", "corners_str", "pickle_field"])
def test_the_fits_that_clients_attacked_with(fit: Path, name: str):
    shutil.copyfile(shared_path(f"data/server_attacks/fit_{name}.json"), fit / "fit.json")
    assert refused(fit)


def with_meta(fit: Path, **members: Any) -> None:
    meta = json.loads((fit / "fit.json").read_text())
    (fit / "fit.json").write_text(json.dumps({**meta, **members}))


def test_held_out_views_and_gains_match_the_number_of_views(fit: Path):
    with_meta(fit, held_out=[99])
    assert "only 12" in refused(fit)
    with_meta(fit, held_out=[5, 11], gains=[[1, 1, 1]] * 3)
    assert "exposure" in refused(fit)
    with_meta(fit, gains=[[1, 1, 0]] * 10)
    assert "exposure" in refused(fit)


def test_a_large_fit_json_is_not_read(fit: Path):
    with_meta(fit, warnings=["x" * 5_000_000])
    assert "more than 4 MB" in refused(fit)


def test_pictures_are_compared_with_their_cameras(fit: Path):
    (fit / "dataset/originals/0003.png").write_bytes(encode_png(np.zeros((64, 90, 4), np.uint8)))
    assert "90 x 64" in refused(fit)
    (fit / "dataset/originals/0003.png").unlink()
    Fit.open(fit)  # the training picture serves
    (fit / "dataset/images/0003.png").unlink()
    assert "missing" in refused(fit)


def test_a_picture_with_a_huge_size_in_its_header(fit: Path):
    path = fit / "dataset/originals/0003.png"
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    assert "900 megapixels" in refused(fit)


def test_fits_of_earlier_versions_are_read():
    earlier = {
        "schema": "dp3d.fit/1",
        "job": {
            "preset": {"name": "draft", "image_size": 256, "grid": 160, "hidden": 32, "steps": 9}
            | {"rays": 1024, "coarse_samples": 64, "fine_samples": 20, "colour_levels": [[1, 8]]},
            "seed": 3,
            "views_sha256": "a" * 64,
        },
        "field_size": {"corners": [9, 9, 9], "low": [0, 0, 0], "cell": 1, "hidden": 32}
        | {"colour_levels": [[1, 8]]},
        "field_sha256": "b" * 64,
        "scores": {},
    }
    meta = FitMeta.from_dict(earlier)
    assert (meta.gains, meta.training_error, meta.seconds) == (None, 0.0, None)
    assert not meta.field_size.gloss


def mesh_of(fit: Path, out: Path) -> None:
    build_mesh(fit, out / "x.glb", progress=no_progress, cancel=never_cancel)


def render_of(fit: Path, out: Path) -> None:
    cameras = [canonical_camera(size=8)]
    render_fit(Fit.open(fit), cameras, out / "views", progress=no_progress, cancel=never_cancel)


def run_folder_of(fit: Path, out: Path) -> None:
    write_run_folder(fit, out / "run", progress=no_progress, cancel=never_cancel)


@pytest.mark.nerf
@pytest.mark.parametrize(
    ("use_field", "value", "member"),
    [
        (mesh_of, float("nan"), "distance_grid.table"),
        (render_of, float("inf"), "distance_grid.table"),
        (render_of, 1e38, "colour_net.0.weight"),
        (run_folder_of, float("nan"), "colour_net.0.weight"),
    ],
)
def test_a_field_with_infinite_values_is_refused(
    whole: Path,
    tmp_path: Path,
    nerf_environment: Path,
    use_field: Callable[[Path, Path], None],
    value: float,
    member: str,
):
    fit = Path(shutil.copytree(whole, tmp_path / "fit"))
    field = bytearray((fit / "field.safetensors").read_bytes())
    (length,) = struct.unpack("<Q", field[:8])
    start, end = json.loads(field[8 : 8 + length])[member]["data_offsets"]
    values = struct.pack("<f", value) * ((end - start) // 4)
    field[8 + length + start : 8 + length + end] = values
    (fit / "field.safetensors").write_bytes(field)
    with_meta(fit, field_sha256=hashlib.sha256(field).hexdigest())
    with pytest.raises(Dp3dError) as error:
        use_field(fit, tmp_path)
    assert error.value.code == "fit.invalid"


@pytest.mark.nerf
def test_the_child_reads_a_written_fit(whole: Path, tmp_path: Path, nerf_environment: Path):
    """Zeros have no surface, and render as nothing: the weights were taken."""
    with pytest.raises(Dp3dError) as error:
        build_mesh(whole, tmp_path / "x.glb", progress=no_progress, cancel=never_cancel)
    assert error.value.code == "mesh.empty"
    views = render_fit(
        Fit.open(whole),
        [canonical_camera(size=8)],
        tmp_path / "views",
        progress=no_progress,
        cancel=never_cancel,
    )
    assert views.meta.weights_sha256 == Fit.open(whole).meta.field_sha256
