"""Shape and expression of heads: MakeHuman's targets, random people, and a linear shape prior.

A person is sex, age, ancestry, weight and muscle (macro targets), signed shape parameters (pairs
of targets) and an expression (ARKit's 52 names).  Target offsets add linearly.  The prior is a
PCA of random people; fits to photos search its coefficients.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Array32, Indices
from dp3d_core.heads.base_files import HeadData, file_path, load
from dp3d_core.heads.space import EYE, MM
from dp3d_core.storage.files import write_atomic

ANCESTRIES = ("african", "asian", "caucasian")
"""MakeHuman's macro targets of ancestry, mixed by weights."""
AGES = ("child", "young", "old")
"""Targets at a person's age of 0, 0.5 and 1; ages between are interpolated, babies left out."""
PRIOR_FORMAT = 2
"""Version of the prior on disk; a prior of another version is learned again."""
_SEXES = ("female", "male")
"""Names of the sexes in macro targets."""
_MM_PER_DM = 101.5
"""Millimetres of head space per decimetre of the data: 1.5 % above 100, so that the average head
fills the published framings."""
_PAIRS = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"),
    ("concave", "convex"), ("compress", "uncompress"), ("pointed", "round"),
    ("square", "triangle"), ("1", "2"),
)  # fmt: skip
"""Suffixes of two targets that form one signed parameter, negative first."""


@dataclass(frozen=True)
class Person:
    """One person.

    Attributes:
        sex: 0 female to 1 male.
        age: 0 child, 0.5 young adult, 1 old.
        ancestry: weights of :data:`ANCESTRIES`, normalised to sum 1.
        weight, muscle: -1 to 1, 0 average.
        shape: parameter (:func:`parameters`) to value, about -1 to 1.
        expression: ARKit's blend shape to weight, 0 to 1.

    """

    sex: float = 0.5
    age: float = 0.5
    ancestry: tuple[float, float, float] = (1.0, 1.0, 1.0)
    weight: float = 0.0
    muscle: float = 0.0
    shape: Mapping[str, float] = field(default_factory=dict)
    expression: Mapping[str, float] = field(default_factory=dict)


@lru_cache(maxsize=1)
def head_data() -> HeadData:
    """The installed base mesh and targets, read once per process."""
    return load()


@lru_cache(maxsize=1)
def parameters() -> dict[str, tuple[str | None, str | None]]:
    """Shape parameters: name to negative and positive target; None where there is no target."""
    names = [n for n in head_data().names if n.split("/")[0] not in ("macrodetails", "expression")]
    pairs: dict[str, tuple[str | None, str | None]] = {}
    free = set(names)
    for name in names:
        for low, high in _PAIRS:
            if name not in free or not re.search(rf"-{low}$", name):
                continue
            partner = name[: -len(low)] + high
            if partner in free:
                pairs[name[: -len(low) - 1] + f"-{low}-{high}"] = (name, partner)
                free -= {name, partner}
    for name in sorted(free):
        pairs[name] = (None, name)
    return dict(sorted(pairs.items()))


def macro_weights(person: Person) -> dict[str, float]:
    """Weights of the macro targets of a person."""
    sexes = dict(zip(_SEXES, (1 - person.sex, person.sex), strict=True))
    age = float(np.clip(person.age, 0, 1)) * 2
    ages = dict(zip(AGES, np.clip(1 - np.abs(age - np.arange(3)), 0, 1), strict=True))
    total = sum(person.ancestry)
    weights: dict[str, float] = {}

    def levels(value: float) -> dict[str, float]:
        value = float(np.clip(value, -1, 1))
        return {"min": max(-value, 0.0), "average": 1 - abs(value), "max": max(value, 0.0)}

    for sex, s in sexes.items():
        for name, a in ages.items():
            for ancestry, w in zip(ANCESTRIES, person.ancestry, strict=True):
                weights[f"macrodetails/{ancestry}-{sex}-{name}"] = s * a * w / total
            for muscle, m in levels(person.muscle).items():
                for heavy, h in levels(person.weight).items():
                    key = f"macrodetails/universal-{sex}-{name}-{muscle}muscle-{heavy}weight"
                    weights[key] = s * a * m * h
    return {k: float(v) for k, v in weights.items() if v > 0}


def raw_vertices(person: Person) -> Array:
    """(n, 3) vertices of a person in the base mesh's frame, decimetres."""
    data = head_data()
    vertices = data.vertices.astype(np.float64)
    weights = macro_weights(person)
    signed = parameters()
    for name, value in person.shape.items():
        negative, positive = signed[name]
        target = positive if value > 0 else negative
        if target is not None:
            weights[target] = weights.get(target, 0.0) + abs(float(value))
    for name, value in person.expression.items():
        weights[f"expression/{name}"] = float(value)
    for name, weight in weights.items():
        if name in data.index:  # targets that move nothing are not in the data
            moved, offsets = data.target(name)
            vertices[moved] += weight * offsets
    return vertices


def expression_offsets(expression: Mapping[str, float]) -> Array:
    """(n, 3) offsets of the average head's control vertices by an expression, head units."""
    data = head_data()
    offsets = np.zeros((len(data.vertices), 3))
    for name, weight in expression.items():
        moved, move = data.target(f"expression/{name}")
        offsets[moved] += weight * move
    return offsets * (_MM_PER_DM * MM)


