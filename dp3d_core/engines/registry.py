"""Classes of the engines by name; ``limits.DEFAULT_ENGINE`` is the name of the default one.

An engine's module is imported when the engine is used.  An engine that cannot run states problem
and remedy in :attr:`EngineInfo.problem`; no other engine takes its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.engines.protocol import EngineInfo, HasOwnLens, HeadViewEngine, TakesPictures
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import DEFAULT_ENGINE
from dp3d_core.packages import package_error
from dp3d_core.progress import CancelCheck, ProgressCallback

if TYPE_CHECKING:
    from dp3d_core.cameras.camera import Camera
    from dp3d_core.portraits.portrait import Portrait
    from dp3d_core.viewsets.viewset import ViewSet

_ENGINES: dict[str, str] = {
    "preview": "dp3d_core.preview.engine:PreviewEngine",
    "diffportrait3d": "dp3d_core.pipelines.engine:DiffPortrait3DEngine",
    "diffportrait360": "dp3d_core.pipelines.engine:DiffPortrait360Engine",
}
"""Module and class of each engine."""


def engine_names() -> list[str]:
    """Names of all engines, in the order of lists."""
    return list(_ENGINES)


def check_engine_name(name: str) -> None:
    """Refuse a name that no engine has; imports no engine.

    Raises:
        Dp3dError: ``engine.unknown``; its sentence quotes 40 characters of the name at most.

    """
    if name not in _ENGINES:
        raise Dp3dError(
            "engine.unknown",
            f"There is no engine called {name[:40]!r}.",
            f"Choose one of: {', '.join(_ENGINES)}.",
        )


def check_photo_count(name: str, most: int, count: int) -> None:
    """Refuse more photos of a person than an engine takes.

    Args:
        name: of the engine.
        most: greatest number that it takes, :attr:`EngineInfo.references`.
        count: number of photos, the portrait included.

    Raises:
        Dp3dError: ``portrait.too_many_photos``.

    """
    if count <= most:
        return
    takes = "one photo" if most == 1 else f"{most} photos"
    other = f", or choose the engine {DEFAULT_ENGINE}" if name != DEFAULT_ENGINE else ""
    raise Dp3dError(
        "portrait.too_many_photos",
        f"There are {count} photos, and the engine {name[:40]} takes {takes} of a person at most.",
        f"Leave out {count - most}{other}.",
    )


def get_engine(name: str) -> HeadViewEngine:
    """The engine of that name.

    Raises:
        Dp3dError: ``engine.unknown``.

    """
    check_engine_name(name)
    module, _, attribute = _ENGINES[name].partition(":")
    try:
        engine: HeadViewEngine = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        refusal = package_error(error)
        if refusal is None:
            raise
        if refusal.code == "packages.missing":
            refusal = Dp3dError("engine.packages_missing", refusal.problem, refusal.remedy)
        return UnloadableEngine(name, refusal)
    return engine


class UnloadableEngine:
    """Stands for an engine whose packages are missing or cannot be imported.

    Args:
        name: of the engine.
        refusal: error that all methods but :meth:`info` raise.

    """

    def __init__(self, name: str, refusal: Dp3dError) -> None:
        self._name, self._refusal = name, refusal

    def info(self) -> EngineInfo:
        """Name and problem, without options, which only the engine's module has."""
        return EngineInfo.of(self._name, self._name, self._refusal, _NoOptions())

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise the refusal."""
        raise self._refusal

    def own_lens(self, camera: Camera) -> Camera:
        """Raise the refusal."""
        raise self._refusal

    def with_pictures(self, conditions: Path | None, start: Path | None) -> HeadViewEngine:
        """Raise the refusal."""
        raise self._refusal

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
        """Raise the refusal."""
        raise self._refusal


@dataclass(frozen=True)
class _NoOptions:
    """Options of an engine whose module cannot be imported."""


def list_engines() -> list[EngineInfo]:
    """Descriptions of all engines."""
    return [get_engine(name).info() for name in _ENGINES]


def cameras_for(engine: HeadViewEngine, request: Any) -> list[Camera]:
    """Cameras of a request; cameras of a preset get the engine's lens where it has a fixed one.

    Args:
        engine: that makes the views.
        request: see :func:`dp3d_core.cameras.trajectories.cameras_from_request`.

    Raises:
        Dp3dError: ``camera.invalid``, ``camera.file_invalid`` ...

    """
    cameras = cameras_from_request(request)
    if isinstance(engine, HasOwnLens) and isinstance(request, dict) and "preset" in request:
        return [engine.own_lens(camera) for camera in cameras]
    return cameras


def with_pictures(
    name: str, conditions: Path | None = None, start: Path | None = None
) -> HeadViewEngine:
    """The engine of that name, with condition and start images from folders.

    For the command line and scripts: HTTP requests cannot name folders.

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
