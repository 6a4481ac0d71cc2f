"""Commands that ask a finished field: ``surface`` (its distance grid) and ``render``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.data.scene_box import SceneBox
from safetensors.torch import load_file

from dp3d_core.camera_files import load_cameras
from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Stage, never_cancel
from dp3d_core.viewset import ViewMeta, ViewSetWriter
from nerf_export.child.cameras import nerfstudio_camera
from nerf_export.child.field import FieldSize, HeadField
from nerf_export.child.files import whole_file
from nerf_export.child.model import HeadModel, HeadModelConfig
from nerf_export.child.talk import Talk

_SOLID = 0.5
"""Accumulation from which a pixel has a depth."""


def surface(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """Write the signed distance grid of a field.

    Args:
        request: ``field``, ``field_size`` and ``grid``, the npz to write: ``distance``
            (nx, ny, nz), ``low`` (3,) and ``cell``, world N, head units.
        talk: to the parent.

    """
    size = FieldSize.from_dict(request["field_size"])
    field = _load_field(request, size)
    distance = size.cell * field.distance_grid.table.detach().view(size.corners).numpy()
    with whole_file(Path(request["grid"])) as temporary, temporary.open("wb") as file:
        np.savez(file, distance=distance, low=np.array(size.low), cell=size.cell)
    return {}


def render(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """Render a field into a view set, white behind, with ``rgba/``; goes on where one stopped.

    Args:
        request: ``field``, ``field_size``, ``samples`` (coarse, fine), ``cameras`` (a
            cameras.json), ``out`` and ``meta`` of the view set.
        talk: to the parent.

    """
    size = FieldSize.from_dict(request["field_size"])
    coarse, fine = request["samples"]
    config = HeadModelConfig(coarse_samples=coarse, fine_samples=fine, normals=False)
    box = SceneBox(aabb=torch.zeros(2, 3))  # the field knows its own
    model: HeadModel = config.setup(scene_box=box, num_train_data=1, metadata={"field_size": size})
    model.field = _load_field(request, size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()
    cameras = load_cameras(Path(request["cameras"]))
    meta = ViewMeta.from_dict(request["meta"])
    writer = ViewSetWriter(Path(request["out"]), cameras, meta, rgba=True)
    missing, total = writer.missing(), len(cameras)
    start = total - len(missing)
    # a cancel ends this process (see Talk)
    stage = Stage("render", total, talk.progress, never_cancel, "Rendering the field", start=start)
    for i in missing:
        outputs = model.get_outputs_for_camera(nerfstudio_camera(cameras[i]).to(device))
        alpha = outputs["accumulation"].clamp(0, 1)
        rgb = (outputs["rgb"] + 1 - alpha).clamp(0, 1)
        depth = _along_axis(outputs["depth"][..., 0].cpu().numpy(), cameras[i])
        solid = alpha[..., 0].cpu().numpy() > _SOLID
        path = writer.write(
            i,
            _bytes(rgb),
            _bytes(alpha[..., 0]),
            depth=np.where(solid, depth, np.inf),
        )
        stage.advance(f"Frame {i + 1} of {total}", file=f"frames/{path.name}", index=i)
    writer.finish()
    return {}


def _along_axis(distance: np.ndarray, camera: Camera) -> np.ndarray:
    """(h, w) depth along the optical axis of distances along the pixels' rays."""
    directions = camera.directions(camera.pixel_centres())
    return distance * (directions @ camera.c2w[:3, 2])


def _bytes(values: torch.Tensor) -> np.ndarray:
    return (values * 255).round().to(torch.uint8).cpu().numpy()


def _load_field(request: dict[str, Any], size: FieldSize) -> HeadField:
    field = HeadField(size)
    try:
        field.load_state_dict(load_file(request["field"]), strict=True)
    except Exception as error:  # safetensors and torch raise several kinds, all of them this
        raise Dp3dError(
            "fit.invalid",
            "The fit cannot be used: field.safetensors does not match fit.json.",
            "Run 'dp3d fit' again.",
            str(error),
        ) from error
    return field
