"""Render views of synthetic subjects with depth, normals and labels; and condition images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dp3d_core.arrays import Array, Array32, Pixels
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
from dp3d_core.meshes.raycast import RayCaster, render
from dp3d_core.synthetic.head import build_head
from dp3d_core.synthetic.materials import HeadShader
from dp3d_core.synthetic.noise import noise
from dp3d_core.synthetic.subjects import Subject, neutral_subject


@dataclass(frozen=True)
class SyntheticView:
    """A view of a subject.

    Attributes:
        rgb: (h, w, 3) uint8 sRGB, with the backdrop.
        rgba: (h, w, 4) uint8 sRGB with straight alpha, without the backdrop.
        depth: (h, w) float32 along the optical axis, head units; inf on the backdrop.
        normals: (h, w, 3) float32 unit normals in head space; 0 on the backdrop.
        labels: (h, w) uint8 :class:`~dp3d_core.synthetic.labels.Label`.

    """

    rgb: Pixels
    rgba: Pixels
    depth: Array32
    normals: Array32
    labels: Pixels


class SyntheticHead:
    """A subject, ready to render."""

    def __init__(self, subject: Subject, sky_rays: int = 24) -> None:
        """Build the head and bake its light.

        Args:
            subject: the subject.
            sky_rays: half the number of directions in which the sky is sampled.

        """
        self.subject = subject
        self.head = build_head(subject.spec)
        self.caster = RayCaster(self.head.mesh)
        self.shader = HeadShader(
            self.head, subject.materials, subject.lighting, self.caster, sky_rays
        )

    def render(self, camera: Camera) -> SyntheticView:
        """Render a view."""
        rendered = render(self.caster, camera, self.shader)
        height, width = camera.height, camera.width
        labels = np.zeros(height * width, np.uint8)
        labels[rendered.hits.ray] = self.shader.labels(rendered.hits)
        normals = np.zeros((height * width, 3), np.float32)
        normals[rendered.hits.ray] = rendered.hits.normals
        backdrop = self.backdrop(camera)
        alpha = rendered.alpha[..., None]
        rgb = np.rint((rendered.rgb * alpha + backdrop * (1 - alpha)) * 255).astype(np.uint8)
        rgba = np.rint(np.dstack([np.clip(rendered.rgb, 0, 1) * (alpha > 0), alpha]) * 255)
        return SyntheticView(
            rgb,
            rgba.astype(np.uint8),
            rendered.depth,
            normals.reshape(height, width, 3),
            labels.reshape(height, width),
        )

    def backdrop(self, camera: Camera) -> Array:
        """(h, w, 3) sRGB backdrop, 0 to 1, by the ray's direction, as if infinitely far."""
        colours = np.asarray(self.subject.backdrop, np.float64)
        height, width = camera.height, camera.width
        if len(colours) == 1:
            return np.broadcast_to(colours[0], (height, width, 3)).copy()
        step = 4  # the backdrop is smooth, so every fourth pixel suffices
        u, v = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
        directions = camera.directions(np.stack([u, v], -1).reshape(-1, 2).astype(np.float64))
        weights = np.exp(
            2.5
            * np.stack([noise(directions + 10 * self.subject.seed, 0.45, k) for k in range(3)], -1)
        )
        weights /= weights.sum(1, keepdims=True)
        coarse = (weights @ colours).reshape(*u.shape, 3).astype(np.float32)
        import cv2

        full = cv2.resize(
            coarse, (u.shape[1] * step, u.shape[0] * step), interpolation=cv2.INTER_CUBIC
        )
        return np.clip(np.asarray(full[:height, :width], np.float64), 0, 1)


@lru_cache(maxsize=1)
def _neutral_head() -> SyntheticHead:
    return SyntheticHead(neutral_subject())


def condition_image(camera: Camera) -> Pixels:
    """Cross-subject condition image: a neutral subject rendered from a camera.

    The pose ControlNets of DiffPortrait3D and DiffPortrait360 take such images; theirs are
    renderings of a 3D GAN.

    Args:
        camera: camera in head space, of any size and lens.

    Returns:
        (h, w, 3) uint8 RGB.

    """
    return _neutral_head().render(camera).rgb


def random_cameras(views: int, size: int, seed: int) -> list[Camera]:
    """Random cameras around a subject: the first in front of the face, the others all around."""
    rng = np.random.default_rng([seed, 77])
    cameras = [canonical_camera(0.0, 0.0, size, focal=WHOLE_HEAD_FOCAL)]
    start = rng.uniform(0, 360)
    for i in range(1, views):
        yaw = start + 360.0 * (i + rng.uniform(-0.35, 0.35)) / max(1, views - 1)
        pitch = float(np.clip(rng.normal(5, 16), -30, 50))
        radius = 2.7 * rng.uniform(0.95, 1.1)
        focal = WHOLE_HEAD_FOCAL * rng.uniform(0.95, 1.2)
        cameras.append(canonical_camera(float(yaw % 360), pitch, size, radius, focal))
    return cameras
