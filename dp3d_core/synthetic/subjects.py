"""Synthetic subjects: random people, accessories, materials, light and backdrop.

A subject is determined by its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.heads.people import ANCESTRIES, Person, head_data, random_person
from dp3d_core.synthetic import accessories
from dp3d_core.synthetic.head import HeadSpec
from dp3d_core.synthetic.lighting import NEUTRAL_LIGHT, Lamp, Lighting
from dp3d_core.synthetic.materials import EYE_COLOURS, HAIR_COLOURS, SKIN_TONES, Materials

_FEMININE_STYLES = (
    "fringe", "bob", "long", "ponytail", "bun", "pigtails", "curly", "afro", "crop", "waves",
)  # fmt: skip
_MASCULINE_STYLES = (
    "buzz", "crop", "receding", "side_part", "quiff", "slick_back", "curly", "afro",
)  # fmt: skip
_TONES = {"african": (3.6, 6.0), "asian": (0.8, 3.6), "caucasian": (0.0, 2.8)}
"""Range of skin tones of each ancestry, as indices of ``materials.SKIN_TONES``."""
_GROWN = 0.4
"""Age (``people.Person.age``) from which there are beards."""
_GREY = 0.75
"""Age from which grey hair is frequent."""
_RARE = ("tongueOut", "jawOpen", "jawForward", "mouthFunnel", "cheekPuff")
"""Expressions that are rare in portraits; ``jawOpen`` is sampled separately."""
_MAX_BLINK = 0.4
"""Greatest weight of closed lids."""
_MAX_JAW = 0.55
"""Greatest weight of an open jaw."""


@dataclass(frozen=True)
class Subject:
    """A synthetic person with light and backdrop."""

    spec: HeadSpec
    """Person, hair and accessories."""
    materials: Materials
    lighting: Lighting
    backdrop: tuple[tuple[float, float, float], ...] = ((1.0, 1.0, 1.0),)
    """One sRGB colour, or three that are mixed by smooth noise around the head."""
    seed: int = 0
    """Seed that determines the subject."""

    def to_dict(self) -> dict[str, Any]:
        """The subject as JSON-ready values."""
        return {
            "seed": self.seed,
            "spec": self.spec.to_dict(),
            "materials": self.materials.to_dict(),
            "lighting": self.lighting.to_dict(),
            "backdrop": [[round(v, 4) for v in colour] for colour in self.backdrop],
        }


def neutral_subject() -> Subject:
    """Subject of condition images: an average person in soft light in front of white."""
    return Subject(HeadSpec(hair="crop"), Materials(gloss=0.0, stubble=0.0), NEUTRAL_LIGHT)


def random_subject(seed: int) -> Subject:
    """The random subject of a seed."""
    rng = np.random.default_rng([seed, 1311])
    person = random_person(rng)
    gaze = (float(rng.normal(0, 5)), float(rng.normal(0, 3)))
    person = replace(person, expression=_random_expression(rng))
    feminine = person.sex < 0.5
    style = str(rng.choice(_FEMININE_STYLES if feminine else _MASCULINE_STYLES))
    bald = not feminine and rng.random() < 0.12
    shaved = feminine or person.age < _GROWN or rng.random() < 0.6
    beard = 0.0 if shaved else float(rng.integers(2, 20))
    spec = HeadSpec(
        person,
        None if bald else style,
        beard,
        str(rng.choice(accessories.GLASSES)) if rng.random() < 0.25 else None,
        str(rng.choice(accessories.HATS)) if rng.random() < 0.15 else None,
        str(rng.choice(accessories.CLOTHES)),
        gaze,
    )
    backdrop: tuple[Any, ...] = (_muted(rng),)
    if rng.random() < 0.6:
        first = np.array(backdrop[0])
        backdrop = tuple(_colour(first + rng.normal(0, 0.15, 3)) for _ in range(3))
    return Subject(spec, _random_materials(rng, person, seed), _random_light(rng), backdrop, seed)


def _random_expression(rng: np.random.Generator) -> dict[str, float]:
    """Random weights of ARKit's blend shapes; empty with probability 0.4."""
    if rng.random() > 0.6:
        return {}
    names = [n.split("/")[1] for n in head_data().names if n.startswith("expression/")]
    names = [n for n in names if n not in _RARE]
    weights = {
        str(name): float(min(abs(rng.normal(0, 0.25)), 1.0))
        for name in rng.choice(names, 6, replace=False)
    }
    if rng.random() < 0.5:
        smile = float(rng.uniform(0.2, 0.9))
        weights |= {"mouthSmileLeft": smile, "mouthSmileRight": smile}
    if rng.random() < 0.3:
        weights["jawOpen"] = float(rng.uniform(0.1, _MAX_JAW))
    lids = min(max(weights.pop(f"eyeBlink{side}", 0.0) for side in ("Left", "Right")), _MAX_BLINK)
    if lids:
        weights |= {"eyeBlinkLeft": lids, "eyeBlinkRight": lids}
    return {name: round(weight, 3) for name, weight in sorted(weights.items())}


