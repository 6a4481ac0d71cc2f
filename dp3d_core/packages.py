"""Packages of dp3d's extras: which are missing, which cannot be imported, how to install them.

Standard library only, for it runs where other packages are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import TracebackType

from dp3d_core import __version__
from dp3d_core.errors import Dp3dError

EXTRAS: dict[str, tuple[str, ...]] = {
    "core": (
        *("cv2", "embreex", "pygltflib", "scipy", "skimage", "threadpoolctl", "trimesh", "xatlas"),
    ),
    "nerf": ("cv2", "embreex", "fast_simplification", "scipy", "skimage", "trimesh", "xatlas"),
    "server": (
        *("fastapi", "h11", "httpx", "pydantic", "sqlalchemy", "sqlmodel", "starlette", "uvicorn"),
    ),
    "diffusion": (
        *(
            "accelerate",
            "diffusers",
            "einops",
            "huggingface_hub",
            "psutil",
            "safetensors",
            "tokenizers",
        ),
        *("torch", "transformers"),
    ),
    "metrics": ("torch_fidelity", "torchmetrics", "torchvision"),
    "heic": ("pillow_heif",),
}
"""Modules that each extra of dp3d installs."""
ALWAYS = ("filelock", "numpy", "PIL", "rich", "tyro")
"""Modules that dp3d installs without any extra."""
_DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "fast_simplification": "fast-simplification",
    "pillow_heif": "pillow-heif",
    "skimage": "scikit-image",
    "torch_fidelity": "torch-fidelity",
    "PIL": "pillow",
}
"""Distribution of a module, where the names differ."""
_MAKE = {"core": "make env", "nerf": "make env", "server": "make env"} | {
    "diffusion": "make env-diffusion"
}
"""Makefile target that installs an extra."""
_EXTRA_OF = {module: extra for extra, modules in reversed(EXTRAS.items()) for module in modules}
"""Extra that installs a module; of several the first in :data:`EXTRAS`."""


def distribution(module: str) -> str:
    """Name of the distribution that installs a module."""
    return _DISTRIBUTIONS.get(module, module)


def is_absent(module: str) -> bool:
    """Whether a module is not installed, or is an empty folder; imports nothing."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a module in sys.modules without a spec
        return True
    return spec is None or spec.origin is None


def installed_version(module: str) -> tuple[int, ...] | None:
    """Leading numbers of a module's version; None where no distribution states it."""
    try:
        text = version(distribution(module))
    except PackageNotFoundError:
        return None
    numbers: list[int] = []
    for part in text.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of dp3d and of those of the packages that are installed, for ``meta.json``."""
    versions = {"dp3d": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def how_to_install(extra: str) -> str:
    """A sentence with the command that installs an extra."""
    make = f", or '{_MAKE[extra]}'" if extra in _MAKE else ""
    return f"Install what belongs to it: pip install 'dp3d[{extra}]'{make}."


def package_error(error: BaseException) -> Dp3dError | None:
    """The error for a package that is missing or cannot be imported.

    Args:
        error: any exception.

    Returns:
        ``engine.packages_missing`` for a missing package of the diffusion engines,
        ``packages.missing`` for one of another extra, ``packages.broken`` for an installed package
        whose import fails; None where no package is the cause.

    """
    if isinstance(error, Dp3dError | MemoryError):
        return None
    for link in _chain(error):
        if isinstance(link, ModuleNotFoundError) and link.name in _EXTRA_OF:
            return _missing_error(link.name)
    for link in _chain(error):
        module = _package_being_imported(link.__traceback__) or _package_named(link)
        if module is not None:
            return _broken_error(module, link)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, the first cause first."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return reversed(links)


def _package_being_imported(trace: TracebackType | None) -> str | None:
    """The known package that was being imported when the exception was raised, or None."""
    while trace is not None:
        frame = trace.tb_frame
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and (top in _EXTRA_OF or top in ALWAYS):
            return top
        trace = trace.tb_next
    return None


def _package_named(error: BaseException) -> str | None:
    """The known package that an ImportError names, or None."""
    if not isinstance(error, ImportError):
        return None
    top = (error.name or "").partition(".")[0]
    return top if top in _EXTRA_OF or top in ALWAYS else None


def _missing_error(module: str) -> Dp3dError:
    extra = _EXTRA_OF[module]
    absent = [name for name in EXTRAS[extra] if is_absent(name)] or [module]
    names = ", ".join(distribution(name) for name in absent)
    if extra == "diffusion":
        return Dp3dError(
            "engine.packages_missing",
            f"The packages of the diffusion engines are not installed ({names}).",
            how_to_install(extra),
        )
    return Dp3dError(
        "packages.missing",
        f"This needs packages that are not installed: {names}.",
        how_to_install(extra),
    )


def _broken_error(module: str, error: BaseException) -> Dp3dError:
    name = distribution(module)
    extra = _EXTRA_OF.get(module)
    dp3d = "dp3d" if extra is None else f"dp3d[{extra}]"
    reason = " ".join(str(error).split())
    shown = reason if len(reason) <= 120 else f"{reason[:117]}..."
    return Dp3dError(
        "packages.broken",
        f"The package {name} is installed and cannot be loaded ({shown or type(error).__name__}).",
        f"Install it anew, in versions that fit each other: pip install --force-reinstall '{dp3d}'."
        " Where it lacks a library of the system, install that.",
        f"{type(error).__name__}: {reason}",
    )
