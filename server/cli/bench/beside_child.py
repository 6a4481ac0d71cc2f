"""Runs the preview engine of the source tree in ``PYTHONPATH``; one JSON request per line.

It imports only modules of dp3d that every supported version has, under their old or new names.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer requests until standard input ends."""
    # output of the engine goes to standard error, replies to the original standard output
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(**content: Any) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    try:
        import dp3d_core

        load_portrait = import_loader()
        reply(package=str(Path(dp3d_core.__path__[0]).resolve()))
        for line in sys.stdin:
            reply(seconds=answer(json.loads(line), load_portrait))
    except Exception as error:
        traceback.print_exc()
        reply(error=f"{type(error).__name__}: {error}")


def import_loader() -> Any:
    """The function that loads a portrait, from its old or new module."""
    try:
        from dp3d_core.portraits.load import load_portrait
    except ImportError:
        from dp3d_core.portrait import load_portrait  # type: ignore[import-not-found,no-redef]
    return load_portrait


def import_classes() -> tuple[Any, Any]:
    """The classes ``Camera`` and ``PreviewHead``, from their old or new modules."""
    try:
        from dp3d_core.cameras.camera import Camera
        from dp3d_core.preview.head import PreviewHead
    except ImportError:
        from dp3d_core.cameras import Camera  # type: ignore[attr-defined,no-redef]
        from dp3d_core.preview.engine import PreviewHead  # type: ignore[attr-defined,no-redef]
    return Camera, PreviewHead


def answer(request: dict[str, Any], load_portrait: Any) -> float:
    """Fit a head to a photo and write its mesh and views; returns the seconds of the fit.

    Args:
        request: photo (base64), cameras, background and output file.
        load_portrait: function that loads a portrait.

    """
    import numpy as np

    Camera, PreviewHead = import_classes()

    photo = base64.b64decode(request["photo"])
    started = time.perf_counter()
    portrait = load_portrait(photo)
    head = PreviewHead(portrait)
    seconds = time.perf_counter() - started
    background = tuple(request["background"])
    cameras = [
        Camera(np.array(c2w), np.array(K), width, height)
        for c2w, K, width, height in request["cameras"]
    ]
    np.savez(
        request["out"],
        c2w=portrait.camera.c2w,
        vertices=head.mesh.vertices,
        faces=head.mesh.faces,
        views=np.stack([head.render(camera).composite(background) for camera in cameras]),
    )
    return seconds


if __name__ == "__main__":
    main()
