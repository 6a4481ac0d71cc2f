"""The preview engine beside the frames that the authors of DiffPortrait3D published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dp3d_core.cameras import Camera, camera_from_eg3d
from dp3d_core.errors import Dp3dError
from dp3d_core.evaluation.scores import Score, score
from dp3d_core.portraits.load import load_portrait
from dp3d_core.portraits.matting import find_matte
from dp3d_core.preview.engine import PreviewHead, background_colour
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.trajectories import diffportrait3d_ellipse
from dp3d_core.viewset import ViewMeta, ViewSet, ViewSetWriter, over

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class OfficialSample:
    """One portrait with the views that the authors of DiffPortrait3D published."""

    name: str
    portrait: Path
    generated: tuple[Path, ...]
    """The official model's frames, at ``cameras``."""
    start: tuple[Path, ...]
    """The blurry 3D-aware start images that the model was given."""
    cameras: tuple[Camera, ...]
    """In head space."""


def official_samples(folder: Path) -> list[OfficialSample]:
    """The samples of a folder: ``NAME/portrait.png``, ``NAME/generated/``, ``NAME/start/``.

    Raises:
        Dp3dError: ``viewset.not_found`` when it holds none.

    """
    samples = []
    for portrait in sorted(Path(folder).glob("*/portrait.png")):
        generated, start = (
            tuple(sorted((portrait.parent / name).glob("*.png"))) for name in ("generated", "start")
        )
        if generated and len(generated) == len(start):
            cameras = tuple(
                camera_from_eg3d(camera) for camera in diffportrait3d_ellipse(len(generated))
            )
            samples.append(
                OfficialSample(portrait.parent.name, portrait, generated, start, cameras)
            )
    if not samples:
        raise Dp3dError(
            "viewset.not_found",
            f"There are no published samples in {folder}.",
            "Name the folder that holds NAME/portrait.png, NAME/generated/ and NAME/start/.",
        )
    return samples


def write_published_views(
    sample: OfficialSample, out: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> ViewSet:
    """The published frames of a sample as a view set, with the segmenter's outlines.

    Args:
        sample: of :func:`official_samples`.
        out: folder of the view set.
        progress: stage ``matte``.
        cancel: polled between frames.

    Raises:
        Dp3dError: ``viewset.mismatch``, ``output.not_writable``, ``job.cancelled``.

    """
    meta = ViewMeta(engine="published", parameters={"sample": sample.name}, approximate_poses=True)
    writer = ViewSetWriter(out, sample.cameras, meta)
    missing = writer.missing()
    stage = Stage("matte", len(missing), progress, cancel, "Finding the head in the frames")
    for i in missing:
        with Image.open(sample.generated[i]) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        camera = sample.cameras[i]
        if rgb.shape[:2] != (camera.height, camera.width):
            raise Dp3dError(
                "viewset.invalid",
                f"{sample.generated[i].name} is not {camera.width} pixels wide and high.",
                "Take the frames as they were published.",
            )
        alpha = find_matte(rgb)[0]
        writer.write(i, over(np.dstack([rgb, alpha])), alpha)
        stage.advance()
    return ViewSet.open(out)


@dataclass(frozen=True)
class Comparison:
    """A sample's scores, and the frames they are of."""

    scores: dict[str, Score]
    """``unmoved`` (the photo itself), ``start`` and ``preview``."""
    frames: tuple[Pixels, ...]
    """Of the preview engine."""


def compare_with_official(
    sample: OfficialSample, *, progress: ProgressCallback, cancel: CancelCheck
) -> Comparison:
    """Score the preview engine's head, made from the portrait alone, against published frames.

    The background is the photo's, as one colour.

    Args:
        sample: the portrait and its frames.
        progress: stage ``views``.
        cancel: polled between frames.

    """
    truth = [_read(path) for path in sample.generated]
    height, width = truth[0].shape[:2]
    portrait = load_portrait(sample.portrait)
    head = PreviewHead(portrait)
    colour = background_colour(portrait)
    stage = Stage("views", len(truth), progress, cancel, f"Views of {sample.name}")
    frames = []
    for camera in sample.cameras:
        frames.append(head.render(camera.resized(width, height)).composite(colour))
        stage.advance()
    photo = np.asarray(Image.fromarray(_read(sample.portrait)).resize((width, height)))
    return Comparison(
        {
            "unmoved": score([photo] * len(truth), truth),
            "start": score([_read(path) for path in sample.start], truth),
            "preview": score(frames, truth),
        },
        tuple(frames),
    )


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
