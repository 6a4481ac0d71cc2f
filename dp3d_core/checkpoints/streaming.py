"""Reads and writes files of weights piece by piece, in little memory.

The safetensors package writes whole dictionaries of tensors, which would hold a network of 6 GB in
memory twice.  Here the header is written first and tensors follow one by one, hashed on the way.
Format: https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import torch
from torch import Tensor

from dp3d_core.checkpoints.file_kinds import check_weights_file
from dp3d_core.checkpoints.official import read_checkpoint

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
"""Names of types in safetensors files."""
_PIECE = 1 << 22
"""Numbers that are converted and written in one piece."""
_SYNCED = 1 << 24
"""Bytes between two fsyncs; a single one at the end could block for a minute without progress."""
_MAPPED = 1 << 30
"""Bytes of the source that are read before it is mapped again, which frees its pages."""


class Source:
    """A checkpoint whose tensors are memory-mapped, and mapped again after every GiB that is read.

    Attributes:
        state: tensors by name; :meth:`was_read` replaces the mapping.
        half: the type of half precision.

    """

    half: ClassVar[torch.dtype] = torch.float16

    def __init__(self, path: Path) -> None:
        self._path, self._read = Path(path), 0
        self._is_mapped = check_weights_file(self._path) != "pickle"
        self.state: Mapping[str, Tensor] = read_checkpoint(self._path)

    def was_read(self, size: int) -> None:
        """Count bytes that were read; after 1 GiB, map the file again to free its pages."""
        self._read += size
        if self._is_mapped and self._read >= _MAPPED:
            self._read, self.state = 0, {}
            self.state = read_checkpoint(self._path)


class SafetensorsWriter:
    """Writes a safetensors file tensor by tensor.

    Args:
        path: the file, which is replaced.
        tensors: type and shape by name.

    """

    def __init__(
        self, path: Path, tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
    ) -> None:
        # types in descending size, so that all tensors are aligned
        self.names = sorted(tensors, key=lambda name: (-tensors[name][0].itemsize, name))
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in self.names:
            dtype, shape = tensors[name]
            start, end = end, end + dtype.itemsize * math.prod(shape)
            header[name] = {
                "dtype": _TYPES[dtype],
                "shape": list(shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._header, self._bytes_left = len(text).to_bytes(8, "little") + text, end
        self._types = {name: dtype for name, (dtype, _) in tensors.items()}
        self._path, self._digest = Path(path), hashlib.sha256()
        self._unsynced = 0
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_hashed(self._header)
        return self

    def write(self, name: str, value: Tensor, done: Callable[[int], None]) -> bool:
        """Write the next tensor, in the order of :attr:`names`.

        Args:
            name: of the tensor.
            value: of any number type; converted to the declared type.
            done: called with the bytes of each piece.

        Returns:
            Whether all numbers are finite in that type.

        """
        flat, dtype, finite = value.reshape(-1), self._types[name], True
        for start in range(0, len(flat), _PIECE):
            piece = flat[start : start + _PIECE].to(dtype)
            finite = finite and bool(torch.isfinite(piece).all())
            self._write_hashed(piece.contiguous().view(torch.uint8).numpy().data)
            self._bytes_left -= piece.nbytes
            done(piece.nbytes)
        return finite

    def _write_hashed(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNCED:
            self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                assert self._bytes_left == 0, "tensors are missing"
                self._sync()
        finally:
            self._file.close()

    def sha256(self) -> str:
        """SHA-256 of the complete file, hexadecimal."""
        return self._digest.hexdigest()
