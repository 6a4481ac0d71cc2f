"""Options of an engine: a dataclass whose fields know their meaning, choices and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar

from dp3d_core.errors import Dp3dError

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
