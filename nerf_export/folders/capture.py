"""Captures: frames with pictures, masks, lenses and poses, as read from any folder format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dp3d_core.arrays import Array
from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.documents import Normalisation
from dp3d_core.cameras.lenses import Lens
from dp3d_core.errors import Dp3dError
from dp3d_core.progress import CancelCheck, check_cancel
from dp3d_core.storage.files import hash_file

_LISTED_FRAMES = 3
"""Frames that a note lists by name."""
KNOWN_MASKS = ("dp3d_masks", "known")
"""Key and value in a ``transforms.json`` of ours: masks are valid masks, not the head."""
HEAD_ALPHA = ("dp3d_alpha", "head")
"""Key and value in camera files of ours: alpha is the head."""


def unusable(why: str, remedy: str) -> Dp3dError:
    """The error for a folder that cannot be used; ``why`` is half a sentence."""
    return Dp3dError("viewset.invalid", f"The views cannot be used: {why}.", remedy)


class Notes:
    """Notes on how a folder was understood: sentences, each with the frames that it holds for."""

    def __init__(self) -> None:
        self._frames: dict[str, list[str]] = {}

    def add(self, sentence: str, frame: str | None = None) -> None:
        """Add a sentence about one frame, or about all."""
        frames = self._frames.setdefault(sentence, [])
        if frame is not None and frame not in frames:
            frames.append(frame)

    def sentences(self, count: int) -> list[str]:
        """All notes, with the names of their frames.

        Args:
            count: number of frames; a note that holds for all of them lists none.

        """
        return [
            sentence if not frames or len(frames) >= count else f"{sentence} ({listed(frames)})"
            for sentence, frames in self._frames.items()
        ]


def listed(names: Iterable[str]) -> str:
    """Names for a message: the first three, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - _LISTED_FRAMES} more" if len(names) > _LISTED_FRAMES else ""
    return ", ".join(repr(name)[:82] for name in names[:_LISTED_FRAMES]) + rest


@dataclass(frozen=True)
class Frame:
    """A frame of a capture."""

    name: str
    """Name in the folder's file of cameras."""
    picture: Path
    """File of the picture."""
    mask: Path | None
    """File of the mask; None: the frame has none."""
    c2w: Array
    """(4, 4) rigid, head space, OpenCV axes; the folder's world is read as Z up."""
    lens: Lens
    """Lens for the picture's size."""
    turned: bool = False
    """Whether the picture is turned by its EXIF orientation, because its camera is upright."""
    deep: str = ""
    """Pillow's mode of a grey picture of more than 8 bits without a known white; else empty."""

    @property
    def camera(self) -> Camera:
        """Pinhole camera of the undistorted picture."""
        return Camera(self.c2w, self.lens.K, self.lens.width, self.lens.height)


@dataclass(frozen=True)
class Capture:
    """A folder of another tool with parsed cameras, its pictures not decoded yet."""

    source: str
    """Name of the format."""
    files: tuple[Path, ...]
    """Files that describe the cameras."""
    frames: tuple[Frame, ...]
    held_out: tuple[int, ...] = ()
    """Indices of held-out frames; empty: the folder names none."""
    notes: Notes = field(default_factory=Notes)
    """How the folder was understood, and what was left out."""
    applied: Normalisation | None = None
    """Transform that was applied to the written poses: nerfstudio's ``applied_transform``."""
    masks_are_known: bool = False
    """Whether the folder declares its masks to be valid masks, as our exports do."""
    alpha_is_head: bool = False
    """Whether the folder declares alpha to be the head, as our exports do."""

    def sha256(self, cancel: CancelCheck) -> str:
        """SHA-256 over the files of cameras, pictures and masks.

        Raises:
            Dp3dError: ``viewset.invalid`` for a file that cannot be read, ``job.cancelled``.

        """
        digest = hashlib.sha256()
        masks = [frame.mask for frame in self.frames if frame.mask is not None]
        for path in (*self.files, *(frame.picture for frame in self.frames), *masks):
            check_cancel(cancel, "The fit")
            try:
                digest.update(bytes.fromhex(hash_file(path)))
            except OSError as error:
                raise unusable(
                    f"{path.name!r} cannot be read ({error.strerror})",
                    "Check the file and its rights.",
                ) from error
        return digest.hexdigest()
