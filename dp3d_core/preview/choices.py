"""Choices for a head: hair, headwear, clothes and beard, by the user or read from the photo.

:class:`HeadChoices` holds the user's options; :class:`Choice` records the outcome for one of them,
with its confidence and who made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

AUTO: Literal["auto"] = "auto"
"""Option that leaves a choice to the photo."""
HairOption = Literal["auto", "bald", "buzz", "short", "bun", "chin", "shoulder", "long"]
HAIR: tuple[HairOption, ...] = get_args(HairOption)
"""Lengths of the hair."""
HatOption = Literal["auto", "none", "worn"]
HAT: tuple[HatOption, ...] = get_args(HatOption)
"""Whether headwear covers the crown."""
ClothesOption = Literal["auto", "none", "low", "crew", "high"]
CLOTHES: tuple[ClothesOption, ...] = get_args(ClothesOption)
"""Collars, from bare shoulders to a high one."""
BeardOption = Literal["auto", "none", "stubble", "moustache", "full"]
BEARD: tuple[BeardOption, ...] = get_args(BeardOption)
"""Beards."""

DOUBTFUL = 0.5
"""Confidence below which a choice causes a warning."""

_AREAS = {"hair": "the hair", "hat": "the crown", "clothes": "the collar", "beard": "the jaw"}
"""Area of the photo that each choice is read from, in sentences."""
_WORDS = {
    "hair": {
        "bald": "no hair",
        "buzz": "hair cut very short",
        "short": "short hair",
        "bun": "hair in a bun",
        "chin": "hair to the chin",
        "shoulder": "hair to the shoulders",
        "long": "hair to the chest",
    },
    "hat": {"none": "no hat", "worn": "headwear"},
    "clothes": {
        "none": "bare shoulders",
        "low": "a wide neckline",
        "crew": "a collar at the base of the neck",
        "high": "a high collar",
    },
    "beard": {
        "none": "no beard",
        "stubble": "stubble",
        "moustache": "a moustache",
        "full": "a full beard",
    },
}


@dataclass(frozen=True)
class HeadChoices:
    """The user's choices for a head; ``auto`` leaves a choice to the photo."""

    hair: HairOption = AUTO
    hat: HatOption = AUTO
    clothes: ClothesOption = AUTO
    beard: BeardOption = AUTO

    @property
    def covering(self) -> bool:
        """Whether the user chose hair or headwear."""
        return self.hair != AUTO or self.hat == "worn"

    def resolved(self, observed: Mapping[str, Choice]) -> dict[str, Choice]:
        """Choices of a head by name: the user's, else the photo's.

        Args:
            observed: choices read from the photo, by name.

        """
        asked = {name: getattr(self, name) for name in _WORDS}
        return {
            name: observed[name] if asked[name] == AUTO else Choice(asked[name], 1.0, by_user=True)
            for name in _WORDS
        }


ALL_AUTO = HeadChoices()
"""All choices are left to the photo."""


@dataclass(frozen=True)
class Choice:
    """One choice of a head.

    Attributes:
        choice: value of the option, never ``auto``.
        confidence: 0 to 1; 1 if the user made it.
        by_user: whether the user made it.
        reason: sentence on why it is doubtful; empty for the default sentence.

    """

    choice: str
    confidence: float
    by_user: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON-ready values."""
        return {
            "choice": self.choice,
            "confidence": round(self.confidence, 2),
            "by_user": self.by_user,
        }


def choices_to_dict(chosen: Mapping[str, Choice]) -> dict[str, Any]:
    """JSON-ready record: :meth:`Choice.to_dict` of hair, hat, clothes and beard."""
    return {name: choice.to_dict() for name, choice in chosen.items()}


def choices_line(record: Mapping[str, Any]) -> str:
    """Sentence for the user on a record of :func:`choices_to_dict`."""
    parts = []
    for name, words in _WORDS.items():
        entry = record[name]
        sure = "as chosen" if entry["by_user"] else f"{entry['confidence']:.1f}"
        parts.append(f"{words[entry['choice']]} ({sure})")
    line = ", ".join(parts)
    return f"The head has {line}."


def choice_warnings(chosen: Mapping[str, Choice]) -> list[str]:
    """Warnings about doubtful choices, one per reason, with the options that override them."""
    doubtful: dict[str, list[str]] = {}
    for name, choice in chosen.items():
        if choice.confidence < DOUBTFUL:
            reason = choice.reason or f"The photo hardly shows {_AREAS[name]}."
            doubtful.setdefault(reason, []).append(name)
    return [_warning(reason, names, chosen) for reason, names in doubtful.items()]


def _warning(reason: str, names: list[str], chosen: Mapping[str, Choice]) -> str:
    guesses = [f"{_WORDS[name][chosen[name].choice]}" for name in names]
    options = [f"{name}=" for name in names]
    return (
        f"{reason} {', '.join(guesses).capitalize()}: a guess "
        f"(confidence {min(chosen[name].confidence for name in names):.1f}), which the "
        f"{'option' if len(names) == 1 else 'options'} {', '.join(options)} overrules."
    )
