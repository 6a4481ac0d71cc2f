"""``dp3d demo``: all stages on one photo, resumable.

portrait -> rigged head -> views -> fitted head -> fit -> mesh -> both meshes -> turntable ->
report.  ``.stages.json`` has a hash of each stage's inputs.  A later run skips finished stages with
unchanged inputs, resumes interrupted ones, and repeats stages whose inputs changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dp3d_core import __version__
from dp3d_core.limits import (
    DEFAULT_ENGINE,
    DEFAULT_FACES,
    DEFAULT_FIT_PRESET,
    DEFAULT_SIDE,
    DEFAULT_TEXTURE_SIDE,
    DEFAULT_VIEWS,
    MAX_PHOTOS,
    PRESET_SIDE,
    PRESET_VIEWS,
    FitPreset,
)
from dp3d_core.progress import check_cancel
from dp3d_core.storage.files import read_json, write_atomic, write_json
from server.cli.arguments import Also, Faces, HeadOptions, TextureSide, number, sides_and_paths
from server.cli.console import Common, Console, Outcome
from server.cli.demo_report import report_lines
from server.json_ready import json_ready

if TYPE_CHECKING:
    from dp3d_core.cameras.camera import Camera
    from dp3d_core.portraits.portrait import Portrait

_STAGES_FILE = ".stages.json"
"""File with the inputs, times and results of the stages."""
_TURNTABLE_FRAMES = 36
"""Frames of a full turn of the mesh."""
_RIGGED_HEAD = "head_rigged.glb"
"""File of the rigged head."""
_RIGGED_PICTURE = "head_rigged.png"
"""Picture of the rigged head."""
_FITTED_HEAD = "head_fitted.glb"
"""File of the fitted head."""
_FITTED_HEAD_TEXTURE = 2048
"""Side of the textures of the fitted and the rigged head, texels."""
_MESH_YAWS = (0, 45, 90, 180)
"""Yaw of the cameras that both meshes are rendered from, degrees."""
_MESH_TILE = 256
"""Side of each of these pictures, pixels."""


class Stages:
    """State of the stages in a folder, and the inputs of each.

    Args:
        out: folder of the demo.
        console: for notes and cancel.

    """

    def __init__(self, out: Path, console: Console) -> None:
        self.out, self._console = out, console
        self.notes: dict[str, dict[str, Any]] = {}
        try:
            notes = read_json(out / _STAGES_FILE)
            self.notes = {k: v for k, v in notes.items() if isinstance(v, dict)}
        except (OSError, ValueError, AttributeError):
            pass

    def run(
        self,
        name: str,
        inputs: Any,
        results: list[str],
        work: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        """Run a stage, unless an earlier run finished it with equal inputs.

        Args:
            name: of the stage.
            inputs: everything the results depend on, as JSON values.
            results: files and folders in ``out`` that the stage makes.
            work: makes the results, resuming partial ones; returns the stage's summary.

        Returns:
            summary of the stage for the report, of this run or the earlier one.

        """
        check_cancel(self._console.cancel, "The demo")
        key = hashlib.sha256(json.dumps([name, inputs], sort_keys=True).encode()).hexdigest()
        note = self.notes.get(name, {})
        have_results = all((self.out / result).exists() for result in results)
        if note.get("key") == key and note.get("done") and have_results:
            self._console.note(f"{name}: kept from an earlier run")
            earlier_summary: dict[str, Any] = note["about"]
            return earlier_summary
        if note and note.get("key") != key:
            # Only results that an earlier demo recorded are removed.
            for result in results:
                path = self.out / result
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            note = {}
        seconds = float(note.get("seconds", 0.0))
        self._write(name, {"key": key, "done": False, "seconds": seconds})
        started = time.monotonic()
        try:
            summary = json_ready(work())
        except BaseException:
            seconds += time.monotonic() - started
            self._write(name, {"key": key, "done": False, "seconds": round(seconds, 2)})
            raise
        seconds += time.monotonic() - started
        note = {"key": key, "done": True, "seconds": round(seconds, 2), "about": summary}
        self._write(name, note)
        return dict(summary)

    def key(self, name: str) -> str:
        """Hash of a finished stage's inputs, for the inputs of the next stage."""
        return str(self.notes[name]["key"])

    def _write(self, name: str, note: dict[str, Any]) -> None:
        self.notes[name] = note
        write_json(self.out / _STAGES_FILE, self.notes)


