"""nerfstudio's trainer with progress, a stop between two steps and whole checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.engine.trainer import Trainer, TrainerConfig

from dp3d_core.progress import Progress
from nerf_export.child.files import whole_file
from nerf_export.child.talk import Talk

_REPORT_S = 0.5


@dataclass
class HeadTrainerConfig(TrainerConfig):
    """nerfstudio's, for :class:`HeadTrainer`."""

    _target: type = field(default_factory=lambda: HeadTrainer)


class HeadTrainer(Trainer):
    """Trains, tells how far it is and stops when the parent asks; without a parent, in silence."""

    config: HeadTrainerConfig
    talk: Talk | None = None
    _steps = 0
    _began = 0.0
    _reported = 0.0

    def setup(self, test_mode="val") -> None:
        """As nerfstudio's; the learning rates fall over the steps of this run."""
        self._steps = self.config.max_num_iterations
        for group in self.config.optimizers.values():
            group["scheduler"].steps = self._steps
        super().setup(test_mode)

    def train_iteration(self, step: int):
        """One step."""
        self._began = self._began or time.monotonic()
        loss, losses, metrics = super().train_iteration(step)
        if self.talk is not None:
            self._report(self.talk, step + 1, losses, metrics)
            if self.talk.stop.is_set():
                self.stop_training = True
        return loss, losses, metrics

    def save_checkpoint(self, step: int) -> None:
        """As nerfstudio's, but a killed process leaves the last whole file behind."""
        path: Path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {k: v.state_dict() for k, v in self.optimizers.optimizers.items()},
            "schedulers": {k: v.state_dict() for k, v in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        with whole_file(path) as temporary:
            torch.save(state, temporary)
        for old in self.checkpoint_dir.glob("*.ckpt"):
            if old != path:
                old.unlink()

    def _report(self, talk: Talk, done: int, losses: dict, metrics: dict) -> None:
        now, of = time.monotonic(), self._steps
        if now - self._reported < _REPORT_S and done < of:
            return
        self._reported = now
        fresh = done - self._start_step
        eta = (now - self._began) / fresh * (of - done) if fresh > 2 else None
        values = {
            name: round(float(torch.as_tensor(value).detach()), 6) for name, value in losses.items()
        }
        values["psnr"] = round(float(metrics["psnr"]), 2)
        talk.progress(Progress("fit", done, of, f"Step {done} of {of}", eta, values))
