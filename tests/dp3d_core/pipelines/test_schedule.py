"""Noise schedules of the published samplers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from dp3d_core.pipelines.schedule import (
    START_STEP,
    HalfDDIMScheduler,
    alphas_cumprod,
    official_schedule,
    tables,
)


def test_published_constants():
    exact = alphas_cumprod()
    for step, value in ((0, 0.999150), (1, 0.998296), (981, 0.0057755), (999, 0.0046601)):
        assert float(exact[step]) == pytest.approx(value, rel=1e-4)
    scheduler = official_schedule()
    scheduler.set_timesteps(50)
    assert [int(t) for t in scheduler.timesteps[[0, 1, -1]]] == [981, 961, 1]
    scheduler.set_timesteps(100)
    assert [int(t) for t in scheduler.timesteps[[0, -1]]] == [991, 1]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_a_step_is_ddims_formula(half, eta):
    scheduler = official_schedule(half)
    coefficients = tables(scheduler, 50, eta)
    scheduler.set_timesteps(50)
    generator = torch.Generator().manual_seed(0)
    x, noise, grain = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    for row, t in ((0, 1), (30, 601), (49, 981)):
        alpha, alpha_previous, sigma, root = (
            float(coefficients[f"ddim_{name}"][row])
            for name in ("alphas", "alphas_prev", "sigmas", "sqrt_one_minus_alphas")
        )
        clean = (x - root * noise) / alpha**0.5
        expected = (
            alpha_previous**0.5 * clean
            + (1 - alpha_previous - sigma**2) ** 0.5 * noise
            + sigma * grain
        )
        step = scheduler.step(noise, t, x, eta=eta, variance_noise=grain if eta else None)
        assert torch.allclose(step.prev_sample, expected, atol=1e-4)
        assert torch.allclose(step.pred_original_sample, clean, rtol=1e-4, atol=1e-4)


def test_rounding_shifts_the_last_steps():
    half, exact = (tables(official_schedule(h), 50, 0.5) for h in (True, False))
    assert float(half["ddim_sqrt_one_minus_alphas"][0]) == pytest.approx(0.038269, abs=1e-6)
    assert float(exact["ddim_sqrt_one_minus_alphas"][0]) == pytest.approx(0.041279, abs=1e-6)
    timesteps = torch.tensor([START_STEP])
    ones, zeros = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    scheduler = HalfDDIMScheduler()
    assert float(scheduler.add_noise(ones, zeros, timesteps).max()) == pytest.approx(
        0.0682373, abs=1e-7
    )
    assert float(scheduler.add_noise(zeros, ones, timesteps).max()) == pytest.approx(
        0.9975586, abs=1e-7
    )


def test_a_half_schedule_is_saved_and_loaded(tmp_path):
    HalfDDIMScheduler().save_pretrained(tmp_path)
    loaded = HalfDDIMScheduler.from_pretrained(tmp_path)
    assert torch.equal(loaded.alphas_cumprod, HalfDDIMScheduler().alphas_cumprod)


def test_noise_of_a_generator_repeats():
    scheduler = official_schedule(half=True)
    scheduler.set_timesteps(5)
    x = torch.zeros(1, 4, 4, 4)
    first, second = (
        scheduler.step(
            x, 801, x, eta=0.5, generator=torch.Generator().manual_seed(3), return_dict=False
        )[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.std() > 0
