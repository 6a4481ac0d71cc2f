"""How near a reconstructed head comes to the true one: distances of surfaces, colours of textures.

The truth is a synthetic head; nothing here takes part in making what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dp3d_core.cameras import Camera
from dp3d_core.evaluation.textured import TexturedMesh
from dp3d_core.mesh import Mesh
from dp3d_core.raycast import RayCaster
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera, orbit_pose

Array = NDArray[np.float64]

_CHIN = -0.2
"""Head space: below it heads end in necks of any length."""
_FAR = 0.05
"""Units that a true surface goes on below the region that counts, so that its edge is no error."""
_EYES = [(yaw, pitch) for pitch in (-30, 0, 30, 65) for yaw in range(0, 360, 30)]
"""Degrees from which the true head is looked at: what none sees is no outer surface."""
_ABOVE = 1e-3
_FACE = ((-0.11, -0.19, 0.05), (0.11, 0.13, 1.0))
"""Lowest and highest corner, head space, of what counts as the face."""


@dataclass(frozen=True)
class SurfaceScore:
    """Distances between a surface and the true one, parts of the head's height.

    The height is from chin to crown, without hat or glasses.
    """

    to_truth: float
    """Mean distance of the surface's points to the true outer surface."""
    to_surface: float
    """Mean distance of the true outer surface's points to the surface."""
    f_score: float
    """Harmonic mean of the parts of points within 2 % of the height, both ways."""
    components: int
    watertight: bool

    @property
    def chamfer(self) -> float:
        """Mean of both directions."""
        return (self.to_truth + self.to_surface) / 2

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = {"chamfer": self.chamfer, **asdict(self)}
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}


def score_surface(
    mesh: Mesh, truth: SyntheticHead, seed: int = 0, samples: int = 400_000
) -> SurfaceScore:
    """Compare a mesh with the outer surface of a synthetic head, above the chin.

    Args:
        mesh: in head space; inner shells count against it.
        truth: the head.
        seed: of the points.
        samples: points on each; of 400,000, neighbours are 1.5 thousandths of a head unit apart.

    """
    rng = np.random.default_rng(seed)
    true = truth.head.mesh
    worn = np.isin(true.parts, (Surface.GLASSES, Surface.CLOTHES, Surface.HAT))
    height = float(np.ptp(true.vertices[(true.vertices[:, 1] > _CHIN) & ~worn, 1]))
    theirs, normals = _points(true, samples, rng)
    theirs = theirs[_seen(theirs, normals, truth.caster)]
    ours, _ = _points(mesh, samples, rng)
    there = cKDTree(theirs).query(ours[ours[:, 1] > _CHIN])[0] / height
    back = cKDTree(ours).query(theirs[theirs[:, 1] > _CHIN])[0] / height
    precision, recall = float((there < 0.02).mean()), float((back < 0.02).mean())
    pieces, closed = _topology(mesh)
    return SurfaceScore(
        float(there.mean()),
        float(back.mean()),
        2 * precision * recall / max(precision + recall, 1e-9),
        pieces,
        closed,
    )


def score_face(
    mesh: Mesh, truth: SyntheticHead, seed: int = 0, samples: int = 400_000
) -> dict[str, float]:
    """Compare a mesh with the part of the true face that is seen from the front.

    Args:
        mesh: in head space.
        truth: the head.
        seed: of the points.
        samples: points on each.

    Returns:
        ``face``, mean distance of the true face's points to the mesh, head units; and
        ``normals_deg``, mean angle between the surfaces there.

    """
    rng = np.random.default_rng(seed)
    points, normals = _points(truth.head.mesh, samples, rng)
    low, high = _FACE
    front = (points > low).all(1) & (points < high).all(1) & (normals[:, 2] > 0.3)
    points, normals = points[front], normals[front]
    seen = _seen(points, normals, truth.caster, [(0, 0)])
    points, normals = points[seen], normals[seen]
    ours, bent = _points(mesh, samples, rng)
    ours, bent = ours[bent[:, 2] > 0], bent[bent[:, 2] > 0]
    distance, nearest = cKDTree(ours).query(points)
    cosine = np.einsum("ni,ni->n", bent[nearest], normals).clip(-1, 1)
    return {
        "face": round(float(distance.mean()), 5),
        "normals_deg": round(float(np.degrees(np.arccos(cosine)).mean()), 2),
    }


