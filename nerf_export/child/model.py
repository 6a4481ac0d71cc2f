"""The nerfstudio model around :class:`HeadField`: sampling, compositing, losses.

Legend: ``r`` rays, ``s`` samples along a ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.model_components.ray_samplers import PDFSampler, UniformSampler
from nerfstudio.models.base_model import Model, ModelConfig
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dp3d_core.arrays import Float, Int
from nerf_export.child.contrast import CONTRAST_STEPS
from nerf_export.child.field import HeadField
from nerf_export.field.presets import AGREEING_ERROR, REFERENCE_CORNERS
from nerf_export.field.size import FieldSize
from nerf_export.shape.hull import Hull

_PIXEL = 0.25
_OUTLIER = 0.15
"""Difference of a colour channel from which a view counts as contradicting the others."""
_SMOOTHED_ERROR = 2.3 * AGREEING_ERROR
"""Mean squared error from which a surface has to be smoother than that of views that agree."""
_MOST_SMOOTHING = 40.0
_SMOOTHING_POWER = 2.5
"""Views that contradict each other are noise, which a surface follows into dents: the more they
do, the smoother it has to be (the power is the one that looked best on published frames)."""
_CONTRAST_OUTLIER = 0.6
"""Difference of the local contrast from which a view counts as contradicting the others."""
_ERROR_RATE = 0.02
_BAND_CELLS = 4.0
_BAND_REFRESH = 50
_BAND_SAMPLES = 16384


@dataclass(frozen=True)
class _Beginning:
    """How a surface is treated that starts at the hull, or as a rough head."""

    width: float
    """Softness at the first step, cells."""
    smoothing: float = 0.006
    """Part of the smoothing that is there from the first step: a stiff surface does not find its
    place, it stays at the hull."""
    ridges: bool = True
    """Whether ridges of the distances are spared from smoothing."""


_ROUGH_HEAD = _Beginning(width=0.7, smoothing=0.125, ridges=False)
"""It is near its place already, and its captures show the front alone: a sharper surface goes to
pieces at their outlines, and what looks like ridges behind is noise."""


@dataclass
class HeadModelConfig(ModelConfig):
    """Numbers of the model; the presets of ``nerf_export.field.presets`` fill them in."""

    _target: type = field(default_factory=lambda: HeadModel)
    enable_collider: bool = False
    eval_num_rays_per_chunk: int = 8192
    colour_levels: tuple[tuple[float, int], ...] = ((0.25, 8), (0.5, 8), (1.0, 4))
    hidden: int = 32
    gloss: int = 16
    """Of the field: see ``FieldSize``.  The hull gives its place and its corners."""
    width_start: float = 0.3
    width_end: float = 0.15
    """Softness of the surface at the first and the last step, cells."""
    spread_until: float = 0.9
    """Part of the steps after which every corner of the grid goes its own way."""
    coarse_samples: int = 64
    """Samples that look for the surface, without gradient."""
    fine_samples: int = 20
    """Samples that are rendered."""
    normals: bool = True
    """Whether a finished field renders normals, too, which nerfstudio's exporters ask for."""
    mask_weight: float = 0.0
    gloss_weight: float = 0.0
    gains_weight: float = 0.0
    eikonal_weight: float = 0.0
    curvature_weight: float = 0.0
    contrast_weight: float = 0.0


