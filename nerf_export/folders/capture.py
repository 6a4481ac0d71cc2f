"""What a folder of another tool is read into, whatever its format."""

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

_NAMED = 3
"""Frames that a note lists."""
KNOWN_MASKS = ("dp3d_masks", "known")
"""Key and value in a ``transforms.json`` of ours: masks are what is known, not the head."""
HEAD_ALPHA = ("dp3d_alpha", "head")
"""Key and value in files of ours: pictures are transparent where the head is not."""


def unusable(why: str, remedy: str) -> Dp3dError:
    """The refusal of a folder; ``why`` is half a sentence."""
    return Dp3dError("viewset.invalid", f"The views cannot be used: {why}.", remedy)


class Notes:
    """What was understood or left out: a sentence each, with the frames that it is true of."""

    def __init__(self) -> None:
        self._frames: dict[str, list[str]] = {}

    def add(self, sentence: str, frame: str | None = None) -> None:
        """Note a sentence, about one frame or about all."""
        frames = self._frames.setdefault(sentence, [])
        if frame is not None and frame not in frames:
            frames.append(frame)

    def sentences(self, count: int) -> list[str]:
        """All notes; ``count`` is the number of frames: what is true of all names none."""
        return [
            sentence if not frames or len(frames) >= count else f"{sentence} ({listed(frames)})"
            for sentence, frames in self._frames.items()
        ]


def listed(names: Iterable[str]) -> str:
    """Names for a message: the first ones, and how many more."""
    names = list(names)
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name)[:82] for name in names[:_NAMED]) + rest


@dataclass(frozen=True)
class Frame:
    """A frame of a capture."""

    name: str
    """As its file names it."""
    picture: Path
    mask: Path | None
    c2w: Array
    """(4, 4) rigid, head space, OpenCV axes; the folder's world is read as Z up."""
    lens: Lens
    """At the picture's size."""
    turned: bool = False
    """Whether the picture is to be turned as its EXIF data say: its camera has it upright."""
    deep: str = ""
    """Mode of a grey picture of more than 8 bits, whose file does not say what white is."""

    @property
    def camera(self) -> Camera:
        """The pinhole that the frame has once its picture is undistorted."""
        return Camera(self.c2w, self.lens.K, self.lens.width, self.lens.height)


@dataclass(frozen=True)
class Capture:
    """A folder of another tool, its cameras understood, its pictures not decoded yet."""

    source: str
    """Name of the format."""
    files: tuple[Path, ...]
    """Files that describe the cameras."""
    frames: tuple[Frame, ...]
    held_out: tuple[int, ...] = ()
    """Frames that are kept for scoring; empty: the folder names none."""
    notes: Notes = field(default_factory=Notes)
    applied: Normalisation | None = None
    """What was done to the poses before they were written: nerfstudio's ``applied_transform``."""
    masks_are_known: bool = False
    """Whether the folder says that masks are what is known, as exports of ours do."""
    alpha_is_head: bool = False
    """Whether the folder says that alpha is the head, as exports of ours do."""

    def sha256(self, cancel: CancelCheck) -> str:
        """Hash over the cameras' files, the pictures and the masks.

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
