from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from dp3d_core.cameras.camera import Z_UP_FROM_HEAD
from dp3d_core.errors import Dp3dError
from nerf_export.shape.surface import (
    LEAST_BLUR,
    DistanceGrid,
    _without_pinched_edges,
    extract_surface,
)

CELL = 0.01
LOW = np.array([-0.32, -0.3, -0.31])
SHAPE = (64, 61, 62)


def points_in_head_space() -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    return (LOW + CELL * index) @ Z_UP_FROM_HEAD[:3, :3]  # rows times R = inverse of R


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(points_in_head_space() - centre, axis=-1) - radius


def grid(distance: np.ndarray) -> DistanceGrid:
    return DistanceGrid(distance.astype(np.float32), LOW, CELL)


def test_surface_is_the_zero_level_in_head_space() -> None:
    centre = (0.05, -0.08, 0.02)
    mesh = extract_surface(grid(ball(centre, 0.18)), 4000)
    assert mesh.is_watertight
    assert mesh.volume > 0
    radii = np.linalg.norm(mesh.vertices - centre, axis=1)
    assert radii.mean() == pytest.approx(0.18, abs=0.1 * CELL)
    assert np.abs(radii - 0.18).max() < 0.5 * CELL
    assert 3000 < len(mesh.faces) <= 4000


def test_cavities_and_floaters_are_removed() -> None:
    body = np.maximum(ball((0, 0, 0), 0.15), -ball((0, 0, 0), 0.1))  # hollow
    floater = ball((0.2, 0.2, 0.2), 0.03)
    mesh = extract_surface(grid(np.minimum(body, floater)), 3000)
    assert mesh.is_watertight
    assert mesh.body_count == 1
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.min() > 0.14
    assert radii.max() < 0.16


def test_consistent_views_keep_a_sheet_thinner_than_the_blur() -> None:
    points = points_in_head_space()
    sheet = np.max([np.abs(points[..., 0]) - 0.4 * CELL, np.abs(points[..., 1]) - 0.05], axis=0)
    body = np.minimum(ball((0, 0, 0), 0.12), np.maximum(sheet, ball((0, 0, 0), 0.2)))
    agreeing = grid(body)
    contradicting = replace(agreeing, blur=2 * LEAST_BLUR)
    reach = [
        np.linalg.norm(extract_surface(g, 20000).vertices, axis=1).max()
        for g in (agreeing, contradicting)
    ]
    assert reach[0] == pytest.approx(0.2, abs=CELL)
    assert reach[1] < 0.14


def test_a_body_cut_by_the_grid_is_closed_at_the_border() -> None:
    mesh = extract_surface(grid(ball((0, -0.3, 0), 0.2)), 3000)
    assert mesh.is_watertight
    assert mesh.bounds[0, 1] == pytest.approx(LOW[2], abs=2 * CELL)


def test_the_surface_stays_inside_the_hull() -> None:
    mesh = extract_surface(grid(ball((0, 0, 0), 0.2)), 3000, ball((0, 0, 0), 0.12))
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 0.125


def test_an_empty_field_is_an_error_with_a_remedy() -> None:
    with pytest.raises(Dp3dError) as caught:
        extract_surface(grid(np.ones(SHAPE)), 1000)
    assert caught.value.code == "mesh.empty"


def test_pinched_edges_are_split() -> None:
    """Two blocks that share an edge: an edge with four triangles, which no closed solid has."""
    blocks = [trimesh.creation.box((0.2, 0.2, 0.2)), trimesh.creation.box((0.2, 0.2, 0.2))]
    blocks[1].apply_translation((0.2, 0.2, 0.0))
    pinched = trimesh.util.concatenate(blocks)
    pinched.merge_vertices()
    assert not pinched.is_watertight
    mended = _without_pinched_edges(pinched)
    assert mended.is_watertight
    assert mended.volume == pytest.approx(0.016, rel=0.05)
    assert len(mended.faces) <= len(pinched.faces) + 2


def test_thin_sheets_keep_the_budget() -> None:
    """Aggressive decimation pinches a plate with holes beside a wall."""
    x, y, z = np.indices(SHAPE)
    middle = np.array(SHAPE) / 2
    plate = np.abs(z - middle[2]) - 1.3
    holes = 1.5 - np.hypot((x % 6) - 3, (y % 6) - 3)
    reach = np.maximum(np.abs(x - middle[0]), np.abs(y - middle[1])) - 0.4 * min(SHAPE)
    mesh = extract_surface(grid(np.maximum(np.maximum(plate, holes), reach) / 40), 1500)
    assert mesh.is_watertight
    assert len(mesh.faces) <= 1.1 * 1500
