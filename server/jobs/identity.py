"""Which jobs are identical: same request, same dp3d, same models and weights on this machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import hash_file
from dp3d_core.storage.paths import dp3d_home
from server.storage.artifacts import ArtifactStore

_INSTALLED = ("models/*", "weights/*/weights.json")
"""Files in the user's dp3d folder that results depend on."""
_LARGEST = 16 * 1024 * 1024
"""Bytes; a larger file there is none of ours."""
_TREES = ("views", "fit")
"""Members of a result that name a tree."""


def request_digest(kind: str, params: dict[str, Any]) -> str:
    """SHA-256 over a request and what its result depends on besides.

    Args:
        kind: of the job.
        params: complete parameters, after defaults.

    """
    home, installed = dp3d_home(), []
    for pattern in _INSTALLED:
        for path in sorted(home.glob(pattern)):
            if path.is_file() and path.stat().st_size < _LARGEST:
                installed.append([path.relative_to(home).as_posix(), hash_file(path)])
    text = json.dumps([kind, params, __version__, installed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_whole(result: dict[str, Any] | None, artifacts: ArtifactStore) -> bool:
    """Whether every artifact that a result names is still stored."""
    if result is None:
        return False
    try:
        for name, value in result.items():
            if name in _TREES:
                artifacts.read_tree(value)
            elif isinstance(value, dict) and "sha256" in value:
                artifacts.find(value["sha256"])
    except (Dp3dError, OSError):
        return False
    return True
