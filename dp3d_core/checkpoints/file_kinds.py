"""Recognition of files that should hold weights, by their content.

Downloads by hand often give pointers, web pages, partial files or archives instead of 11 GB of
weights.  Errors name the kind of file, before anything is hashed or loaded.  No torch, and no code
in a file is executed.
"""

from __future__ import annotations

import json
import pickle
import re
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from dp3d_core.checkpoints.mistaken_text import refuse_text
from dp3d_core.checkpoints.refusals import (
    AGAIN,
    PARTIAL_ENDINGS,
    PUBLISHED_REMEDY,
    damaged,
    refuse_archive,
    refuse_other,
    refuse_partial,
    refuse_placeholder,
)
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import is_file

Container = Literal["zip", "pickle", "safetensors"]
"""How weights are stored: torch's zip, torch's older bare pickle, or safetensors."""

_START_BYTES = 1 << 16
"""Bytes that a file is recognised by."""
_LEAST_BYTES = 64
"""Smallest size of a file of weights."""
_LEAST_TEXT = 8
"""Smallest size of a file that is reported as a text."""
_MOST_NON_ASCII = 0.7
"""Largest share of non-ASCII bytes in a text; UTF-8 of other scripts has up to two thirds."""
_MOST_HEADER = 100_000_000
"""Largest header of a safetensors file, bytes; the limit of the library."""
_HOLDS_WEIGHTS = (".th", ".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""File name extensions of weights."""

_ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (257, b"ustar", "a tar archive"),
)
"""Archives: offset, bytes there, name."""
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GGUF", "a GGUF file of llama.cpp"),
    (0, b"lmgg", "a GGML file"),
    (0, b"tjgg", "a GGML file"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"RIFF", "a picture, sound or video"),
    (4, b"ftyp", "a video or HEIC picture"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"glTF", "a GLB mesh"),
    (0, b"BLENDER", "a Blender file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a Linux program"),
    (0, b"\xcf\xfa\xed\xfe", "a macOS program"),
)
"""Other formats: offset, bytes there, name."""


def check_weights_file(path: Path) -> Container:
    """The container of a file that may hold weights.

    Args:
        path: the file; its name is used in messages only.

    Raises:
        Dp3dError: ``weights.not_found``, or by the kind of file: ``weights.placeholder``,
            ``weights.web_page``, ``weights.incomplete``, ``weights.archive``,
            ``weights.other_format``, ``weights.damaged``.

    """
    path = Path(path)
    _require_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
        if path.with_name(f"{path.name}.aria2").is_file():
            refuse_partial(path, size, "aria2 still has a note of missing pieces beside it")
        container = _container(path, start, size)
    except OSError as error:
        raise unreadable(path, error) from error
    if container is None:
        _refuse(path, start, size)
    return container


def unreadable(path: Path, error: OSError) -> Dp3dError:
    """Error for a file that the system refuses to read."""
    return Dp3dError(
        "weights.damaged",
        f"{path.name} cannot be read ({error.strerror or error}).",
        "Check the disk it lies on and the rights of the file.",
    )


def _require_file(path: Path) -> None:
    """Raise ``weights.not_found`` or ``weights.incomplete`` unless the path is a regular file."""
    if is_file(path):
        return
    try:
        path.lstat()
    except FileNotFoundError:
        pass  # a partial download may exist
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Dp3dError(
            "weights.not_found", f"{path.name:.80} cannot be opened ({why}).", "Check the path."
        ) from error
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _HOLDS_WEIGHTS)
        remedy = f"Give the file: {path / inside[0]}." if inside else PUBLISHED_REMEDY
        raise Dp3dError("weights.not_found", f"{path} is a folder, not a file of weights.", remedy)
    for ending in PARTIAL_ENDINGS:
        partial = path.with_name(path.name + ending)
        if partial.is_file():
            refuse_partial(partial, partial.stat().st_size)
    if path.is_symlink():
        raise Dp3dError(
            "weights.not_found",
            f"{path} is a link to {path.readlink()}, where there is no file.",
            "Fetch the file again, or give the path of the file itself.",
        )
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        mode = 0
    if mode and not stat.S_ISREG(mode):
        raise Dp3dError("weights.not_found", f"{path} is no ordinary file.", PUBLISHED_REMEDY)
    raise Dp3dError(
        "weights.not_found", f"There is no file at {path}.", "Check the path of the weights."
    )


# -- containers of weights --


def _container(path: Path, start: bytes, size: int) -> Container | None:
    """Container of a file; None for other files; raises for an incomplete container."""
    if start[:4] in {b"PK\3\4", b"PK\5\6"}:
        _check_zip(path, size)
        return "zip"
    if len(start) >= 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") >= 2:
        _check_safetensors(path, size)
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] in {b"\2", b"\3", b"\4", b"\5"}:
        return "pickle"
    return None


