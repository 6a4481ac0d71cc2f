"""View set -> nerfstudio dataset: pictures with straight alpha, cameras, train / held-out.

::

    dataset/
      transforms.json     poses in world N, OpenGL axes, K per frame; names of each split
      images/0000.png     RGBA at the training size
      originals/0000.png  RGBA at the frame's own size, where that is larger (for textures)
      known/0000.png      valid mask at the frame's own size, of frames that have one
      masks/0000.png      pixels that rays are drawn for: the silhouette and a rim around it
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
"""One view in this many is held out."""
_MOST_HELD_OUT = 6
"""Most views that are held out."""
_PLAIN_RANGE = 2
"""Range of a channel, 0 to 255, up to which a picture counts as of one colour."""
_RIM_WIDTH = 0.03
"""Width of the rim around the silhouette in which rays are drawn, picture widths."""


@dataclass(frozen=True)
class Look:
    """Whether a picture is empty, full, or of one colour."""

    empty: bool
    """No pixel is opaque."""
    full: bool
    """All pixels are opaque."""
    plain: bool
    """All opaque pixels have one colour."""

    @classmethod
    def of(cls, picture: Pixels) -> Look:
        """Of an (h, w, 4) uint8 picture, straight alpha."""
        inside = picture[..., 3] >= 128
        spread = np.ptp(picture[inside][:, :3], axis=0).max() if inside.any() else 0
        return cls(not inside.any(), bool(inside.all()), bool(spread <= _PLAIN_RANGE))


@dataclass(frozen=True)
class Dataset:
    """A written dataset, with the cameras and masks that the visual hull is carved from."""

    root: Path
    """Folder of the dataset."""
    cameras: tuple[Camera, ...]
    """Cameras at the training size, head space."""
    masks: tuple[Pixels, ...]
    """(h, w) uint8 alpha of each view at the training size."""
    valid: tuple[Mask | None, ...]
    """(h, w) valid mask of each view at the training size; None: all pixels are valid."""
    held_out: tuple[int, ...]
    """Indices of the views that are not trained on."""
    looks: tuple[Look, ...]
    """Content of each training picture."""

    @property
    def has_masks(self) -> bool:
        """Whether any valid pixel of a mask is not fully opaque."""
        return any(
            bool((mask < 255).any() if valid is None else (mask[valid] < 255).any())
            for mask, valid in zip(self.masks, self.valid, strict=True)
        )

    @property
    def training(self) -> tuple[int, ...]:
        """Indices of the views that are trained on."""
        return tuple(i for i in range(len(self.cameras)) if i not in self.held_out)


def held_out_of(views: ViewSet) -> tuple[int, ...]:
    """Indices of held-out views: those that the views' source names, else :func:`hold_out`."""
    named = views.meta.parameters.get("held_out")
    return tuple(named) if named else hold_out(len(views))


def hold_out(views: int) -> tuple[int, ...]:
    """Indices of every sixth of ``views`` views: at least one, at most six."""
    indices = np.arange(_HOLD_OUT_EVERY - 1, views, _HOLD_OUT_EVERY)
    if not len(indices):
        return (views - 1,)
    if len(indices) > _MOST_HELD_OUT:
        indices = indices[np.linspace(0, len(indices) - 1, _MOST_HELD_OUT).round().astype(int)]
    return tuple(int(i) for i in indices)


def training_size(camera: Camera, longest: int) -> tuple[int, int]:
    """Width and height of a frame scaled down to a longer side of ``longest`` pixels at most."""
    scale = min(1.0, longest / max(camera.width, camera.height))
    return max(1, round(camera.width * scale)), max(1, round(camera.height * scale))


def views_hash(views: ViewSet) -> str:
    """SHA-256 over cameras, frames, masks and valid masks: the identity of a view set."""
    digest = hashlib.sha256((views.root / "cameras.json").read_bytes())
    for i in range(len(views)):
        for path in (views.frame_path(i), views.mask_path(i)):
            digest.update(path.read_bytes() if path.is_file() else b"-")
        if views.valid_mask_path(i).is_file():
            digest.update(views.valid_mask_path(i).read_bytes())
    return digest.hexdigest()


