"""Every sampler ends in the distribution that the noise was predicted for."""

from __future__ import annotations

import inspect

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from dp3d_core.errors import Dp3dError
from dp3d_core.pipelines.samplers import SAMPLERS, get_sampler

MEAN, SPREAD = 0.7, 0.5


def signal_shares() -> torch.Tensor:
    """Stable Diffusion's alpha-bar, independent of the module under test."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def best_noise(x: torch.Tensor, t: int) -> torch.Tensor:
    """Prediction of a perfect network for normally distributed data."""
    signal = signal_shares()[t]
    variance = signal * SPREAD**2 + 1 - signal
    return (1 - signal).sqrt() * (x - signal.sqrt() * MEAN) / variance


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_mean_and_spread_of_the_data(name):
    sampler = get_sampler(name)
    scheduler = sampler.scheduler
    scheduler.set_timesteps(sampler.steps)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(40_000, generator=generator, dtype=torch.float64).reshape(-1, 1, 1, 1)
    for t in scheduler.timesteps:
        noise = best_noise(scheduler.scale_model_input(x, t), int(t))
        options = {}
        if "eta" in inspect.signature(scheduler.step).parameters:
            options = {"eta": sampler.eta, "generator": generator}
        x = scheduler.step(noise, t, x, **options).prev_sample
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.04)
    assert float(x.std()) == pytest.approx(SPREAD, abs=0.03)


def test_published_steps_and_eta():
    assert [get_sampler(n).steps for n in SAMPLERS] == [50, 100, 20, 20]
    assert [get_sampler(n).eta for n in SAMPLERS] == [0.5, 0.5, 0.0, 0.0]
    with pytest.raises(Dp3dError):
        get_sampler("euler")
