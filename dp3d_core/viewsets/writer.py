"""Writes view sets view by view, and resumes unfinished ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core.arrays import Mask, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import cameras_to_dict, load_cameras
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import check_folder, read_json, write_atomic, write_json
from dp3d_core.viewsets.viewset import (
    DEPTH_STEPS,
    VIEWSET_MARKER,
    ViewMeta,
    ViewSet,
    encode_png,
    straight,
)


class ViewSetWriter:
    """Writes a view set view by view; resumes an unfinished one of an equal job.

    >>> writer = ViewSetWriter(root, cameras, meta)
    >>> for i in writer.missing():
    ...     writer.write(i, rgb, alpha)
    >>> views = writer.finish()
    """

    def __init__(
        self, root: Path, cameras: Sequence[Camera], meta: ViewMeta, *, rgba: bool = False
    ) -> None:
        """Create the folder, or resume the view set in it.

        Args:
            root: the folder.
            cameras: of all views.
            meta: of the view set.
            rgba: whether to write ``rgba/``.

        Raises:
            Dp3dError: ``viewset.mismatch`` if the folder holds views of other cameras,
                another portrait or other parameters; ``output.occupied`` if it holds files that
                are not of a view set.

        """
        root = Path(root)
        self.views = ViewSet(root, tuple(cameras), meta)
        self._rgba = rgba
        check_folder(root, (VIEWSET_MARKER,))
        if (root / VIEWSET_MARKER).exists():
            self._adopt(root)
            meta = self.views.meta
        # meta first: a folder with cameras.json then has both
        write_json(root / "meta.json", meta.to_dict())
        write_json(root / "cameras.json", cameras_to_dict(cameras))

    def _adopt(self, root: Path) -> None:
        if not any((root / "frames").glob("[0-9]*.png")):
            return  # no frame is written: nothing to resume
        try:
            stored_meta = read_json(root / "meta.json")
            cameras_file = root / "cameras.json"
            is_same_job = _fingerprint(stored_meta) == _fingerprint(self.views.meta.to_dict()) and (
                not cameras_file.exists()
                or _same_cameras(
                    load_cameras(cameras_file),
                    self.views.cameras,
                )
            )
        except (OSError, ValueError, AttributeError, Dp3dError):
            is_same_job = False
        if not is_same_job:
            raise Dp3dError(
                "viewset.mismatch",
                f"{root} holds views made from another photo, other cameras or other options.",
                "Choose another folder, or delete this one first.",
            )
        choices, photos = stored_meta.get("choices", {}), stored_meta.get("photos", [])
        if choices or photos:  # of the head that the earlier run fitted
            self.amend(choices, stored_meta.get("warnings", []), photos)

    def amend(
        self,
        choices: dict[str, Any],
        warnings: Sequence[str],
        photos: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Set choices, warnings and photos once the engine knows them (see :class:`ViewMeta`)."""
        meta = replace(
            self.views.meta, choices=choices, warnings=list(warnings), photos=list(photos)
        )
        self.views = replace(self.views, meta=meta)
        write_json(self.root / VIEWSET_MARKER, meta.to_dict())

    @property
    def root(self) -> Path:
        """The folder."""
        return self.views.root

    def missing(self) -> list[int]:
        """Indices of views that are not complete, ascending."""
        return self.views.missing()

    def write(
        self,
        index: int,
        rgb: Pixels,
        mask: Pixels | None = None,
        valid: Mask | None = None,
        depth: NDArray[np.floating[Any]] | None = None,
    ) -> Path:
        """Write one view.

        Args:
            index: of its camera.
            rgb: (h, w, 3) uint8.
            mask: (h, w) uint8 alpha; None: no mask.
            valid: (h, w) bool valid mask; None: valid everywhere.
            depth: (h, w) along the optical axis, head units, inf: no surface; None: unknown.

        Returns:
            Path of the frame.

        """
        camera = self.views.cameras[index]
        size = (camera.height, camera.width)
        if rgb.dtype != np.uint8 or rgb.shape != (*size, 3):
            raise ValueError(
                f"frame {index} must be uint8 {(*size, 3)}, got {rgb.dtype} {rgb.shape}"
            )
        if mask is not None:
            if mask.dtype != np.uint8 or mask.shape != size:
                raise ValueError(
                    f"mask {index} must be uint8 {size}, got {mask.dtype} {mask.shape}"
                )
            write_atomic(self.views.mask_path(index), encode_png(mask))
        if valid is not None and not valid.all():
            if valid.dtype != np.bool_ or valid.shape != size:
                raise ValueError(
                    f"valid {index} must be bool {size}, got {valid.dtype} {valid.shape}"
                )
            filled = np.where(valid, 255, 0).astype(np.uint8)
            write_atomic(self.views.valid_mask_path(index), encode_png(filled))
        if depth is not None:
            steps = np.where(np.isfinite(depth), np.rint(depth / self.views.depth_unit), 0)
            steps16 = steps.clip(0, DEPTH_STEPS).astype(np.uint16)
            write_atomic(self.views.depth_path(index), encode_png(steps16))
        if self._rgba:
            picture = straight(rgb, mask, self.views.meta.background)
            write_atomic(self.views.rgba_path(index), encode_png(picture))
        path = self.views.frame_path(index)
        write_atomic(path, encode_png(rgb))
        return path

    def finish(self) -> ViewSet:
        """The complete view set; raises ``viewset.incomplete`` if a view is missing."""
        views = ViewSet.open(self.root)
        if self._rgba:  # views of an earlier version of dp3d have none
            for i in range(len(views)):
                if not views.rgba_path(i).is_file():
                    write_atomic(views.rgba_path(i), encode_png(views.rgba(i)))
        return views


def _fingerprint(meta: dict[str, Any]) -> str:
    # These may differ when a job is resumed; all other entries may not.
    relevant = {
        name: value
        for name, value in meta.items()
        if name not in {"versions", "run", "warnings", "choices", "photos"}
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _same_cameras(a: Sequence[Camera], b: Sequence[Camera]) -> bool:
    return len(a) == len(b) and all(
        (x.width, x.height) == (y.width, y.height)
        and np.allclose(x.c2w, y.c2w, atol=1e-9)
        and np.allclose(x.K, y.K, atol=1e-6)
        for x, y in zip(a, b, strict=True)
    )
