"""Metrics with learned networks: LPIPS, DISTS, FID and identity.

torchmetrics computes the first three, OpenCV's SFace (Apache-2.0) the last.  Their weights are not
shipped: each metric loads them on use, and its error says how to get them.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.errors import Dp3dError
from dp3d_core.packages import is_absent
from dp3d_core.storage.paths import dp3d_home

FACE_EMBEDDING = "face_recognition_sface_2021dec.onnx"
"""File of SFace's weights."""
_FACE_PAGE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_recognition_sface"
_PACKAGES = ("torch", "torchmetrics", "torchvision")
"""Packages of the extra ``metrics`` that all networks of torchmetrics need."""
_FACE_SIDE = 112
"""Side of SFace's input, pixels."""
_EYE_CORNERS = ((33, 133), (362, 263))
"""Landmarks at the corners of each eye."""
_EYES = ((38.29, 51.70), (73.53, 51.50))
"""Positions of the eyes in SFace's input, pixels (ArcFace's template, Deng et al. 2019)."""


def lpips(frames: Sequence[Pixels], truth: Sequence[Pixels], net: str = "alex") -> float:
    """Learned perceptual distance (Zhang et al. 2018), mean over frames; 0 for equal frames.

    Args:
        frames: (h, w, 3) uint8 each, of one size.
        truth: true frames, in order, of that size.
        net: ``alex``, ``vgg`` or ``squeeze``.

    Raises:
        Dp3dError: ``metrics.missing``.

    """

    def compute() -> float:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity(net_type=net, normalize=True)
        return _mean_over(metric, frames, truth)

    return _with_weights("LPIPS", compute)


def dists(frames: Sequence[Pixels], truth: Sequence[Pixels]) -> float:
    """Structure and texture distance (Ding et al. 2020), mean over frames; 0 for equal frames.

    Raises:
        Dp3dError: ``metrics.missing``.

    """

    def compute() -> float:
        from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity

        return _mean_over(DeepImageStructureAndTextureSimilarity(), frames, truth)

    return _with_weights("DISTS", compute)


def fid(frames: Sequence[Pixels], truth: Sequence[Pixels]) -> float:
    """Frechet inception distance (Heusel et al. 2017) of two sets of images; 0 for equal sets.

    With fewer than some thousand images the value depends on their number: compare only values
    of equally many images.

    Raises:
        Dp3dError: ``metrics.missing``.

    """

    def compute() -> float:
        from torchmetrics.image.fid import FrechetInceptionDistance

        metric = FrechetInceptionDistance(feature=2048)
        for pictures, real in ((truth, True), (frames, False)):
            for picture in pictures:
                metric.update(_batch(picture, as_float=False), real=real)
        return float(metric.compute())

    if min(len(frames), len(truth)) < 2:
        raise _missing("FID", "it compares sets of pictures", "Give at least two views of each.")
    return _with_weights("FID", compute, "torch_fidelity")


def identity(frames: Sequence[Pixels], truth: Sequence[Pixels]) -> float:
    """Cosine of face embeddings, mean over pairs with two detected faces; 1 for equal faces.

    nan if no pair has two faces.

    Raises:
        Dp3dError: ``metrics.missing``.

    """
    path = dp3d_home() / "metrics" / FACE_EMBEDDING
    if not path.is_file():
        raise _missing(
            "ID",
            f"{FACE_EMBEDDING} is not in {path.parent}",
            f"Fetch it from {_FACE_PAGE} and put it there.",
        )
    try:
        recogniser = cv2.FaceRecognizerSF.create(str(path), "")  # type: ignore[attr-defined]
    except cv2.error as error:
        raise _missing(
            "ID", f"{path} is damaged", f"Fetch it again from {_FACE_PAGE}.", str(error)
        ) from error
    cosines = []
    for pair in zip(frames, truth, strict=True):
        faces = [_aligned_face(picture) for picture in pair]
        if faces[0] is None or faces[1] is None:
            continue
        a, b = (np.ravel(recogniser.feature(face[..., ::-1])) for face in faces if face is not None)
        cosines.append(float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)))
    return float(np.mean(cosines)) if cosines else float("nan")


def _aligned_face(picture: Pixels) -> Pixels | None:
    """(112, 112, 3) the face, aligned by its eyes; None if no face is detected."""
    from dp3d_core.portraits.landmarks import find_landmarks

    faces = find_landmarks(picture)
    if not faces:
        return None
    points = faces[0].points
    eyes = sorted((points[list(corners)].mean(0) for corners in _EYE_CORNERS), key=lambda e: e[0])
    matrix, _ = cv2.estimateAffinePartial2D(np.array(eyes), np.array(_EYES))
    side = (_FACE_SIDE, _FACE_SIDE)
    return np.asarray(cv2.warpAffine(picture, matrix, side), np.uint8)


def _mean_over(metric: Any, frames: Sequence[Pixels], truth: Sequence[Pixels]) -> float:
    """Mean of a torchmetrics metric over pairs of frames."""
    import torch

    metric.eval()
    with torch.inference_mode():
        for frame, true in zip(frames, truth, strict=True):
            metric.update(_batch(frame), _batch(true))
        return float(metric.compute())


def _batch(picture: Pixels, as_float: bool = True) -> Any:
    """(1, 3, h, w) tensor of an image (h, w, 3), float 0 to 1, or uint8."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    return tensor.float() / 255 if as_float else tensor


def _with_weights(name: str, compute: Callable[[], float], *extra_packages: str) -> float:
    """Compute a metric; missing packages or weights raise ``metrics.missing`` with the remedy."""
    absent = [package for package in (*_PACKAGES, *extra_packages) if is_absent(package)]
    if absent:
        raise _missing(
            name,
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed",
            "Install the extra: pip install 'dp3d[metrics]'.",
        )
    try:
        return compute()
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise _missing(
            name,
            "torchvision and torch are of different builds",
            "Install both from the same index, for the same CUDA version or for none.",
            str(error),
        ) from error
    except (urllib.error.URLError, OSError) as error:
        raise _missing(
            name,
            "its weights are not installed and cannot be downloaded",
            f"Run it once with network access, or put the file named below into {_hub()}.",
            str(error),
        ) from error


def _hub() -> Path:
    """Folder of torch's downloaded weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _missing(name: str, why: str, remedy: str, detail: str = "") -> Dp3dError:
    return Dp3dError("metrics.missing", f"{name} cannot be computed: {why}.", remedy, detail)
