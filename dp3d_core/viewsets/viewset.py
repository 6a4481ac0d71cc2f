"""View sets: folders of frames with exact cameras, the multi-view data sets that rooms exchange.

::

    views/
      cameras.json      cameras of all views (see dp3d_core.cameras.camera)
      meta.json         engine, seed, every parameter, portrait hash, versions
      frames/0000.png   RGB, 8 bit               masks/0000.png   foreground alpha, 8 bit
      rgba/0000.png     frame with mask as straight alpha, for other programs (from our engines)
      depth/0000.png    16 bit depth along the optical axis in steps of DEPTH_UNIT or the meta's
                        depth_unit, 0: no surface (from engines that know depth)
      known/0000.png    valid mask: 255 where the engine generated the pixel, else 0 (only of
                        frames that are not valid everywhere)

Views of other programs (Blender's film transparency) may be RGBA frames with straight alpha, which
is then the mask.

``meta.json`` and ``cameras.json`` are written first, then the views one by one.  Each file is
written atomically, so a reader never sees half a file, and a killed job resumes at the next missing
frame.  A view is complete when its frame exists, as its masks are written before it.  numpy and
Pillow only.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dp3d_core.arrays import Array32, Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import (
    cameras_from_dict,
    load_cameras,
    read_camera_json,
)
from dp3d_core.decoding.png import has_alpha, read_png
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import is_file
from dp3d_core.storage.json_fields import Fields, numbers, read_bounded_json

META_SCHEMA = "dp3d.views/1"
"""Schema of ``meta.json``."""
_MAX_RECORDS = 100
"""Greatest number of photos that a ``meta.json`` lists."""
_MAX_META_BYTES = 16_000_000
"""Largest size of a ``meta.json``."""
VIEWSET_MARKER = "meta.json"
"""File that marks a folder as a view set; it is written first."""

DEPTH_UNIT = 1e-4
"""Head units per step of a depth picture, where the meta has no ``depth_unit``."""
DEPTH_STEPS = 65535
"""Largest value of a depth picture."""


def encode_png(pixels: Pixels | NDArray[np.uint16], software: str = "") -> bytes:
    """PNG bytes of an (h, w), (h, w, 3) or (h, w, 4) uint8 or an (h, w) uint16 picture.

    Args:
        pixels: the picture.
        software: program that the file names; empty: none.

    """
    buffer, text = io.BytesIO(), PngInfo()
    if software:
        text.add_text("Software", software)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.save(buffer, "PNG", compress_level=3, pnginfo=text)
    return buffer.getvalue()


def over(rgba: Pixels, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """(h, w, 3) uint8 composite of an (h, w, 4) picture with straight alpha over a plain colour."""
    alpha = rgba[..., 3:] / 255
    mixed = rgba[..., :3] * alpha + np.array(background) * (1 - alpha)
    return np.asarray(np.rint(mixed), np.uint8)


def straight(
    rgb: Pixels,
    mask: Pixels | None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Pixels:
    """(h, w, 4) uint8 picture with straight alpha from a composite; inverse of :func:`over`.

    Args:
        rgb: (h, w, 3) uint8 composite.
        mask: (h, w) uint8 alpha; None: opaque.
        background: plain colour of the composite, 8 bit RGB.

    """
    if mask is None:
        return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    alpha = mask[..., None].astype(np.float64) / 255
    colours = (rgb - (1 - alpha) * np.asarray(background, np.float64)) / np.maximum(alpha, 1 / 255)
    colours = np.where(alpha > 0, np.clip(np.rint(colours), 0, 255), 0).astype(np.uint8)
    return np.dstack([colours, mask])


@dataclass(frozen=True)
class ViewMeta:
    """Origin and parameters of a view set (``meta.json``)."""

    engine: str
    """Name of the engine that made the views."""
    seed: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    """All options of the engine, defaults included."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour behind the head in the frames, 8 bit RGB."""
    portrait_sha256: str | None = None
    weights_sha256: str | None = None
    """Hash of the weights; None for an engine without weights."""
    versions: dict[str, str] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    """Options that do not affect the views: device, memory."""
    warnings: list[str] = field(default_factory=list)
    """Warnings about the views, one sentence each."""
    choices: dict[str, Any] = field(default_factory=dict)
    """What the preview engine read from the photo, by name: objects with ``choice``, ``confidence``
    and ``by_user``; empty for other engines."""
    photos: list[dict[str, Any]] = field(default_factory=list)
    """What the engine did with each further photo of the person (``engines.photos``)."""
    approximate_poses: bool = False
    """Whether a network drew the frames, which match their cameras only approximately."""

    def to_dict(self) -> dict[str, Any]:
        """Contents of ``meta.json``."""
        content = {"schema": META_SCHEMA, **self.__dict__, "background": list(self.background)}
        if not self.approximate_poses:  # omitted for exact poses
            del content["approximate_poses"]
        if not self.choices:
            del content["choices"]
        if not self.photos:
            del content["photos"]
        return content

    @classmethod
    def from_dict(cls, data: Any) -> ViewMeta:
        """Inverse of :meth:`to_dict`; raises ``viewset.invalid``."""
        try:
            meta = Fields(data, "meta.json")
            if data.get("schema") != META_SCHEMA:
                raise ValueError(f"meta.json is not of the kind {META_SCHEMA}")
            unknown = set(data) - {"schema", *cls.__dataclass_fields__}
            if unknown:
                raise ValueError(f"meta.json holds {min(unknown)[:50]!r}, which is unknown")
            white = list(cls.background)
            colour = numbers(meta.listed("background", 3, white), 3, 0, 255, "background")
            return cls(
                engine=meta.text("engine", most=200),
                seed=meta.whole("seed", -(2**63), 2**64, 0),
                parameters=_parameters(meta.object("parameters")),
                background=(int(colour[0]), int(colour[1]), int(colour[2])),
                portrait_sha256=_hash(meta, "portrait_sha256"),
                weights_sha256=_hash(meta, "weights_sha256"),
                versions=meta.object("versions"),
                run=meta.object("run"),
                warnings=meta.texts("warnings", 10_000),
                choices=meta.object("choices"),
                photos=_objects(meta, "photos"),
                approximate_poses=meta.flag("approximate_poses", False),
            )
        except ValueError as error:
            raise _invalid(str(error)) from error


