"""Synthetic subjects: random heads with exact cameras, depth, normals and labels.

Everything follows from a subject's seed, so a data set can be made anew anywhere, and one head
of it without the others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp3d_core import __version__
from dp3d_core.cameras import Camera
from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json, write_atomic, write_json
from dp3d_core.heads import wear
from dp3d_core.heads.hair import noise
from dp3d_core.heads.labels import PALETTE, Label
from dp3d_core.heads.materials import (
    EYE_COLOURS,
    HAIR_COLOURS,
    NEUTRAL_LIGHT,
    SKIN_TONES,
    HeadShader,
    Lamp,
    Lighting,
    Materials,
    to_srgb,
)
from dp3d_core.heads.model import HeadSpec, build_head
from dp3d_core.heads.shape import HIGH, LOW, NAMES, PARAMETERS
from dp3d_core.heads.uv import head_uv
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage, never_cancel, no_progress
from dp3d_core.raycast import RayCaster, render
from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
from dp3d_core.viewset import (
    DEPTH_UNIT,
    ViewMeta,
    ViewSet,
    ViewSetWriter,
    encode_png,
    read_png,
)

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

DATASET_MARKER = "synth.json"
"""The file that makes a folder a data set; it is written first."""


@dataclass(frozen=True)
class Subject:
    """One synthetic person and the place where they stand."""

    spec: HeadSpec
    materials: Materials
    lighting: Lighting
    backdrop: tuple[tuple[float, float, float], ...] = ((1.0, 1.0, 1.0),)
    """One sRGB colour, or three that are mixed in soft blots around the head."""
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seed": self.seed,
            "spec": self.spec.to_dict(),
            "materials": self.materials.to_dict(),
            "lighting": self.lighting.to_dict(),
            "backdrop": [[round(v, 4) for v in colour] for colour in self.backdrop],
        }


def neutral_subject() -> Subject:
    """The base head without wear, softly lit before white: the subject of condition images."""
    return Subject(HeadSpec(hair="crop"), Materials(gloss=0.0, stubble=0.0), NEUTRAL_LIGHT)


def random_subject(seed: int) -> Subject:
    """A person by number."""
    rng = np.random.default_rng([seed, 1311])
    shape = _random_shape(rng)
    feminine = rng.random() < 0.5
    long_ones = ("fringe", "bob", "long", "ponytail", "bun", "pigtails", "curly", "afro", "crop")
    short_ones = ("buzz", "crop", "receding", "side_part", "quiff", "slick_back", "curly", "afro")
    style = str(rng.choice(long_ones if feminine else short_ones))
    bald = not feminine and rng.random() < 0.12
    beard = 0.0 if feminine or rng.random() < 0.7 else float(rng.integers(2, 20))
    spec = HeadSpec(
        shape,
        None if bald else style,
        beard,
        str(rng.choice(wear.GLASSES)) if rng.random() < 0.25 else None,
        str(rng.choice(wear.HATS)) if rng.random() < 0.15 else None,
        str(rng.choice(wear.CLOTHES)),
        (float(rng.normal(0, 5)), float(rng.normal(0, 3))),
    )
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    low = int(tone)
    pair = np.array([SKIN_TONES[low], SKIN_TONES[min(low + 1, len(SKIN_TONES) - 1)]])
    skin = pair[0] + (pair[1] - pair[0]) * (tone - low) + rng.normal(0, 0.012, 3)
    dark = tone > 3.5
    hair = np.array(HAIR_COLOURS[int(rng.integers(0, 3 if dark else len(HAIR_COLOURS)))])
    eyes = EYE_COLOURS[0 if dark else int(rng.integers(0, len(EYE_COLOURS)))]
    materials = Materials(
        skin=_colour(skin),
        flush=float(rng.uniform(0.2, 0.9)),
        blotches=float(rng.uniform(0.1, 0.7)),
        freckles=float(rng.uniform(0.4, 1)) if rng.random() < 0.2 else 0.0,
        stubble=0.0 if feminine else float(rng.choice([0, 0.3, 0.7])),
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
    backdrop: tuple[Any, ...] = (_muted(rng),)
    if rng.random() < 0.6:
        first = np.array(backdrop[0])
        backdrop = tuple(_colour(first + rng.normal(0, 0.15, 3)) for _ in range(3))
    return Subject(spec, materials, _random_light(rng), backdrop, seed)


def _colour(values: Array) -> tuple[float, float, float]:
    r, g, b = np.clip(values, 0.01, 1).tolist()
    return r, g, b


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of cloth or wall: seldom as loud as a random one."""
    colour = rng.uniform(0.05, 0.95, 3)
    return _colour(colour.mean() + (colour - colour.mean()) * rng.uniform(0.1, 0.8))


