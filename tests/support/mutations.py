"""Random faults in folders of other tools, seeded, and the outcomes of reading them.

``python -m tests.support.mutations 2000`` counts the outcomes of 2000 damaged folders.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dp3d_core.cameras.documents import NORMALISATION_FILE, read_camera_document
from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.errors import Dp3dError
from nerf_export.folders.names import picture_sizes
from tests.support import captures

Folder = Path
FORMATS = (
    "nerfstudio", "masks", "synthetic", "colmap-text", "colmap-binary", "distorted", "fisheye",
    "camera-path", "camera-transforms",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, 1e-30, 1e30, 1e308, float("nan"), float("inf"), 10**400, "",
    "x", "1", "\0", "a/b", "../..", "\ud800", [], [[]], [1, 2], [[1, 0, 0, 0]] * 4, {}, {"a": None},
    "OPENCV_FISHEYE", "EQUIRECTANGULAR", "PINHOLE", "images/0001.png", 45, 64, 1.5707,
)  # fmt: skip
_KEYS = (
    "w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "camera_model",
    "is_fisheye", "camera_angle_x", "camera_angle_y", "x_fov", "mask_path", "transform_matrix",
    "rolling_shutter", "distortion_params", "applied_transform", "applied_scale", "latlong",
    "train_filenames", "val_filenames", "test_filenames", "frames", "ftheta_p0", "fov", "aspect",
)  # fmt: skip
_MODES = ("L", "P", "1", "RGB", "RGBA", "LA", "I", "F", "CMYK")


def write_folder(format_: str, folder: Folder) -> None:
    """Write an undamaged folder of a format."""
    if format_ == "nerfstudio":
        captures.write_transforms(folder)
    elif format_ in {"masks", "camera-transforms"}:
        captures.write_transforms(folder, alpha=False)
    elif format_ == "synthetic":
        captures.write_synthetic(folder)
    elif format_ == "distorted":
        bends = {"k1": -0.1, "k2": 0.02, "p1": 0.001, "p2": -0.002}
        captures.write_transforms(folder, change=lambda data: data.update(bends))
    elif format_ == "fisheye":
        captures.write_colmap(
            folder, binary=False, model="OPENCV_FISHEYE", bends=(0.01, 0.0, 0.0, 0.0)
        )
    elif format_ == "camera-path":
        write_camera_path(folder / "camera_path.json")
        document = {"transform": np.eye(4)[:3].tolist(), "scale": 0.4}
        (folder / NORMALISATION_FILE).write_text(json.dumps(document))
    else:
        captures.write_colmap(folder, binary=format_ == "colmap-binary")


def write_camera_path(path: Path) -> None:
    """Write nerfstudio's camera path along the cameras of a capture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = captures.camera_path(captures.cameras())
    path.write_text(json.dumps(document))


def outcome(format_: str, folder: Folder, out: Path) -> str:
    """Read a folder; ``read``, ``read with notes``, or the code of the refusal.

    Any other exception is raised.
    """
    try:
        if format_.startswith("camera-"):
            name = "camera_path.json" if format_ == "camera-path" else "transforms.json"
            document, notes = read_camera_document(folder / name, size_of=picture_sizes(folder))
            cameras_from_request(document)
        else:
            notes = captures.read(folder, out).meta.warnings
    except Dp3dError as error:
        for sentence in (error.problem, error.remedy):
            assert sentence.endswith("."), sentence
            assert len(sentence) < 600, sentence
            assert "Error" not in sentence, sentence
            assert "<class" not in sentence, sentence
            sentence.encode()  # printable
        return error.code
    "".join(notes).encode()
    return "read with notes" if notes else "read"


# -- faults --------------------------------------------------------------------------------


def mutate(folder: Folder, rng: random.Random) -> str:
    """Damage a folder in place; returns the name of the fault."""
    faults: list[Callable[[Folder, random.Random], None]] = []
    if list(folder.glob("*.json")):
        faults += [_value, _value, _value, _name, _name, _pose, _pose, _text]
    if list(folder.rglob("cameras.*")):
        faults += [_colmap, _colmap, _colmap]
    if (folder / "images").is_dir():
        faults += [_picture, _picture, _alpha]
    if (folder / "masks").is_dir():
        faults += [_mask, _mask]
    fault = rng.choice(faults)
    fault(folder, rng)
    return fault.__name__.removeprefix("_")


def _document(folder: Folder, rng: random.Random) -> tuple[Path, Any]:
    path = rng.choice(sorted(folder.glob("*.json")))
    return path, json.loads(path.read_text())


def _save(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data))


