"""Fits of the preset tiny, and a folder of a fit that is written without training."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.cameras.trajectories import capture_sphere
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.storage.files import write_atomic, write_json
from nerf_export.field.fit import Fit, fit_views
from nerf_export.field.presets import PRESETS
from nerf_export.field.size import FieldSize
from nerf_export.views.dataset import write_dataset
from tests.support.scene import write_views

SIZE = FieldSize(
    corners=(8, 9, 10),
    low=(-0.5, -0.6, -0.7),
    cell=0.15,
    colour_levels=((0.5, 2), (1.0, 2)),
    hidden=4,
    gloss=3,
    contrast=True,
)


def fit_tiny(views: Path, out: Path, **options: Any) -> Fit:
    """A fit of the preset ``tiny``, without progress; ``options`` go to ``fit_views``."""
    return fit_views(
        views, out, **{"preset": "tiny", "progress": no_progress, "cancel": never_cancel, **options}
    )


def field_file(size: FieldSize = SIZE) -> bytes:
    """A ``field.safetensors`` of zeros."""
    header, start = {}, 0
    for name, (dtype, shape) in size.tensors().items():
        end = start + int(np.prod(shape)) * {"F32": 4, "BOOL": 1}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(start)


def written_fit(root: Path) -> Path:
    """Write the folder of an untrained fit: 12 views of 64 pixels, data set of 32 pixels."""
    views = write_views(root.with_name("views"), capture_sphere(12, (-20.0, 5.0, 35.0), 64))
    calls: dict[str, Any] = {"progress": no_progress, "cancel": never_cancel}
    dataset = write_dataset(views, root / "dataset", 32, **calls)
    field = field_file()
    write_atomic(root / "field.safetensors", field)
    held_out = [f"{i:04d}.png" for i in dataset.held_out]
    scores = {"foreground_psnr": 20.0, "psnr": 22.0, "ssim": 0.9}
    meta = {
        "schema": "dp3d.fit/1",
        "job": {"preset": PRESETS["tiny"].to_dict(), "seed": 0, "views_sha256": "0" * 64},
        "held_out": list(dataset.held_out),
        "warnings": ["The views are few."],
        "registration": None,
        "silhouettes": {"mean": 0.99, "views": [0.99] * 12},
        "start": "hull",
        "seconds": 12.5,
        "field_sha256": hashlib.sha256(field).hexdigest(),
        "field_size": SIZE.to_dict(),
        "gains": [[1.0, 0.99, 1.01]] * (12 - len(held_out)),
        "training_error": 0.001,
        "scores": {**scores, "worst_foreground_psnr": 19.0, "held_out_views": len(held_out)},
        "view_scores": [{"file": name, **scores, "gain": [1.0, 1.0, 1.1]} for name in held_out],
        "poses": {"largest_change": 1e-7},
        "device": "cpu",
        "resumed_at": 0,
        "versions": {"nerfstudio": "1.1.5"},
    }
    write_json(root / "fit.json", meta)
    return root