def _random_shape(rng: np.random.Generator) -> dict[str, float]:
    shape = {}
    expressive = rng.random() < 0.6
    for i, (name, parameter) in enumerate(zip(NAMES, PARAMETERS, strict=True)):
        if parameter.expression:
            if not expressive or rng.random() < 0.5:
                continue
            value = rng.normal(0, 0.45)
        else:
            value = rng.normal(0, 0.55)
        if parameter.low >= 0:
            value = abs(value)
        shape[name] = round(float(np.clip(value, LOW[i], HIGH[i])), 3)
    if shape.get("lids_closed", 0) > 0.6:
        shape["lids_closed"] = 0.6
    return shape


def _random_light(rng: np.random.Generator) -> Lighting:
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
    a, b, c = np.round(values, 4).tolist()
    return a, b, c


@dataclass(frozen=True)
class SyntheticView:
    """What a camera sees of a subject.

    Attributes:
        rgb: (h, w, 3) uint8 sRGB over the backdrop.
        rgba: (h, w, 4) uint8 sRGB, straight alpha, without the backdrop.
        depth: (h, w) float32 along the optical axis, head units; inf on the backdrop.
        normals: (h, w, 3) float32 unit vectors in head space; 0 on the backdrop.
        labels: (h, w) uint8, :class:`~dp3d_core.heads.labels.Label`.

    """

    rgb: Pixels
    rgba: Pixels
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    labels: Pixels