def face_vertices(data: HeadData) -> Indices:
    """Vertices of the face, whose size normalises the scale of heads."""
    v = data.vertices
    face = (v[:, 2] > 0.9) & (v[:, 1] > 6.15) & (v[:, 1] < 7.9) & (np.abs(v[:, 0]) < 0.75)
    body = np.zeros(len(v), bool)
    body[np.unique(data.quads[data.quad_part == 0])] = True
    return np.flatnonzero(face & body)


def to_head_space(vertices: Array, reference: float | None = None) -> Array:
    """(n, 3) vertices in head units: eyes at ``space.EYE``, face scaled to a reference size.

    Args:
        vertices: (n, 3) decimetres.
        reference: :func:`face_size` after scaling, decimetres; None keeps the true size.

    """
    data = head_data()
    joints = data.joints
    eyes = (vertices[joints["joint-l-eye"]].mean(0) + vertices[joints["joint-r-eye"]].mean(0)) / 2
    scale = 1.0 if reference is None else reference / face_size(vertices)
    aligned = (vertices - eyes) * (scale * _MM_PER_DM * MM) + np.array([0, EYE[1], EYE[2]]) * MM
    return np.asarray(aligned, np.float64)


def face_size(vertices: Array) -> float:
    """Root mean square distance of the face's vertices (n, 3) from their mean, decimetres."""
    face = vertices[_face()]
    return float(np.sqrt(((face - face.mean(0)) ** 2).sum(1).mean()))


@lru_cache(maxsize=1)
def _face() -> Indices:
    """:func:`face_vertices` of the installed data, computed once."""
    return face_vertices(head_data())


@lru_cache(maxsize=1)
def adult_face_size() -> float:
    """Size of the average young adult's face, decimetres."""
    return face_size(raw_vertices(Person()))


def random_person(rng: np.random.Generator, spread: float = 0.22) -> Person:
    """A random person.

    Args:
        rng: random generator.
        spread: standard deviation of shape parameters; a third of that for asymmetries, half for
            translations and head scale.  Left and right parameters are correlated.

    """
    shape: dict[str, float] = {}
    for name in parameters():
        side = re.match(r"^(\w+)/([lr])-(.*)$", name)
        if side and side[2] == "r":
            continue
        deviation = spread / 3 if name.startswith("asym/") else spread
        if "-trans-" in name or "head-scale" in name:
            deviation *= 0.5
        value = float(np.clip(rng.normal(0, deviation), -0.9, 0.9))
        low, _ = parameters()[name]
        if low is None:
            value = max(value, 0.0)
        shape[name] = round(value, 4)
        if side:
            twin = f"{side[1]}/r-{side[3]}"
            if twin in parameters():
                shape[twin] = round(
                    float(np.clip(value + rng.normal(0, deviation / 6), -0.9, 0.9)), 4
                )
    ancestry = rng.dirichlet([0.45, 0.45, 0.45])
    sex = float(np.clip(rng.beta(0.5, 0.5), 0, 1))
    return Person(
        round(sex, 4),
        round(float(rng.choice([rng.uniform(0.05, 0.45), rng.uniform(0.4, 1.0)], p=[0.2, 0.8])), 4),
        (round(float(ancestry[0]), 4), round(float(ancestry[1]), 4), round(float(ancestry[2]), 4)),
        round(float(np.clip(rng.normal(0, 0.4), -1, 1)), 4),
        round(float(np.clip(rng.normal(0, 0.3), -1, 1)), 4),
        shape,
    )


@dataclass(frozen=True, eq=False)
class HeadPrior:
    """Linear shape model of heads: mean plus principal components.

    Attributes:
        mean: (n, 3) average head, head units.
        basis: (components, n, 3) offsets of one standard deviation each, head units.

    """

    mean: Array
    basis: Array32

    def vertices(self, components: Array) -> Array:
        """(n, 3) head of the first c coefficients (c,), in standard deviations."""
        return np.asarray(
            self.mean + np.tensordot(components, self.basis[: len(components)], axes=1)
        )


@lru_cache(maxsize=1)
def prior() -> HeadPrior:
    """The shape prior; learned at first use (about 15 s) and stored beside the data."""
    path = file_path().with_name(f"head_prior_{PRIOR_FORMAT}.npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return HeadPrior(archive["mean"], archive["basis"].astype(np.float32))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    learned = learn_prior()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mean=learned.mean, basis=learned.basis.astype(np.float16))
    write_atomic(path, buffer.getvalue())
    return HeadPrior(learned.mean, learned.basis.astype(np.float16).astype(np.float32))


def learn_prior(people: int = 500, components: int = 100, seed: int = 18) -> HeadPrior:
    """PCA of random people's heads, normalised by face size; takes about 15 s."""
    rng = np.random.default_rng(seed)
    size = adult_face_size()
    heads = np.array(
        [to_head_space(raw_vertices(random_person(rng)), size) for _ in range(people)], np.float32
    )
    flat = heads.reshape(people, -1)
    mean = flat.mean(0, dtype=np.float64)
    centred = flat - mean.astype(np.float32)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    deviations = values[:components] / np.sqrt(people - 1)
    basis = rows[:components] * deviations[:, None]
    return HeadPrior(mean.reshape(-1, 3), basis.reshape(components, -1, 3).astype(np.float32))
