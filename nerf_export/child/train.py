"""Command ``train``: nerfstudio fits the field, then the held-out views are scored."""

from __future__ import annotations

import json
import math
import os
import platform
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors.torch import save_file

from dp3d_core.errors import Cancelled, Dp3dError
from nerf_export.child.files import whole_file
from nerf_export.child.memory import check_memory
from nerf_export.child.method import NAME, REGISTRATION, apply_preset
from nerf_export.child.model import field_size
from nerf_export.child.scores import score_held_out
from nerf_export.child.talk import Talk
from nerf_export.child.trainer import HeadTrainer, HeadTrainerConfig
from nerf_export.hull import Hull
from nerf_export.presets import Preset

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
            ``has_masks``, ``preset``, ``seed`` and ``max_memory_gb`` (None: what is free).
        talk: to the parent.

    Returns:
        ``field_size``, ``gains`` (of each training view, for red, green and blue), ``scores``,
        ``view_scores``, ``training_error`` (mean squared), ``poses``, ``device``, ``versions``.

    """
    seed, steps = int(request["seed"]), int(request["preset"]["steps"])
    _sow(seed)
    config = _configure(request)
    _check_memory(config, request)
    trainer: HeadTrainer = config.setup(local_rank=0, world_size=1)
    trainer.talk = talk
    trainer.setup()
    poses = _check_poses(trainer, Path(request["dataset"]))
    if trainer._start_step:
        _sow(seed + trainer._start_step)
    # nerfstudio counts the steps from where it starts.
    trainer.config.max_num_iterations = steps - trainer._start_step
    if trainer.config.max_num_iterations > 0:
        talk.has_to_save = True
        trainer.train()
        talk.has_to_save = False
    if talk.stop.is_set():
        raise Cancelled("The fit")
    field = trainer.pipeline.model.field
    field.refresh_normals()
    scores, view_scores = score_held_out(trainer.pipeline, talk)
    state = {k: v.contiguous().cpu() for k, v in field.state_dict().items()}
    with whole_file(Path(request["field"])) as temporary:
        save_file(state, str(temporary))
    return {
        "field_size": {**field.size.__dict__},
        "gains": trainer.pipeline.model.gains.detach().exp().cpu().numpy().round(5).tolist(),
        "training_error": float(trainer.pipeline.model.error),
        "scores": scores,
        "view_scores": view_scores,
        "poses": poses,
        "device": str(trainer.device),
        "resumed_at": trainer._start_step,
        "versions": versions(),
    }


def _sow(seed: int) -> None:
    """Seed all that draws; nerfstudio's order of pictures comes from Python's own generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _configure(request: dict[str, Any]) -> HeadTrainerConfig:
    os.environ["NERFSTUDIO_METHOD_CONFIGS"] = REGISTRATION
    from nerfstudio.plugins.registry import discover_methods

    config: HeadTrainerConfig = discover_methods()[0][NAME]
    preset = Preset.from_dict(request["preset"])
    apply_preset(config, preset)
    config.vis = "none"
    config.pipeline.model.normals = False
    config.output_dir = Path(request["work"])
    config.experiment_name, config.timestamp = "run", "1"
    config.steps_per_save = max(25, math.ceil(preset.steps / _CHECKPOINTS))
    config.machine.device_type = "cuda" if torch.cuda.is_available() else "cpu"
    config.machine.seed = int(request["seed"])
    data = config.pipeline.datamanager
    data.data = data.dataparser.data = Path(request["dataset"])
    data.dataparser.hull = Path(request["hull"])
    data.dataparser.has_masks = bool(request["has_masks"])
    checkpoints = config.get_checkpoint_dir()
    for path in checkpoints.glob("*"):
        # a save that was cut off, or a file whose end never reached the disk
        if path.suffix != ".ckpt" or not is_zipfile(path):
            path.unlink()
    if any(checkpoints.glob("*.ckpt")):
        config.load_dir = checkpoints
    return config


def _check_memory(config: HeadTrainerConfig, request: dict[str, Any]) -> None:
    size = field_size(
        config.pipeline.model, Hull.load(Path(request["hull"])), bool(request["has_masks"])
    )
    rays = config.pipeline.datamanager.train_num_rays_per_batch
    data = json.loads((Path(request["dataset"]) / "transforms.json").read_text("utf-8"))
    pixels = sum(frame["w"] * frame["h"] for frame in data["frames"])
    device = torch.device(config.machine.device_type)
    samples = rays * config.pipeline.model.fine_samples
    check_memory(size, samples, pixels, device, request.get("max_memory_gb"))


def _check_poses(trainer: HeadTrainer, dataset: Path) -> dict[str, float]:
    """Make sure nerfstudio kept the poses; returns the largest difference."""
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
