"""Files of the child: absent, the old one, or the whole new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import new_file_mode


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write under, which takes its place when all is written.

    Raises:
        Dp3dError: ``output.not_writable`` for whatever goes wrong inside: torch and safetensors
            name a full disk in ways of their own.

    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(new_file_mode())  # some writers make it private
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