def _points(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """(n, 3) points spread evenly over the part of a mesh that counts, and its normals."""
    above = _CHIN - _FAR
    corners = mesh.vertices[mesh.faces]
    keep = corners[:, :, 1].max(1) > above
    corners = corners[keep]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    face = rng.choice(len(corners), count, p=area / area.sum())
    u, v = rng.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    a, b, c = (corners[face, k] for k in range(3))
    points = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    normals = cross[face] / np.maximum(area[face], 1e-20)[:, None]
    inside = points[:, 1] > above
    return points[inside], normals[inside]


def _seen(
    points: Array,
    normals: Array,
    caster: RayCaster,
    eyes: Sequence[tuple[float, float]] = _EYES,
) -> NDArray[np.bool_]:
    """(n,) whether a point can be seen from any of the eyes, yaw and pitch in degrees."""
    seen = np.zeros(len(points), bool)
    for yaw, pitch in eyes:
        eye = orbit_pose(yaw, pitch)[:3, 3]
        open_ones = np.flatnonzero(~seen)
        away = eye - points[open_ones]
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        facing = np.einsum("ni,ni->n", away, normals[open_ones]) > 0.1
        index, away = open_ones[facing], away[facing]
        start = points[index] + _ABOVE * away
        seen[index[~caster.blocked(start, away)]] = True
    return seen


def _topology(mesh: Mesh) -> tuple[int, bool]:
    """Pieces, and whether the surface is closed, of a mesh whose charts are sewn together."""
    import trimesh

    # charts of a texture share places, not vertices
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    whole.merge_vertices(merge_tex=True, merge_norm=True)
    return int(whole.body_count), bool(whole.is_watertight)


def novel_cameras(size: int = 256) -> list[Camera]:
    """Cameras that no capture has."""
    return [
        canonical_camera(22.5 + 45.0 * i, (-8.0, 18.0)[i % 2], size, focal=WHOLE_HEAD_FOCAL)
        for i in range(8)
    ]


def texture_psnr(mesh: TexturedMesh, truth: SyntheticHead, size: int = 256) -> float:
    """Mean PSNR, dB, of the mesh in its own colours where the true head is, from new cameras."""
    found = []
    for camera in novel_cameras(size):
        true = truth.render(camera).rgba / 255.0
        inside = true[..., 3] > 0.5
        seen = mesh.render(camera).composite((255, 255, 255)) / 255.0
        wanted = true[..., :3] * true[..., 3:] + 1 - true[..., 3:]
        error = float(((seen - wanted)[inside] ** 2).mean())
        found.append(-10 * np.log10(max(error, 1e-10)))
    return float(np.mean(found))


def feature_errors(mesh: TexturedMesh, truth: SyntheticHead) -> dict[str, float]:
    """Largest error of a channel of the mean colour, 0 to 1, over small features seen from front.

    Returns:
        Of ``lips`` and ``iris``, as far as the head shows them.

    """
    camera = canonical_camera(0.0, 0.0, 768)
    view = truth.render(camera)
    true, seen = view.rgba[..., :3] / 255.0, mesh.render(camera).rgb
    grey = true.mean(-1)
    eyes = view.labels == Label.EYES
    masks = {"lips": view.labels == Label.LIPS}
    if eyes.any():  # the white is far brighter than iris and pupil
        masks["iris"] = eyes & (grey < 0.6 * np.percentile(grey[eyes], 90))
    return {
        name: float(np.abs((seen - true)[mask].mean(0)).max())
        for name, mask in masks.items()
        if mask.sum() > 50
    }
