"""The nerfstudio method ``dp3d-head``, and two variants for the presets draft and high.

Entry points register the methods where dp3d is installed in nerfstudio's environment, and
``ns-train dp3d-head --data FOLDER`` fits any folder of nerfstudio's format.  dp3d is not installed
in the environment that ``dp3d setup nerf`` builds; the variable ``NERFSTUDIO_METHOD_CONFIGS`` with
the value :data:`REGISTRATION` registers the method there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
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
"""Name of the method in ``ns-train``, with the preset standard."""
REGISTRATION = f"{NAME}=nerf_export.child.method:dp3d_head"
"""Value of ``NERFSTUDIO_METHOD_CONFIGS`` that registers the method."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam as one fused kernel, on large grids seven times as fast as torch's default."""

    fused: bool = True


@dataclass
class DecayConfig(SchedulerConfig):
    """Linear warm-up and exponential decay of a learning rate.

    The scheduler's state holds plain floats, so that checkpoints load with ``weights_only``.
    """

    _target: type = field(default_factory=lambda: Decay)
    steps: int = 1000
    """Steps of the run; the trainer sets them."""
    final: float = 0.1
    """Last learning rate as a part of the initial one."""
    warm_up: int = 20
    """Steps of the warm-up."""


class Decay(Scheduler):
    """nerfstudio's scheduler of a :class:`DecayConfig`."""

    config: DecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """Scheduler with a factor of the initial learning rate for each step."""
        config = self.config

        def rate(step: int) -> float:
            rising = min(1.0, (step + 1) / max(1, config.warm_up))
            return rising * math.exp(math.log(config.final) * min(1.0, step / config.steps))

        return LambdaLR(optimizer, rate)


def _group(rate: float, final: float) -> dict[str, Any]:
    """Optimizer and scheduler of a parameter group.

    Args:
        rate: initial learning rate.
        final: last learning rate as a part of the initial one.

    """
    return {
        "optimizer": FusedAdamConfig(lr=rate, eps=1e-15),
        "scheduler": DecayConfig(final=final),
    }


def data_config(config: TrainerConfig) -> VanillaDataManagerConfig:
    """Data manager's part of a method's configuration."""
    data = config.pipeline.datamanager
    assert isinstance(data, VanillaDataManagerConfig)
    return data


def parser_config(config: TrainerConfig) -> HeadDataParserConfig:
    """Data parser's part of a method's configuration."""
    parser = data_config(config).dataparser
    assert isinstance(parser, HeadDataParserConfig)
    return parser


def model_config(config: TrainerConfig) -> HeadModelConfig:
    """Model's part of a method's configuration."""
    model = config.pipeline.model
    assert isinstance(model, HeadModelConfig)
    return model


def apply_preset(config: TrainerConfig, preset: Preset) -> None:
    """Set the numbers of a preset in a method's configuration, except ``image_size``.

    Raises:
        TypeError: the preset has a setting that ``HeadModelConfig`` lacks.

    """
    config.max_num_iterations = preset.steps
    data_config(config).train_num_rays_per_batch = preset.rays
    parser_config(config).grid = preset.grid
    config.pipeline.model = replace(model_config(config), **preset.model_settings())


def method(name: str, preset: str) -> MethodSpecification:
    """The method under a name, with the numbers of a preset and no dataset."""
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
"""Entry point of the preset standard."""
dp3d_head_draft = method(f"{NAME}-draft", "draft")
"""Entry point of the preset draft."""
dp3d_head_high = method(f"{NAME}-high", "high")
"""Entry point of the preset high."""
