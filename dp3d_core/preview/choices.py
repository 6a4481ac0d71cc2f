"""What a person may choose for a head, and the record of what was chosen.

Hair, headwear, clothes and beard are read from the photo; an option overrules each.  A
:class:`Choice` says what a head has, how sure that is, and who decided it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
HAIR = (AUTO, "bald", "buzz", "short", "bun", "chin", "shoulder", "long")
HAT = (AUTO, "none", "worn")
CLOTHES = (AUTO, "none", "low", "crew", "high")
BEARD = (AUTO, "none", "stubble", "moustache", "full")

DOUBTFUL = 0.5
"""Confidence below which a choice is named in a warning."""

_WHOLE = {"hair": "the hair", "hat": "the crown", "clothes": "the collar", "beard": "the jaw"}
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
    """What is chosen for a head; ``auto`` leaves it to the photo.

    Attributes:
        hair: one of :data:`HAIR`.
        hat: one of :data:`HAT`.
        clothes: one of :data:`CLOTHES`.
        beard: one of :data:`BEARD`.

    """

    hair: str = AUTO
    hat: str = AUTO
    clothes: str = AUTO
    beard: str = AUTO

    @property
    def covering(self) -> bool:
        """Whether hair or headwear is not left to the photo."""
        return self.hair != AUTO or self.hat == "worn"

    def settled(self, seen: Mapping[str, Choice]) -> dict[str, Choice]:
        """The record of a head: the choices made here, else those read from the photo.

        Args:
            seen: of each name, what the photo shows.

        """
        asked = {name: getattr(self, name) for name in _WORDS}
        return {
            name: seen[name] if asked[name] == AUTO else Choice(asked[name], 1.0, by_user=True)
            for name in _WORDS
        }


ALL_AUTO = HeadChoices()
"""Everything is left to the photo."""


@dataclass(frozen=True)
class Choice:
    """One decision about a head.

    Attributes:
        choice: value of the option, never ``auto``.
        confidence: 0 to 1; 1 where a person decided.
        by_user: whether a person decided.
        reason: sentence on why it is doubtful; empty: what the photo shows is ambiguous.

    """

    choice: str
    confidence: float
    by_user: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "choice": self.choice,
            "confidence": round(self.confidence, 2),
            "by_user": self.by_user,
        }


def choices_to_dict(chosen: Mapping[str, Choice]) -> dict[str, Any]:
    """JSON-ready record: hair, hat, clothes and beard with :meth:`Choice.to_dict` each."""
    return {name: choice.to_dict() for name, choice in chosen.items()}


def choices_line(record: Mapping[str, Any]) -> str:
    """One sentence for a person on a record as :func:`choices_to_dict` writes it."""
    parts = []
    for name, words in _WORDS.items():
        entry = record[name]
        sure = "as chosen" if entry["by_user"] else f"{entry['confidence']:.1f}"
        parts.append(f"{words[entry['choice']]} ({sure})")
    line = ", ".join(parts)
    return f"The head has {line}."


def choice_warnings(chosen: Mapping[str, Choice]) -> list[str]:
    """A sentence for each doubtful choice, with the option that overrules it."""
    doubtful: dict[str, list[str]] = {}
    for name, choice in chosen.items():
        if choice.confidence < DOUBTFUL:
            reason = choice.reason or f"The photo hardly shows {_WHOLE[name]}."
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
