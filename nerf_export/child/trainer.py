"""nerfstudio's trainer with progress, a stop between two steps and whole checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.engine.trainer import Trainer, TrainerConfig

from dp3d_core.progress import Progress
from nerf_export.child.talk import Talk

_REPORT_S = 0.5


@dataclass
class HeadTrainerConfig(TrainerConfig):
    """nerfstudio's, with the schedule of the surface's softness."""

    _target: type = field(default_factory=lambda: HeadTrainer)
    total_steps: int = 1000
    width_start: float = 0.01
    """Head units."""
    width_end: float = 0.002


class HeadTrainer(Trainer):
    """Trains, tells how far it is and stops when the parent asks."""

    config: HeadTrainerConfig
    talk: Talk
    _began = 0.0
    _reported = 0.0

    def train_iteration(self, step: int):
        """One step with the softness of that step."""
        self._began = self._began or time.monotonic()
        config = self.config
        part = min(1.0, step / max(1, config.total_steps))
        width = config.width_start * (config.width_end / config.width_start) ** part
        self.pipeline.model.field.width.fill_(width)
        loss, losses, metrics = super().train_iteration(step)
        self._report(step + 1, losses, metrics)
        if self.talk.stop.is_set():
            self.stop_training = True
        return loss, losses, metrics

    def save_checkpoint(self, step: int) -> None:
        """As nerfstudio's, but a killed process leaves the last whole file behind."""
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        path: Path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        temporary = path.with_suffix(".tmp")
        torch.save(
            {
                "step": step,
                "pipeline": self.pipeline.state_dict(),
                "optimizers": {k: v.state_dict() for k, v in self.optimizers.optimizers.items()},
                "schedulers": {k: v.state_dict() for k, v in self.optimizers.schedulers.items()},
                "scalers": self.grad_scaler.state_dict(),
            },
            temporary,
        )
        temporary.replace(path)
        for old in self.checkpoint_dir.glob("*.ckpt"):
            if old != path:
                old.unlink()

    def _report(self, done: int, losses: dict, metrics: dict) -> None:
        now, of = time.monotonic(), self.config.total_steps
        if now - self._reported < _REPORT_S and done < of:
            return
        self._reported = now
        fresh = done - self._start_step
        eta = (now - self._began) / fresh * (of - done) if fresh > 2 else None
        values = {
            name: round(float(torch.as_tensor(value).detach()), 6) for name, value in losses.items()
        }
        values["psnr"] = round(float(metrics["psnr"]), 2)
        self.talk.progress(Progress("fit", done, of, f"Step {done} of {of}", eta, values))
