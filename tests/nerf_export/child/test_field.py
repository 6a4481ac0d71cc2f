"""What counts as curvature of a distance grid, and what does not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the field is torch's")

from nerf_export.child.field import HeadField
from nerf_export.field.size import FieldSize

CORNERS = (20, 20, 20)


def penalties(distance: torch.Tensor, spare_ridges: bool = True) -> tuple[float, float]:
    """Eikonal and curvature penalty of (20, 20, 20) distances in cells."""
    field = HeadField(FieldSize(CORNERS, (0.0, 0.0, 0.0), 1.0, ((0.5, 2),), 8))
    field.start_from(distance, reach=10)
    return tuple(float(p.detach()) for p in field.regularity(field.band(4), spare_ridges))  # type: ignore[return-value]


def heights() -> torch.Tensor:
    return torch.arange(20.0).view(1, 1, 20).expand(CORNERS)


def test_the_ridge_inside_a_thin_sheet_is_no_curvature() -> None:
    brim = (heights() - 10).abs() - 1
    eikonal, curvature = penalties(brim)
    assert eikonal < 1e-6
    assert curvature < 1e-3
    assert penalties(brim, spare_ridges=False)[1] > 0.1


def test_a_pit_in_the_surface_is_curvature() -> None:
    plain = heights() - 10.0
    assert penalties(plain)[1] < 1e-9
    pit = plain.clone()
    pit[10, 10, 10] += 0.3
    assert penalties(pit)[1] > 0.5 * penalties(pit, spare_ridges=False)[1]


def test_the_eikonal_penalty_of_slope_two_is_one() -> None:
    assert penalties(2 * (heights() - 10.0))[0] == pytest.approx(1, abs=1e-3)


def test_gradient_smoothing_shares_a_gradient_with_the_surroundings() -> None:
    field = HeadField(FieldSize(CORNERS, (0.0, 0.0, 0.0), 1.0, ((0.5, 2),), 8))

    def gradient(smoothing: float) -> torch.Tensor:
        field.zero_grad()
        field.gradient_smoothing = smoothing
        field.distance_grid.table.view(CORNERS)[10, 10, 10].backward()
        return field.distance_grid.table.grad.view(CORNERS)

    own, shared = gradient(0.0), gradient(1.0)
    assert own[10, 10, 10] == 1
    assert (own != 0).sum() == 1
    assert 0 < shared[10, 10, 10] < 0.1
    assert shared[10, 10, 12] > 0
    assert shared[10, 10, 18] == 0


def test_the_softness_keeps_its_name_in_saved_fields() -> None:
    field = HeadField(FieldSize(CORNERS, (0.0, 0.0, 0.0), 1.0, ((0.5, 2),), 8))
    field.load_state_dict({**field.state_dict(), "width": torch.tensor(0.25)})
    assert field.softness == 0.25
