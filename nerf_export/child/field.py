"""The head's radiance field: a signed distance grid for opacity, and grids and networks for colour.

Opacity follows NeuS (Wang et al. 2021, eq. 10 and 13): transmittance along a ray is the logistic
function of distance / softness.  A ray that just touches the surface has an opacity of one half,
so silhouettes neither swell nor shrink.  With a density made from the distance (VolSDF) they
swell by several times the softness at grazing angles.

The distance grid starts as the distance to the visual hull, so the first step already samples
near the surface.  The mesh is its zero level.  Two quantities decrease during training: the
softness, and gradient smoothing, which replaces a part of each corner's gradient by a mean over
its surroundings.  Without smoothing each corner moves independently, and the surface stays at the
hull where skin has little texture (compare Nicolet et al. 2021, "Large Steps in Inverse
Rendering").

Gloss is the view-dependent part of the colour: a small network reads the material and the view
direction mirrored at the surface (Verbin et al. 2022, Ref-NeRF).  Without it the fit explains
moving highlights by dents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp3d_core.arrays import Float, Int
from nerf_export.child.grids import Grid, blurred, resampled
from nerf_export.field.size import FieldSize

_SMOOTHING_BLURS = 2
"""Blurs of a gradient at half the resolution; together they reach about four cells."""
_RIDGE_POWER = 4
"""Exponent of the ratio of central to one-sided squared slopes; a larger one treats smaller
changes of slope as ridges."""
_RIDGE_FREE_CELLS = 0.4
"""Distance from the surface, cells, within which curvature is penalised even at a ridge."""
_HARMONICS = 9
"""Monomials of first and second degree of a direction, inputs of gloss and backdrop."""
_SOFTNESS_KEY = "width"
"""Name of the softness in ``field.safetensors`` and in checkpoints."""


class HeadField(nn.Module):
    """Distance and colour anywhere in the box, and opacity along a ray."""

    low: Tensor
    """(3,) lowest corner of the box, world N."""
    extent: Tensor
    """(3,) size of the box, head units."""
    reachable: Tensor
    """(rows, 1) whether the fit may change the distance at a corner."""

    def __init__(self, size: FieldSize) -> None:
        super().__init__()
        self.size = size
        self.distance_grid = Grid(size.corners, 1)  # in cells
        levels = [
            (size.level_corners(i), channels) for i, (_, channels) in enumerate(size.colour_levels)
        ]
        self.colour_grids = nn.ModuleList(Grid(corners, c) for corners, c in levels)
        channels = sum(c for _, c in levels)
        self.colour_net = nn.Sequential(
            nn.Linear(channels, size.hidden),
            nn.ReLU(),
            nn.Linear(size.hidden, size.hidden),
            nn.ReLU(),
            nn.Linear(size.hidden, 3 + size.contrast),
        )
        if size.gloss:
            self.gloss_net = nn.Sequential(
                nn.Linear(channels + _HARMONICS + 1, size.gloss),
                nn.ReLU(),
                nn.Linear(size.gloss, 3),
            )
            for parameter in self.gloss_net[-1].parameters():
                nn.init.zeros_(parameter)
            self.normal_grid = Grid(size.normal_corners, 3, learned=False)
        if size.backdrop:
            self.backdrop_net = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 3))
        low = torch.tensor(size.low)
        self.register_buffer("low", low)
        self.register_buffer("extent", size.cell * (torch.tensor(size.corners) - 1.0))
        self.register_buffer(_SOFTNESS_KEY, torch.tensor(size.cell))
        rows = self.distance_grid.table.shape[0]
        self.register_buffer("reachable", torch.ones(rows, 1, dtype=torch.bool))
        self.gradient_smoothing = 0.0
        """Part of each distance's gradient that is replaced by a mean over its surroundings, 0 to
        1."""
        self.distance_grid.table.register_hook(self._smoothed_gradient)

    @property
    def softness(self) -> Tensor:
        """() scale of the logistic function of the opacity, head units."""
        return self.get_buffer(_SOFTNESS_KEY)

    def start_from(
        self,
        hull_distance: Float[Tensor, "nx ny nz"],
        reach: float,
        start: Float[Tensor, "nx ny nz"] | None = None,
    ) -> None:
        """Set the distances that training starts from, and draw random colour features.

        Args:
            hull_distance: (nx, ny, nz) signed distances to the visual hull, head units.
            reach: distance to the hull, head units, within which the fit may move the surface.
            start: (nx, ny, nz) initial distances, head units; None: those to the hull.

        """
        first = hull_distance if start is None else start
        with torch.no_grad():
            self.distance_grid.table.copy_(first.reshape(-1, 1) / self.size.cell)
            self.reachable.copy_(hull_distance.reshape(-1, 1) < reach)
            for table in self.colour_grids.parameters():
                table.uniform_(-0.05, 0.05)
        self.refresh_normals()

    def _smoothed_gradient(self, gradient: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows 1"]:
        """Gradient of the distances after smoothing, zero at corners out of reach."""
        if self.gradient_smoothing > 0:
            nx, ny, nz = self.size.corners
            own = gradient.view(nx, ny, nz)
            half = F.avg_pool3d(own[None, None], 2, ceil_mode=True)[0, 0]
            for _ in range(_SMOOTHING_BLURS):
                half = blurred(half)
            smooth = F.interpolate(half[None, None], scale_factor=2, mode="trilinear")
            smooth = smooth[0, 0, :nx, :ny, :nz]
            gradient = torch.lerp(own, smooth, self.gradient_smoothing).view_as(gradient)
        return gradient * self.reachable

    @torch.no_grad()
    def refresh_normals(self) -> None:
        """Recompute the normals that mirror view directions for gloss, from the distances."""
        if not self.size.gloss:
            return
        rough = resampled(
            self.distance_grid.table.view(self.size.corners), self.normal_grid.corners
        )
        slopes = torch.stack(torch.gradient(blurred(rough)), -1)
        self.normal_grid.table.copy_(F.normalize(slopes, dim=-1).view(-1, 3))

    def unit(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Positions in the box, [0, 1]^3, of (n, 3) points in world N."""
        return (points - self.low) / self.extent

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
        """(n, 1) signed distance in head units, negative inside."""
        cells: Tensor = self.distance_grid(self.unit(points))
        return self.size.cell * cells

    def normals(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """(n, 3) unit normals at (n, 3) points on the surface, outwards."""
        step = self.size.cell * torch.eye(3, device=points.device)
        around = torch.stack([points[:, None] + step, points[:, None] - step])  # [2, n, 3, 3]
        ahead, behind = self.distance(around.view(-1, 3)).view(2, -1, 3)
        return F.normalize(ahead - behind, dim=-1)

    @staticmethod
    def opacity(
        distance: Float[Tensor, "r ends"], softness: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r ends-1"]:
        """Opacity of the intervals along rays; zero where a ray leaves the surface.

        Args:
            distance: (r, s + 1) signed distances at the ends of the intervals, head units.
            softness: (r, 1) of each ray, head units.

        Returns:
            (r, s) opacities, 0 to 1.

        """
        passed = torch.sigmoid(distance / softness)
        return ((passed[:, :-1] - passed[:, 1:]) / (passed[:, :-1] + 1e-6)).clamp(0, 1)

    def colour(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "_g 3"], Float[Tensor, "n _k"]]:
        """Colour, gloss and contrast of points.

        Args:
            points: (n, 3) in world N.
            directions: (n, 3) unit directions from the camera to the points.

        Returns:
            (n, 3) colour in [0, 1]; the view-dependent part of it before the sigmoid, (n, 3), or
            (1, 3) zeros for a field without gloss; the local contrast, (n, 1), or (n, 0) for a
            field without contrast.

        """
        unit = self.unit(points)
        features = torch.cat([grid(unit) for grid in self.colour_grids], -1)
        matt, contrast = self.colour_net(features).split([3, int(self.size.contrast)], -1)
        if not self.size.gloss:
            return torch.sigmoid(matt), torch.zeros_like(matt[:1]), contrast
        normals = F.normalize(self.normal_grid(unit), dim=-1)
        cosine = (directions * normals).sum(-1, keepdim=True)
        mirrored = directions - 2 * cosine * normals
        gloss = self.gloss_net(torch.cat([features, _harmonics(mirrored), cosine], -1))
        return torch.sigmoid(matt + gloss), gloss, contrast

    def backdrop(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """(n, 3) background colour in (n, 3) unit directions of view, a smooth function of them."""
        return torch.sigmoid(self.backdrop_net(_harmonics(directions)))

    def regularity(
        self, index: Int[Tensor, " n"], spare_ridges: bool = True
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean eikonal and curvature penalties at inner corners of the distance grid.

        The eikonal penalty keeps the gradient's length at one, the curvature penalty keeps the
        Laplacian small (unit: one per cell).  Both use finite differences on the grid.

        Distances have a ridge between two sheets that face each other, as in the brim of a hat
        or behind an ear: one-sided differences have length one there and central ones vanish.
        Smoothing a ridge would drive the sheets apart, so it is no curvature.  Next to the
        surface the pattern is a pit and is always curvature.

        Args:
            index: (n,) corners, none of them on the grid's boundary.
            spare_ridges: whether ridges are left out of the curvature.  Regions that no view
                shows hold noise that resembles ridges.

        """
        table = self.distance_grid.table[:, 0]
        strides: Sequence[int] = [int(s) for s in self.distance_grid.strides]
        centre = table[index]
        squares, central = torch.zeros_like(centre), torch.zeros_like(centre)
        laplacian = -6 * centre
        for stride in strides:
            ahead, behind = table[index + stride], table[index - stride]
            squares = squares + ((ahead - centre) ** 2 + (centre - behind) ** 2) / 2
            central = central + ((ahead - behind) / 2) ** 2
            laplacian = laplacian + ahead + behind
        eikonal = ((squares + 1e-8).sqrt() - 1).square().mean()
        curvature = laplacian.square()
        if spare_ridges:
            with torch.no_grad():
                smooth = (central / (squares + 1e-4)) ** _RIDGE_POWER
                near_surface = torch.exp(-((centre / _RIDGE_FREE_CELLS) ** 2))
            curvature = torch.maximum(smooth, near_surface) * curvature
        return eikonal, curvature.mean()

    @torch.no_grad()
    def band(self, cells: float) -> Int[Tensor, " n"]:
        """Corners where distances are regularised.

        Args:
            cells: largest distance to the surface, cells.

        Returns:
            (n,) indices of reachable corners within that distance and not on the boundary.

        """
        nx, ny, nz = self.size.corners
        near = (self.distance_grid.table.abs() < cells) & self.reachable
        near = near.view(nx, ny, nz).clone()
        for axis in range(3):
            near.select(axis, 0).zero_()
            near.select(axis, -1).zero_()
        return near.view(-1).nonzero()[:, 0]


def _harmonics(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """(n, 9) monomials of first and second degree of (n, 3) directions."""
    x, y, z = directions.unbind(-1)
    return torch.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], -1)
