"""Views of synthetic subjects with all that is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import Camera
from dp3d_core.raycast import RayCaster, render
from dp3d_core.synthetic.head import build_head
from dp3d_core.synthetic.materials import HeadShader
from dp3d_core.synthetic.noise import noise
from dp3d_core.synthetic.subjects import Subject, neutral_subject
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class SyntheticView:
    """What a camera sees of a subject.

    Attributes:
        rgb: (h, w, 3) uint8 sRGB over the backdrop.
        rgba: (h, w, 4) uint8 sRGB, straight alpha, without the backdrop.
        depth: (h, w) float32 along the optical axis, head units; inf on the backdrop.
        normals: (h, w, 3) float32 unit vectors in head space; 0 on the backdrop.
        labels: (h, w) uint8, :class:`~dp3d_core.synthetic.labels.Label`.

    """

    rgb: Pixels
    rgba: Pixels
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    labels: Pixels


class SyntheticHead:
    """A subject, ready to be looked at."""

    def __init__(self, subject: Subject, sky_rays: int = 24) -> None:
        """Build the head and bake its light.

        Args:
            subject: who.
            sky_rays: half the number of directions from which the sky reaches a vertex.

        """
        self.subject = subject
        self.head = build_head(subject.spec)
        self.caster = RayCaster(self.head.mesh)
        self.shader = HeadShader(
            self.head, subject.materials, subject.lighting, self.caster, sky_rays
        )

    def render(self, camera: Camera) -> SyntheticView:
        """One view."""
        seen = render(self.caster, camera, self.shader)
        height, width = camera.height, camera.width
        labels = np.zeros(height * width, np.uint8)
        labels[seen.hits.ray] = self.shader.labels(seen.hits)
        normals = np.zeros((height * width, 3), np.float32)
        normals[seen.hits.ray] = seen.hits.normals
        behind = self.backdrop(camera)
        alpha = seen.alpha[..., None]
        rgb = np.rint((seen.rgb * alpha + behind * (1 - alpha)) * 255).astype(np.uint8)
        rgba = np.rint(np.dstack([np.clip(seen.rgb, 0, 1) * (alpha > 0), alpha]) * 255)
        return SyntheticView(
            rgb,
            rgba.astype(np.uint8),
            seen.depth,
            normals.reshape(height, width, 3),
            labels.reshape(height, width),
        )

    def backdrop(self, camera: Camera) -> Array:
        """(h, w, 3) sRGB, 0 to 1, what lies behind: the same from all cameras, far away."""
        colours = np.asarray(self.subject.backdrop, np.float64)
        height, width = camera.height, camera.width
        if len(colours) == 1:
            return np.broadcast_to(colours[0], (height, width, 3)).copy()
        step = 4  # it is soft: every fourth pixel is enough
        u, v = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
        d = camera.directions(np.stack([u, v], -1).reshape(-1, 2).astype(np.float64))
        weights = np.exp(
            2.5 * np.stack([noise(d + 10 * self.subject.seed, 0.45, k) for k in range(3)], -1)
        )
        weights /= weights.sum(1, keepdims=True)
        coarse = (weights @ colours).reshape(*u.shape, 3).astype(np.float32)
        import cv2

        large = cv2.resize(
            coarse, (u.shape[1] * step, u.shape[0] * step), interpolation=cv2.INTER_CUBIC
        )
        return np.clip(np.asarray(large[:height, :width], np.float64), 0, 1)


@lru_cache(maxsize=1)
def _neutral_head() -> SyntheticHead:
    return SyntheticHead(neutral_subject())


def condition_image(camera: Camera) -> Pixels:
    """The cross-subject condition image: another, neutral subject at the same camera.

    DiffPortrait3D's and DiffPortrait360's pose ControlNets read such an image (there: renders
    of a 3D GAN).

    Args:
        camera: in head space, any size and lens.

    Returns:
        (h, w, 3) uint8 RGB.

    """
    return _neutral_head().render(camera).rgb


def random_cameras(views: int, size: int, seed: int) -> list[Camera]:
    """Cameras around a subject: one before the face, the others spread and jittered."""
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
