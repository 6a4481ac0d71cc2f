"""Fitted heads on disk: a head beside its views, and the latest ones for photos that come again.

A file holds arrays alone (no pickle) and gives the head back bit by bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core import __version__
from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import write_atomic
from dp3d_core.mesh import Mesh
from dp3d_core.paths import dp3d_home
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.appearance import Appearance
from dp3d_core.preview.choices import Choice, HeadChoices
from dp3d_core.preview.clothes import Clothes
from dp3d_core.preview.engine import PreviewHead
from dp3d_core.preview.head_light import HeadLight
from dp3d_core.preview.parsing import Parsing
from dp3d_core.preview.projection import Projection

HEAD_FILE = "head.npz"
"""Name of a fitted head beside its views."""
FORMAT = 4
"""Of the file."""
_ROOMS = ("heads", "portraits", "preview", ".")
"""Rooms of dp3d_core whose code decides what a head looks like, and what lies beside them."""
_MOST = 24
"""Heads that are kept for photos that come again, up to 15 MB each."""

_Arrays = dict[str, NDArray[Any]]


def kept_folder() -> Path:
    """Where the latest heads are kept; it is not created here."""
    return dp3d_home() / "heads"


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Digest of the code that fits and colours heads: another code fits anew."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((root / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def head_key(portrait: Portrait, seed: int, choices: HeadChoices) -> str:
    """Name of a head that follows from a photo, its crop and turn, the choices and the seed."""
    report = portrait.report.to_dict()
    origin = [_code_digest(), FORMAT, portrait.sha256, report, seed, asdict(choices)]
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def find_kept(key: str) -> PreviewHead | None:
    """The head of a key; None where none is kept or the file is damaged."""
    path = kept_folder() / f"{key}.npz"
    try:
        head = read_head(path)
    except (OSError, Dp3dError):
        return None
    with suppress(OSError):
        os.utime(path)  # the latest used ones stay
    return head


def keep(key: str, head: PreviewHead) -> None:
    """Keep a head for the next time; a folder that cannot be written is no failure."""
    with suppress(OSError, Dp3dError):
        write_atomic(kept_folder() / f"{key}.npz", head_bytes(head))
        files = sorted(kept_folder().glob("*.npz"), key=lambda p: p.stat().st_mtime)
        for old in files[:-_MOST]:
            old.unlink(missing_ok=True)


def kept_bytes(key: str, head: PreviewHead) -> bytes:
    """The file of a head, as it is kept, else made now."""
    try:
        return (kept_folder() / f"{key}.npz").read_bytes()
    except OSError:
        return head_bytes(head)


def head_bytes(head: PreviewHead) -> bytes:
    """A head as the contents of a file."""
    look = head.appearance
    projection = look.projection
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "chosen": {name: asdict(choice) for name, choice in head.chosen.items()},
        "far_side": look.far_side,
        "clothes": {"seen": look.clothes.seen, "shown": asdict(look.clothes.shown)},
        "size": [projection.camera.width, projection.camera.height],
        "beard": look.beard_choice,
        "seed": look.seed,
        "bearded": projection.bearded,
    }
    arrays: _Arrays = {
        "vertices": head.mesh.vertices,
        "faces": head.mesh.faces,
        "parts": head.mesh.parts,
        "region": look.region,
        "light": look.light.shown,
        "aimed": look.light.aimed,
        "panorama": look.panorama,
        "relight": look.relight,
        "blend": look.blend,
        "hair_colour": np.asarray(look.hair_colour),
        "cloth": look.clothes.line,
        "c2w": projection.camera.c2w,
        "K": projection.camera.K,
        "colours": np.rint(projection.colours * 255).astype(np.uint8),
        "trusted": projection.trusted,
        "within": projection.within,
        "solid": projection.solid,
        "depth": projection.depth,
    }
    for name in ("oval", "tone", "foreign"):
        value = getattr(projection, name)
        if value is not None:
            arrays[name] = value
    if projection.parsing is not None:
        parsing = projection.parsing
        about["scalp_hair"] = parsing.scalp_hair
        arrays |= {"chances": parsing.chances, "regions": parsing.region, "known": parsing.known}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    # as numpy.savez_compressed does, with the fast level: the usual one takes most of a second
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_head(path: Path) -> PreviewHead:
    """A head from its file.

    Raises:
        Dp3dError: ``heads.unreadable`` if the file is none, or of another version.

    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays["about"].tobytes())
        if (about["format"], about["version"]) != (FORMAT, __version__):
            raise _unreadable(path, "another version of dp3d wrote it")
        return _head(arrays, about)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, "it is damaged") from error


def _unreadable(path: Path, reason: str) -> Dp3dError:
    return Dp3dError(
        "heads.unreadable",
        f"The fitted head {path.name} cannot be read: {reason}.",
        "Generate the views of the photo again, or give the photo itself.",
    )


def _head(arrays: _Arrays, about: dict[str, Any]) -> PreviewHead:
    camera = Camera(arrays["c2w"], arrays["K"], *about["size"])
    parsing = None
    if "chances" in arrays:
        parsing = Parsing(
            arrays["chances"], arrays["regions"], arrays["known"], about["scalp_hair"]
        )
    projection = Projection(
        camera,
        np.asarray(arrays["colours"], np.float32) / np.float32(255),
        arrays["trusted"],
        arrays["within"],
        arrays["solid"],
        arrays["depth"],
        arrays.get("oval"),
        parsing,
        about["bearded"],
        arrays.get("tone"),
        arrays.get("foreign"),
    )
    mesh = Mesh.of(arrays["vertices"], arrays["faces"], arrays["parts"])
    clothes = about["clothes"]
    appearance = Appearance.of_parts(
        mesh,
        arrays["region"],
        projection,
        Clothes(arrays["cloth"], clothes["seen"], Choice(**clothes["shown"])),
        HeadLight(mesh, arrays["light"], arrays["aimed"]),
        arrays["panorama"],
        arrays["relight"],
        arrays["blend"],
        arrays["hair_colour"],
        about["far_side"],
        about["beard"],
        about["seed"],
    )
    chosen = {name: Choice(**choice) for name, choice in about["chosen"].items()}
    return PreviewHead.of_parts(mesh, appearance, chosen)
