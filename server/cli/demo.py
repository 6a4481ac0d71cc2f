"""``dp3d demo``: the whole chain on one photo, stage by stage, resumable.

portrait -> views -> fitted head -> fit -> mesh -> both meshes -> turntable -> report.  Each stage
leaves a note of what it was made from; run again, a stage whose inputs are the same is kept, an
interrupted one goes on, and one whose inputs changed is made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from dp3d_core import __version__
from dp3d_core.files import read_json, write_atomic, write_json
from dp3d_core.progress import check_cancel
from server.cli.commands import HeadOptions
from server.cli.report import report_lines
from server.cli.session import Common, Outcome, Session
from server.plain import plain

if TYPE_CHECKING:
    from dp3d_core.cameras import Camera
    from dp3d_core.portraits.portrait import Portrait

_NOTES = ".stages.json"
_FRAMES_OF_TURNTABLE = 36
_FITTED = "head_fitted.glb"
_FITTED_TEXTURE = 2048
"""Side of the fitted head's texture, texels."""
_MESH_YAWS, _MESH_TILE = (0, 45, 90, 180), 256
"""Directions, degrees, from which both meshes are shown, and size of each picture, pixels."""


class Stages:
    """Which stages of a folder are done, and from what they were made."""

    def __init__(self, out: Path, session: Session) -> None:
        self.out, self._session = out, session
        self.notes: dict[str, dict[str, Any]] = {}
        try:
            notes = read_json(out / _NOTES)
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
        """Run a stage, or keep what an earlier run made from the same inputs.

        Args:
            name: of the stage.
            inputs: everything the result depends on, JSON.
            results: files and folders in ``out`` that the stage makes.
            work: does it, going on from what is there; returns what the report says about it.

        Returns:
            what ``work`` returned, now or then.

        """
        check_cancel(self._session.cancel, "The demo")
        key = hashlib.sha256(json.dumps([name, inputs], sort_keys=True).encode()).hexdigest()
        note = self.notes.get(name, {})
        there = all((self.out / result).exists() for result in results)
        if note.get("key") == key and note.get("done") and there:
            self._session.note(f"{name}: kept from an earlier run")
            kept: dict[str, Any] = note["about"]
            return kept
        if note and note.get("key") != key:
            # Only what an earlier demo noted as its own is ever removed.
            for result in results:
                path = self.out / result
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            note = {}
        spent = float(note.get("seconds", 0.0))
        self._write(name, {"key": key, "done": False, "seconds": spent})
        began = time.monotonic()
        try:
            about = plain(work())
        except BaseException:
            spent += time.monotonic() - began
            self._write(name, {"key": key, "done": False, "seconds": round(spent, 2)})
            raise
        spent += time.monotonic() - began
        self._write(name, {"key": key, "done": True, "seconds": round(spent, 2), "about": about})
        return dict(about)

    def key(self, name: str) -> str:
        """What a finished stage was made from, as input of the next."""
        return str(self.notes[name]["key"])

    def _write(self, name: str, note: dict[str, Any]) -> None:
        self.notes[name] = note
        write_json(self.out / _NOTES, self.notes)


