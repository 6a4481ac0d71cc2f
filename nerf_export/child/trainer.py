"""nerfstudio's trainer with progress, a stop between two steps and whole checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from torch import Tensor

from dp3d_core.progress import Progress
from nerf_export.child.files import whole_file
from nerf_export.child.talk import Talk

_REPORT_S = 0.5
_LEAST_BETWEEN_S = 2.0
"""Seconds of work between two checkpoints, at least: that much a killed process loses."""
_SAVING_PART = 0.05
"""Part of the time that may go into checkpoints: large ones on slow disks are written less often.
"""


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
    _saved_at = 0.0
    _saving_s = 0.0
    """Seconds that the last checkpoint took."""
    _saved_step = -1
    _trained_step = -1

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """As nerfstudio's; the learning rates fall over the steps of this run."""
        self._steps = self.config.max_num_iterations
        for group in self.config.optimizers.values():
            group["scheduler"].steps = self._steps
        super().setup(test_mode)

    def train_iteration(self, step: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """One step: its loss, the parts of the loss, and metrics."""
        self._began = self._began or time.monotonic()
        self._saved_at = self._saved_at or self._began
        loss, losses, metrics = super().train_iteration(step)
        self._trained_step = step
        if time.monotonic() - self._saved_at > max(_LEAST_BETWEEN_S, self._saving_s / _SAVING_PART):
            self.save_checkpoint(step)
        if self.talk is not None:
            self._report(self.talk, step + 1, losses, metrics)
            if self.talk.stop.is_set():
                self.stop_training = True
        return loss, losses, metrics

    def save_checkpoint(self, step: int) -> None:
        """As nerfstudio's, but a killed process leaves the last whole file behind.

        Of a step that was saved already, as by the clock and by nerfstudio's count, nothing is
        written again.
        """
        if step == self._saved_step:
            return
        began = time.monotonic()
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
        self._saved_at, self._saved_step = time.monotonic(), step
        self._saving_s = self._saved_at - began

    def _after_train(self) -> None:
        """As nerfstudio's, which names the step that it was asked to stop before, not the last."""
        self.step = self._trained_step
        super()._after_train()

    def _report(
        self, talk: Talk, done: int, losses: dict[str, Tensor], metrics: dict[str, Tensor]
    ) -> None:
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
