"""What an engine is: the protocol that every engine follows, and how a list describes it."""

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
    """What a list of engines shows."""

    name: str
    """Stable name: what ``--engine`` and the HTTP API take."""
    title: str
    """One line for a person."""
    available: bool
    """Can run here and now."""
    problem: str | None
    """Why not, and the command that changes it."""
    options: list[dict[str, Any]]
    """Every option, see :func:`describe_options`."""
    error: dict[str, Any] | None = None
    """Why not, as :meth:`Dp3dError.to_dict` writes it."""

    @classmethod
    def of(cls, name: str, title: str, refusal: Dp3dError | None, options: Any) -> EngineInfo:
        """Info of an engine.

        Args:
            name: of the engine.
            title: one line for a person.
            refusal: what keeps the engine from running, None where nothing does.
            options: options dataclass instance holding the defaults.

        """
        problem = None if refusal is None else f"{refusal.problem} {refusal.remedy}"
        error = None if refusal is None else refusal.to_dict()
        return cls(name, title, refusal is None, problem, describe_options(options), error)


class HeadViewEngine(Protocol):
    """Generates views of one head."""

    def info(self) -> EngineInfo:
        """Describe the engine; must be cheap."""
        ...

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse what can be refused at once, before a photo is read; must be cheap.

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

        Called again on the same folder with the same arguments, it goes on at the first
        missing frame.

        Args:
            portrait: the photo with its crop and matte.
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
    """An engine that sees the head in one way only."""

    def own_lens(self, camera: Camera) -> Camera:
        """What it sees from the place of a camera; a frame of that camera is filled entirely."""
        ...


@runtime_checkable
class TakesPictures(Protocol):
    """An engine that condition and start images can be given to."""

    def with_pictures(self, conditions: Path | None, start: Path | None) -> HeadViewEngine:
        """The same engine with pictures from these folders, one for each camera."""
        ...
