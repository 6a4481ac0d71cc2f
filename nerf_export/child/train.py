"""Command ``train``: nerfstudio fits the field, then the held-out views are scored."""

from __future__ import annotations

import math
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.files import new_file_mode
from nerf_export.child.field import FieldSize
from nerf_export.child.method import NAME, REGISTRATION
from nerf_export.child.scores import score_held_out
from nerf_export.child.talk import Talk
from nerf_export.child.trainer import HeadTrainer, HeadTrainerConfig

_CHECKPOINTS = 8
"""Checkpoints in a fit: what is lost at most is an eighth of it."""


def versions() -> dict[str, str]:
    """Versions that a fit depends on."""
    names = ("nerfstudio", "torch", "torchvision", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def train(request: dict[str, Any], talk: Talk) -> dict[str, Any]:
    """Fit a field.

    Args:
        request: ``dataset``, ``hull`` (npz), ``work``, ``field`` (safetensors to write),
            ``preset``, ``seed`` and ``backdrop`` (no masks).
        talk: to the parent.

    Returns:
        ``field_size``, ``gains`` (of each training view, for red, green and blue), ``scores``,
        ``view_scores``, ``poses``, ``device``, ``versions``.

    """
    seed, preset = int(request["seed"]), request["preset"]
    torch.manual_seed(seed)
    np.random.seed(seed)
    with np.load(request["hull"], allow_pickle=False) as hull:
        distance, low, cell = hull["distance"], hull["low"], float(hull["cell"])
        reach = float(hull["reach"])
    size = FieldSize.from_dict(
        {
            "corners": distance.shape,
            "low": low.tolist(),
            "cell": cell,
            "colour_levels": preset["colour_levels"],
            "hidden": preset["hidden"],
            "backdrop": request["backdrop"],
            "gloss": preset["gloss"],
        }
    )
    config = _configure(request, size)
    trainer: HeadTrainer = config.setup(local_rank=0, world_size=1)
    trainer.talk = talk
    trainer.setup()
    poses = _check_poses(trainer, Path(request["dataset"]))
    if trainer._start_step == 0:
        trainer.pipeline.model.field.start_from(
            torch.from_numpy(distance).to(trainer.device), reach
        )
    else:
        torch.manual_seed(seed + trainer._start_step)
    # nerfstudio counts the steps from where it starts.
    trainer.config.max_num_iterations = preset["steps"] - trainer._start_step
    if trainer.config.max_num_iterations > 0:
        talk.has_to_save = True
        trainer.train()
        talk.has_to_save = False
    if talk.stop.is_set():
        raise Cancelled("The fit")
    scores, view_scores = score_held_out(trainer.pipeline, talk)
    state = {k: v.contiguous().cpu() for k, v in trainer.pipeline.model.field.state_dict().items()}
    temporary = Path(request["field"]).with_suffix(".tmp")
    save_file(state, str(temporary))
    temporary.chmod(new_file_mode())  # safetensors makes it private
    temporary.replace(request["field"])
    return {
        "field_size": {**size.__dict__},
        "gains": trainer.pipeline.model.gains.detach().exp().cpu().numpy().round(5).tolist(),
        "scores": scores,
        "view_scores": view_scores,
        "poses": poses,
        "device": str(trainer.device),
        "resumed_at": trainer._start_step,
        "versions": versions(),
    }


def _configure(request: dict[str, Any], size: FieldSize) -> HeadTrainerConfig:
    os.environ["NERFSTUDIO_METHOD_CONFIGS"] = REGISTRATION
    from nerfstudio.plugins.registry import discover_methods

    config: HeadTrainerConfig = discover_methods()[0][NAME]
    preset = request["preset"]
    steps = int(preset["steps"])
    config.output_dir = Path(request["work"])
    config.experiment_name, config.timestamp = "run", "1"
    config.total_steps = steps
    config.steps_per_save = max(25, math.ceil(steps / _CHECKPOINTS))
    config.width_start = preset["width_start"] * size.cell
    config.width_end = preset["width_end"] * size.cell
    config.machine.device_type = "cuda" if torch.cuda.is_available() else "cpu"
    config.machine.seed = int(request["seed"])
    data = config.pipeline.datamanager
    data.data = data.dataparser.data = Path(request["dataset"])
    data.train_num_rays_per_batch = preset["rays"]
    model = config.pipeline.model
    model.field_size = size
    model.coarse_samples, model.fine_samples = preset["coarse_samples"], preset["fine_samples"]
    for name in (
        "mask_weight",
        "gloss_weight",
        "gains_weight",
        "eikonal_weight",
        "curvature_weight",
    ):
        setattr(model, name, preset[name])
    config.optimizers["distance"]["optimizer"].lr *= size.cell
    for group in config.optimizers.values():
        group["scheduler"].steps = steps
    checkpoints = config.get_checkpoint_dir()
    if any(checkpoints.glob("*.ckpt")):
        config.load_dir = checkpoints
        for half in checkpoints.glob("*.tmp"):  # a save that was cut off
            half.unlink()
    return config


def _check_poses(trainer: HeadTrainer, dataset: Path) -> dict[str, float]:
    """Make sure nerfstudio kept the poses; returns the largest difference."""
    import json

    outputs = trainer.pipeline.datamanager.train_dataparser_outputs
    change = float((outputs.dataparser_transform - torch.eye(4)[:3]).abs().max())
    scale = abs(float(outputs.dataparser_scale) - 1)
    frames = json.loads((dataset / "transforms.json").read_text("utf-8"))["frames"]
    wanted = {Path(f["file_path"]).name: np.array(f["transform_matrix"])[:3] for f in frames}
    worst = max(
        float(np.abs(pose.numpy() - wanted[Path(name).name]).max())
        for pose, name in zip(
            outputs.cameras.camera_to_worlds.cpu(), outputs.image_filenames, strict=True
        )
    )
    if max(change, scale, worst) > 1e-5:
        raise Dp3dError(
            "nerf.poses_changed",
            f"nerfstudio moved the cameras by {max(change, scale, worst):.2g} head units.",
            "Rebuild its environment with 'dp3d setup nerf --force'; report it if this stays.",
        )
    return {"largest_change": worst}
