"""Memory is computed before networks are loaded, and a budget is kept or refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import PUBLISHED, Variant
from dp3d_core.pipelines.denoise import Placement
from dp3d_core.pipelines.memory import LivingTensors, Needs, compute_needs, plan_memory
from dp3d_core.pipelines.windows import plan_windows
from tests.support.diffusion import tiny_config, tiny_networks

NEEDS = Needs(
    {"unet": 2_900, "reference_unet": 1_700, "pose_controlnet": 700, "vae": 200},
    100,
    100,
    1_000,
    400,
)
MB = Needs({k: v * 10**6 for k, v in NEEDS.networks.items()}, 100 * 10**6, 10**8, 10**9, 4 * 10**8)


def test_living_tensors_are_counted():
    with LivingTensors() as living:
        a = torch.zeros(1000)
        b = a + 1
        c = b.view(10, 100)  # no memory of its own
        del a, b
        d = c * 2
    assert living.peak == 3 * 4000 - 4000
    assert living.living == 2 * 4000
    del c, d
    assert living.living == 0


def test_computed_memory_is_that_of_a_pass_on_the_cpu():
    """The conditional pass, within 25 %."""
    config = tiny_config(Variant.DIFFPORTRAIT3D)
    needs = compute_needs(config, 128, 4, 1, torch.float32)
    networks = tiny_networks(Variant.DIFFPORTRAIT3D)
    assert set(needs.networks) == set(networks.named())  # no text encoder
    for name, net in networks.named().items():
        assert needs.networks[name] == sum(v.nbytes for v in net.state_dict().values())
    from dp3d_core.pipelines.denoise import Conditions, Denoiser

    conditions = Conditions(
        torch.randn(1, 77, config.context), torch.randn(1, 4, 16, 16), torch.randn(4, 32, 16, 16)
    )
    with torch.inference_mode():
        denoiser = Denoiser(networks, conditions)
        denoiser.begin(torch.tensor([5]))
        with LivingTensors() as living:
            denoiser.conditional(torch.randn(4, 4, 16, 16), torch.arange(4), 4)
    assert living.peak == pytest.approx(needs.window, rel=0.25)


@pytest.mark.parametrize("variant", [Variant.DIFFPORTRAIT3D, Variant.DIFFPORTRAIT360])
def test_published_sizes_fit_a_consumer_gpu(variant):
    """32 views need less than 10 GB with offload and less than 16 GB without."""
    references = PUBLISHED[variant].references
    needs = compute_needs(PUBLISHED[variant], 512, 32, references, torch.float16)
    assert needs.peak(1, offload=True) < needs.peak(1, offload=False) < 16e9
    assert needs.peak(1, offload=True) < 10e9
    # more pixels need more
    larger = compute_needs(PUBLISHED[variant], 768, 32, references, torch.float16)
    assert larger.window > 2 * needs.window


@pytest.mark.parametrize("variant", [Variant.DIFFPORTRAIT3D, Variant.DIFFPORTRAIT360])
def test_four_references_fit_where_one_does(variant):
    """Each further reference needs 0.15 GB, 2 % of the peak."""
    one, four = (
        compute_needs(PUBLISHED[variant], 512, 32, references, torch.float16)
        for references in (1, 4)
    )
    for offload in (False, True):
        grown = four.peak(1, offload) - one.peak(1, offload)
        assert 0.3e9 < grown < 0.6e9
        assert four.peak(1, offload) < (10e9 if offload else 16e9)


FOUR = plan_windows(32, 8, mode="blocks")


def test_a_budget_decides_on_batch_and_offload():
    free = plan_memory(MB, FOUR, None)
    assert (free.windows_at_once, free.offload) == (1, False)
    much = plan_memory(MB, FOUR, 100 * 10**9)
    assert (much.windows_at_once, much.offload) == (4, False)
    peaks = []
    for budget in (14, 11, 9, 8):
        plan = plan_memory(MB, FOUR, budget * 10**9)
        assert plan.peak <= budget * 10**9
        peaks.append((plan.windows_at_once, plan.offload))
    assert peaks[0][0] > 1
    assert not peaks[0][1]
    with pytest.raises(Dp3dError) as caught:
        plan_memory(MB, FOUR, 2 * 10**9)
    assert caught.value.code == "engine.too_little_memory"
    assert f"{MB.peak(1, True) / 1e9:.1f} GB" in caught.value.problem


def test_a_network_returns_to_the_cpu_only_with_offload():
    net = torch.nn.Linear(2, 2)
    meta = torch.device("meta")
    with Placement(None)(net):
        assert net.weight.device.type == "cpu"
    with Placement(torch.device("cpu"), offload=True)(net):
        assert net.weight.device.type == "cpu"
    moved = torch.nn.Linear(2, 2)
    on = Placement(meta)
    with on(moved), on(moved):
        assert moved.weight.device.type == "meta"
    assert moved.weight.device.type == "meta"  # without offload it stays


def test_offload_restores_the_original_tensors():
    """The tensors on the CPU are kept, not copied back."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    net[0].bias = net[1].bias  # shared weights stay shared
    before = {name: id(value) for name, value in net.state_dict(keep_vars=True).items()}
    with Placement(torch.device("meta"), offload=True)(net):
        assert {v.device.type for v in net.state_dict().values()} == {"meta"}
        assert net[0].bias is net[1].bias
    assert {name: id(v) for name, v in net.state_dict(keep_vars=True).items()} == before


def test_a_full_device_leaves_the_network_on_the_cpu(monkeypatch):
    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    before = {name: id(value) for name, value in net.state_dict(keep_vars=True).items()}
    real, moved = torch.Tensor.to, []

    def full(self, *args, **kwargs):
        moved.append(self)
        if len(moved) == 4:
            raise torch.OutOfMemoryError("full")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(torch.OutOfMemoryError), Placement(torch.device("meta"))(net):
        pass
    assert {name: id(v) for name, v in net.state_dict(keep_vars=True).items()} == before
