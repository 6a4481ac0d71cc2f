"""The head's radiance field: a signed distance grid that makes opacity, and a colour grid.

Opacity follows NeuS (Wang et al. 2021, eq. 10 and 13): along a ray, transmittance is the
logistic cumulative Phi of the distance over a width.  A ray that just touches the surface
then has an opacity of one half, so silhouettes neither swell nor shrink, which a density made
from the distance (VolSDF) does by some widths at grazing angles.

The distance starts as that of the visual hull, so the first step already samples near the
surface; the mesh later is its zero level.  The width shrinks while training goes on, and so does
the spread: the part of a distance's gradient that is shared with its surroundings.  Without it
every corner of the grid goes its own way, and where skin has little texture the surface stays
where the hull was (the same idea as Nicolet et al. 2021, "Large Steps in Inverse Rendering").

What changes with the direction of view is gloss: a small network of the material and of the
direction in which the surface mirrors the view (Verbin et al. 2022, Ref-NeRF).  Without it a
highlight, which wanders over the surface, is explained by dents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp3d_core.arrays import Float, Int
from nerf_export.child.grids import Grid, blurred, resampled
from nerf_export.field.size import FieldSize

_SPREAD_BLURS = 2
"""Blurs, at half the resolution, that a gradient is spread by: some four cells."""
_RIDGE_POWER = 4
"""The larger, the sooner a change of slope counts as a ridge between two sheets."""
_BESIDE = 0.4
"""Cells from the surface within which there is no ridge."""


class HeadField(nn.Module):
    """Distance and colour anywhere in the box, and opacity along a ray."""

    low: Tensor
    extent: Tensor
    width: Tensor
    reachable: Tensor

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
        self.register_buffer("width", torch.tensor(size.cell))
        rows = self.distance_grid.table.shape[0]
        self.register_buffer("reachable", torch.ones(rows, 1, dtype=torch.bool))
        self.spread = 0.0
        """Part of the distance's gradient that is shared with the surroundings, 0 to 1."""
        self.distance_grid.table.register_hook(self._spread_gradient)

    def start_from(
        self,
        hull_distance: Float[Tensor, "nx ny nz"],
        reach: float,
        start: Float[Tensor, "nx ny nz"] | None = None,
    ) -> None:
        """Take (nx, ny, nz) distances, head units, as the first guess: the hull's, or ``start``.

        The surface stays within ``reach``, head units, of the hull.
        """
        first = hull_distance if start is None else start
        with torch.no_grad():
            self.distance_grid.table.copy_(first.reshape(-1, 1) / self.size.cell)
            self.reachable.copy_(hull_distance.reshape(-1, 1) < reach)
            for table in self.colour_grids.parameters():
                table.uniform_(-0.05, 0.05)
        self.refresh_normals()

    def _spread_gradient(self, gradient: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows 1"]:
        if self.spread > 0:
            nx, ny, nz = self.size.corners
            own = gradient.view(nx, ny, nz)
            half = F.avg_pool3d(own[None, None], 2, ceil_mode=True)[0, 0]
            for _ in range(_SPREAD_BLURS):
                half = blurred(half)
            shared = F.interpolate(half[None, None], scale_factor=2, mode="trilinear")
            gradient = torch.lerp(own, shared[0, 0, :nx, :ny, :nz], self.spread).view_as(gradient)
        return gradient * self.reachable

    @torch.no_grad()
    def refresh_normals(self) -> None:
        """Take the normals at which gloss is mirrored from the present distances."""
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
        distance: Float[Tensor, "r ends"], width: Float[Tensor, "r 1"]
    ) -> Float[Tensor, "r ends-1"]:
        """Opacity of the (r, s) intervals between (r, s + 1) distances along rays.

        ``width`` is (r, 1), head units.  Leaving the surface costs nothing.
        """
        passed = torch.sigmoid(distance / width)
        return ((passed[:, :-1] - passed[:, 1:]) / (passed[:, :-1] + 1e-6)).clamp(0, 1)

    def colour(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "_g 3"], Float[Tensor, "n _k"]]:
        """(n, 3) colour in [0, 1] seen along (n, 3) unit directions, the gloss in it, contrast.

        The gloss, (n, 3) before the sigmoid, is what changes with the direction; the contrast,
        (n, 1) or (n, 0) where the field has none, does not.
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
        """(n, 3) colour far behind the head: smooth in the (n, 3) direction of view."""
        return torch.sigmoid(self.backdrop_net(_harmonics(directions)))

    def regularity(
        self, index: Int[Tensor, " n"], ridges: bool = True
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean eikonal and curvature penalties at (n,) inner corners.

        The gradient's length should be one (eikonal) and the Laplacian, in units of one per
        cell, small; both by finite differences on the grid.

        Between two sheets that face each other, in the brim of a hat or behind an ear, distances
        have a ridge: one-sided differences are one there, central ones vanish.  That is no
        curvature; smoothing it would drive the sheets apart.  Beside the surface it is a pit.
        Without ``ridges`` everything counts as curvature: where no view looks, distances are
        noise, which looks like ridges.
        """
        table = self.distance_grid.table[:, 0]
        strides: Sequence[int] = [int(s) for s in self.distance_grid._strides]
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
        if ridges:
            with torch.no_grad():
                smooth = (central / (squares + 1e-4)) ** _RIDGE_POWER
                counts = torch.maximum(smooth, torch.exp(-((centre / _BESIDE) ** 2)))
            curvature = counts * curvature
        return eikonal, curvature.mean()

    @torch.no_grad()
    def band(self, cells: float) -> Int[Tensor, " n"]:
        """(n,) inner corners within some cells of the surface that the fit may move."""
        nx, ny, nz = self.size.corners
        near = (self.distance_grid.table.abs() < cells) & self.reachable
        near = near.view(nx, ny, nz).clone()
        for axis in range(3):
            near.select(axis, 0).zero_()
            near.select(axis, -1).zero_()
        return near.view(-1).nonzero()[:, 0]


_HARMONICS = 9


def _harmonics(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """(n, 9) polynomials up to the second degree of (n, 3) directions."""
    x, y, z = directions.unbind(-1)
    return torch.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], -1)
