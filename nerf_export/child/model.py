"""The nerfstudio model around :class:`HeadField`: sampling, compositing, losses.

Legend: ``r`` rays, ``s`` samples along a ray.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import PDFSampler, UniformSampler
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import functional as F

from nerf_export.child.field import FieldSize, HeadField

_BAND_CELLS = 4.0
_BAND_REFRESH = 50
_BAND_SAMPLES = 16384


@dataclass
class HeadModelConfig(ModelConfig):
    """Numbers of the model; the presets of ``nerf_export.presets`` fill them in."""

    _target: type = field(default_factory=lambda: HeadModel)
    enable_collider: bool = False
    eval_num_rays_per_chunk: int = 8192
    field_size: FieldSize | None = None
    """Size and place of the grids; known once the hull is."""
    coarse_samples: int = 64
    """Samples that look for the surface, without gradient."""
    fine_samples: int = 20
    """Samples that are rendered."""
    mask_weight: float = 0.0
    eikonal_weight: float = 0.0
    curvature_weight: float = 0.0


class HeadModel(Model):
    """Renders the field; everything lies inside the box, so there is no background model."""

    config: HeadModelConfig

    def populate_modules(self) -> None:
        """Build field and samplers."""
        super().populate_modules()
        assert self.config.field_size is not None
        self.field = HeadField(self.config.field_size)
        self.find = UniformSampler(num_samples=self.config.coarse_samples, single_jitter=True)
        self.refine = PDFSampler(
            num_samples=self.config.fine_samples,
            include_original=False,
            single_jitter=True,
            histogram_padding=0.002,
        )
        self._band: Tensor | None = None
        self._steps_since_band = 0

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Three groups, since their units differ: lengths, features, network weights."""
        return {
            "distance": [self.field.distance_grid.table],
            "colour": [grid.table for grid in self.field.colour_grids],
            "network": list(self.field.colour_net.parameters()),
        }

    def sample(self, rays: RayBundle) -> RaySamples:
        """Samples concentrated where the ray enters the head."""
        rays.nears, rays.fars = self._box_interval(rays)
        coarse = self.find(rays)
        with torch.no_grad():
            centres = coarse.frustums.get_positions()  # [r, s, 3]
            distance = self.field.distance(centres.reshape(-1, 3)).view(*centres.shape[:2], 1)
            # A falloff thinner than the samples' spacing would slip between two of them.
            spacing = ((rays.fars - rays.nears) / self.config.coarse_samples)[:, None]
            beta = torch.maximum(spacing / 2, self.field.beta)
            weights = coarse.get_weights(self.field.density(distance, beta))
        return self.refine(rays, coarse, weights)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Composite (r, 3) colour over black, (r, 1) accumulation and depth."""
        samples = self.sample(ray_bundle)
        points = samples.frustums.get_positions()
        flat = points.reshape(-1, 3)
        density = self.field.density(self.field.distance(flat)).view(*points.shape[:2], 1)
        weights = samples.get_weights(density)  # [r, s, 1]
        colour = self.field.colour(flat).view(points.shape)
        middle = (samples.frustums.starts + samples.frustums.ends) / 2
        accumulation = weights.sum(-2)
        return {
            "rgb": (weights * colour).sum(-2),
            "accumulation": accumulation,
            "depth": (weights * middle).sum(-2) / accumulation.clamp(min=1e-6),
        }

    def get_loss_dict(self, outputs, batch, metrics_dict=None) -> dict[str, Tensor]:
        """Colour over a random background, silhouette, and a regular distance grid."""
        rgba = batch["image"].to(self.device)
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        accumulation = outputs["accumulation"]
        # The same random colour behind both: only a transparent model can follow it.
        behind = torch.rand_like(colour)
        seen = outputs["rgb"] + (1 - accumulation) * behind
        wanted = colour * alpha + (1 - alpha) * behind
        eikonal, curvature = self._regularity()
        return {
            "colour": F.mse_loss(seen, wanted),
            "mask": self.config.mask_weight * F.mse_loss(accumulation, alpha),
            "eikonal": self.config.eikonal_weight * eikonal,
            "curvature": self.config.curvature_weight * curvature,
        }

    def get_metrics_dict(self, outputs, batch) -> dict[str, Tensor]:
        """PSNR of the batch over black."""
        rgba = batch["image"].to(self.device)
        error = F.mse_loss(outputs["rgb"], rgba[..., :3] * rgba[..., 3:])
        return {"psnr": -10 * torch.log10(error.detach().clamp(min=1e-10))}

    def get_image_metrics_and_images(self, outputs, batch):
        """Not used: held-out views are scored in ``train`` with the foreground alone."""
        return {}, {"rgb": outputs["rgb"]}

    def _regularity(self) -> tuple[Tensor, Tensor]:
        if self._band is None or self._steps_since_band >= _BAND_REFRESH:
            self._band, self._steps_since_band = self.field.band(_BAND_CELLS), 0
        self._steps_since_band += 1
        if not len(self._band):
            zero = torch.zeros((), device=self.device)
            return zero, zero
        pick = torch.randint(len(self._band), (_BAND_SAMPLES,), device=self._band.device)
        return self.field.regularity(self._band[pick])

    def _box_interval(self, rays: RayBundle) -> tuple[Tensor, Tensor]:
        """(r, 1) distances at which rays enter and leave the box; empty for those that miss."""
        slow = rays.directions.abs() < 1e-9
        safe = torch.where(slow, torch.full_like(rays.directions, 1e-9), rays.directions)
        a = (self.field.low - rays.origins) / safe
        b = (self.field.low + self.field.extent - rays.origins) / safe
        near = torch.minimum(a, b).amax(-1, keepdim=True).clamp(min=1e-4)
        far = torch.maximum(a, b).amin(-1, keepdim=True)
        missed = far <= near
        return near, torch.where(missed, near + 1e-6, far)
