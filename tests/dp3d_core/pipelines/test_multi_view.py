"""The pipeline at a tiny size: windows, references, seeds, samplers, cancel."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import Variant
from dp3d_core.pipelines.multi_view import MultiViewPipeline
from dp3d_core.pipelines.samplers import SAMPLERS, get_sampler
from dp3d_core.pipelines.schedule import HalfDDIMScheduler, start_factors
from tests.support.diffusion import tiny_config, tiny_networks, tiny_prompt

SIZE = 64


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1


def pipeline_of(variant: Variant, sampler: str = "official") -> MultiViewPipeline:
    networks, config = tiny_networks(variant), tiny_config(variant)
    scheduler = get_sampler(sampler, config.half_schedule).scheduler
    made = MultiViewPipeline(
        **networks.named(),
        empty_prompt=tiny_prompt(variant),
        scheduler=scheduler,
        window=config.window,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def pipeline() -> MultiViewPipeline:
    return pipeline_of(Variant.DIFFPORTRAIT360)


def run(pipeline, views=4, **overrides):
    arguments = {
        "references": pictures(2, 1),
        "conditions": pictures(views, 2),
        "num_inference_steps": 2,
        "eta": 0.0,
        "generator": torch.Generator().manual_seed(5),
        "output_type": "latent",
        **overrides,
    }
    return pipeline(**arguments)


def close(a, b, tolerance=1e-4):
    return float((a - b).abs().max() / b.abs().max()) < tolerance


def test_pictures_have_the_shape_and_range_of_colours(pipeline):
    output = run(pipeline, views=3, output_type="pt", start=pictures(3, 4), eta=0.5)
    assert output.images.shape == (3, 3, SIZE, SIZE)
    assert 0 <= float(output.images.min()) < float(output.images.max()) <= 1


def test_overlap_is_blocks_with_one_window(pipeline):
    assert torch.equal(run(pipeline, mode="blocks").latents, run(pipeline).latents)


def test_blocks_are_independent(pipeline):
    both = run(pipeline, views=8, mode="blocks").latents
    first = run(pipeline, views=4, conditions=pictures(8, 2)[:4], mode="blocks").latents
    assert close(both[:4], first)
    # overlapping windows of the same views do
    assert not close(run(pipeline, views=8).latents[:4], first, 1e-3)


@pytest.mark.parametrize("views", [1, 5, 9])
@pytest.mark.parametrize("closed", [False, True])
def test_any_number_of_views(pipeline, views, closed):
    latents = run(pipeline, views=views, closed=closed).latents
    assert len(latents) == views
    assert bool(torch.isfinite(latents).all())


def test_windows_in_one_batch_change_nothing(pipeline):
    apart = run(pipeline, views=9, closed=True).latents
    together = run(pipeline, views=9, closed=True, windows_at_once=3).latents
    assert close(together, apart)


def test_closed_paths_may_start_at_any_view(pipeline):
    """Views rolled by one window step give latents rolled by one window step."""
    conditions, noise = pictures(8, 2), torch.randn(8, 4, SIZE // 8, SIZE // 8)
    # windows of 4 that share 2 begin at every second view
    options = {"closed": True, "overlap": 2}
    turned = run(
        pipeline, conditions=conditions.roll(2, 0), latents=noise.roll(2, 0), **options
    ).latents
    straight = run(pipeline, conditions=conditions, latents=noise, **options).latents
    assert close(turned, straight.roll(2, 0))


def test_the_order_of_references_changes_nothing(pipeline):
    ahead, behind = (run(pipeline, references=pictures(2, 1)[o]).latents for o in ([0, 1], [1, 0]))
    assert close(behind, ahead)
    assert not close(run(pipeline, references=pictures(1, 1)).latents, ahead, 1e-2)
    assert len(run(pipeline, references=pictures(4, 1)).latents) == 4


def test_seeds_decide_the_views(pipeline):
    once, again = (run(pipeline, eta=0.5).latents for _ in range(2))
    assert torch.equal(once, again)
    other = run(pipeline, eta=0.5, generator=torch.Generator().manual_seed(6)).latents
    assert not torch.equal(once, other)
    drawn = run(pipeline, sample_posterior=True).latents
    assert not torch.equal(run(pipeline).latents, drawn)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_gives_finite_latents(name):
    sampler = get_sampler(name)
    made = pipeline_of(Variant.BACK_VIEW, name)
    output = run(made, views=1, references=pictures(1), num_inference_steps=4, eta=sampler.eta)
    assert bool(torch.isfinite(output.latents).all())


def test_guidance_only_in_an_interval(pipeline, monkeypatch):
    calls = []
    unconditional = type(pipeline.unet).forward

    def counted(self, *args, **kwargs):
        calls.append(kwargs.get("residuals") is None)
        return unconditional(self, *args, **kwargs)

    monkeypatch.setattr(type(pipeline.unet), "forward", counted)
    run(pipeline, num_inference_steps=4, guidance_interval=(0.25, 0.75))
    assert sum(calls) == 2
    calls.clear()
    run(pipeline, num_inference_steps=4, guidance_scale=1.0)
    assert sum(calls) == 0


def test_a_callback_stops_after_a_step(pipeline):
    steps = []

    def stop(made, step, t, tensors):
        steps.append((step, int(t), tensors["latents"].shape))
        made.interrupt = True
        return {}

    run(pipeline, num_inference_steps=5, callback_on_step_end=stop)
    assert [step for step, _, _ in steps] == [0]
    assert len(run(pipeline).latents) == 4  # the next run is not stopped


def test_a_pipeline_is_saved_and_loaded(tmp_path, pipeline):
    pipeline.save_pretrained(tmp_path)
    loaded = MultiViewPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.scheduler, HalfDDIMScheduler)
    assert loaded.config.window == 4
    for name, net in pipeline.networks.named().items():
        theirs = loaded.networks.named()[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())
    assert torch.equal(loaded.empty_prompt.embedding, pipeline.empty_prompt.embedding)
    assert close(run(loaded).latents, run(pipeline).latents, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_changes_little(pipeline, dtype):
    made = pipeline_of(Variant.DIFFPORTRAIT360)
    made.to(dtype)
    options = {"views": 5, "closed": True, "start": pictures(5, 3), "output_type": "pt"}
    half, whole = run(made, **options), run(pipeline, **options)
    assert half.latents.dtype == torch.float32
    assert float((half.images - whole.images).abs().mean()) < 0.01


def test_the_last_prediction_is_the_result(pipeline):
    """With eta 0, the last prediction is ten times closer to the result than the first."""
    predictions = []

    def keep(made, step, t, tensors):
        predictions.append(tensors["clean"]())
        return {}

    output = run(
        pipeline,
        num_inference_steps=4,
        callback_on_step_end=keep,
        callback_on_step_end_tensor_inputs=("clean",),
    )
    distances = [float((clean - output.latents).abs().mean()) for clean in predictions]
    assert distances[-1] < 0.1 * distances[0]
    assert pipeline.decode(predictions[-1][:1]).shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"references": pictures(5)}, "5 portraits"),
        ({"references": pictures(0)}, "0 portraits"),
        ({"conditions": pictures(0)}, "no condition images"),
        ({"conditions": torch.zeros(2, 3, 72, 64)}, "64 x 72"),
        ({"start": pictures(3)}, "3 start images"),
        ({"references": pictures(1) * float("nan")}, "no numbers"),
        ({"conditions": pictures(2) * 127 + 128}, "values up to"),
        ({"references": torch.zeros(1, 3, 64, 192)}, "differ in size"),
        ({"latents": torch.zeros(4, 4, 3, 3)}, "latents"),
    ],
)
def test_bad_pictures_are_refused(pipeline, wrong, problem):
    with pytest.raises(Dp3dError) as caught:
        run(pipeline, **wrong)
    assert caught.value.code == "engine.bad_input"
    assert problem in caught.value.problem


@pytest.mark.parametrize("name", SAMPLERS)
def test_start_images_get_the_noise_of_the_first_step(name):
    """Start images are noised to t = 999, whatever the sampler."""
    own = get_sampler(name).scheduler
    for scheduler in (own, DPMSolverMultistepScheduler.from_config(own.config)):
        signal, grain = start_factors(scheduler)
        assert signal == pytest.approx(0.0682, abs=2e-4)
        assert grain == pytest.approx(0.9977, abs=2e-4)
    with pytest.raises(Dp3dError) as caught:
        start_factors(EulerDiscreteScheduler())
    assert caught.value.code == "engine.bad_option"


@pytest.mark.parametrize("steps", [0, 30, 600, 1000])
def test_steps_that_the_published_sampler_cannot_take(pipeline, steps):
    with pytest.raises(Dp3dError) as caught:
        run(pipeline, num_inference_steps=steps)
    assert caught.value.code == "engine.bad_option"


def test_an_unknown_sampler_is_refused():
    with pytest.raises(Dp3dError) as caught:
        get_sampler("euler")
    assert caught.value.code == "engine.bad_option"