def write_dataset(
    views: ViewSet,
    root: Path,
    image_size: int,
    *,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Dataset:
    """Write the nerfstudio dataset of a view set.

    Args:
        views: at least four views.
        root: folder to write.
        image_size: longer side of the training pictures, pixels.
        progress: stage ``dataset``.
        cancel: polled between pictures.

    Raises:
        Dp3dError: ``viewset.invalid`` for too few views or a picture that cannot be read,
            ``job.cancelled``.

    """
    if len(views) < FIT_VIEWS.low:
        raise Dp3dError(
            "viewset.invalid",
            f"The view set cannot be used: it has {len(views)} views.",
            f"Generate at least {FIT_VIEWS.low} views; {DEFAULT_VIEWS} around the head are a good "
            "number.",
        )
    stage = Stage("dataset", len(views), progress, cancel, "Writing the training pictures")
    cameras, masks, all_valid, looks = [], [], [], []
    for i, camera in enumerate(views.cameras):
        width, height = training_size(camera, image_size)
        rgba = views.rgba(i)
        picture = Image.fromarray(rgba)
        if (width, height) != picture.size:
            write_atomic(root / f"originals/{i:04d}.png", encode_png(rgba))
            # Pillow weighs colours by alpha, so that edges take no background colour.
            picture = picture.resize((width, height), Image.Resampling.BOX)
        pixels = np.asarray(picture)
        cameras.append(camera.resized(width, height))
        valid = views.valid_mask(i)
        if valid is not None:
            valid_picture = np.where(valid, 255, 0).astype(np.uint8)
            write_atomic(root / f"known/{i:04d}.png", encode_png(valid_picture))
            valid = wholly_valid(Image.fromarray(valid_picture), (width, height))
        masks.append(pixels[..., 3])
        looks.append(Look.of(pixels))
        all_valid.append(valid)
        write_atomic(root / f"images/{i:04d}.png", encode_png(pixels))
        write_atomic(root / f"masks/{i:04d}.png", encode_png(_ray_mask(pixels[..., 3], valid)))
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
    held_out_names = [names[i] for i in held_out]
    transforms["train_filenames"] = [name for name in names if name not in held_out_names]
    transforms["val_filenames"] = transforms["test_filenames"] = held_out_names
    write_json(root / "transforms.json", transforms)
    return Dataset(root, tuple(cameras), tuple(masks), tuple(all_valid), held_out, tuple(looks))


def exclude_rays(dataset: Dataset, beyond: Sequence[Mask | None]) -> None:
    """Exclude pixels from the ray masks of a dataset, where the field's box ends.

    Shoulders that few frames show lie outside the visual hull.  A field cannot represent them, and
    rays through them would tear its border.

    Args:
        dataset: a written dataset, whose ``masks/`` are changed.
        beyond: of each view, (h, w) pixels to exclude, at any size; None: no pixels.

    """
    for i, (pixels, camera) in enumerate(zip(beyond, dataset.cameras, strict=True)):
        if pixels is None:
            continue
        path = dataset.root / f"masks/{i:04d}.png"
        allowed = Image.fromarray(np.where(pixels, 0, 255).astype(np.uint8))
        allowed = allowed.resize((camera.width, camera.height), Image.Resampling.NEAREST)
        write_atomic(path, encode_png(np.minimum(read_png(path, "L"), np.asarray(allowed))))


def wholly_valid(mask: Image.Image, size: tuple[int, int]) -> Mask:
    """(h, w) valid mask at ``size`` (width, height): pixels whose whole area is white in a mask."""
    valid: Mask = np.asarray(mask.convert("L").resize(size, Image.Resampling.BOX)) == 255
    return valid


def _ray_mask(alpha: Pixels, valid: Mask | None) -> Pixels:
    """(h, w) uint8 ray mask: 255 at valid pixels in the silhouette and its rim, else 0."""
    if valid is None:
        valid = np.ones(alpha.shape, bool)
    rim = max(2, round(_RIM_WIDTH * alpha.shape[1]))
    if not alpha.any():  # rays of an empty picture teach that space is empty
        return np.where(valid, 255, 0).astype(np.uint8)
    near = ndimage.distance_transform_edt(alpha == 0) <= rim
    return np.where(near & valid, 255, 0).astype(np.uint8)
