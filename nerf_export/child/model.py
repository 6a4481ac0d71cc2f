"""The nerfstudio model around :class:`HeadField`: sampling, compositing, losses.

Axes in shapes: ``r`` rays, ``s`` samples along a ray.
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
from dp3d_core.limits import DEFAULT_FIT_PRESET
from dp3d_core.viewsets.psnr import NO_ERROR_DB, psnr
from nerf_export.child.contrast import CONTRAST_STEPS
from nerf_export.child.field import HeadField
from nerf_export.field.presets import AGREEING_ERROR, PRESETS, REFERENCE_CORNERS
from nerf_export.field.size import FieldSize
from nerf_export.shape.hull import Hull

_PIXEL_SOFTNESS = 0.25
"""Softness, pixels, at which the logistic function approximates an edge's coverage of a pixel."""
_COLOUR_OUTLIER = 0.15
"""Difference of a colour channel, 0 to 1, above which its loss is linear instead of squared."""
_CONTRAST_OUTLIER = 0.6
"""Difference of the local contrast above which its loss is linear instead of squared."""
_CURVATURE_ERROR = 2.3 * AGREEING_ERROR
"""Mean squared error above which the curvature weight grows: inconsistent views act as noise, and
a surface that follows it has dents."""
_CURVATURE_POWER = 2.5
"""Exponent of error / ``_CURVATURE_ERROR`` in the factor of the curvature weight; chosen by eye on
published frames."""
_MAX_CURVATURE_FACTOR = 40.0
"""Largest factor of the curvature weight for inconsistent views."""
_ERROR_RATE = 0.02
"""Weight of the latest step in the running mean of the error."""
_BAND_CELLS = 4.0
"""Distance to the surface, cells, within which the distance grid is regularised."""
_BAND_REFRESH_STEPS = 50
"""Steps after which the band around the surface is recomputed."""
_BAND_SAMPLES = 16384
"""Corners of the band that are regularised in a step."""
_DEFAULTS = PRESETS[DEFAULT_FIT_PRESET]
"""Source of the model's default settings."""


@dataclass(frozen=True)
class _StartSchedule:
    """Softness and curvature weight at the first steps; the default is for a start at the hull."""

    softness: float
    """Softness at the first step, cells."""
    curvature_part: float = 0.006
    """Part of the curvature weight that applies from the first step.  A stiff surface would stay
    at the hull."""
    spare_ridges: bool = True
    """Whether ridges of the distance grid are left out of the curvature."""


_ROUGH_HEAD_SCHEDULE = _StartSchedule(softness=0.7, curvature_part=0.125, spare_ridges=False)
"""Schedule for a start at the rough head of a capture of the front.  The surface is already near
its place; a sharper one breaks up at outlines, and ridges at the back are noise."""


@dataclass
class HeadModelConfig(ModelConfig):
    """Settings of the model.  Those shared with ``Preset`` default to the default preset."""

    _target: type = field(default_factory=lambda: HeadModel)
    enable_collider: bool = False
    eval_num_rays_per_chunk: int = 8192
    normals: bool = True
    """Whether a finished field also renders normals, which nerfstudio's exporters need."""
    colour_levels: tuple[tuple[float, int], ...] = _DEFAULTS.colour_levels
    """(part of the hull's corners, channels) of each level of the colour grid."""
    hidden: int = _DEFAULTS.hidden
    """Width of the colour network."""
    gloss: int = _DEFAULTS.gloss
    """Width of the network for view-dependent colour; 0 for none."""
    softness_start: float = _DEFAULTS.softness_start
    """Softness of the surface at the first step, cells."""
    softness_end: float = _DEFAULTS.softness_end
    """Softness of the surface at the last step, cells."""
    gradient_smoothing_until: float = _DEFAULTS.gradient_smoothing_until
    """Part of the steps up to which gradients of the distance grid are smoothed; 0: none."""
    coarse_samples: int = _DEFAULTS.coarse_samples
    """Samples along a ray that look for the surface (no gradient)."""
    fine_samples: int = _DEFAULTS.fine_samples
    """Samples along a ray that are rendered."""
    mask_weight: float = _DEFAULTS.mask_weight
    """Weight of the silhouette loss."""
    gloss_weight: float = _DEFAULTS.gloss_weight
    """Weight of the penalty on view-dependent colour."""
    gains_weight: float = _DEFAULTS.gains_weight
    """Weight of the penalty on the views' exposures."""
    eikonal_weight: float = _DEFAULTS.eikonal_weight
    """Weight of the eikonal loss."""
    curvature_weight: float = _DEFAULTS.curvature_weight
    """Weight of the curvature loss at the last step."""
    contrast_weight: float = _DEFAULTS.contrast_weight
    """Weight of the loss on the pictures' local contrast; 0: the field has no contrast."""