@dataclass
class Demo(Common):
    """The whole chain on one photo: views, radiance field, textured mesh, turntable, report."""

    photo: tyro.conf.Positional[Path | None] = field(default=None)
    """The portrait; without one, a public-domain photo that comes with scikit-image."""
    also: Also = ()
    out: Path = Path("out/demo")
    """Folder for all results; an interrupted run is resumed."""
    views: Annotated[
        int, number("Number of views, on three rings around the head", PRESET_VIEWS)
    ] = DEFAULT_VIEWS
    size: Annotated[int, number("Width and height of the views, pixels", PRESET_SIDE)] = (
        DEFAULT_SIDE
    )
    fit_preset: FitPreset = DEFAULT_FIT_PRESET
    """Size and length of the fit; high wants a GPU."""
    faces: Faces = DEFAULT_FACES
    texture_size: TextureSide = DEFAULT_TEXTURE_SIDE
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)

    def run(self, console: Console) -> Outcome:
        """Run the chain."""
        from dp3d_core.cameras.trajectories import cameras_from_request
        from dp3d_core.engines.registry import check_photo_count
        from dp3d_core.portraits.photo_file import default_photo
        from dp3d_core.storage.files import output_folder
        from nerf_export.field.presets import get_preset
        from nerf_export.mesh.textured_mesh import check_mesh_options
        from nerf_export.process.environment import nerf_python

        # Check what later stages need before the first one starts.
        request = {"preset": "capture", "views": self.views, "size": self.size}
        cameras = cameras_from_request(request)
        get_preset(self.fit_preset)
        check_mesh_options(self.faces, self.texture_size)
        also = [path for _, path in sides_and_paths(self.also)]
        check_photo_count(DEFAULT_ENGINE, MAX_PHOTOS, 1 + len(also))
        photo = self.photo or default_photo()
        with output_folder(self.out, (_STAGES_FILE,), (photo, *also)):
            nerf_python()
            return self._run(console, photo, request, cameras)

    def _run(
        self, console: Console, photo: Path, request: dict[str, Any], cameras: list[Camera]
    ) -> Outcome:
        from dp3d_core.cameras.files import cameras_to_dict
        from dp3d_core.engines.photos import photo_parameters

        started, out = time.monotonic(), self.out
        portrait = self.head.load(console, photo, self.also)
        stages = Stages(out, console)
        portrait_inputs = {
            "photo": portrait.sha256,
            **photo_parameters(portrait),
            **asdict(self.head),
            "dp3d": __version__,
        }
        summaries: dict[str, Any] = {
            "portrait": stages.run(
                "portrait", portrait_inputs, ["portrait.png"], lambda: _draw_portrait(portrait, out)
            )
        }
        summaries["rigged head"] = stages.run(
            "rigged head",
            [stages.key("portrait"), _FITTED_HEAD_TEXTURE],
            [_RIGGED_HEAD, _RIGGED_PICTURE],
            lambda: _write_rigged_head(portrait, out, console),
        )
        write_json(out / "cameras.json", cameras_to_dict(cameras))
        summaries["views"] = stages.run(
            "views",
            [stages.key("portrait"), request],
            ["views", "contact_sheet.png"],
            lambda: _make_views(portrait, cameras, out, console),
        )
        summaries["fitted head"] = stages.run(
            "fitted head",
            [stages.key("views"), _FITTED_HEAD_TEXTURE],
            [_FITTED_HEAD],
            lambda: _write_fitted_head(out, console),
        )
        summaries["fit"] = stages.run(
            "fit",
            [stages.key("views"), self.fit_preset],
            ["fit"],
            lambda: self._fit(out, console),
        )
        summaries["mesh"] = stages.run(
            "mesh",
            [stages.key("fit"), self.faces, self.texture_size],
            ["head.glb"],
            lambda: self._mesh(out, console),
        )
        summaries["both meshes"] = stages.run(
            "both meshes",
            [stages.key("fitted head"), stages.key("mesh"), _MESH_YAWS, _MESH_TILE],
            ["meshes.png"],
            lambda: _draw_meshes(out, console),
        )
        summaries["turntable"] = stages.run(
            "turntable",
            [stages.key("mesh"), _TURNTABLE_FRAMES],
            ["turntable.gif"],
            lambda: _write_turntable(out, console),
        )
        summaries["fit report"] = stages.run(
            "fit report",
            [stages.key("mesh")],
            ["fit/report/report.html"],
            lambda: _write_fit_report(out, summaries["mesh"], console),
        )
        fitted, mesh = summaries["fitted head"], summaries["mesh"]
        rigged = summaries["rigged head"]
        report = {
            "schema": "dp3d.demo-report/1",
            "dp3d": __version__,
            "photo": {"name": photo.name, "sha256": portrait.sha256},
            "cameras": request,
            "seconds": {name: stages.notes[name]["seconds"] for name in summaries},
            "seconds_this_run": round(time.monotonic() - started, 2),
            "stages": summaries,
        }
        write_json(out / "report.json", report)
        text = "\n".join(report_lines(report)) + "\n"
        write_atomic(out / "report.md", text.encode())
        return Outcome(
            {"out": str(out), **report},
            [
                f"Done in {report['seconds_this_run']:.0f} s: {out}",
                "  contact_sheet.png  the views side by side",
                f"  head_rigged.glb    the head to animate, {rigged['keys']} keys, in metres",
                "  head_rigged.png    some of its expressions, and from all sides",
                f"  head_fitted.glb    the fitted head as one mesh, {fitted['faces']} triangles",
                f"  head.glb           the mesh of the radiance field, {mesh['faces']} triangles",
                "                     (both: a head unit is a metre; all glTF: Y up, face to +Z)",
                "  meshes.png         both side by side, textured and plain",
                "  turntable.gif      head.glb all around, textured and plain",
                "  report.md          what was measured",
                "  fit/report/        the field beside views it has not seen (report.html)",
            ],
        )

    def _fit(self, out: Path, console: Console) -> dict[str, Any]:
        from nerf_export.field.fit import fit_views

        fit = fit_views(
            out / "views",
            out / "fit",
            preset=self.fit_preset,
            progress=console.progress,
            cancel=console.cancel,
        )
        return {"preset": self.fit_preset, "scores": fit.scores}

    def _mesh(self, out: Path, console: Console) -> dict[str, Any]:
        from nerf_export.mesh.textured_mesh import build_mesh

        stats = build_mesh(
            out / "fit",
            out / "head.glb",
            faces=self.faces,
            texture_size=self.texture_size,
            progress=console.progress,
            cancel=console.cancel,
        )
        return {**stats.to_dict(), "bytes": (out / "head.glb").stat().st_size}


