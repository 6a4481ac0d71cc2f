"""Errors of a reconstructed head against a synthetic one: surface distances and texture colours.

Independent of the reconstruction itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from dp3d_core.arrays import Array, Mask
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera, orbit_pose
from dp3d_core.evaluation.textured import TexturedMesh
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster
from dp3d_core.synthetic.head import Surface
from dp3d_core.synthetic.labels import Label
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.viewsets.psnr import psnr

_CHIN = -0.2
"""Height above which surfaces are compared, head units; necks may have any length."""
_MARGIN = 0.05
"""Extension of sampled surfaces below that height, head units: their edge is not an error."""
_EYES = [(yaw, pitch) for pitch in (-30, 0, 30, 65) for yaw in range(0, 360, 30)]
"""Yaw and pitch of the viewpoints that define the outer surface, degrees."""
_LIFT = 1e-3
"""Offset of ray origins from the surface, head units."""
_FACE = ((-0.11, -0.19, 0.05), (0.11, 0.13, 1.0))
"""Lower and upper corner of the face's box, head units."""


@dataclass(frozen=True)
class SurfaceScore:
    """Distances between a surface and the true one, as fractions of the head's height.

    The height is measured from chin to crown, without hat and glasses.
    """

    to_truth: float
    """Mean distance of points of the surface to the true outer surface."""
    to_surface: float
    """Mean distance of points of the true outer surface to the surface."""
    f_score: float
    """Harmonic mean of the fractions of points within 2 % of the height, in both directions."""
    components: int
    """Number of connected components of the surface."""
    watertight: bool
    """Whether the surface is closed."""

    @property
    def chamfer(self) -> float:
        """Mean of the distances in both directions."""
        return (self.to_truth + self.to_surface) / 2

    def to_dict(self) -> dict[str, Any]:
        """Fields and chamfer distance as JSON-ready, rounded values."""
        figures = {"chamfer": self.chamfer, **asdict(self)}
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}


def score_surface(
    mesh: Mesh, truth: SyntheticHead, seed: int = 0, samples: int = 400_000
) -> SurfaceScore:
    """Compare a mesh with the outer surface of a synthetic head, above the chin.

    Args:
        mesh: the mesh, head units; inner shells count as errors.
        truth: the true head.
        seed: seed of the sample points.
        samples: points on each surface; 400,000 points are 0.0015 head units apart.

    """
    rng = np.random.default_rng(seed)
    true = truth.head.mesh
    worn = np.isin(true.parts, (Surface.GLASSES, Surface.CLOTHES, Surface.HAT))
    height = float(np.ptp(true.vertices[(true.vertices[:, 1] > _CHIN) & ~worn, 1]))
    true_points, normals = _points(true, samples, rng)
    true_points = true_points[_visible(true_points, normals, truth.caster)]
    points, _ = _points(mesh, samples, rng)
    to_truth = nearest_distances(points[points[:, 1] > _CHIN], true_points) / height
    to_surface = nearest_distances(true_points[true_points[:, 1] > _CHIN], points) / height
    precision, recall = float((to_truth < 0.02).mean()), float((to_surface < 0.02).mean())
    components, watertight = _topology(mesh)
    return SurfaceScore(
        float(to_truth.mean()),
        float(to_surface.mean()),
        2 * precision * recall / max(precision + recall, 1e-9),
        components,
        watertight,
    )