class HeadModel(Model):
    """Samples rays through the field's box, composites colours, and computes the losses."""

    config: HeadModelConfig
    field: HeadField
    error: Tensor
    """() mean squared colour error, running mean over the steps."""

    def populate_modules(self) -> None:
        """Build field and samplers.

        The dataset's metadata has either ``hull``, ``has_masks`` and optionally ``contrasts`` (see
        ``dataparser``), or the ``field_size`` of a field whose weights are loaded later.

        Raises:
            ValueError: the metadata has neither a hull nor a field size.

        """
        super().populate_modules()
        metadata = self.kwargs["metadata"]
        self._start_schedule = _StartSchedule(self.config.softness_start)
        contrasts = metadata.get("contrasts", ()) if self.config.contrast_weight else ()
        self.contrasts = _Pictures(contrasts)
        if "hull" in metadata:
            hull = metadata["hull"]
            self.field = HeadField(field_size(self.config, hull, metadata["has_masks"]))
            start = None
            if hull.start is not None:
                self._start_schedule = _ROUGH_HEAD_SCHEDULE
                start = torch.from_numpy(hull.start)
            self.field.start_from(torch.from_numpy(hull.distance), hull.reach, start)
        elif "field_size" in metadata:
            self.field = HeadField(metadata["field_size"])
        else:
            raise ValueError("dp3d-head needs the visual hull: read the data with dp3d-head-data")
        self.coarse_sampler = UniformSampler(
            num_samples=self.config.coarse_samples, single_jitter=True
        )
        self.fine_sampler = PDFSampler(
            num_samples=self.config.fine_samples,
            include_original=False,
            single_jitter=True,
            histogram_padding=0.002,
        )
        # logarithm of each view's exposure, [views, 3]
        self.gains = torch.nn.Parameter(torch.zeros(max(1, self.num_train_data), 3))
        self.register_buffer("error", torch.tensor(0.0))
        self._curvature_growth = 0.0  # 0 at the first step, 1 at the last
        self._band: Tensor | None = None
        self._steps_since_band = 0

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Parameters by learning rate: distances, colour features, networks, exposures."""
        return {
            "distance": list(self.field.distance_grid.parameters()),
            "colour": list(self.field.colour_grids.parameters()),
            "network": [p for name, p in self.field.named_parameters() if "_net." in name],
            "gains": [self.gains],
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Callback that sets softness, gradient smoothing and curvature before each step."""
        trainer = training_callback_attributes.trainer
        assert trainer is not None
        steps = max(1, trainer.config.max_num_iterations)

        def advance(step: int) -> None:
            self.set_progress(step / steps)

        return [TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], advance)]

    def set_progress(self, part: float) -> None:
        """Set what changes during training: softness, gradient smoothing, curvature weight.

        Args:
            part: of the steps that are done, 0 to 1.

        """
        part = min(1.0, part)
        start, end = self._start_schedule.softness, self.config.softness_end
        self.field.softness.fill_(start * (end / start) ** part * self.field.size.cell)
        self._curvature_growth = part**2
        until = self.config.gradient_smoothing_until
        self.field.gradient_smoothing = max(0.0, 1 - part / until) if until else 0.0

    def sample(self, rays: RayBundle) -> RaySamples:
        """Intervals along rays, densest where the rays enter the head; sets the rays' limits."""
        near, far = rays.nears, rays.fars = self._box_interval(rays)
        coarse = self.coarse_sampler(rays)
        with torch.no_grad():
            # Softness of a quarter of the spacing: no thin part is missed between two samples.
            spacing = (far - near) / self.config.coarse_samples
            softness = torch.maximum(spacing / 4, self._softness(rays))
            opacity = self.field.opacity(self._edge_distances(rays, coarse), softness)
        samples: RaySamples = self.fine_sampler(rays, coarse, _weights(opacity)[..., None])
        return samples

    def get_outputs(  # type: ignore[override]  # rays alone, as in nerfstudio's own fields
        self, ray_bundle: RayBundle
    ) -> dict[str, Tensor]:
        """Render rays.

        Returns:
            ``rgb`` (r, 3), premultiplied; ``accumulation`` (r, 1); ``depth`` (r, 1), along the
            ray.  Also ``backdrop`` (r, 3) for a field without masks; in training ``gloss``, its
            mean square, and ``contrast`` (r, 1); else, with ``config.normals``, ``normals``
            (r, 3) in [0, 1].

        """
        samples = self.sample(ray_bundle)
        distance = self._edge_distances(ray_bundle, samples)
        weights = _weights(self.field.opacity(distance, self._softness(ray_bundle)))[..., None]
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

    def _softness(self, rays: RayBundle) -> Float[Tensor, "r 1"]:
        """(r, 1) softness, head units: the larger of the field's and a pixel's."""
        assert rays.nears is not None
        assert rays.fars is not None
        middle = (rays.nears + rays.fars) / 2
        pixel_softness = _PIXEL_SOFTNESS * rays.pixel_area.sqrt() * middle
        return torch.maximum(pixel_softness, self.field.softness)

    def get_loss_dict(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses of colour, silhouette, gloss, exposures, distances and contrast."""
        colour, alpha = self._wanted(batch)
        accumulation = outputs["accumulation"]
        if "backdrop" in outputs:  # no masks, so no silhouette loss
            behind, wanted, mask = outputs["backdrop"], colour, torch.zeros_like(accumulation[0, 0])
        else:
            # A random background, so that opaque colours cannot stand in for the background.
            behind = torch.rand_like(colour)
            wanted = colour * alpha + (1 - alpha) * behind
            mask = F.mse_loss(accumulation, alpha)
        seen = outputs["rgb"] + (1 - accumulation) * behind
        if self.training:
            self.error.lerp_(F.mse_loss(seen.detach(), wanted), _ERROR_RATE)
        noise = (self.error / _CURVATURE_ERROR).pow(_CURVATURE_POWER)
        factor = self._curvature_growth * noise.clamp(1, _MAX_CURVATURE_FACTOR)
        eikonal, curvature = self._regularity()
        curvature = (self._start_schedule.curvature_part + factor) * curvature
        return {
            "colour": 2 * F.huber_loss(seen, wanted, delta=_COLOUR_OUTLIER),
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
        """(r, 3) straight colour and (r, 1) alpha of the pictures; opaque without alpha."""
        pixels = batch["image"].to(self.device)
        if pixels.shape[-1] == 4:
            return pixels[..., :3], pixels[..., 3:]
        return pixels, torch.ones_like(pixels[..., :1])

    def get_rgba_image(
        self, outputs: dict[str, Tensor], output_name: str = "rgb"
    ) -> Float[Tensor, "... 4"]:
        """(..., 4) straight colour and alpha, for nerfstudio's exporters."""
        alpha = outputs["accumulation"]
        return torch.cat([(outputs[output_name] / alpha.clamp(min=1e-6)).clamp(0, 1), alpha], -1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and picture over white, or over the backdrop, for ``ns-train`` and ``ns-eval``.

        ``scores`` computes the scores of ``dp3d fit``.
        """
        colour, alpha = self._wanted(batch)
        behind = outputs.get("backdrop", 1.0)
        seen = (outputs["rgb"] + (1 - outputs["accumulation"]) * behind).clamp(0, 1)
        error = F.mse_loss(seen, colour * alpha + 1 - alpha)
        return {"psnr": psnr(float(error))}, {"img": seen}

    def _regularity(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Eikonal and curvature penalties at random corners near the surface."""
        if self._band is None or self._steps_since_band >= _BAND_REFRESH_STEPS:
            self._band, self._steps_since_band = self.field.band(_BAND_CELLS), 0
            self.field.refresh_normals()
        self._steps_since_band += 1
        if not len(self._band):
            zero = torch.zeros((), device=self.device)
            return zero, zero
        pick = torch.randint(len(self._band), (_BAND_SAMPLES,), device=self._band.device)
        spare_ridges = self._start_schedule.spare_ridges
        eikonal, curvature = self.field.regularity(self._band[pick], spare_ridges)
        # The curvature of a shape, in units of cells, falls with the cell size.
        return eikonal, curvature * (max(self.field.size.corners) / REFERENCE_CORNERS) ** 2

    def _box_interval(self, rays: RayBundle) -> tuple[Float[Tensor, "r 1"], Float[Tensor, "r 1"]]:
        """(r, 1) distances at which rays enter and leave the box, nearly equal for a miss."""
        parallel = rays.directions.abs() < 1e-9
        safe = torch.where(parallel, torch.full_like(rays.directions, 1e-9), rays.directions)
        a = (self.field.low - rays.origins) / safe
        b = (self.field.low + self.field.extent - rays.origins) / safe
        near = torch.minimum(a, b).amax(-1, keepdim=True).clamp(min=1e-4)
        far = torch.maximum(a, b).amin(-1, keepdim=True)
        missed = far <= near
        return near, torch.where(missed, near + 1e-6, far)


def field_size(config: HeadModelConfig, hull: Hull, has_masks: bool) -> FieldSize:
    """Size of the field that a model of this configuration builds over a hull."""
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
    """Pixels of (h, w) int8 pictures of different sizes, on the model's device."""

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
    """(r, s) weight of each interval in the composite: opacity x transmittance before it."""
    transmittance = torch.cumprod(1 - opacity + 1e-7, -1)
    before = torch.cat([torch.ones_like(transmittance[:, :1]), transmittance[:, :-1]], -1)
    return opacity * before


def _psnr(squared_error: Tensor) -> Tensor:
    """PSNR, dB, at most ``NO_ERROR_DB``; a tensor, so that a step need not wait for the GPU."""
    return -10 * torch.log10(squared_error.clamp(min=10 ** (-NO_ERROR_DB / 10)))
