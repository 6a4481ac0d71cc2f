"""Command ``train``: fits a field with nerfstudio and scores the held-out views."""

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
from nerf_export.child.parent_channel import ParentChannel
from nerf_export.child.scores import score_held_out
from nerf_export.child.trainer import HeadTrainer, HeadTrainerConfig
from nerf_export.field.child_messages import TrainRequest, TrainResult
from nerf_export.shape.hull import Hull

_MIN_CHECKPOINTS = 8
"""Smallest number of checkpoints in a fit; the trainer writes more of them by time."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a fit depends on."""
    names = ("nerfstudio", "torch", "torchvision", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def train(request: TrainRequest, parent: ParentChannel) -> TrainResult:
    """Fit a field, from the last checkpoint if there is one, write its weights and score it.

    Raises:
        Dp3dError: ``nerf.too_little_memory``, ``nerf.poses_changed``, ``output.not_writable``,
            ``job.cancelled``.

    """
    seed, steps = request.seed, request.preset.steps
    _seed_generators(seed)
    config = _configure(request)
    _check_memory(config, request)
    trainer: HeadTrainer = config.setup(local_rank=0, world_size=1)
    trainer.parent = parent
    trainer.setup()
    poses = _check_poses(trainer, request.dataset)
    if trainer._start_step:
        _seed_generators(seed + trainer._start_step)
    # nerfstudio takes max_num_iterations as the steps after the checkpoint.
    trainer.config.max_num_iterations = steps - trainer._start_step
    if trainer.config.max_num_iterations > 0:
        parent.has_to_save = True
        trainer.train()
        parent.has_to_save = False
    if parent.stop.is_set():
        raise Cancelled("The fit")
    model = trainer.pipeline.model
    assert isinstance(model, HeadModel)
    field = model.field
    field.refresh_normals()
    scores, view_scores = score_held_out(trainer.pipeline, parent)
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


def _seed_generators(seed: int) -> None:
    """Seed the generators of torch, numpy and Python (nerfstudio's order of pictures)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _configure(request: TrainRequest) -> HeadTrainerConfig:
    """Configuration of the method for a request; removes damaged checkpoints."""
    os.environ["NERFSTUDIO_METHOD_CONFIGS"] = REGISTRATION
    from nerfstudio.plugins.registry import discover_methods

    config = discover_methods()[0][NAME]
    assert isinstance(config, HeadTrainerConfig)
    apply_preset(config, request.preset)
    config.vis = "none"  # type: ignore[assignment]  # none of nerfstudio's viewers
    model_config(config).normals = False
    config.output_dir = request.work
    config.experiment_name, config.timestamp = "run", "1"
    config.steps_per_save = max(25, math.ceil(request.preset.steps / _MIN_CHECKPOINTS))
    config.machine.device_type = "cuda" if torch.cuda.is_available() else "cpu"
    config.machine.seed = request.seed
    parser = parser_config(config)
    data_config(config).data = parser.data = request.dataset
    parser.hull = request.hull
    parser.has_masks = request.has_masks
    checkpoints = config.get_checkpoint_dir()
    for path in checkpoints.glob("*"):
        # an interrupted save, or a file that was not fully written to disk
        if path.suffix != ".ckpt" or not is_zipfile(path):
            path.unlink()
    if any(checkpoints.glob("*.ckpt")):
        config.load_dir = checkpoints
    return config


def _check_memory(config: HeadTrainerConfig, request: TrainRequest) -> None:
    """Raise ``nerf.too_little_memory`` for a fit that needs more memory than there is."""
    model = model_config(config)
    size = field_size(model, Hull.load(request.hull), request.has_masks)
    rays = data_config(config).train_num_rays_per_batch
    data = json.loads((request.dataset / "transforms.json").read_text("utf-8"))
    pixels = sum(frame["w"] * frame["h"] for frame in data["frames"])
    device = torch.device(config.machine.device_type)
    samples = rays * model.fine_samples
    check_memory(size, samples, pixels, device, request.max_memory_gb)


def _check_poses(trainer: HeadTrainer, dataset: Path) -> dict[str, float]:
    """Raise ``nerf.poses_changed`` if nerfstudio moved the cameras.  Returns the largest change."""
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
    # nerfstudio has the poses in single precision
    rounding = 1e-6 * max(float(np.abs(pose[:, 3]).max()) for pose in wanted.values())
    if max(change, scale) > 1e-5 or worst > max(1e-5, rounding):
        raise Dp3dError(
            "nerf.poses_changed",
            f"nerfstudio moved the cameras by {max(change, scale, worst):.2g} head units.",
            "Rebuild its environment with 'dp3d setup nerf --force'; report it if this stays.",
        )
    return {"largest_change": worst}
