"""Commands that hand a finished field to nerfstudio: its run folder and ``ns-export``."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp3d_core.errors import Dp3dError
from nerf_export.child.files import whole_file
from nerf_export.child.method import (
    NAME,
    REGISTRATION,
    apply_preset,
    data_config,
    method,
    parser_config,
)
from nerf_export.child.parent_channel import ParentChannel
from nerf_export.child.query import load_weights
from nerf_export.field.presets import Preset
from nerf_export.field.size import FieldSize
from nerf_export.shape.hull import Hull

_NEEDED = ("mediapy", "open3d", "pymeshlab", "trimesh", "xatlas")
"""Packages that nerfstudio's exporters import and the NeRF environment lacks."""


def run_folder(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    """Write the files of a finished ``ns-train``: ``config.yml`` and a checkpoint.

    Args:
        request: ``dataset``, ``field``, ``field_size``, ``preset`` and ``out``.
        parent: channel to the parent.

    Returns:
        ``config``, the path of ``config.yml`` for nerfstudio's ``--load-config``.

    Raises:
        Dp3dError: ``fit.invalid``, ``output.not_writable``.

    """
    size = FieldSize.from_dict(request["field_size"])
    state = load_weights(Path(request["field"]))
    config = method(NAME, "draft").config
    apply_preset(config, Preset.from_dict(request["preset"]))
    config.output_dir = Path(request["out"])
    config.experiment_name, config.timestamp = "head", "fit"
    # The model takes size and place of its grids from a hull; the checkpoint has their values.
    hull_path = config.get_base_dir() / "start.npz"
    distance = (size.cell * state["distance_grid.table"]).view(size.corners).numpy()
    Hull(np.array(size.low), size.cell, distance, 0.0).save(hull_path)
    parser = parser_config(config)
    data_config(config).data = parser.data = Path(request["dataset"])
    parser.hull, parser.has_masks = hull_path, not size.backdrop
    pipeline = config.pipeline.setup(device="cpu", test_mode="inference")
    pipeline.model.field.load_state_dict(state, strict=True)
    checkpoints = config.get_checkpoint_dir()
    step = config.max_num_iterations
    with whole_file(checkpoints / f"step-{step:09d}.ckpt") as temporary:
        torch.save(
            {"step": step, "pipeline": pipeline.state_dict(), "optimizers": {}, "scalers": {}},
            temporary,
        )
    config.save_config()
    return {"config": str(config.get_base_dir() / "config.yml")}


def check_exporters() -> None:
    """Raise ``nerf.package_missing`` if a package that ``ns-export`` imports is missing."""
    sys.modules.pop("open3d", None)  # the stub of compat
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Dp3dError(
            "nerf.package_missing",
            f"nerfstudio's own exporters need {' and '.join(missing)}, which are not installed.",
            f"Run 'pip install {' '.join(_NEEDED)}' in the NeRF environment (see 'dp3d doctor').",
        )


def ns_export(request: dict[str, Any], parent: ParentChannel) -> dict[str, Any]:
    """Run nerfstudio's ``ns-export tsdf`` or ``ns-export poisson`` on a run folder.

    Args:
        request: ``config``, ``kind``, ``out``, ``low`` and ``high`` corners of the box, ``faces``
            and ``texture_size`` (texels).
        parent: channel to the parent.

    Returns:
        ``mesh``, the path of the textured OBJ.

    Raises:
        Dp3dError: ``nerf.package_missing``.

    """
    check_exporters()
    os.environ["NERFSTUDIO_METHOD_CONFIGS"] = REGISTRATION
    from nerfstudio.scripts.exporter import ExportPoissonMesh, ExportTSDFMesh

    kind = {"tsdf": ExportTSDFMesh, "poisson": ExportPoissonMesh}[request["kind"]]
    out = Path(request["out"])
    kind(
        load_config=Path(request["config"]),
        output_dir=out,
        bounding_box_min=tuple(request["low"]),
        bounding_box_max=tuple(request["high"]),
        target_num_faces=int(request["faces"]),
        num_pixels_per_side=int(request["texture_size"]),
    ).main()
    return {"mesh": str(out / "mesh.obj")}
