"""The nerfstudio method ``dp3d-head``.

Registered through ``NERFSTUDIO_METHOD_CONFIGS`` (see :data:`REGISTRATION`), nerfstudio's own
way for a method that is not installed as a package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nerf_export.child.model import HeadModelConfig
from nerf_export.child.trainer import HeadTrainerConfig

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

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """A ``LambdaLR``."""
        config = self.config

        def rate(step: int) -> float:
            rising = min(1.0, (step + 1) / max(1, config.warm_up))
            return rising * math.exp(math.log(config.final) * min(1.0, step / config.steps))

        return LambdaLR(optimizer, rate)


def _group(rate: float, final: float) -> dict:
    return {
        "optimizer": FusedAdamConfig(lr=rate, eps=1e-15),
        "scheduler": DecayConfig(final=final),
    }


def head_config() -> HeadTrainerConfig:
    """The method's configuration; ``train`` fills in what depends on the views."""
    return HeadTrainerConfig(
        method_name=NAME,
        vis="none",
        mixed_precision=False,
        steps_per_eval_batch=10**9,
        steps_per_eval_image=10**9,
        steps_per_eval_all_images=10**9,
        machine=MachineConfig(device_type="cpu"),
        logging=LoggingConfig(
            steps_per_log=100, profiler="none", local_writer=LocalWriterConfig(enable=False)
        ),
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(
                # Poses are exact and in place: leave them alone.
                dataparser=NerfstudioDataParserConfig(
                    orientation_method="none",
                    center_method="none",
                    auto_scale_poses=False,
                    downscale_factor=1,
                ),
            ),
            model=HeadModelConfig(),
        ),
        # "distance" is in cells here; train multiplies by the cell's size.
        optimizers={
            "distance": _group(0.1, 0.1),
            "colour": _group(0.03, 0.1),
            "network": _group(0.005, 0.1),
            "gains": _group(0.002, 0.1),
        },
    )


dp3d_head = MethodSpecification(config=head_config(), description="Head from exact views")