@dataclass
class Demo(Common):
    """The whole chain on one photo: views, radiance field, textured mesh, turntable, report."""

    photo: tyro.conf.Positional[Path | None] = field(default=None)
    """The portrait; without one, a public-domain photo that comes with scikit-image."""
    out: Path = Path("out/demo")
    """Folder for everything; run again, the demo goes on where it stopped."""
    views: int = 32
    """Number of views, on three rings around the head."""
    size: int = 512
    """Width and height of the views, pixels."""
    fit_preset: str = "draft"
    """Size and length of the fit: tiny, draft, standard or high (which wants a GPU)."""
    faces: int = 30_000
    """Triangles of the mesh, about."""
    texture_size: int = 1024
    """Width and height of the texture, pixels."""
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)

    def run(self, session: Session) -> Outcome:
        """Run the chain."""
        from dp3d_core.files import output_folder
        from dp3d_core.portraits.photo_file import default_photo
        from dp3d_core.trajectories import cameras_from_request
        from nerf_export.environment import nerf_python
        from nerf_export.mesh import check_mesh_options
        from nerf_export.presets import get_preset

        # Whatever would stop a later stage is said before the first.
        request = {"preset": "capture", "views": self.views, "size": self.size}
        cameras = cameras_from_request(request)
        get_preset(self.fit_preset)
        check_mesh_options(self.faces, self.texture_size)
        photo = self.photo or default_photo()
        with output_folder(self.out, (_NOTES,), (photo,)):
            nerf_python()
            return self._run(session, photo, request, cameras)

    def _run(
        self, session: Session, photo: Path, request: dict[str, Any], cameras: list[Camera]
    ) -> Outcome:
        from dp3d_core.camera_files import cameras_to_dict

        began, out = time.monotonic(), self.out
        portrait = self.head.load(session, photo)
        stages = Stages(out, session)
        made_from = {
            "photo": portrait.sha256,
            **asdict(self.head),
            "dp3d": __version__,
        }
        about: dict[str, Any] = {
            "portrait": stages.run(
                "portrait", made_from, ["portrait.png"], lambda: _draw_portrait(portrait, out)
            )
        }
        write_json(out / "cameras.json", cameras_to_dict(cameras))
        about["views"] = stages.run(
            "views",
            [stages.key("portrait"), request],
            ["views", "contact_sheet.png"],
            lambda: _make_views(portrait, cameras, out, session),
        )
        about["fitted head"] = stages.run(
            "fitted head",
            [stages.key("views"), _FITTED_TEXTURE],
            [_FITTED],
            lambda: _write_fitted(out, session),
        )
        about["fit"] = stages.run(
            "fit",
            [stages.key("views"), self.fit_preset],
            ["fit"],
            lambda: self._fit(out, session),
        )
        about["mesh"] = stages.run(
            "mesh",
            [stages.key("fit"), self.faces, self.texture_size],
            ["head.glb"],
            lambda: self._mesh(out, session),
        )
        about["both meshes"] = stages.run(
            "both meshes",
            [stages.key("fitted head"), stages.key("mesh"), _MESH_YAWS, _MESH_TILE],
            ["meshes.png"],
            lambda: _show_meshes(out, session),
        )
        about["turntable"] = stages.run(
            "turntable",
            [stages.key("mesh"), _FRAMES_OF_TURNTABLE],
            ["turntable.gif"],
            lambda: _make_turntable(out, session),
        )
        about["fit report"] = stages.run(
            "fit report",
            [stages.key("mesh")],
            ["fit/report/report.html"],
            lambda: _show_fit(out, about["mesh"], session),
        )
        fitted, mesh = about["fitted head"], about["mesh"]
        report = {
            "schema": "dp3d.demo-report/1",
            "dp3d": __version__,
            "photo": {"name": photo.name, "sha256": portrait.sha256},
            "cameras": request,
            "seconds": {name: stages.notes[name]["seconds"] for name in about},
            "seconds_this_run": round(time.monotonic() - began, 2),
            "stages": about,
        }
        write_json(out / "report.json", report)
        text = "\n".join(report_lines(report)) + "\n"
        write_atomic(out / "report.md", text.encode())
        return Outcome(
            {"out": str(out), **report},
            [
                f"Done in {report['seconds_this_run']:.0f} s: {out}",
                "  contact_sheet.png  the views side by side",
                f"  head_fitted.glb    the fitted head itself, {fitted['faces']} triangles",
                f"  head.glb           the mesh of the radiance field, {mesh['faces']} triangles",
                "                     (both glTF, Y up, face towards +Z)",
                "  meshes.png         both side by side, textured and plain",
                "  turntable.gif      head.glb all around, textured and plain",
                "  report.md          what was measured",
                "  fit/report/        the field beside views it has not seen (report.html)",
            ],
        )

    def _fit(self, out: Path, session: Session) -> dict[str, Any]:
        from nerf_export.fit import fit_views

        fit = fit_views(
            out / "views",
            out / "fit",
            preset=self.fit_preset,
            progress=session.progress,
            cancel=session.cancel,
        )
        return {"preset": self.fit_preset, "scores": fit.scores}

    def _mesh(self, out: Path, session: Session) -> dict[str, Any]:
        from nerf_export.mesh import build_mesh

        stats = build_mesh(
            out / "fit",
            out / "head.glb",
            faces=self.faces,
            texture_size=self.texture_size,
            progress=session.progress,
            cancel=session.cancel,
        )
        return {**stats.to_dict(), "bytes": (out / "head.glb").stat().st_size}


