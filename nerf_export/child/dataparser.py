"""Data parser of nerfstudio's dataset format that adds visual hull and local contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import (
    Nerfstudio,
    NerfstudioDataParserConfig,
)
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from numpy.typing import NDArray
from PIL import Image

from nerf_export.child.cameras import head_cameras
from nerf_export.child.contrast import local_contrast
from nerf_export.shape.hull import Hull, visual_hull


@dataclass
class HeadDataParserConfig(NerfstudioDataParserConfig):
    """Settings of nerfstudio's parser, with unchanged poses, and of the hull."""

    _target: type = field(default_factory=lambda: HeadDataParser)
    orientation_method: Literal["pca", "up", "vertical", "none"] = "none"
    center_method: Literal["poses", "focus", "none"] = "none"
    auto_scale_poses: bool = False
    downscale_factor: int | None = 1
    hull: Path | None = None
    """File of ``Hull.save``; None: carve the hull from the pictures' alpha."""
    has_masks: bool | None = None
    """Whether alpha separates head and background; None: true if any pixel is not opaque."""
    grid: int = 192
    """Corners along the longest axis of a hull that is carved here."""


class HeadDataParser(Nerfstudio):
    """Adds ``hull`` and ``has_masks`` to the metadata of the training split.

    With masks it also adds ``contrasts``, the (h, w) int8 :func:`local_contrast` of each picture.
    """

    config: HeadDataParserConfig

    def _generate_dataparser_outputs(
        self, split: str = "train", **kwargs: Any
    ) -> DataparserOutputs:
        outputs: DataparserOutputs = super()._generate_dataparser_outputs(split, **kwargs)
        if split == "train":
            hull = None if self.config.hull is None else Hull.load(self.config.hull)
            masked = self.config.has_masks
            if hull is None or masked is None:
                # a copy, so that the colours are freed
                alphas = [_rgba(path)[..., 3].copy() for path in outputs.image_filenames]
            if masked is None:
                masked = any(bool((alpha < 255).any()) for alpha in alphas)
            if hull is None:
                hull = visual_hull(head_cameras(outputs.cameras), alphas, self.config.grid)
            outputs.metadata.update(hull=hull, has_masks=masked)
            if masked:
                contrasts = [local_contrast(_rgba(path)) for path in outputs.image_filenames]
                outputs.metadata["contrasts"] = contrasts
        return outputs


def _rgba(path: Path) -> NDArray[np.uint8]:
    """(h, w, 4) uint8 picture; opaque where the file has no alpha."""
    with Image.open(path, formats=["PNG", "JPEG", "WEBP", "TIFF", "BMP"]) as picture:
        return np.asarray(picture.convert("RGBA"))


dp3d_head_data = DataParserSpecification(
    config=HeadDataParserConfig(), description="nerfstudio's format, poses unmoved, visual hull"
)
"""Entry point of the parser."""
