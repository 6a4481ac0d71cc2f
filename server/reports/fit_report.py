"""Writes the report of a fit: pictures and figures, as a page and as JSON.

::

    FIT/report/
      report.html  report.json   figures of the field, and of a mesh if there is one
      views.png                  held-out views, their renders, and the difference
      turntable.webm             orbit around the field
      mesh.webm                  orbit around the mesh, textured and as clay
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core.arrays import Pixels
from dp3d_core.progress import CancelCheck, ProgressCallback
from dp3d_core.storage.files import read_json, write_atomic, write_json
from dp3d_core.viewsets.sheets import contact_sheet, resized, save_png
from dp3d_core.viewsets.video import save_video
from dp3d_core.viewsets.viewset import ViewSet, over
from nerf_export.field.fit import Fit
from nerf_export.field.render import head_rotation, render_cameras, render_fit
from server.reports.turntable import turntable_frames

SCHEMA = "dp3d.fit-report/1"
"""Schema of ``report.json``."""
_TURN_FRAMES = 36
"""Frames of a turntable."""
_TURN_SIZE = 256
"""Height of a turntable's frames, pixels."""
_FPS = 12.0
"""Frames per second of a turntable."""
_DIFFERENCE_GAIN = 4
"""Factor by which differences are multiplied in ``views.png``."""


def write_fit_report(
    root: Path,
    *,
    mesh: Path | None = None,
    mesh_stats: dict[str, Any] | None = None,
    progress: ProgressCallback,
    cancel: CancelCheck,
) -> Path:
    """Write the report of a finished fit, or add a mesh to it.

    Args:
        root: folder of the fit.
        mesh: GLB made from the fit.
        mesh_stats: figures of the mesh, from ``build_mesh``.
        progress: stages ``render`` and ``turntable``.
        cancel: polled between frames.

    Returns:
        path of ``report.html``.

    Raises:
        Dp3dError: ``fit.*``, ``nerf.*``, ``mesh.unreadable``, ``job.cancelled``.

    """
    fit = Fit.open(root)
    out = fit.root / "report"
    calls: dict[str, Any] = {"progress": progress, "cancel": cancel}
    report = _read_current_report(out / "report.json", fit)
    if report is None:
        report = _report_field(fit, out, calls)
    if mesh is not None:
        frames = turntable_frames(mesh, _TURN_FRAMES, _TURN_SIZE, head_rotation(fit), **calls)
        save_video(out / "mesh.webm", frames, _FPS)
        report["mesh"] = {"file": mesh.name, "bytes": mesh.stat().st_size, **(mesh_stats or {})}
    write_json(out / "report.json", report)
    write_atomic(out / "report.html", _page(report).encode())
    return out / "report.html"


def _read_current_report(path: Path, fit: Fit) -> dict[str, Any] | None:
    """A complete earlier report of the field; None when there is none."""
    try:
        report: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return None
    has_files = all((path.parent / name).is_file() for name in ("views.png", "turntable.webm"))
    return report if has_files and report.get("field_sha256") == fit.meta.field_sha256 else None


def _report_field(fit: Fit, out: Path, calls: dict[str, Any]) -> dict[str, Any]:
    """Render ``views.png`` and ``turntable.webm``; returns the figures of the field."""
    held_out = list(fit.meta.held_out)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)  # left by a report of another field
    renders = render_fit(fit, [fit.cameras[i] for i in held_out], work / "views", **calls)
    save_png(out / "views.png", _sheet(fit, held_out, renders))
    orbit = {"preset": "orbit", "views": _TURN_FRAMES, "size": _TURN_SIZE}
    turn = render_fit(fit, render_cameras(fit, orbit)[0], work / "turn", **calls)
    save_video(out / "turntable.webm", (turn.frame(i) for i in range(len(turn))), _FPS)
    shutil.rmtree(work, ignore_errors=True)
    job = fit.meta.job
    return {
        "schema": SCHEMA,
        "field_sha256": fit.meta.field_sha256,
        "preset": job.preset.name,
        "steps": job.preset.steps,
        "seed": job.seed,
        "views": len(fit.cameras),
        "seconds": fit.meta.seconds,
        "scores": fit.scores,
        "view_scores": [row.to_dict() for row in fit.meta.view_scores],
        "warnings": list(fit.meta.warnings),
        "silhouettes": fit.meta.silhouettes,
        "registration": fit.meta.registration,
        "device": fit.meta.device,
        "versions": fit.meta.versions,
    }