def _check_zip(path: Path, size: int) -> None:
    """Refuse a zip that is truncated or not written by torch."""
    if not zipfile.is_zipfile(path):
        expected = _torch_bytes(path)
        why = "its end, which lists what is in it, is missing"
        refuse_partial(path, size, why, expected=expected)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise damaged(path, "its list of contents is garbled", str(error)) from error
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        if any(name.endswith("/constants.pkl") for name in names):
            refuse_other(path, "a TorchScript program")
        return
    if names and all(name.endswith(".npy") for name in names):
        refuse_other(path, "a file of NumPy arrays")
    if any(name.startswith(("word/", "xl/", "ppt/", "META-INF/")) for name in names):
        refuse_other(path, "a document or program")
    inside = [name for name in names if Path(name).suffix.lower() in _HOLDS_WEIGHTS]
    refuse_archive(path, "a zip archive", inside[0] if inside else None)


def _torch_bytes(path: Path) -> int | None:
    """Bytes of the weights listed in the first entry of torch's zip, None where it is unreadable.

    The entry is a pickle, which is read with inert stand-ins for all classes and functions.
    """
    with path.open("rb") as file:
        header = file.read(30)
        name = file.read(int.from_bytes(header[26:28], "little"))
        file.seek(int.from_bytes(header[28:30], "little"), 1)
        if not name.endswith(b"data.pkl"):
            return None
        reader = _Storages(file)
        try:
            reader.load()
        except Exception:  # truncated, or not a pickle
            return None
    return sum(reader.sizes.values()) or None


class _Inert:
    """Inert stand-in for any class or function of a pickle."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return self

    def __setitem__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Storages(pickle.Unpickler):
    """Collects the sizes of storages in torch's pickle; calls nothing that the pickle names."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in with the bytes per number of a storage class."""
        inert = type("Inert", (_Inert,), {"width": _WIDTHS.get(name, 0)})
        return dict if name == "OrderedDict" else inert

    def persistent_load(self, pid: Any) -> Any:
        """Record a storage: ``("storage", class, key, device, count)``."""
        _, kind, key, _, count = pid
        self.sizes[str(key)] = int(count) * int(getattr(kind, "width", 0))
        return _Inert()


_WIDTHS = {
    **dict.fromkeys(("DoubleStorage", "LongStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
}
"""Bytes per number of torch's storage classes."""


def _check_safetensors(path: Path, size: int) -> None:
    """Refuse a truncated or damaged safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER:
            raise damaged(path, "its first bytes are garbled")
        text = file.read(length)
    if len(text) < length:
        refuse_partial(path, size, "it ends within the list of its weights")
    try:
        header = json.loads(text)
        ends = [int(v["data_offsets"][1]) for k, v in header.items() if k != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise damaged(path, "the list of its weights is garbled", str(error)) from error
    for name, entry in header.items():
        shape = entry.get("shape", ())
        if name != "__metadata__" and not (
            isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
        ):
            raise damaged(path, f"{name:.60} has the shape {shape!r:.60}, which no weights have")
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        refuse_partial(path, size, expected=expected)
    if size > expected:
        raise damaged(path, f"it goes on for {size - expected:,} bytes after its weights")


# -- everything else --


def _refuse(path: Path, start: bytes, size: int) -> NoReturn:
    """Raise the error for a file that is no container of weights."""
    if not size:
        raise Dp3dError("weights.incomplete", f"{path.name} is empty.", AGAIN)
    if start.startswith(b"d") and re.match(rb"d\d+:", start) and b"4:info" in start:
        refuse_placeholder(path, "a torrent", "Open it in a BitTorrent program to fetch the file.")
    text = _as_text(start)
    if text is not None and size >= _LEAST_TEXT:
        refuse_text(path, text, size)
    if start.startswith(b"bplist") or path.suffix.lower() == ".lnk":
        refuse_placeholder(path, "a shortcut", "Follow it, and fetch the file itself.")
    for offset, magic, kind in _ARCHIVES:
        if start[offset:].startswith(magic):
            refuse_archive(path, kind, None)
    if path.suffix.lower() in PARTIAL_ENDINGS:
        refuse_partial(path, size)
    if size < _LEAST_BYTES:
        refuse_partial(path, size, "no weights are so few")
    if not start.strip(b"\0"):
        refuse_partial(path, size, "it begins with zeros, room for what was never fetched")
    for offset, magic, kind in _OTHERS:
        if start[offset:].startswith(magic):
            refuse_other(path, kind)
    if path.suffix.lower() == ".onnx" or re.match(rb"\x08[\x01-\x20]\x12.{1,40}pytorch", start):
        refuse_other(path, "an ONNX file")
    raise damaged(path, "it begins like no file of weights: it is garbled, or of another kind")


def _as_text(start: bytes) -> str | None:
    """The beginning of a file as text, None for binary contents."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if start.startswith(mark):
            return start[2:].decode(encoding, "replace")
    start = start.removeprefix(b"\xef\xbb\xbf")
    beginning = start.lstrip()[:4096]
    if not beginning:
        return None
    control_bytes = sum(byte < 9 or 13 < byte < 32 for byte in beginning)
    non_ascii_bytes = sum(byte > 127 for byte in beginning)
    is_text = not control_bytes and non_ascii_bytes < _MOST_NON_ASCII * len(beginning)
    if is_text or beginning[:9].lower().startswith((b"http/", b"<!doctype", b"<html")):
        return start.decode("utf-8", "replace")
    return None
