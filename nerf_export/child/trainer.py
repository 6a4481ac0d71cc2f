"""nerfstudio's trainer with progress events, a stop between steps and atomic checkpoints."""

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
from nerf_export.child.parent_channel import ParentChannel

_REPORT_INTERVAL_S = 0.5
"""Smallest time between two progress events, seconds."""
_MIN_CHECKPOINT_INTERVAL_S = 2.0
"""Smallest time between two checkpoints, seconds: a killed process loses that much work."""
_SAVING_PART = 0.05
"""Largest part of the time that checkpoints may take.  Where saving is slow, checkpoints are
rarer."""


@dataclass
class HeadTrainerConfig(TrainerConfig):
    """nerfstudio's configuration for :class:`HeadTrainer`."""

    _target: type = field(default_factory=lambda: HeadTrainer)


class HeadTrainer(Trainer):
    """Trains, reports progress to the parent and stops when it asks; both only with ``parent``."""

    config: HeadTrainerConfig
    parent: ParentChannel | None = None
    """Channel to the parent; None under ``ns-train``."""
    _steps = 0
    """Number of steps of the fit, those before the checkpoint included."""
    _began = 0.0
    """Time of the run's first step, seconds (monotonic clock; 0: none yet)."""
    _reported = 0.0
    """Time of the last progress event."""
    _saved_at = 0.0
    """Time of the last checkpoint, at first of the first step."""
    _saving_s = 0.0
    """Seconds that the last checkpoint took."""
    _saved_step = -1
    """Step of the last checkpoint; -1: none yet."""
    _trained_step = -1
    """Last step that was trained; -1: none yet."""

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up as nerfstudio does, with learning rates that decay over ``max_num_iterations``."""
        self._steps = self.config.max_num_iterations
        for group in self.config.optimizers.values():
            group["scheduler"].steps = self._steps
        super().setup(test_mode)

    def train_iteration(self, step: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Train one step.  Returns the loss, its terms and the metrics."""
        self._began = self._began or time.monotonic()
        self._saved_at = self._saved_at or self._began
        loss, losses, metrics = super().train_iteration(step)
        self._trained_step = step
        interval = max(_MIN_CHECKPOINT_INTERVAL_S, self._saving_s / _SAVING_PART)
        if time.monotonic() - self._saved_at > interval:
            self.save_checkpoint(step)
        if self.parent is not None:
            self._report(self.parent, step + 1, losses, metrics)
            if self.parent.stop.is_set():
                self.stop_training = True
        return loss, losses, metrics

    def save_checkpoint(self, step: int) -> None:
        """Write a checkpoint atomically, then remove the older ones.

        Does nothing for a step that is saved already: both the trainer's clock and nerfstudio's
        step count may ask for one.

        Raises:
            Dp3dError: ``output.not_writable``.

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
        """Finish as nerfstudio does, but name the last trained step instead of the one after it."""
        self.step = self._trained_step
        super()._after_train()

    def _report(
        self,
        parent: ParentChannel,
        done: int,
        losses: dict[str, Tensor],
        metrics: dict[str, Tensor],
    ) -> None:
        """Send a progress event, unless the last one is recent and the fit is not done."""
        now, of = time.monotonic(), self._steps
        if now - self._reported < _REPORT_INTERVAL_S and done < of:
            return
        self._reported = now
        fresh = done - self._start_step
        eta = (now - self._began) / fresh * (of - done) if fresh > 2 else None
        values = {
            name: round(float(torch.as_tensor(value).detach()), 6) for name, value in losses.items()
        }
        values["psnr"] = round(float(metrics["psnr"]), 2)
        parent.progress(Progress("fit", done, of, f"Step {done} of {of}", eta, values))