def _sheet(fit: Fit, held_out: Sequence[int], renders: ViewSet) -> Pixels:
    """Rows of held-out views over white, of renders, and of differences."""
    rows: list[list[Pixels]] = [[], [], []]
    for position, index in enumerate(held_out):
        render = renders.frame(position)
        _, rgba = fit.picture(index)
        truth = resized(over(rgba), render.shape[1], render.shape[0])
        error = np.abs(truth.astype(int) - render)
        difference = error.clip(0, 255 // _DIFFERENCE_GAIN) * _DIFFERENCE_GAIN
        for row, picture in zip(rows, (truth, render, difference.astype(np.uint8)), strict=True):
            row.append(picture)
    names = ["held out", "rendered", f"difference x {_DIFFERENCE_GAIN}"]
    labels = [f"{name}: view {i}" for name in names for i in held_out]
    return contact_sheet([p for row in rows for p in row], len(held_out), labels, 256)


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd }
img, video { max-width: 100%; border: 1px solid #ddd }
.note { background: #fff4d6; padding: .5rem 1rem }
"""
_NAMES = {
    "foreground_psnr": "PSNR on the head, dB",
    "worst_foreground_psnr": "worst view, dB",
    "psnr": "PSNR of the whole frames, dB",
    "ssim": "SSIM",
    "held_out_views": "held-out views that show the head",
}
"""Labels of the scores."""


def _page(report: dict[str, Any]) -> str:
    """The report as HTML; pictures and videos are files beside it."""
    notes = "".join(f"<p class=note>{html.escape(str(w))}</p>" for w in report["warnings"])
    seconds = report["seconds"]
    facts = [
        f"preset {report['preset']}, {report['steps']} steps, seed {report['seed']}",
        f"{report['views']} views",
        *([f"{seconds:.0f} s on {report['device']}"] if seconds is not None else []),
    ]
    scores = {_NAMES.get(k, k): v for k, v in report["scores"].items()}
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>dp3d fit</title>",
        f"<style>{_STYLE}</style><h1>Fit</h1><p>{html.escape(', '.join(facts))}</p>{notes}",
        "<h2>Views that the fit has not seen</h2>",
        _table(scores),
        "<img src=views.png alt='held-out views, their renders, and the difference'>",
        "<h2>How the views agree</h2>",
        _table(_agreement(report)),
        "<h2>The field from all around</h2>",
        "<video src=turntable.webm autoplay loop muted controls></video>",
    ]
    mesh = report.get("mesh")
    if mesh is not None:
        parts += [
            "<h2>Mesh</h2>",
            _table({k: v for k, v in mesh.items() if not isinstance(v, list | tuple | dict)}),
            "<video src=mesh.webm autoplay loop muted controls></video>",
        ]
    parts += ["<h2>Made with</h2>", _table(report["versions"]), "</html>"]
    return "\n".join(parts)


def _agreement(report: dict[str, Any]) -> dict[str, Any]:
    """Rows about the consistency of silhouettes and poses."""
    rows: dict[str, Any] = {}
    if (silhouettes := report.get("silhouettes")) is not None:
        fractions = [value for value in silhouettes["views"] if value is not None]
        rows["silhouettes that one shape fills"] = (
            f"{silhouettes['mean']:.1%}, {min(fractions, default=0):.1%} of the worst"
        )
    if (poses := report.get("registration")) is None:
        return rows | {"poses": "as given"}
    if poses["left"]:
        rows["views whose faces lie elsewhere, left as given"] = ", ".join(map(str, poses["left"]))
    return rows | {
        "poses": f"moved to the faces of {len(poses['faces'])} views, by up to "
        f"{poses['largest_turn_deg']:.1f} degrees",
        "faces lay beside their cameras' view": f"{poses['before']:.2%} of a frame's width, "
        f"now {poses['after']:.2%}",
    }


def _table(rows: dict[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(_format_value(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _format_value(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
