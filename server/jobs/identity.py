"""Digest by which identical jobs are found.

It covers the request, the version of dp3d and the models and weights on this machine.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import hash_file
from dp3d_core.storage.paths import dp3d_home
from server.storage.artifacts import ArtifactStore

_INSTALLED_FILES = ("models/*", "weights/*/weights.json")
"""Patterns of files in the user's dp3d folder that results depend on."""
_MAX_FILE_BYTES = 16 * 1024 * 1024
"""Bytes above which an installed file is not hashed: dp3d installs no larger one there."""
_TREE_MEMBERS = ("views", "fit", "obj")
"""Members of a job's result that name a tree."""


def request_digest(kind: str, params: dict[str, Any]) -> str:
    """SHA-256 over a request, the version of dp3d and the installed models and weights.

    Args:
        kind: of the job.
        params: complete parameters, after defaults.

    Returns:
        64 hex digits; equal for identical jobs.

    """
    home, installed = dp3d_home(), []
    for pattern in _INSTALLED_FILES:
        for path in sorted(home.glob(pattern)):
            if path.is_file() and path.stat().st_size < _MAX_FILE_BYTES:
                installed.append([path.relative_to(home).as_posix(), hash_file(path)])
    text = json.dumps([kind, params, __version__, installed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_complete(result: dict[str, Any] | None, artifacts: ArtifactStore) -> bool:
    """Whether every artifact that a job's result names is still stored; False without a result."""
    if result is None:
        return False
    try:
        for name, value in result.items():
            if name in _TREE_MEMBERS and value is not None:
                artifacts.read_tree(value)
            elif isinstance(value, dict) and "sha256" in value:
                artifacts.find(value["sha256"])
    except (Dp3dError, OSError):
        return False
    return True
