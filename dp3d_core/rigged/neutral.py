"""The fitted head without its expression, with the mouth's cavity, eyeballs, teeth and lashes.

``preview`` fits a bust whose mouth a film closes.  Its vertices are those of the rigged skin but
for the film; what the fit moved them by is taken over, and continued into the mouth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Mask
from dp3d_core.heads.bust import bust
from dp3d_core.heads.people import expression_offsets, head_data, prior
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.preview.photo.projection import Projection
from dp3d_core.rigged.lips import closing, inner_lips, parting
from dp3d_core.rigged.narrowing import narrowing
from dp3d_core.rigged.rig import BONES
from dp3d_core.rigged.smile import Smile
from dp3d_core.rigged.topology import PARTS, part_topology, rest_mm, skin_twins

_NEIGHBOURS = 12
"""Skin vertices from which a vertex beside the skin takes its move."""
_NEAREST_MM = 0.5
"""Distance below which a neighbour's weight grows no further, millimetres."""
_SHIFTS_MM = {
    "upper_teeth": (0.0, -3.5, 3.0),
    "lower_teeth": (0.0, -1.0, -1.0),
    "tongue": (0.0, -1.0, -5.0),
}
"""Moves of parts of the mouth: upper teeth show below the lip and close before the lower ones."""
_TONGUE_HEIGHT = 0.68
"""Height of the tongue relative to the data's, which fills the mouth up to the palate."""
_OPEN_MM = 5.0
"""Distance of the fitted lips from which the mouth is open in the photo, millimetres."""
_LIPS = (32.0, -70.0, -12.0)
"""Half width, lowest and highest height of the lips on the average head, millimetres."""


@dataclass(frozen=True, eq=False)
class NeutralHead:
    """Neutral shape of one person.

    Attributes:
        controls: (c, 3) control vertices of the model, head units; joints among them.
        vertices: neutral vertices (n, 3) of each of ``topology.PARTS``, head units.
        expression: the photo's expression, blend shape to weight.
        lowest: (n,) bool, skin vertices in the plane where the bust ends.
        parted: (n, 3) offsets of the skin from the neutral lips to those of the fit, head units.
        lips_moved: whether they are where the photo shows them, not where the fit put them.
        narrowed: share of a blink by which each eye is narrower than the fit's, by side.
        smile: teeth that the photo shows between the lips.

    """

    controls: Array
    vertices: Mapping[str, Array]
    expression: Mapping[str, float] = field(default_factory=dict)
    lowest: Mask = field(default_factory=lambda: np.zeros(0, bool))
    parted: Array | None = None
    lips_moved: bool = False
    narrowed: Mapping[str, float] = field(default_factory=dict)
    smile: Smile | None = None

    @classmethod
    def of_controls(cls, controls: Array) -> NeutralHead:
        """The head of control vertices (c, 3) of a neutral face, head units."""
        vertices = {name: _inner(name, controls) for name in PARTS}
        lowest = _cut(vertices["skin"])
        vertices["skin"] += closing(vertices["skin"])
        return cls(controls, vertices, {}, lowest)

    @classmethod
    def of_fit(
        cls,
        components: Array,
        expression: Mapping[str, float],
        fitted: Array,
        photo: Projection | None = None,
    ) -> NeutralHead:
        """The neutral head of a fitted bust.

        Args:
            components: (k,) coefficients of ``heads.people.prior``.
            expression: blend shape to weight.
            fitted: (n, 3) fitted vertices of ``heads.bust.bust()``, head units.
            photo: the photo, which shows how far the lips are parted; None keeps those of the fit.

        """
        controls = prior().vertices(components)
        moved = controls + expression_offsets(expression)
        bust_move = fitted - bust().vertices(moved)
        twin = skin_twins()
        shared = twin >= 0
        skin = np.asarray(part_topology("skin").refine @ moved)
        _cut(skin)
        rest = rest_mm("skin")
        move = np.zeros_like(skin)
        move[shared] = bust_move[twin[shared]]
        move[~shared] = neighbour_weights(rest[shared], rest[~shared]) @ move[shared]
        skin += move
        lowest = skin[:, 1] <= skin[:, 1].min() + 1e-9
        offsets = expression_offsets(expression)
        vertices = {"skin": skin - part_topology("skin").refine @ offsets}
        closed = closing(vertices["skin"])
        vertices["skin"] += closed
        smile = None if photo is None else Smile.of(photo)
        parted = None
        if photo is not None and photo.landmarks is not None:
            edges = inner_lips(photo.landmarks) if smile is None else smile.edges
            parted = parting(skin, photo.camera, edges, smile is not None)
        of_photo = closing(skin) if parted is None else parted
        # an open mouth, not an error of the fit
        if parted is None and np.abs(of_photo).max() > _OPEN_MM / 2 * MM:
            of_photo = np.zeros_like(skin)
        half, low, high = _LIPS
        lips = (np.abs(rest[:, 0]) < half) & (rest[:, 1] > low) & (rest[:, 1] < high) & shared
        mouth = move[lips & (rest[:, 2] > 60)].mean(0)
        for number, name in enumerate(PARTS[1:], 1):
            vertices[name] = _inner(name, controls)
            if name.startswith("eye"):
                vertices[name] += bust_move[bust().part == number].mean(0)
            elif name == "lashes":
                vertices[name] += neighbour_weights(rest, rest_mm(name)) @ move
            else:
                vertices[name] += mouth
        if smile is not None and parted is not None:
            vertices["upper_teeth"][:, 1] -= smile.drop(vertices["upper_teeth"])
        return cls(
            controls,
            vertices,
            dict(expression),
            lowest,
            of_photo - closed,
            parted is not None,
            {} if photo is None else narrowing(skin, photo),
            smile,
        )

    def joints(self) -> Array:
        """(6, 3) heads of ``rig.BONES``, head units."""
        cubes = head_data().joints
        centre = {name: self.controls[cube].mean(0) for name, cube in cubes.items()}
        root = centre["joint-neck"].copy()
        root[1] = self.vertices["skin"][:, 1].min()
        eyes = [self.vertices[name].mean(0) for name in ("eye_left", "eye_right")]
        # the jaw turns about the temporomandibular joint, which the data calls the mouth's
        joints = [root, centre["joint-neck"], centre["joint-head"], centre["joint-mouth"], *eyes]
        assert len(joints) == len(BONES)
        return np.array(joints)


