"""View set -> nerfstudio dataset: pictures with straight alpha, cameras, train / held-out.

::

    dataset/
      transforms.json     poses in world N, OpenGL axes, K per frame; names of each split
      images/0000.png     RGBA at the training size
      originals/0000.png  the same at the frame's own size, where that is larger (for textures)
      known/0000.png      of frames that are known in part: 255 where, at the frame's own size
      masks/0000.png      where rays are worth drawing: the silhouette and a rim around it
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_transforms
from dp3d_core.decoding.png import read_png
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import DEFAULT_VIEWS, FIT_VIEWS
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import write_atomic, write_json
from dp3d_core.viewsets.viewset import ViewSet, encode_png

_HOLD_OUT_EVERY = 6
_HOLD_OUT_MOST = 6
_ONE_COLOUR = 2
"""Range of a channel within which a picture has one colour."""
_RIM = 0.03
"""Width of the rim around the silhouette, picture widths."""


@dataclass(frozen=True)
class Look:
    """What a picture shows at all."""

    empty: bool
    """Nothing is opaque."""
    full: bool
    """All is opaque."""
    plain: bool
    """What is opaque has one colour."""

    @classmethod
    def of(cls, picture: Pixels) -> Look:
        """Of an (h, w, 4) uint8 picture, straight alpha."""
        inside = picture[..., 3] >= 128
        spread = np.ptp(picture[inside][:, :3], axis=0).max() if inside.any() else 0
        return cls(not inside.any(), bool(inside.all()), bool(spread <= _ONE_COLOUR))


@dataclass(frozen=True)
class Dataset:
    """A written dataset, and what the hull needs of it."""

    root: Path
    cameras: tuple[Camera, ...]
    """At the training size."""
    masks: tuple[Pixels, ...]
    known: tuple[Mask | None, ...]
    """Pixels that are known of each, None: all."""
    held_out: tuple[int, ...]
    """Views that are never trained on."""
    looks: tuple[Look, ...]

    @property
    def has_masks(self) -> bool:
        """Whether head and background are told apart."""
        return any(
            bool((mask < 255).any() if known is None else (mask[known] < 255).any())
            for mask, known in zip(self.masks, self.known, strict=True)
        )

    @property
    def training(self) -> tuple[int, ...]:
        """Views that are trained on."""
        return tuple(i for i in range(len(self.cameras)) if i not in self.held_out)


def held_out_of(views: ViewSet) -> tuple[int, ...]:
    """Indices kept for scoring: those that the views' source names, else :func:`hold_out`."""
    named = views.meta.parameters.get("held_out")
    return tuple(named) if named else hold_out(len(views))


def hold_out(views: int) -> tuple[int, ...]:
    """Every sixth view, at least one, at most six."""
    indices = np.arange(_HOLD_OUT_EVERY - 1, views, _HOLD_OUT_EVERY)
    if not len(indices):
        return (views - 1,)
    if len(indices) > _HOLD_OUT_MOST:
        indices = indices[np.linspace(0, len(indices) - 1, _HOLD_OUT_MOST).round().astype(int)]
    return tuple(int(i) for i in indices)


def training_size(camera: Camera, longest: int) -> tuple[int, int]:
    """Width and height of a frame at the training size (never larger than it is)."""
    scale = min(1.0, longest / max(camera.width, camera.height))
    return max(1, round(camera.width * scale)), max(1, round(camera.height * scale))


def views_hash(views: ViewSet) -> str:
    """SHA-256 over cameras, frames and masks: tells one view set from another."""
    digest = hashlib.sha256((views.root / "cameras.json").read_bytes())
    for i in range(len(views)):
        for path in (views.frame_path(i), views.mask_path(i)):
            digest.update(path.read_bytes() if path.is_file() else b"-")
        if views.known_path(i).is_file():
            digest.update(views.known_path(i).read_bytes())
    return digest.hexdigest()