def _draw_portrait(portrait: Portrait, out: Path) -> dict[str, Any]:
    from dp3d_core.portraits.report_picture import report_picture
    from dp3d_core.viewsets.sheets import save_png

    save_png(out / "portrait.png", report_picture(portrait))
    report: dict[str, Any] = portrait.report.to_dict()
    return report


def _write_rigged_head(portrait: Portrait, out: Path, console: Console) -> dict[str, Any]:
    """Write the fitted head with blend shapes and bones, as ``dp3d head`` does."""
    from dp3d_core.engines.photos import photo_records, used_hashes
    from dp3d_core.limits import DEFAULT_HEAD_DETAIL
    from dp3d_core.preview.kept_heads import fitted_head
    from dp3d_core.progress import Stage
    from dp3d_core.rigged.asset import RIG_STEPS, rig_summary, rigged_head, write_rig
    from dp3d_core.rigged.sheet import sample_sheet
    from dp3d_core.viewsets.sheets import save_png

    head = fitted_head(portrait, progress=console.progress, cancel=console.cancel)
    stage = Stage("rig", RIG_STEPS + 2, console.progress, console.cancel, "Rigging the head")
    rig = rigged_head(
        head, _FITTED_HEAD_TEXTURE, photo_sha256=portrait.sha256,
        further_sha256=used_hashes(photo_records(portrait, head.photos)), on_step=stage.begin,
    )  # fmt: skip
    stage.begin("Writing the rigged head")
    write_rig(rig, out / _RIGGED_HEAD)
    stage.begin("Drawing the rigged head")
    save_png(out / _RIGGED_PICTURE, sample_sheet(rig))
    stage.end(f"The rigged head is written: {out / _RIGGED_HEAD} and {_RIGGED_PICTURE}")
    summary = rig_summary(rig, DEFAULT_HEAD_DETAIL)
    return {
        "quads": sum(part["quads"] for part in summary["parts"].values()),
        "meshes": len(summary["parts"]),
        "keys": len(summary["keys"]),
        "bytes": (out / _RIGGED_HEAD).stat().st_size,
    }