def _inner(name: str, controls: Array) -> Array:
    """(n, 3) vertices of a part, head units; teeth and tongue a little lower than the data's."""
    shift = np.array(_SHIFTS_MM.get(name, (0.0, 0.0, 0.0))) * MM
    vertices = np.asarray(part_topology(name).refine @ controls + shift)
    if name == "tongue":
        low = vertices[:, 1].min()
        vertices[:, 1] = low + (vertices[:, 1] - low) * _TONGUE_HEIGHT
    return vertices


def _cut(vertices: Array) -> Mask:
    """Bring the skin's end into the plane of the bust's cut, in place; (n,) what lies in it."""
    height = BUST_CUT_MM * MM
    vertices[:, 1] = np.maximum(vertices[:, 1], height)
    rim = rest_mm("skin")[:, 1] < BUST_CUT_MM
    vertices[rim, 1] = height
    return np.asarray(vertices[:, 1] <= height + 1e-9)


def neighbour_weights(points: Array, at: Array, count: int = _NEIGHBOURS) -> sparse.csr_matrix:
    """(k, n) weights of the nearest of points (n, 3) for places (k, 3), both in millimetres.

    Weights fall with the square of the distance; rows sum to 1.
    """
    distance, nearest = cKDTree(points).query(at, k=count)
    distance, nearest = np.asarray(distance), np.asarray(nearest)
    weights = 1 / np.maximum(distance, _NEAREST_MM) ** 2
    # the farthest neighbour has no weight, so that weights change smoothly
    weights *= 1 - (distance / np.maximum(distance[:, -1:], 1e-9)) ** 2 * 0.999
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(at)), count)
    return sparse.csr_matrix((weights.ravel(), (rows, nearest.ravel())), (len(at), len(points)))
