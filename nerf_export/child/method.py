"""The nerfstudio method ``dp3d-head``, in the sizes of our presets.

Where dp3d is installed beside nerfstudio, its entry points register them, and
``ns-train dp3d-head --data FOLDER`` fits any folder of nerfstudio's format.  In the environment
that ``dp3d setup nerf`` builds, dp3d is not installed; there :data:`REGISTRATION` does it,
nerfstudio's own way for a method that is no package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nerf_export.child.dataparser import HeadDataParserConfig
from nerf_export.child.model import HeadModelConfig
from nerf_export.child.trainer import HeadTrainerConfig
from nerf_export.field.presets import PRESETS, Preset

NAME = "dp3d-head"
REGISTRATION = f"{NAME}=nerf_export.child.method:dp3d_head"


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over memory: seven times faster on our grids than torch's default."""

    fused: bool = True


@dataclass
class DecayConfig(SchedulerConfig):
    """Short warm-up, then an exponential decay; plain floats, so checkpoints stay loadable."""

    _target: type = field(default_factory=lambda: Decay)
    steps: int = 1000
    final: float = 0.1
    """Last learning rate as a part of the first."""
    warm_up: int = 20


class Decay(Scheduler):
    """See :class:`DecayConfig`."""

    config: DecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """A ``LambdaLR``."""
        config = self.config

        def rate(step: int) -> float:
            rising = min(1.0, (step + 1) / max(1, config.warm_up))
            return rising * math.exp(math.log(config.final) * min(1.0, step / config.steps))

        return LambdaLR(optimizer, rate)


def _group(rate: float, final: float) -> dict[str, Any]:
    return {
        "optimizer": FusedAdamConfig(lr=rate, eps=1e-15),
        "scheduler": DecayConfig(final=final),
    }


_OF_THE_MODEL = (
    "colour_levels",
    "hidden",
    "gloss",
    "width_start",
    "width_end",
    "spread_until",
    "coarse_samples",
    "fine_samples",
    "mask_weight",
    "gloss_weight",
    "gains_weight",
    "eikonal_weight",
    "curvature_weight",
    "contrast_weight",
)
"""Fields that a preset and ``HeadModelConfig`` share."""


def data_config(config: TrainerConfig) -> VanillaDataManagerConfig:
    """What a configuration of the method says of its data."""
    data = config.pipeline.datamanager
    assert isinstance(data, VanillaDataManagerConfig)
    return data


def parser_config(config: TrainerConfig) -> HeadDataParserConfig:
    """What a configuration of the method says of its dataset."""
    parser = data_config(config).dataparser
    assert isinstance(parser, HeadDataParserConfig)
    return parser


def model_config(config: TrainerConfig) -> HeadModelConfig:
    """What a configuration of the method says of its model."""
    model = config.pipeline.model
    assert isinstance(model, HeadModelConfig)
    return model


def apply_preset(config: TrainerConfig, preset: Preset) -> None:
    """Set all that a preset decides, but for the size of the pictures."""
    config.max_num_iterations = preset.steps
    data_config(config).train_num_rays_per_batch = preset.rays
    parser_config(config).grid = preset.grid
    for name in _OF_THE_MODEL:
        setattr(model_config(config), name, getattr(preset, name))


def method(name: str, preset: str) -> MethodSpecification:
    """The method with the numbers of a preset; ``train`` fills in what depends on the job."""
    config = HeadTrainerConfig(
        method_name=name,
        vis="tensorboard",
        mixed_precision=False,
        steps_per_eval_batch=10**9,
        steps_per_eval_image=10**9,
        steps_per_eval_all_images=10**9,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        logging=LoggingConfig(
            steps_per_log=100, profiler="none", local_writer=LocalWriterConfig(enable=False)
        ),
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(dataparser=HeadDataParserConfig()),
            model=HeadModelConfig(),
        ),
        optimizers={
            "distance": _group(0.1, 0.1),
            "colour": _group(0.03, 0.1),
            "network": _group(0.005, 0.1),
            "gains": _group(0.002, 0.1),
        },
    )
    apply_preset(config, PRESETS[preset])
    return MethodSpecification(config=config, description=f"Head from exact views: {preset}")


dp3d_head = method(NAME, "standard")
dp3d_head_draft = method(f"{NAME}-draft", "draft")
dp3d_head_high = method(f"{NAME}-high", "high")