def _make_views(
    portrait: Portrait, cameras: list[Camera], out: Path, console: Console
) -> dict[str, Any]:
    from dp3d_core.engines.registry import get_engine
    from dp3d_core.viewsets.sheets import save_png, viewset_sheet

    views = get_engine(DEFAULT_ENGINE).generate(
        portrait,
        cameras,
        {},
        out=out / "views",
        progress=console.progress,
        cancel=console.cancel,
    )
    save_png(out / "contact_sheet.png", viewset_sheet(views))
    return {"engine": views.meta.engine, "count": len(views), "photos": views.meta.photos}


def _write_fitted_head(out: Path, console: Console) -> dict[str, Any]:
    """Write the fitted head of the views as a textured mesh, as ``dp3d head`` does."""
    from dp3d_core.preview.asset import textured_parts, write_asset
    from dp3d_core.preview.kept_heads import HEAD_FILE, read_head
    from dp3d_core.progress import Stage

    stage = Stage("fitted head", 1, console.progress, console.cancel, "Painting the textures")
    parts = textured_parts(read_head(out / "views" / HEAD_FILE), _FITTED_HEAD_TEXTURE)
    write_asset(parts, out / _FITTED_HEAD)
    stage.advance("The fitted head is written", file=_FITTED_HEAD)
    return {
        "faces": sum(len(part.faces) for part in parts),
        "vertices": sum(len(part.vertices) for part in parts),
        "texture_size": _FITTED_HEAD_TEXTURE,
        "bytes": (out / _FITTED_HEAD).stat().st_size,
    }


def _draw_meshes(out: Path, console: Console) -> dict[str, Any]:
    """Draw the fitted head (left half) beside the mesh of the radiance field (right half)."""
    from dp3d_core.cameras.trajectories import WHOLE_HEAD_FOCAL, canonical_camera
    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.progress import Stage
    from dp3d_core.viewsets.sheets import contact_sheet, save_png

    stage = Stage("both meshes", 2, console.progress, console.cancel, "Drawing both meshes")
    cameras = [canonical_camera(yaw, 0, _MESH_TILE, focal=WHOLE_HEAD_FOCAL) for yaw in _MESH_YAWS]
    rows: list[list[Any]] = [[], []]
    labels: list[list[str]] = [[], []]
    for name, file in (("fitted head", _FITTED_HEAD), ("radiance field", "head.glb")):
        mesh = TexturedMesh.open(out / file)
        for row, render in enumerate((mesh.render, mesh.clay)):
            rows[row] += [render(camera).composite((255, 255, 255)) for camera in cameras]
            labels[row] += [f"{name}, {yaw} degrees" for yaw in _MESH_YAWS]
        stage.advance()
    sheet = contact_sheet(rows[0] + rows[1], 2 * len(cameras), labels[0] + labels[1], _MESH_TILE)
    save_png(out / "meshes.png", sheet)
    return {"directions_deg": list(_MESH_YAWS)}


def _write_fit_report(out: Path, mesh_stats: dict[str, Any], console: Console) -> dict[str, Any]:
    from server.reports.fit_report import write_fit_report

    page = write_fit_report(
        out / "fit",
        mesh=out / "head.glb",
        mesh_stats=mesh_stats,
        progress=console.progress,
        cancel=console.cancel,
    )
    return {"page": page.relative_to(out).as_posix()}


def _write_turntable(out: Path, console: Console) -> dict[str, Any]:
    from dp3d_core.viewsets.sheets import save_gif
    from server.reports.turntable import turntable_frames

    frames = turntable_frames(
        out / "head.glb",
        _TURNTABLE_FRAMES,
        256,
        progress=console.progress,
        cancel=console.cancel,
    )
    save_gif(out / "turntable.gif", frames, fps=12)
    return {"frames": len(frames)}
