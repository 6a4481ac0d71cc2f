"""``fit.json``: settings, scores and sources of a fit, typed and within bounds.

A fit may come from a client or another machine.  Every member is checked when the file is read,
so that no number in it can demand unbounded memory or time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from dp3d_core.cameras.documents import Normalisation
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import FIT_VIEWS
from dp3d_core.storage.json_fields import Fields, numbers
from nerf_export.field.child_messages import TrainResult
from nerf_export.field.presets import Preset, json_key
from nerf_export.field.size import colour_levels

FIT_SCHEMA = "dp3d.fit/1"
"""Value of ``schema`` in a ``fit.json``."""
_MAX_WARNINGS = 2000
"""Warnings that a ``fit.json`` may list."""
_WHOLE_NUMBER_RANGES = {
    "image_size": (1, 16384),
    "grid": (2, 1024),
    "hidden": (1, 1024),
    "steps": (1, 10_000_000),
    "rays": (1, 1_000_000),
    "coarse_samples": (1, 1024),
    "fine_samples": (1, 1024),
    "gloss": (0, 1024),
}
"""Least and largest value of the preset's fields that are whole numbers."""


@dataclass(frozen=True)
class FitJob:
    """Arguments of a fit.  Two jobs that are equal, of equal views, make equal fits."""

    preset: Preset
    seed: int
    views_sha256: str
    poses: str
    """One of ``dp3d_core.limits.POSE_POLICIES``."""


@dataclass(frozen=True)
class FitSource:
    """The folder of another tool that the views were read from."""

    format: str
    """Name of its format."""
    applied: Normalisation | None
    """Transform that the tool had applied to its poses before it wrote them."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FitSource:
        """Of JSON; raises ``ValueError``."""
        source, applied = Fields(data, "source"), None
        if "applied_transform" in source:
            rows = source.listed("applied_transform", 4)
            transform = [numbers(row, 4, -1e9, 1e9, "a row of applied_transform") for row in rows]
            scale = source.number("applied_scale", 1e-9, 1e9, 1.0)
            try:
                applied = Normalisation.from_dict(
                    {"transform": transform, "scale": scale}, "fit.json"
                )
            except Dp3dError as error:
                raise ValueError("applied_transform in fit.json is no pose") from error
        return cls(source.text("format", most=40), applied)


@dataclass(frozen=True)
class FitMeta(TrainResult):
    """Contents of a ``fit.json``: arguments, result and warnings of a fit."""

    job: FitJob
    field_sha256: str
    held_out: tuple[int, ...]
    """Indices of the views that were not trained on."""
    warnings: tuple[str, ...]
    registration: dict[str, Any] | None
    """As :meth:`~nerf_export.views.registration.Registration.to_dict`; None: poses as given."""
    silhouettes: dict[str, Any] | None
    """Part of each silhouette that the visual hull fills, and their mean; None without masks."""
    start: str
    """Initial shape: ``hull`` (visual hull) or ``head`` (head prior)."""
    seconds: float | None
    """Duration of the fit; None for one that was resumed."""
    source: FitSource | None = None
    """Folder of another tool; None for views of ours."""

    @classmethod
    def from_dict(cls, data: Any) -> FitMeta:
        """Of a parsed ``fit.json``; raises ``ValueError`` with half a sentence on what is wrong."""
        meta = Fields(data, "fit.json")
        if data.get("schema") != FIT_SCHEMA:
            raise ValueError(f"fit.json is not of the kind {FIT_SCHEMA}")
        return cls(
            **vars(TrainResult.from_dict(data)),
            job=_job(meta.object("job")),
            field_sha256=meta.sha256("field_sha256"),
            held_out=_held_out(meta.listed("held_out", FIT_VIEWS.high, [])),
            warnings=tuple(meta.texts("warnings", _MAX_WARNINGS)),
            registration=meta.object("registration") if "registration" in meta else None,
            silhouettes=meta.object("silhouettes") if "silhouettes" in meta else None,
            start=meta.text("start", "hull", 20),
            seconds=meta.number("seconds", 0, 1e9) if "seconds" in meta else None,
            source=FitSource.from_dict(meta.object("source")) if "source" in meta else None,
        )

    def check_views(self, count: int) -> None:
        """Check held-out views and exposures against the number of views.

        Raises:
            ValueError: half a sentence on what is wrong.

        """
        if any(index >= count for index in self.held_out):
            raise ValueError(f"fit.json holds out views of which there are only {count}")
        if self.gains is not None and len(self.gains) != count - len(self.held_out):
            raise ValueError("fit.json has not one exposure for each training view")


def _job(data: dict[str, Any]) -> FitJob:
    job = Fields(data, "job")
    return FitJob(
        preset=_preset(job.object("preset")),
        seed=job.whole("seed", -(2**63), 2**64),
        views_sha256=job.sha256("views_sha256"),
        poses=job.text("poses", "auto", 40),
    )


def _preset(data: dict[str, Any]) -> Preset:
    """The preset; fields that an older fit lacks get today's defaults."""
    preset = Fields(data, "preset")
    values: dict[str, Any] = {
        "name": preset.text("name", most=100),
        "colour_levels": colour_levels(preset.listed("colour_levels", 8)),
    }
    for field in fields(Preset):
        key = json_key(field.name)
        if field.name in values or (key not in data and key not in _WHOLE_NUMBER_RANGES):
            continue
        if key in _WHOLE_NUMBER_RANGES:
            default = {} if key != "gloss" else {"default": 0}
            values[field.name] = preset.whole(key, *_WHOLE_NUMBER_RANGES[key], **default)
        else:
            values[field.name] = preset.number(key, 0.0, 1e6)
    return Preset(**values)


def _held_out(values: list[Any]) -> tuple[int, ...]:
    indices = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    if len(indices) != len(values) or len(set(indices)) != len(indices):
        raise ValueError("held_out in fit.json is not a list of views")
    return tuple(indices)
