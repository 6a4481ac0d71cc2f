"""Imported weights of a tiny size, a synthetic portrait, and runs of the diffusion engines."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.engines.registry import get_engine
from dp3d_core.meshes.raycast import RayCaster, render
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.pose import HeadAngles
from dp3d_core.preview.shape.placement import place_head
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from tests.support.photos import encode

SMALL = {"size": 64, "steps": 2, "start": "noise"}
"""The preview head takes seconds to fit; tests of start images ask for it."""


@pytest.fixture(scope="session")
def subject():
    """The person of the portrait."""
    return SyntheticHead(random_subject(5))


@pytest.fixture(scope="session")
def portrait(subject):
    view = subject.render(canonical_camera(0, 0, 256))
    return load_portrait(encode(view.rgba), angles=HeadAngles(0.0))


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """All three checkpoints, imported at a tiny size."""
    import torch

    from dp3d_core.checkpoints.importer import import_weights
    from dp3d_core.models.config import Variant
    from tests.support.diffusion import official_state, tiny_config

    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_HOME", str(folder))
        for variant in Variant:
            config = tiny_config(variant)
            file = folder / f"{variant}.th"
            torch.save(official_state(variant), file)
            import_weights(file, config=config, progress=no_progress, cancel=never_cancel)
    return folder


@pytest.fixture
def installed(home, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(home))


@pytest.fixture(scope="session")
def caster(portrait):
    """Ray caster of the portrait's head without colours."""
    return RayCaster(place_head(portrait).mesh)


@pytest.fixture
def unpainted(caster, monkeypatch):
    """The portrait's head in one grey, as the head of all generations: fitting takes seconds.

    Outlines of frames are cut from it; its colours would show in start images alone.
    """
    from dp3d_core.pipelines.generation import Generation

    def grey(hits):
        return 0.5 + 0 * hits.points

    head = SimpleNamespace(caster=caster, render=lambda camera: render(caster, camera, grey))
    monkeypatch.setattr(Generation, "head", head)
    return caster


@pytest.fixture
def calls(monkeypatch):
    """Arguments of the engine's calls of the pipeline."""
    from dp3d_core.pipelines.multi_view import MultiViewPipeline

    seen = []
    real = MultiViewPipeline.__call__

    def spy(self, *args, **kwargs):
        seen.append(inspect.signature(real).bind(self, *args, **kwargs).arguments)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MultiViewPipeline, "__call__", spy)
    return seen


def generate(engine, portrait, cameras, out, options=SMALL, **overrides):
    """Generate views with an engine or the engine of a name, seed 3."""
    calls = {"progress": no_progress, "cancel": never_cancel, "seed": 3, **overrides}
    engine = get_engine(engine) if isinstance(engine, str) else engine
    return engine.generate(portrait, cameras, options, out=out, **calls)
