"""Options of an engine: dataclass fields with description and range as metadata.

A field of a ``Literal`` type accepts the values of the type alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dp3d_core.errors import Dp3dError

Options = TypeVar("Options")

_OPTION = "dp3d_option"
"""Key of an :class:`Option` in the metadata of a dataclass field."""


@dataclass(frozen=True)
class Option:
    """Description, choices and range of an engine's option."""

    description: str
    """A sentence for the user, shown beside the option's name."""
    choices: tuple[str, ...] | None = None
    """All accepted values; None: not restricted to a list."""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    """Accepted values are multiples of it; None: any value."""

    def check(self, name: str, value: Any) -> None:
        """Raise ``engine.bad_option`` for a value that is no choice or out of range."""
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
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
) -> Any:
    """A field of an options dataclass (see :class:`Option`); its type states the choices."""
    meaning = Option(description, None, minimum, maximum, step)
    return field(default=default, metadata={_OPTION: meaning})


def options_of(kind: type[Any]) -> dict[str, Option]:
    """The :class:`Option` of each field of an options dataclass, by name.

    Fields that :func:`option` did not make have an empty description and no range.
    """
    types = get_type_hints(kind)
    options = {}
    for option_field in fields(kind):
        meaning: Option = option_field.metadata.get(_OPTION, Option(""))
        hint = types[option_field.name]
        if get_origin(hint) is Literal:
            meaning = replace(meaning, choices=get_args(hint))
        options[option_field.name] = meaning
    return options


def parse_options(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Options dataclass of an engine from JSON or command line values.

    Raises:
        Dp3dError: ``engine.bad_option`` for an unknown name, a value whose type is not the
            default's, or one that :meth:`Option.check` refuses.

    """
    option_fields = {option_field.name: option_field for option_field in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in option_fields:
            raise Dp3dError(
                "engine.bad_option",
                f"The engine has no option {name!r}.",
                f"Its options are: {', '.join(option_fields) or 'none'}.",
            )
        default = option_fields[name].default
        if default is not MISSING and default is not None:
            accepted = (int, float) if isinstance(default, float) else type(default)
            is_bool = isinstance(value, bool)
            if not isinstance(value, accepted) or is_bool != isinstance(default, bool):
                raise Dp3dError(
                    "engine.bad_option",
                    f"Option {name!r} must be of type {type(default).__name__}, not {value!r}.",
                    f"Its default is {default!r}.",
                )
            options_of(kind)[name].check(name, value)
    return kind(**values)


def describe_options(options: Any) -> list[dict[str, Any]]:
    """Descriptions of all options of an options dataclass.

    Args:
        options: instance that holds the defaults.

    Returns:
        ``name``, ``type`` (``str``, ``int``, ``float`` or ``bool``), ``default`` and the members
        of :class:`Option`: ``description``, ``choices``, ``minimum``, ``maximum``, ``step``.

    """
    descriptions = []
    for name, description in options_of(type(options)).items():
        value = getattr(options, name)
        choices = None if description.choices is None else list(description.choices)
        descriptions.append(
            {"name": name, "type": type(value).__name__, "default": value}
            | asdict(description)
            | {"choices": choices}
        )
    return descriptions


def option_summary(description: Mapping[str, Any]) -> str:
    """Choices or range of an option of :func:`describe_options`; empty for unrestricted ones."""
    choices, low, high = (description[name] for name in ("choices", "minimum", "maximum"))
    if choices is not None:
        return ", ".join(choices)
    if low is None and high is None:
        return ""
    step = "" if description["step"] is None else f", multiples of {description['step']:g}"
    return Option("", minimum=low, maximum=high).range() + step
