"""Command ``train``: nerfstudio fits the field, then the held-out views are scored."""

from __future__ import annotations

import json
import math
import os
import platform
import random
from importlib.metadata import version
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from safetensors.torch import save_file

from dp3d_core.errors import Cancelled, Dp3dError
from nerf_export.child.files import whole_file
from nerf_export.child.memory import check_memory
from nerf_export.child.method import (
    NAME,
    REGISTRATION,
    apply_preset,
    data_config,
    model_config,
    parser_config,
)
from nerf_export.child.model import HeadModel, field_size
from nerf_export.child.scores import score_held_out
from nerf_export.child.talk import Talk
from nerf_export.child.trainer import HeadTrainer, HeadTrainerConfig
from nerf_export.field.child_messages import TrainRequest, TrainResult
from nerf_export.shape.hull import Hull

_CHECKPOINTS = 8
"""Checkpoints in a fit, at least; the trainer writes more of them by the clock."""


def versions() -> dict[str, str]:
    """Versions that a fit depends on."""
    names = ("nerfstudio", "torch", "torchvision", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def train(request: TrainRequest, talk: Talk) -> TrainResult:
    """Fit a field."""
    seed, steps = request.seed, request.preset.steps
    _sow(seed)
    config = _configure(request)
    _check_memory(config, request)
    trainer: HeadTrainer = config.setup(local_rank=0, world_size=1)
    trainer.talk = talk
    trainer.setup()
    poses = _check_poses(trainer, request.dataset)
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
    model = trainer.pipeline.model
    assert isinstance(model, HeadModel)
    field = model.field
    field.refresh_normals()
    scores, view_scores = score_held_out(trainer.pipeline, talk)
    state = {k: v.contiguous().cpu() for k, v in field.state_dict().items()}
    with whole_file(request.field) as temporary:
        save_file(state, str(temporary))
    gains = model.gains.detach().exp().cpu().numpy().round(5)
    return TrainResult(
        field_size=field.size,
        scores=scores,
        view_scores=tuple(view_scores),
        gains=tuple(tuple(row) for row in gains.tolist()),
        training_error=float(model.error),
        poses=poses,
        device=str(trainer.device),
        resumed_at=trainer._start_step,
        versions=versions(),
    )


def _sow(seed: int) -> None:
    """Seed all that draws; nerfstudio's order of pictures comes from Python's own generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _configure(request: TrainRequest) -> HeadTrainerConfig:
    os.environ["NERFSTUDIO_METHOD_CONFIGS"] = REGISTRATION
    from nerfstudio.plugins.registry import discover_methods

    config = discover_methods()[0][NAME]
    assert isinstance(config, HeadTrainerConfig)
    apply_preset(config, request.preset)
    config.vis = "none"  # type: ignore[assignment]  # none of nerfstudio's viewers
    model_config(config).normals = False
    config.output_dir = request.work
    config.experiment_name, config.timestamp = "run", "1"
    config.steps_per_save = max(25, math.ceil(request.preset.steps / _CHECKPOINTS))
    config.machine.device_type = "cuda" if torch.cuda.is_available() else "cpu"
    config.machine.seed = request.seed
    parser = parser_config(config)
    data_config(config).data = parser.data = request.dataset
    parser.hull = request.hull
    parser.has_masks = request.has_masks
    checkpoints = config.get_checkpoint_dir()
    for path in checkpoints.glob("*"):
        # a save that was cut off, or a file whose end never reached the disk
        if path.suffix != ".ckpt" or not is_zipfile(path):
            path.unlink()
    if any(checkpoints.glob("*.ckpt")):
        config.load_dir = checkpoints
    return config


def _check_memory(config: HeadTrainerConfig, request: TrainRequest) -> None:
    model = model_config(config)
    size = field_size(model, Hull.load(request.hull), request.has_masks)
    rays = data_config(config).train_num_rays_per_batch
    data = json.loads((request.dataset / "transforms.json").read_text("utf-8"))
    pixels = sum(frame["w"] * frame["h"] for frame in data["frames"])
    device = torch.device(config.machine.device_type)
    samples = rays * model.fine_samples
    check_memory(size, samples, pixels, device, request.max_memory_gb)


def _check_poses(trainer: HeadTrainer, dataset: Path) -> dict[str, float]:
    """Make sure nerfstudio kept the poses; returns the largest difference."""
    data = trainer.pipeline.datamanager
    assert isinstance(data, VanillaDataManager)
    outputs = data.train_dataparser_outputs
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
    # it keeps them in single precision
    rounding = 1e-6 * max(float(np.abs(pose[:, 3]).max()) for pose in wanted.values())
    if max(change, scale) > 1e-5 or worst > max(1e-5, rounding):
        raise Dp3dError(
            "nerf.poses_changed",
            f"nerfstudio moved the cameras by {max(change, scale, worst):.2g} head units.",
            "Rebuild its environment with 'dp3d setup nerf --force'; report it if this stays.",
        )
    return {"largest_change": worst}