class SyntheticHead:
    """A subject, ready to be looked at."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.head = build_head(subject.spec)
        self.caster = RayCaster(self.head.mesh)
        self.shader = HeadShader(self.head, subject.materials, subject.lighting, self.caster)

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


def write_subject(
    subject: Subject,
    cameras: Sequence[Camera],
    out: Path,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelCheck = never_cancel,
) -> ViewSet:
    """Write a subject's views with all that is known of them; goes on where it stopped.

    Besides the view set (frames over the backdrop, masks, cameras) the folder holds
    ``rgba/``, ``depth/`` (16 bit, :data:`DEPTH_UNIT`, 0 is the backdrop), ``normals/`` (16 bit,
    (n + 1) / 2 in head space), ``labels/`` (8 bit, ``labels.Label``) and ``head.glb``.

    Args:
        subject: who.
        cameras: in head space.
        out: folder of this subject.
        progress: stage ``views``.
        cancel: polled between views.

    """
    meta = ViewMeta(
        engine="synth", seed=subject.seed, parameters=subject.to_dict(),
        versions={"dp3d": __version__},
    )  # fmt: skip
    writer = ViewSetWriter(out, cameras, meta)
    missing = sorted({*writer.missing(), *_incomplete(out, len(cameras))})
    if not missing and (out / "head.glb").is_file():
        return writer.finish()
    stage = Stage(
        "views", len(cameras), progress, cancel, f"Subject {subject.seed}",
        start=len(cameras) - len(missing),
    )  # fmt: skip
    head = SyntheticHead(subject)
    if not (out / "head.glb").is_file():
        write_atomic(out / "head.glb", head_glb(head))
    for index in missing:
        view = head.render(cameras[index])
        name = f"{index:04d}.png"
        write_atomic(out / "rgba" / name, encode_png(view.rgba))
        write_atomic(out / "labels" / name, encode_png(view.labels))
        write_atomic(out / "normals" / name, _png16(np.rint((view.normals + 1) * 32767.5)))
        writer.write(index, view.rgb, view.rgba[..., 3], depth=view.depth)
        stage.advance(f"View {index + 1} of {len(cameras)}")
    return writer.finish()


def _incomplete(out: Path, views: int) -> list[int]:
    """Views of which a picture beside the frame is missing."""
    kinds = ("rgba", "depth", "normals", "labels")
    return [i for i in range(views) if any(not (out / k / f"{i:04d}.png").is_file() for k in kinds)]


def _png16(values: NDArray[Any]) -> bytes:
    import cv2

    pixels = np.clip(values, 0, 65535).astype(np.uint16)
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    done, data = cv2.imencode(".png", pixels)
    if not done:  # pragma: no cover - OpenCV refuses only shapes that we do not make
        raise RuntimeError("the picture cannot be encoded")
    return bytes(data)


def read_png16(path: Path) -> NDArray[np.uint16]:
    """Pixels of a 16 bit picture of :func:`write_subject`, RGB or one channel."""
    import cv2

    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{path.name} is no 16 bit picture")
    return np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def head_glb(head: SyntheticHead) -> bytes:
    """The head as GLB in head space (Y up): UV, colours without light and labels per vertex."""
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    mesh = head.head.mesh
    source, faces, uv = head_uv(head.head)
    colours = np.full((len(source), 4), 255, np.uint8)
    colours[:, :3] = np.rint(to_srgb(head.shader.vertex_albedo()[source]) * 255)
    skin = PBRMaterial("head", metallicFactor=0.0, roughnessFactor=0.7)  # type: ignore[no-untyped-call]
    visual = TextureVisuals(uv, skin)  # type: ignore[no-untyped-call]
    visual.vertex_attributes["color"] = colours
    body = trimesh.Trimesh(
        mesh.vertices[source], faces, vertex_normals=mesh.normals[source], process=False,
        visual=visual,
        vertex_attributes={"_LABEL": head.shader.vertex_labels[source].astype(np.float32)},
    )  # fmt: skip
    buffer = io.BytesIO()
    body.export(buffer, file_type="glb")
    return buffer.getvalue()


def write_subjects(
    count: int,
    views: int,
    size: int,
    seed: int,
    out: Path,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelCheck = never_cancel,
) -> list[Path]:
    """A data set: ``count`` subjects of seeds ``seed``, ``seed + 1`` ..., each in a folder.

    A data set that is there already is extended.

    Returns:
        The folders.

    Raises:
        Dp3dError: ``viewset.mismatch`` if the folder holds other views or another size.

    """
    stage = Stage("subjects", count, progress, cancel, "Synthetic heads")
    numbers = range(seed, seed + count)
    folders = [Path(out) / f"{number:05d}" for number in numbers]
    earlier = _subjects_before(Path(out), views, size)
    write_json(
        Path(out) / DATASET_MARKER,
        {
            "schema": "dp3d.synth/1",
            "views": views,
            "size": size,
            "depth_unit": DEPTH_UNIT,
            "labels": {label.name.lower(): int(label) for label in Label},
            "subjects": sorted({*earlier, *(folder.name for folder in folders)}),
        },
    )
    for number, folder in zip(numbers, folders, strict=True):
        cameras = random_cameras(views, size, number)
        write_subject(random_subject(number), cameras, folder, cancel=cancel)
        stage.advance(f"Subject {number}")
    return folders


def _subjects_before(out: Path, views: int, size: int) -> list[str]:
    """Subjects of the data set in a folder; refused if they are of another kind."""
    marker = out / DATASET_MARKER
    if not marker.is_file():
        return []
    found = read_json(marker)
    if (found.get("views"), found.get("size")) != (views, size):
        raise Dp3dError(
            "viewset.mismatch",
            f"{out} holds {found.get('views')} views of {found.get('size')} pixels per subject.",
            "Ask for the same, or choose another folder.",
        )
    return [str(name) for name in found.get("subjects", [])]


def dataset_sheet(folders: Sequence[Path], most: int = 12) -> Pixels:
    """Contact sheet: a row of frames, labels and normals for each of the first subjects."""
    from dp3d_core.pictures import contact_sheet

    tiles: list[Pixels] = []
    for folder in folders[:most]:
        views = ViewSet.open(folder)
        shown = [round(i * (len(views) - 1) / 3) for i in range(4)]
        tiles += [views.frame(i) for i in shown]
        name = f"{shown[1]:04d}.png"
        tiles.append(PALETTE[read_png(folder / "labels" / name, "L")])
        normals = read_png16(folder / "normals" / name) >> 8
        tiles.append(normals.astype(np.uint8))
    return contact_sheet(tiles, columns=6, tile=160)
