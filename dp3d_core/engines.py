"""Engines: what turns a portrait and cameras into a ViewSet, behind one protocol.

An engine is found by name; its module is imported only when it is used, so that listing
engines costs nothing.  An engine that cannot run says so in :attr:`EngineInfo.problem` with
the command that helps; nothing falls back silently to another engine.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, ProgressCallback
from dp3d_core.trajectories import cameras_from_request

if TYPE_CHECKING:
    from dp3d_core.cameras import Camera
    from dp3d_core.portraits.portrait import Portrait
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

_OPTION = "dp3d_option"
"""Key of an :class:`Option` in the metadata of a dataclass field."""


@dataclass(frozen=True)
class Option:
    """What an engine's option means and which values it takes."""

    description: str
    """For a person who sees the option beside its name."""
    choices: tuple[str, ...] | None = None
    """All values, None where there are others."""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    """Values are multiples of it."""

    def check(self, name: str, value: Any) -> None:
        """Refuse a value of the right type that is out of range; raises ``engine.bad_option``."""
        if self.choices is not None and value not in self.choices:
            raise Dp3dError(
                "engine.bad_option",
                f"Option {name!r} cannot be {value!r}.",
                f"Choose one of: {', '.join(self.choices)}.",
            )
        if not isinstance(value, int | float):
            return
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if not math.isfinite(value) or not low <= value <= high:
            raise Dp3dError(
                "engine.bad_option",
                f"Option {name!r} cannot be {value:g}: it is out of range.",
                f"Give {self.range()}.",
            )
        if self.step is not None and value % self.step:
            raise Dp3dError(
                "engine.bad_option",
                f"Option {name!r} cannot be {value:g}.",
                f"Give a multiple of {self.step:g}, {self.range()}.",
            )

    def range(self) -> str:
        """The range in words."""
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"{self.minimum:g} or more"
        return "a finite number" if self.maximum is None else f"{self.maximum:g} or less"


def option(
    default: Any,
    description: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
) -> Any:
    """A field of an options dataclass (see :class:`Option`)."""
    meaning = Option(description, choices, minimum, maximum, step)
    return field(default=default, metadata={_OPTION: meaning})


def option_of(of: Any) -> Option | None:
    """What a dataclass field was described as by :func:`option`."""
    meaning: Option | None = of.metadata.get(_OPTION)
    return meaning


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
            meaning = option_of(known[name])
            wanted = (int, float) if isinstance(default, float) else type(default)
            is_bool = isinstance(value, bool)
            if not isinstance(value, wanted) or is_bool != isinstance(default, bool):
                raise Dp3dError(
                    "engine.bad_option",
                    f"Option {name!r} must be of type {type(default).__name__}, not {value!r}.",
                    f"Its default is {default!r}.",
                )
            if meaning is not None:
                meaning.check(name, value)
    return kind(**values)


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of dp3d and of those of the packages that are installed, for a view set's meta."""
    found = {"dp3d": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def describe_options(options: Any) -> list[dict[str, Any]]:
    """Every option of an options dataclass instance that holds the defaults.

    Returns:
        ``name``, ``type`` (``str``, ``int``, ``float`` or ``bool``), ``default`` and the members
        of :class:`Option`: ``description``, ``choices``, ``minimum``, ``maximum``, ``step``.

    """
    described = []
    for known in fields(options):
        value, meaning = getattr(options, known.name), option_of(known) or Option("")
        choices = None if meaning.choices is None else list(meaning.choices)
        described.append(
            {"name": known.name, "type": type(value).__name__, "default": value}
            | asdict(meaning)
            | {"choices": choices}
        )
    return described


def option_summary(described: Mapping[str, Any]) -> str:
    """Choices or range of a described option in a few words; empty where anything goes."""
    choices, low, high = (described[name] for name in ("choices", "minimum", "maximum"))
    if choices is not None:
        return ", ".join(choices)
    if low is None and high is None:
        return ""
    step = "" if described["step"] is None else f", multiples of {described['step']:g}"
    return Option("", minimum=low, maximum=high).range() + step
