"""Shapes in annotations are checked in tests, and not elsewhere."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from dp3d_core.arrays import smoothstep
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.meshes.mesh import Mesh, unit
from tests.support.shape_checks import CHECKED


def test_another_number_of_columns_is_an_error() -> None:
    with pytest.raises(TypeCheckError, match=r"parameters of dp3d_core\.meshes\.mesh\.unit"):
        unit(np.ones((4, 2)))


def test_an_axis_has_one_length_within_a_call() -> None:
    vertices, faces = np.eye(3), np.array([[0, 1, 2]], np.int32)
    assert len(Mesh.of(vertices, faces, np.zeros(3, np.uint8)).normals) == 3
    with pytest.raises(TypeCheckError, match="'parts'"):
        Mesh.of(vertices, faces, np.zeros(4, np.uint8))


def test_a_result_of_another_shape_is_an_error(monkeypatch) -> None:
    camera = canonical_camera(size=16)
    assert camera.pixel_centres().shape == (16, 16, 2)
    monkeypatch.setattr(np, "meshgrid", lambda *_: (np.zeros((4, 4)),) * 2)
    with pytest.raises(TypeCheckError, match=r"return value of .*pixel_centres"):
        camera.pixel_centres()


def test_shapes_of_tensors_are_checked() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from dp3d_core.pipelines.denoise import guide

    with pytest.raises(TypeCheckError, match="'unconditional'"):
        guide(torch.zeros(2, 4, 8, 8), torch.zeros(3, 4, 8, 8), 3.0)


@pytest.mark.parametrize("name", CHECKED)
def test_all_of_these_modules_are_checked(name) -> None:
    if "models" in name or "pipelines" in name or "child" in name:
        pytest.importorskip("diffusers")
    module = import_module(name)
    assert type(module.__spec__.loader).__module__ == "jaxtyping._import_hook"


def test_elsewhere_nothing_is_checked_or_imported() -> None:
    code = (
        "import sys, numpy; from dp3d_core.meshes.mesh import unit; unit(numpy.ones((4, 2)));"
        "print(*{'jaxtyping', 'beartype'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_smooth_step() -> None:
    x = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
    assert smoothstep(x, 0, 1).tolist() == [0, 0, 0.15625, 0.5, 1, 1]
    assert np.allclose(smoothstep(x, 1, 0), 1 - smoothstep(x, 0, 1))
