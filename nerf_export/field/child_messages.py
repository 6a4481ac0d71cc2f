"""Requests of the host to the child process and the result of training, with their JSON.

``nerf_export.child`` reads a request with ``from_dict``, once.  ``fit.json`` has the members of
:class:`TrainResult` and may come from another machine: they are checked when they are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp3d_core.limits import FIT_VIEWS
from dp3d_core.storage.json_fields import Fields, is_number, numbers
from dp3d_core.viewsets.viewset import ViewMeta
from nerf_export.field.presets import Preset
from nerf_export.field.size import FieldSize

_MAX_VERSIONS = 64
"""Package versions that a ``fit.json`` may list."""
_MAX_SCORES = 32
"""Scores that one object of a ``fit.json`` may have."""
_GAINS = (1e-3, 1e3)
"""Range of the factor by which a view is brighter than the field."""


@dataclass(frozen=True)
class TrainRequest:
    """Fit a field to a dataset."""

    dataset: Path
    """Folder in nerfstudio's format."""
    hull: Path
    """The npz of a :class:`nerf_export.shape.hull.Hull`."""
    has_masks: bool
    work: Path
    """Folder of log and checkpoints."""
    field: Path
    """The safetensors to write."""
    preset: Preset
    seed: int
    max_memory_gb: float | None
    """GiB of the device's memory that the fit may take; None: all that is free."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**_with_paths_as_text(self), "preset": self.preset.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainRequest:
        """From JSON."""
        limit = data.get("max_memory_gb")
        return cls(
            preset=Preset.from_dict(data["preset"]),
            dataset=Path(data["dataset"]),
            hull=Path(data["hull"]),
            has_masks=bool(data["has_masks"]),
            work=Path(data["work"]),
            field=Path(data["field"]),
            seed=int(data["seed"]),
            max_memory_gb=None if limit is None else float(limit),
        )


@dataclass(frozen=True)
class SurfaceRequest:
    """Write the signed distance grid of a field."""

    field: Path
    """The safetensors of the field."""
    field_size: FieldSize
    grid: Path
    """The npz to write: ``distance`` (nx, ny, nz), ``low`` (3,) and ``cell``, world N, head
    units."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**_with_paths_as_text(self), "field_size": self.field_size.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SurfaceRequest:
        """From JSON."""
        return cls(Path(data["field"]), FieldSize.from_dict(data["field_size"]), Path(data["grid"]))


@dataclass(frozen=True)
class RenderRequest:
    """Render a field into a view set."""

    field: Path
    """The safetensors of the field."""
    field_size: FieldSize
    coarse_samples: int
    fine_samples: int
    """Samples along a ray, as in the preset."""
    cameras: Path
    """A cameras.json."""
    out: Path
    """Folder of the view set."""
    meta: ViewMeta

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **_with_paths_as_text(self),
            "field_size": self.field_size.to_dict(),
            "meta": self.meta.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RenderRequest:
        """From JSON."""
        return cls(
            field=Path(data["field"]),
            field_size=FieldSize.from_dict(data["field_size"]),
            coarse_samples=int(data["coarse_samples"]),
            fine_samples=int(data["fine_samples"]),
            cameras=Path(data["cameras"]),
            out=Path(data["out"]),
            meta=ViewMeta.from_dict(data["meta"]),
        )


def _with_paths_as_text(request: Any) -> dict[str, Any]:
    """The members of a dataclass, each path as text."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(request).items()}


@dataclass(frozen=True)
class ViewScore:
    """Quality of one held-out view."""

    file: str
    """``0005.png``."""
    scores: dict[str, float | None]
    """None where the view does not show the head."""
    gain: tuple[float, ...] | None
    """(3,) factor by which the view is brighter than the field."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"file": self.file, **self.scores, "gain": self.gain}

    @classmethod
    def from_dict(cls, row: Any) -> ViewScore:
        """From JSON; raises ``ValueError``."""
        score, gain = Fields(row, "view_scores"), row.get("gain")
        others = {name: value for name, value in row.items() if name not in {"file", "gain"}}
        return cls(
            file=score.text("file", most=100),
            scores=_scores(others),
            gain=None if gain is None else numbers(gain, 3, *_GAINS, "a gain in fit.json"),
        )


@dataclass(frozen=True)
class TrainResult:
    """Result of training, measured by the child."""

    field_size: FieldSize
    scores: dict[str, float]
    """Means over the held-out views (PSNR in dB), the worst one, and their number."""
    view_scores: tuple[ViewScore, ...]
    gains: tuple[tuple[float, ...], ...] | None
    """(3,) exposure of each training view."""
    training_error: float
    """Mean squared, colours in [0, 1]."""
    poses: dict[str, float]
    """``largest_change`` of a pose in nerfstudio, head units."""
    device: str
    resumed_at: int
    """Step at which the last run began."""
    versions: dict[str, str]

    def answer(self) -> dict[str, Any]:
        """JSON-ready, with the members of ``fit.json``."""
        return {
            "field_size": self.field_size.to_dict(),
            "scores": self.scores,
            "view_scores": [row.to_dict() for row in self.view_scores],
            "gains": self.gains,
            "training_error": self.training_error,
            "poses": self.poses,
            "device": self.device,
            "resumed_at": self.resumed_at,
            "versions": self.versions,
        }

    @classmethod
    def from_dict(cls, data: Any) -> TrainResult:
        """From JSON; raises ``ValueError`` with half a sentence on what is wrong."""
        members = Fields(data, "fit.json")
        views = FIT_VIEWS.high
        return TrainResult(
            field_size=FieldSize.from_dict(members.object("field_size")),
            scores=_checked_numbers(members.object("scores"), "scores"),
            view_scores=tuple(map(ViewScore.from_dict, members.listed("view_scores", views, []))),
            gains=_gains(members.listed("gains", views)) if "gains" in members else None,
            training_error=members.number("training_error", 0.0, 10.0, 0.0),
            poses=_checked_numbers(members.object("poses"), "poses"),
            device=members.text("device", "", 100),
            resumed_at=members.whole("resumed_at", 0, 10_000_000, 0),
            versions=_versions(members.object("versions")),
        )


def _scores(data: dict[str, Any]) -> dict[str, float | None]:
    numeric = all(value is None or is_number(value) for value in data.values())
    if len(data) > _MAX_SCORES or not numeric:
        raise ValueError("the scores in fit.json are not numbers")
    return {str(name)[:100]: value for name, value in data.items()}


def _checked_numbers(data: dict[str, Any], name: str) -> dict[str, float]:
    if len(data) > _MAX_SCORES or not all(is_number(value) for value in data.values()):
        raise ValueError(f"{name} in fit.json are not numbers")
    return dict(data)


def _gains(rows: list[Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(numbers(row, 3, *_GAINS, "an exposure in fit.json") for row in rows)


def _versions(data: dict[str, Any]) -> dict[str, str]:
    if len(data) > _MAX_VERSIONS or any(
        not isinstance(value, str) or len(value) > 200 or len(name) > 200
        for name, value in data.items()
    ):
        raise ValueError("versions in fit.json are not names and texts")
    return dict(data)