def write_dataset(
    views: ViewSet,
    root: Path,
    image_size: int,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Dataset:
    """Write the dataset of a view set.

    Args:
        views: at least four views.
        root: folder to write.
        image_size: longer side of the pictures, pixels.
        progress: stage ``dataset``.
        cancel: polled between pictures.

    Raises:
        Dp3dError: ``viewset.invalid`` for too few views or a picture that cannot be read.

    """
    if len(views) < FIT_VIEWS.low:
        raise Dp3dError(
            "viewset.invalid",
            f"The view set cannot be used: it has {len(views)} views.",
            f"Generate at least {FIT_VIEWS.low} views; {DEFAULT_VIEWS} around the head are a good "
            "number.",
        )
    stage = Stage("dataset", len(views), progress, cancel, "Writing the training pictures")
    cameras, masks, all_known, looks = [], [], [], []
    for i, camera in enumerate(views.cameras):
        width, height = training_size(camera, image_size)
        rgba = views.rgba(i)
        picture = Image.fromarray(rgba)
        if (width, height) != picture.size:
            write_atomic(root / f"originals/{i:04d}.png", encode_png(rgba))
            # Pillow weighs colours by alpha here, so the edge takes no background colour.
            picture = picture.resize((width, height), Image.Resampling.BOX)
        pixels = np.asarray(picture)
        cameras.append(camera.resized(width, height))
        known = views.known(i)
        if known is not None:
            whole = np.where(known, 255, 0).astype(np.uint8)
            write_atomic(root / f"known/{i:04d}.png", encode_png(whole))
            known = wholly_known(Image.fromarray(whole), (width, height))
        masks.append(pixels[..., 3])
        looks.append(Look.of(pixels))
        all_known.append(known)
        write_atomic(root / f"images/{i:04d}.png", encode_png(pixels))
        write_atomic(root / f"masks/{i:04d}.png", encode_png(_ray_mask(pixels[..., 3], known)))
        stage.advance()
    held_out = held_out_of(views)
    if len(views) - len(held_out) < FIT_VIEWS.low - 1:
        raise Dp3dError(
            "viewset.invalid",
            f"The view set cannot be used: {len(held_out)} of its {len(views)} views are held out.",
            "Leave more views to train on.",
        )
    names = [f"images/{i:04d}.png" for i in range(len(views))]
    transforms = cameras_to_transforms(
        cameras, names, [f"masks/{i:04d}.png" for i in range(len(views))]
    )
    kept = [names[i] for i in held_out]
    transforms["train_filenames"] = [name for name in names if name not in kept]
    transforms["val_filenames"] = transforms["test_filenames"] = kept
    write_json(root / "transforms.json", transforms)
    return Dataset(root, tuple(cameras), tuple(masks), tuple(all_known), held_out, tuple(looks))


def leave_out(dataset: Dataset, beyond: Sequence[Mask | None]) -> None:
    """Draw no rays where a view shows what the field has no room for.

    Shoulders that few frames hold lie beyond the common volume: nothing there can be learned, and
    a field that is asked for them tears its border to pieces.

    Args:
        dataset: a written one.
        beyond: of each view, (h, w) pixels of a frame of any size; None: nothing.

    """
    for i, (pixels, camera) in enumerate(zip(beyond, dataset.cameras, strict=True)):
        if pixels is None:
            continue
        path = dataset.root / f"masks/{i:04d}.png"
        left = Image.fromarray(np.where(pixels, 0, 255).astype(np.uint8))
        left = left.resize((camera.width, camera.height), Image.Resampling.NEAREST)
        write_atomic(path, encode_png(np.minimum(read_png(path, "L"), np.asarray(left))))


def wholly_known(mask: Image.Image, size: tuple[int, int]) -> Mask:
    """(h, w) pixels of a (width, height) picture of which all is known: white in the mask."""
    known: Mask = np.asarray(mask.convert("L").resize(size, Image.Resampling.BOX)) == 255
    return known


def _ray_mask(alpha: Pixels, known: Mask | None) -> Pixels:
    """255 where rays are worth drawing: where something is known, near the head."""
    if known is None:
        known = np.ones(alpha.shape, bool)
    rim = max(2, round(_RIM * alpha.shape[1]))
    if not alpha.any():  # an empty picture still says: nothing here
        return np.where(known, 255, 0).astype(np.uint8)
    near = ndimage.distance_transform_edt(alpha == 0) <= rim
    return np.where(near & known, 255, 0).astype(np.uint8)