def _random_materials(rng: np.random.Generator, person: Person, seed: int) -> Materials:
    """Random materials that suit a person's ancestry, sex and age."""
    feminine, grown = person.sex < 0.5, person.age >= _GROWN
    weights = np.array(person.ancestry) / sum(person.ancestry)
    low, high = weights @ np.array([_TONES[name] for name in ANCESTRIES])
    tone = float(np.clip(rng.uniform(low, high), 0, len(SKIN_TONES) - 1.001))
    first = int(tone)
    pair = np.array([SKIN_TONES[first], SKIN_TONES[first + 1]])
    skin = pair[0] + (pair[1] - pair[0]) * (tone - first) + rng.normal(0, 0.012, 3)
    dark = tone > 2.8
    natural = HAIR_COLOURS[:3] if dark else HAIR_COLOURS[:7]
    grey = rng.random() < (0.7 if person.age > _GREY else 0.05)
    hair = np.array(
        (HAIR_COLOURS[7:] if grey else natural)[int(rng.integers(0, 2 if grey else len(natural)))]
    )
    eyes = EYE_COLOURS[0 if dark else int(rng.integers(0, len(EYE_COLOURS)))]
    return Materials(
        skin=_colour(skin),
        flush=float(rng.uniform(0.2, 0.9)),
        blotches=float(rng.uniform(0.1, 0.7)),
        freckles=float(rng.uniform(0.4, 1)) if rng.random() < 0.2 else 0.0,
        stubble=0.0 if feminine or not grown else float(rng.choice([0, 0.3, 0.7])),
        lips=float(rng.uniform(0.4, 1.0) if feminine else rng.uniform(0, 0.5)),
        brows=float(rng.uniform(0.6, 1.0)),
        brow_thickness=float(rng.uniform(0.6, 1.0) if feminine else rng.uniform(0.8, 1.35)),
        hair=_colour(hair * rng.uniform(0.8, 1.2)),
        streaks=float(rng.uniform(0.3, 0.8)),
        eyes=eyes,
        cloth=_muted(rng),
        cloth2=_muted(rng),
        pattern=str(rng.choice(["plain", "plain", "stripes", "checks", "dots", "melange"])),
        hat=_muted(rng),
        glasses=_colour(rng.uniform(0.02, 0.5) * np.array([1, 0.8, 0.7])),
        gloss=float(rng.uniform(0, 0.3)),
        seed=seed,
    )


def _colour(values: Array) -> tuple[float, float, float]:
    """Values (3,) as a colour, clipped to 0.01 to 1."""
    r, g, b = np.clip(values, 0.01, 1).tolist()
    return r, g, b


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    """Random colour of cloth or wall, less saturated than a uniform one."""
    colour = rng.uniform(0.05, 0.95, 3)
    return _colour(colour.mean() + (colour - colour.mean()) * rng.uniform(0.1, 0.8))


def _random_light(rng: np.random.Generator) -> Lighting:
    """Random sky and two lamps, a strong and a weak one."""
    strength = rng.uniform(0.35, 0.6)
    warmth = rng.normal(0, 0.06)
    sky = np.array([1 + warmth, 1.0, 1 - warmth]) * strength
    lamps = []
    for power in (rng.uniform(0.2, 0.6), rng.uniform(0, 0.25)):
        yaw, pitch = rng.uniform(-110, 110), rng.uniform(-5, 65)
        a, b = np.radians(yaw), np.radians(pitch)
        direction = (float(np.sin(a) * np.cos(b)), float(np.sin(b)), float(np.cos(a) * np.cos(b)))
        tint = np.array([1 - warmth, 1, 1 + warmth]) * power
        lamps.append(Lamp(direction, _floats(tint), float(rng.uniform(3, 30))))
    return Lighting(_floats(sky), _floats(sky * rng.uniform(0.5, 0.85)), tuple(lamps))


def _floats(values: Array) -> tuple[float, float, float]:
    """Values (3,) as a tuple, rounded to four decimals."""
    a, b, c = np.round(values, 4).tolist()
    return a, b, c