def _value(folder: Folder, rng: random.Random) -> None:
    """Remove, add or replace values anywhere in a document."""
    path, data = _document(folder, rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder: Any = data
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            inner = [k for k in keys if isinstance(holder[k], dict | list) and holder[k]]
            if inner and rng.random() < 0.7:
                holder = holder[rng.choice(inner)]
                continue
            break
        if isinstance(holder, dict) and rng.random() < 0.4:
            holder[rng.choice(_KEYS)] = copy.deepcopy(rng.choice(_VALUES))
        elif keys:
            key = rng.choice(keys)
            if rng.random() < 0.3:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(rng.choice(_VALUES))
    _save(path, data)


def _name(folder: Folder, rng: random.Random) -> None:
    """Change file names to those of other systems, or to names outside the folder."""
    path, data = _document(folder, rng)
    change = rng.choice(
        [
            lambda n: n.replace("/", "\\"),
            lambda n: n.rpartition(".")[0] or n,
            lambda n: n.upper(),
            lambda n: n.replace("png", "jpg"),
            lambda n: "./" + n,
            lambda n: "/home/me/scene/" + n,
            lambda n: "C:\\scene\\" + n.replace("/", "\\"),
            lambda n: n.replace("0", "%30"),
            lambda n: "../" + n,
            lambda n: "../../../../etc/passwd",
            lambda n: n + "/",
            lambda n: n[:-6],
            lambda n: "file://" + n,
            lambda n: "a" * 5000,
            lambda n: n.rpartition("/")[2],
            lambda n: n.replace("images", "masks"),
        ]
    )
    frames = data.get("frames") or data.get("camera_path") or []
    chosen = frames if rng.random() < 0.6 else [rng.choice(frames)] if frames else []
    for frame in chosen:
        for key in ("file_path", "mask_path"):
            if isinstance(frame.get(key), str):
                frame[key] = change(frame[key])
    _save(path, data)


def _pose(folder: Folder, rng: random.Random) -> None:
    """Scale, mirror, shear, round, reshape or break matrices."""
    path, data = _document(folder, rng)
    frames = data.get("frames") or data.get("camera_path") or []
    kind, factor = rng.randrange(9), 10 ** rng.uniform(-6, 6)
    for frame in frames if rng.random() < 0.5 else frames[:1]:
        key = "transform_matrix" if "transform_matrix" in frame else "camera_to_world"
        if key not in frame:
            continue
        pose = np.array(frame[key], float).reshape(4, 4)
        if kind == 0:
            pose[:3, :3] *= factor
        elif kind == 1:
            pose[:3, 0] *= -1
        elif kind == 2:
            pose[0, 1] += rng.uniform(-1, 1)
        elif kind == 3:
            pose[:3, 3] *= factor
        elif kind == 4:
            pose[rng.randrange(4), rng.randrange(4)] = rng.choice([np.nan, np.inf, 0, 1e200])
        elif kind == 5:
            pose = pose @ np.diag([1, -1, -1, 1])
        elif kind == 6:
            pose = pose.round(rng.randrange(5))
        frame[key] = (
            pose[:3].tolist()
            if kind == 7
            else pose.ravel().tolist()
            if kind == 8
            else (pose.tolist())
        )
    _save(path, data)


def _text(folder: Folder, rng: random.Random) -> None:
    """Cut off a document, change its text, or encode it differently."""
    path = rng.choice(sorted(folder.glob("*.json")))
    text = path.read_text()
    kind, place = rng.randrange(6), rng.randrange(len(text))
    if kind == 0:
        path.write_text(text[:place])
    elif kind == 1:
        path.write_text(text[:place] + rng.choice(',]}"[:NaN ') + text[place:])
    elif kind == 2:
        path.write_bytes(text.encode(rng.choice(["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])))
    elif kind == 3:
        path.write_text(text.replace("]", ",]", 1))
    elif kind == 4:
        path.write_bytes(rng.randbytes(300))
    else:
        data = bytearray(text.encode())
        data[place % len(data)] = rng.randrange(256)
        path.write_bytes(bytes(data))


def _colmap(folder: Folder, rng: random.Random) -> None:
    """Remove or change tokens or bytes of a COLMAP model."""
    path = rng.choice(sorted([*folder.rglob("cameras.*"), *folder.rglob("images.*")]))
    if path.suffix == ".bin":
        data = bytearray(path.read_bytes())
        if rng.random() < 0.3:
            data = data[: rng.randrange(len(data))]
        else:
            for _ in range(rng.choice((1, 1, 4))):
                data[rng.randrange(len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))
        path.write_bytes(bytes(data))
        return
    lines = path.read_text().splitlines()
    i = rng.randrange(1, len(lines))
    parts = lines[i].split()
    kind = rng.randrange(4)
    if kind == 0 or not parts:
        del lines[i]
    elif kind == 1:
        parts[rng.randrange(len(parts))] = rng.choice(
            ("nan", "inf", "-1", "0", "x", "", "1e400", "9" * 30, "RADIAL", "FOV", "../x.png")
        )
    elif kind == 2:
        del parts[rng.randrange(len(parts))]
    else:
        parts.insert(rng.randrange(len(parts)), rng.choice(("1", "0.5", "x")))
    if kind and parts:
        lines[i] = " ".join(parts)
    path.write_text("\n".join(lines))


def _picture(folder: Folder, rng: random.Random) -> None:
    _damage(rng.choice(sorted((folder / "images").iterdir())), rng)


def _mask(folder: Folder, rng: random.Random) -> None:
    masks = sorted((folder / "masks").iterdir())
    kind = rng.randrange(13)
    if kind == 0:
        _damage(rng.choice(masks), rng)
        return
    if kind > 6:
        _relabel(masks, kind - 7, rng)
        return
    first = np.asarray(Image.open(masks[0]))
    for path in masks if rng.random() < 0.6 else masks[:1]:
        values = np.asarray(Image.open(path))
        changed = [values, (values > 127).astype(np.uint8), 255 - values, values * 0,
                   values | 255, first, values[::2, ::2]][kind]  # fmt: skip
        picture = Image.fromarray(np.ascontiguousarray(changed))
        picture.convert(rng.choice(_MODES)).save(path.with_suffix(".tif"))
        path.with_suffix(".tif").rename(path)


def _relabel(masks: list[Path], kind: int, rng: random.Random) -> None:
    """Replace black and white by labels, levels, colours, voids or palettes."""
    low, high = rng.sample(range(256), 2)
    for path in masks if rng.random() < 0.8 else masks[::2]:
        head = np.asarray(Image.open(path)) > 127
        values = np.where(head, rng.choice((high, high, low)) if kind == 0 else high, low)
        values = values.astype(np.uint8)
        if kind == 1:  # a void, a rim or a part
            values[rng.randrange(32) :] = rng.choice((0, 128, 255, 3))
        elif kind == 2:
            values = np.where(head, 255, 0).astype(np.uint8)
            values[:, 8:12] = rng.randrange(256)
        elif kind == 3:
            values[:, 30:] = rng.randrange(40)
        picture = Image.fromarray(values)
        if kind == 4:
            colours = np.array([[rng.randrange(256) for _ in range(3)] for _ in range(2)], np.uint8)
            picture = Image.fromarray(colours[head.astype(int)])
        elif kind == 5:
            picture = Image.fromarray(values % 4, "P")
            picture.putpalette([rng.randrange(256) for _ in range(rng.choice((3, 12, 768)))])
        picture.save(path)


def _alpha(folder: Folder, rng: random.Random) -> None:
    """Give pictures an alpha with holes, cut corners or single pixels; some get none."""
    kind, part = rng.randrange(5), rng.choice((0.3, 0.8, 1.0))
    for i, path in enumerate(sorted((folder / "images").iterdir())):
        picture = Image.open(path).convert("RGB")
        alpha = np.full(picture.size[::-1], 255, np.uint8)
        if kind == 0:
            alpha[5 + i : 12 + i, 9:20] = rng.randrange(200)
        elif kind == 1:
            rows, columns = np.indices(alpha.shape)
            alpha[rows + columns < 8 + i] = 0
        elif kind == 2:
            alpha[rng.randrange(32), rng.randrange(32)] = 0
        elif kind == 3:
            alpha[:] = rng.choice((0, 255))
        else:
            alpha[i:] = 0
        if rng.random() < part:
            picture.putalpha(Image.fromarray(alpha))
        picture.save(path)


def _damage(path: Path, rng: random.Random) -> None:
    """Remove a picture, cut it off, or change its kind, mode or size."""
    data = path.read_bytes()
    kind = rng.randrange(7)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif kind == 2:
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(changed))
    elif kind == 3:
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n")
    elif kind == 4:
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    elif kind == 5:
        with Image.open(path) as image:
            image.convert("RGB").convert(rng.choice(_MODES)).save(path.with_suffix(".tif"))
        path.with_suffix(".tif").rename(path)
    else:
        with Image.open(path) as image:
            image.resize(rng.choice([(16, 16), (64, 64), (32, 16), (1, 1)])).save(path)


def count_outcomes(count: int, seed: int = 0, echo: bool = False) -> Counter[tuple[str, str]]:
    """Outcomes of ``count`` damaged folders, by format and outcome.

    An exception that is not a :class:`Dp3dError` is raised, or counted if ``echo`` is set.
    """
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for format_ in FORMATS:
            write_folder(format_, root / format_)
        for i in range(count):
            format_ = FORMATS[i % len(FORMATS)]
            rng = random.Random(f"{seed} {i}")
            folder = shutil.copytree(root / format_, root / "damaged")
            fault = mutate(folder, rng)
            try:
                result = outcome(format_, folder, root / "out")
            except Exception:
                print(f"{seed} {i}: {fault} in {format_}", file=sys.stderr)
                if not echo:
                    raise
                traceback.print_exc()
                result = "RAISED"
            outcomes[format_, result] += 1
            shutil.rmtree(folder)
            shutil.rmtree(root / "out", ignore_errors=True)
    return outcomes


if __name__ == "__main__":
    totals = count_outcomes(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, True)
    for key, number in sorted(totals.items()):
        print(*key, number)
    print(sum(totals.values()), "in all")