def score_face(
    mesh: Mesh, truth: SyntheticHead, seed: int = 0, samples: int = 400_000
) -> dict[str, float]:
    """Compare a mesh with the part of the true face that is visible from the front.

    Args:
        mesh: the mesh, head units.
        truth: the true head.
        seed: seed of the sample points.
        samples: points on each surface.

    Returns:
        ``face``, mean distance of points of the true face to the mesh, head units;
        ``normals_deg``, mean angle between the normals there.

    """
    rng = np.random.default_rng(seed)
    points, normals = _points(truth.head.mesh, samples, rng)
    low, high = _FACE
    front = (points > low).all(1) & (points < high).all(1) & (normals[:, 2] > 0.3)
    points, normals = points[front], normals[front]
    visible = _visible(points, normals, truth.caster, [(0, 0)])
    points, normals = points[visible], normals[visible]
    mesh_points, mesh_normals = _points(mesh, samples, rng)
    mesh_points, mesh_normals = (
        mesh_points[mesh_normals[:, 2] > 0],
        mesh_normals[mesh_normals[:, 2] > 0],
    )
    distance, nearest = map(np.asarray, cKDTree(mesh_points).query(points))
    cosine = np.einsum("ni,ni->n", mesh_normals[nearest], normals).clip(-1, 1)
    return {
        "face": round(float(distance.mean()), 5),
        "normals_deg": round(float(np.degrees(np.arccos(cosine)).mean()), 2),
    }


def nearest_distances(points: Array, others: Array) -> Array:
    """(n,) distance of each of the points (n, 3) to the nearest of the others (m, 3)."""
    return np.asarray(cKDTree(others).query(points)[0], np.float64)


def _points(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Uniform random points (n, 3) on the compared part of a mesh, and their normals (n, 3)."""
    above = _CHIN - _MARGIN
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


def _visible(
    points: Array,
    normals: Array,
    caster: RayCaster,
    eyes: Sequence[tuple[float, float]] = _EYES,
) -> Mask:
    """(n,) whether points are visible from any viewpoint (yaw and pitch, degrees)."""
    visible = np.zeros(len(points), bool)
    for yaw, pitch in eyes:
        eye = orbit_pose(yaw, pitch)[:3, 3]
        remaining = np.flatnonzero(~visible)
        to_eye = eye - points[remaining]
        to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
        facing = np.einsum("ni,ni->n", to_eye, normals[remaining]) > 0.1
        index, to_eye = remaining[facing], to_eye[facing]
        start = points[index] + _LIFT * to_eye
        visible[index[~caster.blocked(start, to_eye)]] = True
    return visible


def _topology(mesh: Mesh) -> tuple[int, bool]:
    """Number of components of a mesh with merged seams, and whether it is closed."""
    import trimesh

    # charts of a texture share positions, but not vertices
    merged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    merged.merge_vertices(merge_tex=True, merge_norm=True)
    return int(merged.body_count), bool(merged.is_watertight)


def novel_cameras(size: int = 256) -> list[Camera]:
    """Cameras between those of captures."""
    return [
        canonical_camera(22.5 + 45.0 * i, (-8.0, 18.0)[i % 2], size, focal=WHOLE_HEAD_FOCAL)
        for i in range(8)
    ]


def texture_psnr(mesh: TexturedMesh, truth: SyntheticHead, size: int = 256) -> float:
    """Mean PSNR, dB, of the textured mesh inside the true head's mask, from novel cameras."""
    psnrs = []
    for camera in novel_cameras(size):
        true = truth.render(camera).rgba / 255.0
        inside = true[..., 3] > 0.5
        rendered = mesh.render(camera).composite((255, 255, 255)) / 255.0
        expected = true[..., :3] * true[..., 3:] + 1 - true[..., 3:]
        psnrs.append(psnr(((rendered - expected)[inside] ** 2).mean()))
    return float(np.mean(psnrs))


def feature_errors(mesh: TexturedMesh, truth: SyntheticHead) -> dict[str, float]:
    """Greatest error of a channel of the mean colour of small features, 0 to 1, from the front.

    Returns:
        Errors of ``lips`` and ``iris``, where they are visible.

    """
    camera = canonical_camera(0.0, 0.0, 768)
    view = truth.render(camera)
    true, rendered = view.rgba[..., :3] / 255.0, mesh.render(camera).rgb
    grey = true.mean(-1)
    eyes = view.labels == Label.EYES
    masks = {"lips": view.labels == Label.LIPS}
    if eyes.any():  # iris and pupil are far darker than the white
        masks["iris"] = eyes & (grey < 0.6 * np.percentile(grey[eyes], 90))
    return {
        name: float(np.abs((rendered - true)[mask].mean(0)).max())
        for name, mask in masks.items()
        if mask.sum() > 50
    }
