"""Blend shapes of one person: ARKit's 52, fitted to the eyes, and the photo's expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dp3d_core.arrays import Array
from dp3d_core.heads.people import expression_offsets
from dp3d_core.heads.space import MM
from dp3d_core.rigged.eyes import Eyeball, Lids, lifted_lids
from dp3d_core.rigged.narrowing import CLOSING
from dp3d_core.rigged.neutral import NeutralHead, neighbour_weights
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, Key, arkit_names
from dp3d_core.rigged.topology import PARTS, part_topology

LEAST = 0.02 * MM
"""Shortest offset that a key keeps, head units."""
_TONGUE_RISES_MM = 10.0
"""Rise of the tip of the tongue when it comes out, over that of the data, millimetres."""
_TONGUE_REACH = 1.3
"""Forward move of a tongue that comes out, relative to the data's: ours lies farther back."""
EYES = ("eye_left", "eye_right")
"""Parts that are eyeballs."""


@dataclass(frozen=True, eq=False)
class HeadKeys:
    """Neutral vertices and blend shapes of the head's own parts.

    Attributes:
        vertices: neutral vertices (n, 3) by part, head units, eyeballs as spheres.
        eyeballs: by part.
        offsets: blend shape to offsets (n, 3) by part; parts that do not move are left out.

    """

    vertices: Mapping[str, Array]
    eyeballs: Mapping[str, Eyeball]
    offsets: Mapping[str, Mapping[str, Array]]

    @classmethod
    def of(cls, neutral: NeutralHead) -> HeadKeys:
        """The blend shapes of a neutral head."""
        vertices = dict(neutral.vertices)
        eyeballs = {name: Eyeball.of(name, vertices[name]) for name in EYES}
        for name in EYES:
            vertices[name] = eyeballs[name].projected(vertices[name])
        near = neighbour_weights(vertices["skin"] / MM, vertices["lashes"] / MM, 6)
        _narrow_eyes(vertices, eyeballs, near, neutral.narrowed)
        skin = vertices["skin"]
        lids = {name: Lids(eyeballs[name], skin) for name in EYES}
        offsets: dict[str, dict[str, Array]] = {}
        for key, weights in _expressions(neutral):
            controls = expression_offsets(weights)
            of_parts = {name: np.asarray(part_topology(name).refine @ controls) for name in PARTS}
            for name in ("skin", "lashes"):
                of_parts[name] *= _left_to_close(key, neutral.narrowed)
            for name in EYES:
                of_parts[name] = sum(
                    (w * eyeballs[name].looking(vertices[name], k) for k, w in weights.items()),
                    np.zeros_like(vertices[name]),
                )
            tongue_out = weights.get("tongueOut", 0.0)
            if tongue_out:  # over the lower teeth and the lip
                forward = of_parts["tongue"][:, 2]
                rise = _TONGUE_RISES_MM * MM * tongue_out
                of_parts["tongue"][:, 1] += rise * forward / forward.max()
                of_parts["tongue"][:, 2] *= 1 + (_TONGUE_REACH - 1) * tongue_out
            if key == PHOTO_EXPRESSION and neutral.parted is not None:
                of_parts["skin"] = of_parts["skin"] + neutral.parted
            if key != PHOTO_EXPRESSION:  # the photo's own lids are where the fit put them
                plain = of_parts["skin"]
                of_parts["skin"] = lifted_lids(eyeballs, skin, plain, lids)
                # lashes stay on their lids
                of_parts["lashes"] = of_parts["lashes"] + near @ (of_parts["skin"] - plain)
            offsets[key] = {
                name: moved for name, moved in of_parts.items() if np.abs(moved).max() > LEAST
            }
        return cls(vertices, eyeballs, offsets)

    def keys(self, name: str) -> dict[str, Key]:
        """Keys of one part."""
        return {
            key: Key.of(of_parts[name], LEAST)
            for key, of_parts in self.offsets.items()
            if name in of_parts
        }


def _narrow_eyes(
    vertices: dict[str, Array],
    eyeballs: Mapping[str, Eyeball],
    near: sparse.csr_matrix,
    narrowed: Mapping[str, float],
) -> None:
    """Close the eyes of a neutral head by shares of a blink, in place; lashes stay on their lids.

    Args:
        vertices: by part.
        eyeballs: by part.
        near: (l, n) weights of the skin at the lashes.
        narrowed: share by side.

    """
    shares = {f"eyeBlink{side}": share for side, share in narrowed.items() if share > 0}
    if not shares:
        return
    skin = vertices["skin"]
    lids = {name: Lids(eyeballs[name], skin) for name in EYES}
    blink = np.asarray(part_topology("skin").refine @ expression_offsets(shares))
    moved = lifted_lids(eyeballs, skin, blink, lids)
    vertices["skin"] = skin + moved
    vertices["lashes"] = vertices["lashes"] + near @ moved


def _left_to_close(key: str, narrowed: Mapping[str, float]) -> float:
    """Share of a blend shape that is left on eyes that are narrower than the fit's."""
    for side, share in narrowed.items():
        if key in {f"{name}{side}" for name in CLOSING}:
            return 1 - share
    return 1.0


def _expressions(neutral: NeutralHead) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Keys, and the blend shapes that each is a sum of."""
    for name in arkit_names():
        yield name, {name: 1.0}
    if neutral.expression or neutral.parted is not None:
        yield PHOTO_EXPRESSION, neutral.expression