def _hash(meta: Fields, name: str) -> str | None:
    return meta.text(name, most=200) if name in meta else None


def _objects(meta: Fields, name: str) -> list[dict[str, Any]]:
    values = meta.listed(name, _MAX_RECORDS, [])
    if not all(isinstance(value, dict) for value in values):
        raise ValueError(f"{name} in meta.json is not a list of objects")
    return values


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Options of an engine; ``depth_unit`` and ``held_out`` are checked."""
    known = Fields(values, "parameters")
    if "depth_unit" in known:
        known.number("depth_unit", 1e-12, 1e12)
    if "held_out" in known:
        held_out = known.listed("held_out", 100_000)
        if not all(type(index) is int and index >= 0 for index in held_out):
            raise ValueError("held_out in parameters is not a list of views")
    return values


def _invalid(why: str) -> Dp3dError:
    return Dp3dError(
        "viewset.invalid", f"The view set cannot be used: {why}.", "Generate the views again."
    )


def _load_cameras(path: Path) -> tuple[Camera, ...]:
    """Cameras of a ``cameras.json``; ``camera.invalid`` names the first unusable one."""
    try:
        return tuple(load_cameras(path))
    except Dp3dError as error:
        if error.code != "camera.invalid":
            raise
        refused = error
    data = read_camera_json(path)
    for index, camera in enumerate(data["cameras"]):
        try:
            cameras_from_dict({**data, "cameras": [camera]})
        except Dp3dError as error:
            problem = error.problem.replace("A camera", f"The camera of view {index}", 1)
            raise Dp3dError(error.code, problem, error.remedy) from error
    raise refused


@dataclass(frozen=True)
class ViewSet:
    """A view set on disk, opened for reading."""

    root: Path
    cameras: tuple[Camera, ...]
    meta: ViewMeta

    @classmethod
    def open(cls, root: Path, *, complete: bool = True) -> ViewSet:
        """Open a folder.

        Args:
            root: the folder.
            complete: whether to refuse a set with missing frames.

        Raises:
            Dp3dError: ``viewset.not_found``, ``viewset.invalid``, ``viewset.incomplete``,
                ``camera.invalid``, ``camera.file_invalid``.

        """
        root = Path(root)
        if not all(is_file(root / name) for name in ("cameras.json", "meta.json")):
            raise Dp3dError(
                "viewset.not_found",
                f"There is no view set in {root}.",
                "Give the folder that 'dp3d generate' wrote: it holds cameras.json and frames/.",
            )
        try:
            meta = read_bounded_json(root / "meta.json", _MAX_META_BYTES)
        except OSError as error:
            raise _invalid(f"meta.json cannot be opened ({error.strerror})") from error
        except ValueError as error:
            raise _invalid(str(error)) from error
        views = cls(root, _load_cameras(root / "cameras.json"), ViewMeta.from_dict(meta))
        if any(index >= len(views) for index in views.meta.parameters.get("held_out") or ()):
            raise _invalid(f"meta.json holds out views of which there are only {len(views)}")
        missing = views.missing()
        if complete and missing:
            raise Dp3dError(
                "viewset.incomplete",
                f"{len(missing)} of {len(views)} views are missing in {root}.",
                "Run the same 'dp3d generate' command again: it goes on where it stopped.",
            )
        return views

    def __len__(self) -> int:
        return len(self.cameras)

    def frame_path(self, index: int) -> Path:
        """Path of a frame (it may not exist yet)."""
        return self.root / "frames" / f"{index:04d}.png"

    def mask_path(self, index: int) -> Path:
        """Path of a mask (it may not exist)."""
        return self.root / "masks" / f"{index:04d}.png"

    def valid_mask_path(self, index: int) -> Path:
        """Path of a valid mask (it may not exist)."""
        return self.root / "known" / f"{index:04d}.png"

    def rgba_path(self, index: int) -> Path:
        """Path of a frame with alpha (it may not exist)."""
        return self.root / "rgba" / f"{index:04d}.png"

    def missing(self) -> list[int]:
        """Indices of views that are not complete.

        Where any view has a mask, a view without mask and without alpha in its frame is missing.
        """
        masked = [self.mask_path(i).is_file() for i in range(len(self))]
        return [
            i
            for i in range(len(self))
            if not self.frame_path(i).is_file()
            or (any(masked) and not masked[i] and not has_alpha(self.frame_path(i)))
        ]

    def frame(self, index: int) -> Pixels:
        """(h, w, 3) uint8 RGB; a frame with alpha is composited over the meta's background."""
        path = self.frame_path(index)
        if has_alpha(path):
            return over(self._load(path, "RGBA", index), self.meta.background)
        return self._load(path, "RGB", index)

    def mask(self, index: int) -> Pixels | None:
        """(h, w) uint8 foreground alpha of the mask file or the frame; None: neither has it."""
        path = self.mask_path(index)
        if path.is_file():
            return self._load(path, "L", index)
        if has_alpha(self.frame_path(index)):
            return np.ascontiguousarray(self._load(self.frame_path(index), "RGBA", index)[..., 3])
        return None

    def depth_path(self, index: int) -> Path:
        """Path of a depth picture (it may not exist)."""
        return self.root / "depth" / f"{index:04d}.png"

    def depth(self, index: int) -> Array32 | None:
        """(h, w) depth along the optical axis, head units, inf: no surface; None: no depth file."""
        path = self.depth_path(index)
        if not path.is_file():
            return None
        steps = self._load(path, "I;16", index).astype(np.float32)
        return np.where(steps > 0, steps * np.float32(self.depth_unit), np.float32(np.inf))

    @property
    def depth_unit(self) -> float:
        """Head units per step of a depth picture."""
        return float(self.meta.parameters.get("depth_unit", DEPTH_UNIT))

    def valid_mask(self, index: int) -> Mask | None:
        """(h, w) valid mask: pixels that the engine generated; None: all of them.

        Elsewhere frame and mask are empty and carry no information.
        """
        path = self.valid_mask_path(index)
        return self._load(path, "L", index) >= 128 if path.is_file() else None

    def rgba(self, index: int) -> Pixels:
        """(h, w, 4) uint8 frame with straight alpha, the background removed from edge pixels.

        Without a mask the view is opaque.  The colours of a frame with alpha are not changed.
        """
        path = self.frame_path(index)
        if not has_alpha(path):
            return straight(self.frame(index), self.mask(index), self.meta.background)
        pixels = self._load(path, "RGBA", index)
        if self.mask_path(index).is_file():
            pixels = np.dstack([pixels[..., :3], self._load(self.mask_path(index), "L", index)])
        return pixels

    def _load(self, path: Path, mode: str, index: int) -> Pixels:
        camera = self.cameras[index]
        try:
            return read_png(path, mode, (camera.width, camera.height))
        except ValueError as error:
            raise Dp3dError(
                "viewset.invalid",
                f"The view set cannot be used: {path.parent.name}/{path.name} {error}.",
                "Delete that file and run the same 'dp3d generate' command again: only it is "
                "made anew.",
            ) from error
