"""Engines: what turns a portrait and cameras into a ViewSet, behind one protocol.

An engine is found by name; its module is imported only when it is used, so that listing
engines costs nothing.  An engine that cannot run says so in :attr:`EngineInfo.problem` with
the command that helps; nothing falls back silently to another engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback
from dp3d_core.trajectories import cameras_from_request

if TYPE_CHECKING:
    from dp3d_core.cameras import Camera
    from dp3d_core.portrait import Portrait
    from dp3d_core.viewset import ViewSet


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
    """Name, kind, default and meaning of every option."""


class HeadViewEngine(Protocol):
    """Generates views of one head."""

    def info(self) -> EngineInfo:
        """Describe the engine; must be cheap."""
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


def cameras_for(engine: HeadViewEngine, request: Any) -> list[Camera]:
    """Cameras of a request; those of a preset have the engine's own lens, if it has one.

    Args:
        engine: which is to make the views.
        request: see :func:`dp3d_core.trajectories.cameras_from_request`.

    Raises:
        Dp3dError: ``camera.invalid``, ``camera.file_invalid`` ...

    """
    cameras = cameras_from_request(request)
    if isinstance(engine, HasOwnLens) and isinstance(request, dict) and "preset" in request:
        return [engine.own_lens(camera) for camera in cameras]
    return cameras


@runtime_checkable
class TakesPictures(Protocol):
    """An engine that condition and start images can be given to."""

    def with_pictures(self, conditions: Path | None, start: Path | None) -> HeadViewEngine:
        """The same engine with pictures from these folders, one for each camera."""
        ...


def with_pictures(
    name: str, conditions: Path | None = None, start: Path | None = None
) -> HeadViewEngine:
    """The engine of that name, with pictures from folders where there are any.

    Folders are for the command line and scripts; nothing that comes by HTTP names one.

    Raises:
        Dp3dError: ``engine.unknown``, ``engine.bad_option`` for an engine that takes none.

    """
    engine = get_engine(name)
    if conditions is None and start is None:
        return engine
    if not isinstance(engine, TakesPictures):
        raise Dp3dError(
            "engine.bad_option",
            f"The engine {name} takes no condition or start images.",
            "Leave the folders out, or choose a diffusion engine.",
        )
    return engine.with_pictures(conditions, start)


_ENGINES: dict[str, str] = {
    "preview": "dp3d_core.preview.engine:PreviewEngine",
    "diffportrait3d": "dp3d_core.pipelines.engine:DiffPortrait3DEngine",
    "diffportrait360": "dp3d_core.pipelines.engine:DiffPortrait360Engine",
}

MAX_SEED = 2**32 - 1
"""What every random generator takes."""

DEFAULT_ENGINE = "preview"


def engine_names() -> list[str]:
    """Names of all engines, the default one first."""
    return list(_ENGINES)


def get_engine(name: str) -> HeadViewEngine:
    """The engine of that name.

    Raises:
        Dp3dError: ``engine.unknown``.

    """
    if name not in _ENGINES:
        raise Dp3dError(
            "engine.unknown",
            f"There is no engine called {name!r}.",
            f"Choose one of: {', '.join(_ENGINES)}.",
        )
    module, _, attribute = _ENGINES[name].partition(":")
    engine: HeadViewEngine = getattr(importlib.import_module(module), attribute)()
    return engine


def list_engines() -> list[EngineInfo]:
    """Descriptions of all engines."""
    return [get_engine(name).info() for name in _ENGINES]


Options = TypeVar("Options")


def parse_options(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Options dataclass of an engine from plain values (JSON, command line).

    Raises:
        Dp3dError: ``engine.bad_option`` for a name the engine does not know or a value of
            another type than the default's.

    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise Dp3dError(
                "engine.bad_option",
                f"The engine has no option {name!r}.",
                f"Its options are: {', '.join(known) or 'none'}.",
            )
        default = known[name].default
        if default is not MISSING and default is not None:
            wanted = (int, float) if isinstance(default, float) else type(default)
            is_bool = isinstance(value, bool)
            if not isinstance(value, wanted) or is_bool != isinstance(default, bool):
                raise Dp3dError(
                    "engine.bad_option",
                    f"Option {name!r} must be of type {type(default).__name__}, not {value!r}.",
                    f"Its default is {default!r}.",
                )
    return kind(**values)


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of dp3d and of those of the packages that are installed, for a view set's meta."""
    found = {"dp3d": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def describe_options(options: Any) -> list[dict[str, Any]]:
    """:attr:`EngineInfo.options` of an options dataclass instance holding the defaults."""
    return [
        {"name": name, "type": type(value).__name__, "default": value}
        for name, value in asdict(options).items()
    ]