def _draw_portrait(portrait: Portrait, out: Path) -> dict[str, Any]:
    from dp3d_core.pictures import save_png
    from dp3d_core.portraits.report_picture import report_picture

    save_png(out / "portrait.png", report_picture(portrait))
    report: dict[str, Any] = portrait.report.to_dict()
    return report


def _make_views(
    portrait: Portrait, cameras: list[Camera], out: Path, session: Session
) -> dict[str, Any]:
    from dp3d_core.engines import DEFAULT_ENGINE, get_engine
    from dp3d_core.pictures import save_png, viewset_sheet

    views = get_engine(DEFAULT_ENGINE).generate(
        portrait,
        cameras,
        {},
        out=out / "views",
        progress=session.progress,
        cancel=session.cancel,
    )
    save_png(out / "contact_sheet.png", viewset_sheet(views))
    return {"engine": views.meta.engine, "count": len(views)}


def _write_fitted(out: Path, session: Session) -> dict[str, Any]:
    """The mesh that ``dp3d head`` writes of the views."""
    from dp3d_core.preview.asset import textured_parts, write_asset
    from dp3d_core.preview.kept_heads import HEAD_FILE, read_head
    from dp3d_core.progress import Stage

    stage = Stage("fitted head", 1, session.progress, session.cancel, "Painting the textures")
    parts = textured_parts(read_head(out / "views" / HEAD_FILE), _FITTED_TEXTURE)
    write_asset(parts, out / _FITTED)
    stage.advance("The fitted head is written", file=_FITTED)
    return {
        "faces": sum(len(part.faces) for part in parts),
        "vertices": sum(len(part.vertices) for part in parts),
        "texture_size": _FITTED_TEXTURE,
        "bytes": (out / _FITTED).stat().st_size,
    }


def _show_meshes(out: Path, session: Session) -> dict[str, Any]:
    """The fitted head in the left half, the mesh of the field in the right one."""
    from dp3d_core.evaluation.textured import TexturedMesh
    from dp3d_core.pictures import contact_sheet, save_png
    from dp3d_core.progress import Stage
    from dp3d_core.trajectories import WHOLE_HEAD_FOCAL, canonical_camera

    stage = Stage("both meshes", 2, session.progress, session.cancel, "Drawing both meshes")
    cameras = [canonical_camera(yaw, 0, _MESH_TILE, focal=WHOLE_HEAD_FOCAL) for yaw in _MESH_YAWS]
    rows: list[list[Any]] = [[], []]
    labels: list[list[str]] = [[], []]
    for name, file in (("fitted head", _FITTED), ("radiance field", "head.glb")):
        mesh = TexturedMesh.open(out / file)
        for row, way in enumerate((mesh.render, mesh.clay)):
            rows[row] += [way(camera).composite((255, 255, 255)) for camera in cameras]
            labels[row] += [f"{name}, {yaw} degrees" for yaw in _MESH_YAWS]
        stage.advance()
    sheet = contact_sheet(rows[0] + rows[1], 2 * len(cameras), labels[0] + labels[1], _MESH_TILE)
    save_png(out / "meshes.png", sheet)
    return {"directions_deg": list(_MESH_YAWS)}


def _show_fit(out: Path, mesh_stats: dict[str, Any], session: Session) -> dict[str, Any]:
    from server.fit_report import write_fit_report

    page = write_fit_report(
        out / "fit",
        mesh=out / "head.glb",
        mesh_stats=mesh_stats,
        progress=session.progress,
        cancel=session.cancel,
    )
    return {"page": page.relative_to(out).as_posix()}


def _make_turntable(out: Path, session: Session) -> dict[str, Any]:
    from dp3d_core.pictures import save_gif
    from server.turntable import turned

    frames = turned(
        out / "head.glb",
        _FRAMES_OF_TURNTABLE,
        256,
        progress=session.progress,
        cancel=session.cancel,
    )
    save_gif(out / "turntable.gif", frames, fps=12)
    return {"frames": len(frames)}
