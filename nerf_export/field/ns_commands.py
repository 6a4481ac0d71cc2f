"""A fit as a run folder for nerfstudio's commands, and meshes made by nerfstudio's exporters."""

from __future__ import annotations

from pathlib import Path

from dp3d_core.progress import CancelCheck, Progress, ProgressCallback
from nerf_export.field.fit import Fit
from nerf_export.folders.writing import mark_export
from nerf_export.process.child_process import run_child
from nerf_export.process.left_children import working_folder

STOCK_EXPORTERS = ("tsdf", "poisson")
"""Mesh exporters of ``ns-export`` that a fit can be given to."""


def check_stock_exporters(*, progress: ProgressCallback, cancel: CancelCheck) -> None:
    """Raise ``nerf.package_missing`` where :func:`stock_mesh` cannot work."""
    with working_folder() as work:
        run_child("ns_check", {}, work, progress=progress, cancel=cancel)


def write_run_folder(
    fit: Path, out: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> Path:
    """Write a fit as ``ns-train`` would have left it.

    nerfstudio's viewer, renderer and exporters take it where dp3d is installed beside them, or
    with ``NERFSTUDIO_METHOD_CONFIGS`` set (``nerf_export.child.method.REGISTRATION``).

    Args:
        fit: folder of a finished fit; the run refers to its dataset.
        out: folder to write.
        progress: gets the child's events.
        cancel: polled four times a second.

    Returns:
        The run's ``config.yml``, which nerfstudio's commands ask for as ``--load-config``.

    Raises:
        Dp3dError: ``fit.*``, ``nerf.*``, ``job.cancelled``.

    """
    opened = Fit.open(Path(fit))
    mark_export(Path(out), "nerfstudio-run")
    progress(Progress("export", 0, 1, "Writing the run with nerfstudio"))
    with working_folder() as work:
        answer = run_child(
            "run_folder",
            {
                "dataset": str((opened.root / "dataset").absolute()),
                "field": str((opened.root / "field.safetensors").absolute()),
                "field_size": opened.meta.field_size.to_dict(),
                "preset": opened.meta.job.preset.to_dict(),
                "out": str(Path(out).absolute()),
            },
            work,
            progress=progress,
            cancel=cancel,
        )
    progress(Progress("export", 1, 1, "The run is written"))
    return Path(answer["config"])


def stock_mesh(
    config: Path,
    fit: Path,
    kind: str,
    out: Path,
    *,
    faces: int,
    texture_size: int,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Path:
    """Mesh of ``ns-export``, with its defaults but for size and for the box, which is the field's.

    Args:
        config: of :func:`write_run_folder`.
        fit: folder of the fit.
        kind: one of :data:`STOCK_EXPORTERS`.
        out: folder to write.
        faces: triangles, at most.
        texture_size: side of the texture, texels.
        progress: gets the child's events.
        cancel: polled four times a second.

    Returns:
        A textured OBJ in nerfstudio's world, Z up.

    Raises:
        Dp3dError: ``nerf.package_missing``, ``nerf.*``, ``job.cancelled``.

    """
    low, high = Fit.open(Path(fit)).bounds
    with working_folder() as work:
        answer = run_child(
            "ns_export",
            {
                "config": str(config),
                "kind": kind,
                "out": str(Path(out).absolute()),
                "low": low.tolist(),
                "high": high.tolist(),
                "faces": faces,
                "texture_size": texture_size,
            },
            work,
            progress=progress,
            cancel=cancel,
        )
    return Path(answer["mesh"])
