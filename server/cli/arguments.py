"""Arguments that several verbs share: cameras, head, engine options, seed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import (
    DEFAULT_SIDE,
    DEFAULT_VIEWS,
    HEAD_PITCH_DEG,
    HEAD_ROLL_DEG,
    HEAD_YAW_DEG,
    MESH_FACES,
    PHOTO_SIDES,
    PRESET_PITCH_DEG,
    PRESET_SIDE,
    PRESET_VIEWS,
    SEED,
    TEXTURE_SIDE,
    CameraPreset,
    PhotoSide,
    Range,
)
from dp3d_core.progress import Progress, check_cancel
from dp3d_core.storage.files import is_file
from server.cli.console import Console

if TYPE_CHECKING:
    from dp3d_core.cameras.documents import Normalisation
    from dp3d_core.portraits.portrait import Portrait


_RANGES: dict[Any, Range[Any]] = {}
"""Range of each argument that :func:`number` made."""


def number(meaning: str, limits: Range[Any]) -> Any:
    """A tyro argument whose help names the meaning and range of its number."""
    argument = tyro.conf.arg(help=f"{meaning}, {limits}.")
    _RANGES[argument] = limits
    return argument


def check_numbers(code: str, command: Any, *names: str) -> None:
    """Refuse numbers of a command that are outside the ranges of :func:`number`.

    Args:
        code: of the error.
        command: the command; a field with several numbers is checked number by number.
        names: fields that are checked; none: all that have a range.

    Raises:
        Dp3dError: ``code``.

    """
    for name, hint in get_type_hints(type(command), include_extras=True).items():
        limits = next((_RANGES[a] for a in getattr(hint, "__metadata__", ()) if a in _RANGES), None)
        if limits is None or (names and name not in names):
            continue
        value = getattr(command, name)
        for single in value if isinstance(value, tuple) else (value,):
            if not limits.holds(single):
                raise Dp3dError(
                    code,
                    f"--{name.replace('_', '-')} {single} is out of range.",
                    f"Give a number from {limits}.",
                )


Seed = Annotated[int, number("Random seed", SEED)]
"""Option for the seed of everything random."""
Faces = Annotated[int, number("About how many triangles the mesh has", MESH_FACES)]
"""Option for the number of triangles."""
TextureSide = Annotated[int, number("Width and height of the texture, pixels", TEXTURE_SIDE)]
"""Option for the side of the texture."""
AlsoPhotos = tuple[tuple[str, ...], ...]
"""Values of each ``--also``."""
Also = tyro.conf.UseAppendAction[
    Annotated[
        AlsoPhotos,
        tyro.conf.arg(
            metavar="[SIDE:]PHOTO [...]",
            help="Further photos of the same person, in any order. The side that a photo shows may "
            f"stand before its path, as in back:BACK.jpg: {', '.join(PHOTO_SIDES)}; the left photo "
            "shows the person's left ear, from the side or from three quarters.",
        ),
    ]
]
"""Option for further photos of the person."""


@dataclass
class CameraOptions:
    """The cameras of views."""

    cameras: Path | None = None
    """A cameras.json, a camera path exported from Blender, a transforms.json, or nerfstudio's
    camera_path.json; instead of a preset."""
    preset: CameraPreset = "orbit"
    """Camera path: closed orbit; rings for a mesh; arc before the face; DiffPortrait3D's
    ellipse; sweep from low to high."""
    views: Annotated[int, number("Number of cameras of the preset", PRESET_VIEWS)] = DEFAULT_VIEWS
    size: Annotated[
        int, number("Width and height of the frames of the preset, pixels", PRESET_SIDE)
    ] = DEFAULT_SIDE
    pitch_deg: Annotated[
        float,
        number("Tilt of the presets orbit and arc, degrees, up is positive", PRESET_PITCH_DEG),
    ] = 0.0

    def request(self, applied: Normalisation | None = None) -> tuple[Any, list[str]]:
        """A request for ``trajectories.cameras_from_request``, and notes about the camera file.

        Args:
            applied: normalisation that was applied to the poses of a fit's data.

        Raises:
            Dp3dError: ``camera.file_invalid``.

        """
        from dp3d_core.cameras.documents import read_camera_document
        from nerf_export.folders.names import picture_sizes

        if self.cameras is None:
            return {k: v for k, v in asdict(self).items() if k != "cameras"}, []
        sizes = picture_sizes(self.cameras.parent)
        return read_camera_document(self.cameras, size_of=sizes, applied=applied)


@dataclass
class HeadOptions:
    """Crop and angles of the head by hand, instead of an estimate."""

    crop: tuple[float, float, float] | None = None
    """Head crop by hand: left, top and side in pixels of the upright photo; about twice as wide
    as the face."""
    head_yaw_deg: Annotated[
        float | None,
        number(
            "Turn of the head, degrees, positive when the face looks to the picture's left",
            HEAD_YAW_DEG,
        ),
    ] = None
    head_pitch_deg: Annotated[
        float | None,
        number("Height that the head is seen from, degrees, positive from above", HEAD_PITCH_DEG),
    ] = None
    head_roll_deg: Annotated[
        float | None,
        number("Lean of the head in the picture, degrees counter-clockwise", HEAD_ROLL_DEG),
    ] = None

    def load(self, console: Console, photo: Path, also: AlsoPhotos = ()) -> Portrait:
        """Load the photos of a person with progress, and print their warnings.

        Missing face models are downloaded first.

        Args:
            console: for progress, cancel and warnings.
            photo: the first photo.
            also: further photos, see :func:`sides_and_paths`.

        Raises:
            Dp3dError: ``portrait.*``, ``job.cancelled``.

        """
        from dp3d_core.engines.photos import person_warnings
        from dp3d_core.portraits.photo_file import read_photo
        from dp3d_core.portraits.pose import HeadAngles
        from dp3d_core.portraits.references import PhotoSource, load_person
        from dp3d_core.portraits.required_files import fetch_missing

        check_cancel(console.cancel)
        angles = HeadAngles(self.head_yaw_deg, self.head_pitch_deg, self.head_roll_deg)
        data = read_photo(photo)  # report a wrong path before any download
        further = [
            PhotoSource(read_photo(path), side, path.name) for side, path in sides_and_paths(also)
        ]
        fetch_missing(console.progress, console.cancel)
        console.progress(Progress("portrait", 0, 1, f"Reading {photo.name}"))
        portrait = load_person(data, further, self.crop, angles, cancel=console.cancel)
        console.progress(Progress("portrait", 1, 1, "The head is placed"))
        console.warn(person_warnings(portrait))
        return portrait


def sides_and_paths(also: AlsoPhotos) -> list[tuple[PhotoSide, Path]]:
    """Side and path of each further photo: ``back:BACK.jpg``, or a path alone for ``auto``.

    Raises:
        Dp3dError: ``portrait.not_found`` for a word before a colon that is no side, if no file has
            that name.

    """
    return [_side_and_path(text) for texts in also for text in texts]


def _side_and_path(text: str) -> tuple[PhotoSide, Path]:
    prefix, colon, path = text.partition(":")
    for side in PHOTO_SIDES:
        if colon and prefix == side:
            return side, Path(path)
    is_drive = len(prefix) == 1  # of Windows
    if colon and prefix.isalpha() and not is_drive and not is_file(Path(text)):
        raise Dp3dError(
            "portrait.not_found",
            f"{prefix!r} is no side of a head, and there is no photo {text}.",
            f"Give one of {', '.join(PHOTO_SIDES)} before the colon, or the path alone.",
        )
    return "auto", Path(text)


def parse_engine_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``name=value`` pairs; a value is parsed as JSON if possible, else kept as text.

    Raises:
        Dp3dError: ``engine.bad_option``.

    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Dp3dError(
                "engine.bad_option",
                f"The option {pair!r} is not of the form name=value.",
                "'dp3d engines' lists the options of every engine.",
            )
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def check_seed(seed: int) -> None:
    """Check that a seed is in range; raises ``seed.out_of_range``."""
    if not SEED.holds(seed):
        raise Dp3dError(
            "seed.out_of_range", f"{seed} is not a seed.", f"Give a number from {SEED}."
        )
