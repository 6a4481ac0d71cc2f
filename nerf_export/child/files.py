"""Atomic writing: a reader finds no file, the previous one, or the complete new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import new_file_mode


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Temporary path to write to, renamed to ``path`` when the block ends without an error.

    Raises:
        Dp3dError: ``output.not_writable`` for any error in the block.  torch and safetensors
            raise exceptions of their own for a full disk.

    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(new_file_mode())  # some writers restrict it to the user
        temporary.replace(path)
    except Exception as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise Dp3dError(
            "output.not_writable",
            f"{path.name} cannot be written in {path.parent}.",
            "Make room on the disk and start the same again: a fit goes on from its last "
            "checkpoint.",
            str(error),
        ) from error
