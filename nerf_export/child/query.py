"""Commands on a finished field: ``surface`` (its distance grid) and ``render`` (a view set)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from nerfstudio.data.scene_box import SceneBox
from numpy.typing import NDArray
from safetensors.torch import load_file

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.files import load_cameras
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import Stage, never_cancel
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.child.cameras import nerfstudio_camera
from nerf_export.child.field import HeadField
from nerf_export.child.files import whole_file
from nerf_export.child.model import HeadModel, HeadModelConfig
from nerf_export.child.parent_channel import ParentChannel
from nerf_export.field.child_messages import RenderRequest, SurfaceRequest
from nerf_export.field.size import FieldSize

_MAX_WEIGHT = 1e12
"""Largest absolute value of a weight; products of a few larger ones overflow float32."""
_DEPTH_ACCUMULATION = 0.5
"""Accumulation above which a pixel has a finite depth."""


def surface(request: SurfaceRequest) -> None:
    """Write the signed distance grid of a field as an npz.

    Raises:
        Dp3dError: ``fit.invalid``, ``output.not_writable``.

    """
    size = request.field_size
    field = _load_field(request.field, size)
    distance = size.cell * field.distance_grid.table.detach().view(size.corners).numpy()
    with whole_file(request.grid) as temporary, temporary.open("wb") as file:
        np.savez(file, distance=distance, low=np.array(size.low), cell=size.cell)


def render(request: RenderRequest, parent: ParentChannel) -> None:
    """Render a field into a view set over white, with ``rgba/`` and depth.

    Frames that an interrupted run wrote are kept.

    Raises:
        Dp3dError: ``fit.invalid``, ``output.not_writable``.

    """
    size = request.field_size
    config = HeadModelConfig(
        coarse_samples=request.coarse_samples, fine_samples=request.fine_samples, normals=False
    )
    box = SceneBox(aabb=torch.zeros(2, 3))  # unused: the field has its own box
    model: HeadModel = config.setup(scene_box=box, num_train_data=1, metadata={"field_size": size})
    model.field = _load_field(request.field, size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()
    cameras = load_cameras(request.cameras)
    writer = ViewSetWriter(request.out, cameras, request.meta, rgba=True)
    missing, total = writer.missing(), len(cameras)
    start = total - len(missing)
    # no cancel check: a cancel ends the process (see launch)
    stage = Stage(
        "render", total, parent.progress, never_cancel, "Rendering the field", start=start
    )
    for i in missing:
        outputs = model.get_outputs_for_camera(nerfstudio_camera(cameras[i]).to(device))
        alpha = outputs["accumulation"].clamp(0, 1)
        rgb = (outputs["rgb"] + 1 - alpha).clamp(0, 1)
        depth = _along_axis(outputs["depth"][..., 0].cpu().numpy(), cameras[i])
        solid = alpha[..., 0].cpu().numpy() > _DEPTH_ACCUMULATION
        path = writer.write(
            i,
            _bytes(rgb),
            _bytes(alpha[..., 0]),
            depth=np.where(solid, depth, np.inf),
        )
        stage.advance(f"Frame {i + 1} of {total}", file=f"frames/{path.name}", index=i)
    writer.finish()


def _along_axis(distance: NDArray[np.float32], camera: Camera) -> NDArray[np.float64]:
    """(h, w) depth along the optical axis, from (h, w) distances along the pixels' rays."""
    directions = camera.directions(camera.pixel_centres())
    return distance * (directions @ camera.c2w[:3, 2])


def _bytes(values: torch.Tensor) -> NDArray[np.uint8]:
    return (values * 255).round().to(torch.uint8).cpu().numpy()


def _load_field(path: Path, size: FieldSize) -> HeadField:
    field = HeadField(size)
    try:
        field.load_state_dict(load_weights(path), strict=True)
    except RuntimeError as error:  # of torch, for wrong names or shapes
        raise _invalid("field.safetensors does not match fit.json", str(error)) from error
    return field


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a field by name; raises ``fit.invalid`` for unreadable or unusable ones."""
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # safetensors has several types for a damaged file
        raise _invalid("field.safetensors cannot be read", str(error)) from error
    odd = [
        name
        for name, values in state.items()
        if not bool((values.float().abs() < _MAX_WEIGHT).all())
    ]
    if odd:
        raise _invalid(f"{odd[0]} of its field holds numbers that are infinite, none or too large")
    return state


def _invalid(why: str, detail: str = "") -> Dp3dError:
    return Dp3dError(
        "fit.invalid",
        f"The fit cannot be used: {why}.",
        "Run the same 'dp3d fit' command again: it makes the fit anew.",
        detail,
    )
