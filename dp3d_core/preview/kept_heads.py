"""Fitted heads on disk: one beside each view set, and a cache of the latest for repeated photos.

A file holds arrays only (no pickle) and restores the head bit for bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import ALL_AUTO, Choice, HeadChoices
from dp3d_core.preview.clothing.neckline import Clothes
from dp3d_core.preview.colouring.appearance import APPEARANCE_STEPS, Appearance
from dp3d_core.preview.colouring.head_light import HeadLight
from dp3d_core.preview.colouring.photographs import Photograph, Photographs
from dp3d_core.preview.further.photos import PhotoUse, photo_steps
from dp3d_core.preview.head import PreviewHead
from dp3d_core.preview.photo.stored import Arrays, projection_of_arrays, projection_to_arrays
from dp3d_core.preview.shape.placement import placement_steps
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import write_atomic
from dp3d_core.storage.paths import heads_folder
from dp3d_core.threads import one_blas_thread

HEAD_FILE = "head.npz"
"""Name of the file in a view set's folder."""
FORMAT = 5
"""Version of the file."""
_ROOMS = ("cameras", "decoding", "heads", "meshes", "portraits", "preview")
"""Rooms whose code determines a fitted head, besides the modules directly in dp3d_core."""
_MAX_CACHED = 24
"""Number of heads in the cache, of up to 15 MB each."""


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Digest of the code that fits and colours heads; changed code invalidates the cache."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    rooms = [path for room in _ROOMS for path in sorted((root / room).rglob("*.py"))]
    for path in (*sorted(root.glob("*.py")), *rooms):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def head_key(portrait: Portrait, seed: int, choices: HeadChoices) -> str:
    """Cache key of a head, from the code, the photos, the portrait's report, choices and seed."""
    report = portrait.report.to_dict()
    references = [[r.portrait.sha256, r.side] for r in portrait.references]
    origin = [_code_digest(), FORMAT, portrait.sha256, report, references, seed, asdict(choices)]
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


@one_blas_thread
def fitted_head(
    portrait: Portrait,
    seed: int = 0,
    repeat_photo: bool = True,
    choices: HeadChoices = ALL_AUTO,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> PreviewHead:
    """The head of a portrait, from the cache or fitted and cached.

    Args:
        portrait: the photo, with its pose.
        seed: seed of the completion's textures.
        repeat_photo: whether views near the photo's own repeat it as it is.
        choices: the user's choices.
        progress: stage ``head``.
        cancel: polled at each step.

    """
    steps = photo_steps(portrait) + placement_steps(portrait) + APPEARANCE_STEPS
    stage = Stage("head", steps, progress, cancel, "Fitting the head to the photo")
    key = head_key(portrait, seed, choices)
    head = find_kept(key)
    if head is None:
        head = PreviewHead(portrait, seed, repeat_photo, stage.begin, choices)
        keep(key, head)
    head.appearance.repeat_photo = repeat_photo
    stage.end("Head fitted")
    return head


def find_kept(key: str) -> PreviewHead | None:
    """The cached head of a key; None if it is absent or its file is damaged."""
    _make_private()
    path = heads_folder() / f"{key}.npz"
    try:
        head = read_head(path)
    except (OSError, Dp3dError):
        return None
    with suppress(OSError):
        os.utime(path)  # the cache drops the least recently used
    return head


def keep(key: str, head: PreviewHead) -> None:
    """Add a head to the cache; a folder that cannot be written is not an error."""
    with suppress(OSError, Dp3dError):
        heads_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private()
        write_atomic(heads_folder() / f"{key}.npz", head_bytes(head), is_private=True)
        files = sorted(heads_folder().glob("*.npz"), key=lambda p: p.stat().st_mtime)
        for old in files[:-_MAX_CACHED]:
            old.unlink(missing_ok=True)


def forget(key: str) -> None:
    """Remove a head from the cache; one that is absent is not an error."""
    with suppress(OSError):
        (heads_folder() / f"{key}.npz").unlink()


def _make_private() -> None:
    """Make the cache readable by its owner only, since a head shows a face.

    Corrects files of earlier versions.  Windows protects the user's folder by itself.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):  # absent, or somebody else's
        folder = heads_folder()
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
            for path in folder.glob("*.npz"):
                path.chmod(0o600)


def kept_bytes(key: str, head: PreviewHead) -> bytes:
    """Contents of a head's file, from the cache if it is there."""
    try:
        return (heads_folder() / f"{key}.npz").read_bytes()
    except OSError:
        return head_bytes(head)


def head_bytes(head: PreviewHead) -> bytes:
    """Serialise a head."""
    look = head.appearance
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "chosen": {name: asdict(choice) for name, choice in head.chosen.items()},
        "clothes": {"seen": look.clothes.visible, "shown": asdict(look.clothes.observed)},
        "beard": look.beard_choice,
        "seed": look.seed,
        "shape": head.shape,
        "photos": [use.to_dict() for use in head.photos],
        "projections": [],
    }
    arrays: Arrays = {
        "vertices": head.mesh.vertices,
        "faces": head.mesh.faces,
        "parts": head.mesh.parts,
        "region": look.region,
        "light": look.light.applied,
        "aimed": look.light.directional,
        "panorama": look.panorama,
        "relight": look.relight,
        "blend": look.blend,
        "hair_colour": np.asarray(look.hair_colour),
        "cloth": look.clothes.line,
    }
    for number, photo in enumerate(look.photographs.photos):
        projection, values = projection_to_arrays(photo.projection)
        about["projections"].append(values)
        if photo.relight is not None:
            projection["relight"] = photo.relight
        arrays |= {_member(number, name): array for name, array in projection.items()}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    # numpy.savez_compressed with the fast level: its default level takes most of a second
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_head(path: Path) -> PreviewHead:
    """Read a head from its file.

    Raises:
        Dp3dError: ``heads.unreadable`` if the file is damaged or of another version.

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


def _member(number: int, name: str) -> str:
    """Name of an array of the photo ``number`` in a file; 0 is the portrait."""
    return f"photo{number}.{name}"


def _unreadable(path: Path, reason: str) -> Dp3dError:
    return Dp3dError(
        "heads.unreadable",
        f"The fitted head {path.name} cannot be read: {reason}.",
        "Generate the views of the photo again, or give the photo itself.",
    )


def _head(arrays: Arrays, about: dict[str, Any]) -> PreviewHead:
    """Restore a head from the arrays and the JSON of its file."""
    photos = []
    for number, values in enumerate(about["projections"]):
        prefix = _member(number, "")
        own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        photos.append(Photograph(projection_of_arrays(own, values), own.get("relight")))
    mesh = Mesh.of(arrays["vertices"], arrays["faces"], arrays["parts"])
    clothes = about["clothes"]
    appearance = Appearance.of_parts(
        mesh,
        arrays["region"],
        Photographs(tuple(photos)),
        Clothes(arrays["cloth"], clothes["seen"], Choice(**clothes["shown"])),
        HeadLight(mesh, arrays["light"], arrays["aimed"]),
        arrays["panorama"],
        arrays["relight"],
        arrays["blend"],
        arrays["hair_colour"],
        about["beard"],
        about["seed"],
    )
    chosen = {name: Choice(**choice) for name, choice in about["chosen"].items()}
    uses = tuple(PhotoUse.from_dict(use) for use in about["photos"])
    return PreviewHead.of_parts(mesh, appearance, chosen, uses, about.get("shape"))
