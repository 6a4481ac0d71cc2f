"""Protocol of the engines, and the description of an engine in lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dp3d_core.engines.options import describe_options
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback

if TYPE_CHECKING:
    from dp3d_core.cameras.camera import Camera
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.viewsets.viewset import ViewSet


@dataclass(frozen=True)
class EngineInfo:
    """Description of an engine in lists."""

    name: str
    """Stable name, the value of ``--engine`` and of the HTTP API."""
    title: str
    """One line for the user."""
    available: bool
    """Whether the engine can run on this machine."""
    problem: str | None
    """Problem and remedy in one text where the engine is not available, else None."""
    options: list[dict[str, Any]]
    """All options, see :func:`describe_options`."""
    error: dict[str, Any] | None = None
    """Problem as :meth:`Dp3dError.to_dict` where the engine is not available, else None."""
    references: int = 1
    """Greatest number of photos of a person, the portrait included."""

    @classmethod
    def of(
        cls, name: str, title: str, refusal: Dp3dError | None, options: Any, references: int = 1
    ) -> EngineInfo:
        """Description of an engine.

        Args:
            name: of the engine.
            title: one line for the user.
            refusal: error that keeps the engine from running; None: it is available.
            options: options dataclass instance holding the defaults.
            references: greatest number of photos, the portrait included.

        """
        problem = None if refusal is None else f"{refusal.problem} {refusal.remedy}"
        error = None if refusal is None else refusal.to_dict()
        described = describe_options(options)
        return cls(name, title, refusal is None, problem, described, error, references)


class HeadViewEngine(Protocol):
    """Generates views of one head."""

    def info(self) -> EngineInfo:
        """Describe the engine; must be cheap."""
        ...

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse missing packages or weights and bad options before a photo is read; must be cheap.

        Raises:
            Dp3dError: ``engine.packages_missing``, ``weights.missing``, ``engine.bad_option`` ...

        """
        ...

    def generate(
        self,
        portrait: Portrait,
        cameras: Sequence[Camera],
        options: Mapping[str, Any],
        *,
        out: Path,
        seed: int = 0,
        progress: ProgressCallback,
        cancel: CancelCheck,
    ) -> ViewSet:
        """Generate one view per camera into the folder ``out``.

        A call with equal arguments on a folder that is not complete resumes at the first missing
        frame.

        Args:
            portrait: the photo with its crop and matte, and further photos of the person in
                ``references``.
            cameras: any pinhole cameras in head space, each with its own size.
            options: values for the engine's options; unknown ones raise.
            out: folder of the view set; made when absent.
            seed: of everything random.
            progress: called with stage ``views`` and ``values["file"]`` after each frame.
            cancel: polled between frames.

        Raises:
            Dp3dError: ``engine.bad_option``, ``viewset.mismatch``, ``job.cancelled`` ...

        """
        ...


@runtime_checkable
class HasOwnLens(Protocol):
    """An engine whose networks have a fixed framing."""

    def own_lens(self, camera: Camera) -> Camera:
        """Camera of the engine's framing where ``camera`` stands; all its pixels are valid."""
        ...


@runtime_checkable
class TakesPictures(Protocol):
    """An engine that takes condition and start images of the user."""

    def with_pictures(self, conditions: Path | None, start: Path | None) -> HeadViewEngine:
        """The engine with pictures from these folders, one picture for each camera."""
        ...