class HeadModel(Model):
    """Renders the field; everything lies inside the box, so there is no background model."""

    config: HeadModelConfig
    field: HeadField
    error: Tensor

    def populate_modules(self) -> None:
        """Build field and samplers.

        The dataset's metadata has a ``hull`` that the field starts from (see ``dataparser``), or
        the ``field_size`` of a field that is filled in later.
        """
        super().populate_modules()
        metadata = self.kwargs["metadata"]
        self._beginning = _Beginning(self.config.width_start)
        contrasts = metadata.get("contrasts", ()) if self.config.contrast_weight else ()
        self.contrasts = _Pictures(contrasts)
        if "hull" in metadata:
            hull = metadata["hull"]
            self.field = HeadField(field_size(self.config, hull, metadata["has_masks"]))
            start = None
            if hull.start is not None:
                self._beginning = _ROUGH_HEAD
                start = torch.from_numpy(hull.start)
            self.field.start_from(torch.from_numpy(hull.distance), hull.reach, start)
        elif "field_size" in metadata:
            self.field = HeadField(metadata["field_size"])
        else:
            raise ValueError("dp3d-head needs the visual hull: read the data with dp3d-head-data")
        self.find = UniformSampler(num_samples=self.config.coarse_samples, single_jitter=True)
        self.refine = PDFSampler(
            num_samples=self.config.fine_samples,
            include_original=False,
            single_jitter=True,
            histogram_padding=0.002,
        )
        # Views of one head may differ in exposure: a factor for each, its logarithm near zero.
        self.gains = torch.nn.Parameter(torch.zeros(max(1, self.num_train_data), 3))
        self.register_buffer("error", torch.tensor(0.0))  # running mean over the steps
        self._smoothing = 0.0
        self._band: Tensor | None = None
        self._steps_since_band = 0

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Groups, since their units differ: lengths, features, network weights, exposures."""
        return {
            "distance": list(self.field.distance_grid.parameters()),
            "colour": list(self.field.colour_grids.parameters()),
            "network": [p for name, p in self.field.named_parameters() if "_net." in name],
            "gains": [self.gains],
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Softness and spread of each step."""
        trainer = training_callback_attributes.trainer
        assert trainer is not None
        steps = max(1, trainer.config.max_num_iterations)

        def advance(step: int) -> None:
            self.set_progress(step / steps)

        return [TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], advance)]

    def set_progress(self, part: float) -> None:
        """Soft and coherent at first, sharp and free at the end; 0 to 1."""
        config, part = self.config, min(1.0, part)
        first = self._beginning.width
        width = first * (config.width_end / first) ** part
        self.field.width.fill_(width * self.field.size.cell)
        self._smoothing = part**2
        self.field.spread = max(0.0, 1 - part / config.spread_until) if config.spread_until else 0.0

    def sample(self, rays: RayBundle) -> RaySamples:
        """Samples concentrated where the ray enters the head."""
        near, far = rays.nears, rays.fars = self._box_interval(rays)
        coarse = self.find(rays)
        with torch.no_grad():
            # A surface softer than the samples' spacing cannot slip between two of them.
            spacing = (far - near) / self.config.coarse_samples
            width = torch.maximum(spacing / 4, self._width(rays))
            opacity = self.field.opacity(self._edge_distances(rays, coarse), width)
        samples: RaySamples = self.refine(rays, coarse, _weights(opacity)[..., None])
        return samples

    def get_outputs(  # type: ignore[override]  # rays alone, as in nerfstudio's own fields
        self, ray_bundle: RayBundle
    ) -> dict[str, Tensor]:
        """Composite (r, 3) colour over black, (r, 1) accumulation and depth.

        A field without masks also gives the (r, 3) colour behind; a finished one, where the
        configuration says so, (r, 3) normals in [0, 1].
        """
        samples = self.sample(ray_bundle)
        distance = self._edge_distances(ray_bundle, samples)
        weights = _weights(self.field.opacity(distance, self._width(ray_bundle)))[..., None]
        points = samples.frustums.get_positions()  # [r, s, 3], the middle of each interval
        along = ray_bundle.directions[:, None].expand(points.shape)
        colour, gloss, contrast = self.field.colour(points.reshape(-1, 3), along.reshape(-1, 3))
        colour = colour.view(points.shape)
        middle = (samples.frustums.starts + samples.frustums.ends) / 2
        accumulation = weights.sum(-2)
        extras = {}
        if self.field.size.backdrop:
            extras["backdrop"] = self.field.backdrop(ray_bundle.directions)
        rgb = (weights * colour).sum(-2)
        if self.training and ray_bundle.camera_indices is not None:
            rgb = rgb * self.gains[ray_bundle.camera_indices[..., 0]].exp()
            extras["gloss"] = gloss.square().mean()
            extras["contrast"] = (weights * contrast.view(*points.shape[:2], -1)).sum(-2)
        depth = (weights * middle).sum(-2) / accumulation.clamp(min=1e-6)
        if self.config.normals and not self.training:
            normals = self.field.normals(ray_bundle.origins + ray_bundle.directions * depth)
            extras["normals"] = ((normals + 1) / 2).clamp(0, 1)
        return {**extras, "rgb": rgb, "accumulation": accumulation, "depth": depth}

    def _edge_distances(self, rays: RayBundle, samples: RaySamples) -> Float[Tensor, "r ends"]:
        """(r, s + 1) signed distances at the ends of the intervals."""
        frustums = samples.frustums
        t = torch.cat([frustums.starts[..., 0], frustums.ends[:, -1]], -1)
        points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
        return self.field.distance(points.reshape(-1, 3)).view(t.shape)

    def _width(self, rays: RayBundle) -> Float[Tensor, "r 1"]:
        """(r, 1) softness: the field's, or that of a pixel if its footprint is larger.

        A logistic of a quarter of a pixel rises about as an edge's coverage of that pixel.
        """
        assert rays.nears is not None
        assert rays.fars is not None
        middle = (rays.nears + rays.fars) / 2
        return torch.maximum(_PIXEL * rays.pixel_area.sqrt() * middle, self.field.width)

    def get_loss_dict(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Colour over a random background, silhouette, and a regular distance grid."""
        colour, alpha = self._wanted(batch)
        accumulation = outputs["accumulation"]
        if "backdrop" in outputs:  # no masks: nothing is known about what is the head
            behind, wanted, mask = outputs["backdrop"], colour, torch.zeros_like(accumulation[0, 0])
        else:
            # The same random colour behind both: only a transparent model can follow it.
            behind = torch.rand_like(colour)
            wanted = colour * alpha + (1 - alpha) * behind
            mask = F.mse_loss(accumulation, alpha)
        seen = outputs["rgb"] + (1 - accumulation) * behind
        if self.training:
            self.error.lerp_(F.mse_loss(seen.detach(), wanted), _ERROR_RATE)
        noise = (self.error / _SMOOTHED_ERROR).pow(_SMOOTHING_POWER).clamp(1, _MOST_SMOOTHING)
        eikonal, curvature = self._regularity()
        curvature = (self._beginning.smoothing + self._smoothing * noise) * curvature
        return {
            # the squared error up to _OUTLIER, linear beyond, where views contradict each other
            "colour": 2 * F.huber_loss(seen, wanted, delta=_OUTLIER),
            "mask": self.config.mask_weight * mask,
            "gloss": self.config.gloss_weight * outputs["gloss"],
            "gains": self.config.gains_weight * self.gains.square().mean(),
            "eikonal": self.config.eikonal_weight * eikonal,
            "curvature": self.config.curvature_weight * curvature,
            **self._contrast_loss(outputs, batch),
        }

    def _contrast_loss(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        if not self.training or not self.field.size.contrast:
            return {}
        wanted = self.contrasts.at(batch["indices"])[:, None] / CONTRAST_STEPS
        loss = 2 * F.huber_loss(outputs["contrast"], wanted, delta=_CONTRAST_OUTLIER)
        return {"contrast": self.config.contrast_weight * loss}

    def get_metrics_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """PSNR of the batch over black."""
        colour, alpha = self._wanted(batch)
        error = F.mse_loss(outputs["rgb"], colour * alpha)
        return {"psnr": _psnr(error.detach())}

    def _wanted(
        self, batch: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "r 3"], Float[Tensor, "r 1"]]:
        """(r, 3) straight colour and (r, 1) alpha of the pictures; no alpha: all is opaque."""
        pixels = batch["image"].to(self.device)
        if pixels.shape[-1] == 4:
            return pixels[..., :3], pixels[..., 3:]
        return pixels, torch.ones_like(pixels[..., :1])

    def get_rgba_image(
        self, outputs: dict[str, Tensor], output_name: str = "rgb"
    ) -> Float[Tensor, "... 4"]:
        """(..., 4) straight colour and alpha, what nerfstudio's exporters ask for."""
        alpha = outputs["accumulation"]
        return torch.cat([(outputs[output_name] / alpha.clamp(min=1e-6)).clamp(0, 1), alpha], -1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Over the random backgrounds nothing can be told: over white.

        Our own fits are scored in ``train``, by the foreground alone.
        """
        colour, alpha = self._wanted(batch)
        behind = outputs.get("backdrop", 1.0)
        seen = (outputs["rgb"] + (1 - outputs["accumulation"]) * behind).clamp(0, 1)
        error = F.mse_loss(seen, colour * alpha + 1 - alpha)
        return {"psnr": float(_psnr(error))}, {"img": seen}

    def _regularity(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        if self._band is None or self._steps_since_band >= _BAND_REFRESH:
            self._band, self._steps_since_band = self.field.band(_BAND_CELLS), 0
            self.field.refresh_normals()
        self._steps_since_band += 1
        if not len(self._band):
            zero = torch.zeros((), device=self.device)
            return zero, zero
        pick = torch.randint(len(self._band), (_BAND_SAMPLES,), device=self._band.device)
        eikonal, curvature = self.field.regularity(self._band[pick], ridges=self._beginning.ridges)
        # A form of the head's has less curvature in the cells of a finer grid.
        return eikonal, curvature * (max(self.field.size.corners) / REFERENCE_CORNERS) ** 2

    def _box_interval(self, rays: RayBundle) -> tuple[Float[Tensor, "r 1"], Float[Tensor, "r 1"]]:
        """(r, 1) distances at which rays enter and leave the box; empty for those that miss."""
        slow = rays.directions.abs() < 1e-9
        safe = torch.where(slow, torch.full_like(rays.directions, 1e-9), rays.directions)
        a = (self.field.low - rays.origins) / safe
        b = (self.field.low + self.field.extent - rays.origins) / safe
        near = torch.minimum(a, b).amax(-1, keepdim=True).clamp(min=1e-4)
        far = torch.maximum(a, b).amin(-1, keepdim=True)
        missed = far <= near
        return near, torch.where(missed, near + 1e-6, far)


def field_size(config: HeadModelConfig, hull: Hull, has_masks: bool) -> FieldSize:
    """The field that a model of this configuration has over a hull."""
    nx, ny, nz = hull.distance.shape
    x, y, z = (float(value) for value in hull.low)
    return FieldSize(
        corners=(nx, ny, nz),
        low=(x, y, z),
        cell=hull.cell,
        colour_levels=config.colour_levels,
        hidden=config.hidden,
        backdrop=not has_masks,
        gloss=config.gloss,
        contrast=has_masks and config.contrast_weight > 0,
    )


class _Pictures(torch.nn.Module):
    """(h, w) int8 pictures of any sizes, looked up pixel by pixel on the model's device."""

    _first: Tensor
    _width: Tensor
    _pixels: Tensor

    def __init__(self, pictures: Sequence[Int[NDArray[np.int8], "_h _w"]]) -> None:
        super().__init__()
        sizes = torch.tensor([picture.size for picture in pictures], dtype=torch.long)
        widths = torch.tensor([picture.shape[1] for picture in pictures], dtype=torch.long)
        pixels = np.concatenate([np.empty(0, np.int8), *(p.reshape(-1) for p in pictures)])
        self.register_buffer("_first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("_width", widths, persistent=False)
        self.register_buffer("_pixels", torch.from_numpy(pixels), persistent=False)

    def at(self, indices: Int[Tensor, "n 3"]) -> Int[Tensor, " n"]:
        """(n,) values at (n, 3) indices of picture, row and column."""
        picture, row, column = indices.to(self._first.device).unbind(-1)
        return self._pixels[self._first[picture] + row * self._width[picture] + column]


def _weights(opacity: Float[Tensor, "r s"]) -> Float[Tensor, "r s"]:
    """(r, s) part of the light each interval contributes."""
    through = torch.cumprod(1 - opacity + 1e-7, -1)
    return opacity * torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], -1)


def _psnr(squared_error: Tensor) -> Tensor:
    """PSNR, dB, of a mean squared error; at most 100."""
    return -10 * torch.log10(squared_error.clamp(min=1e-10))
