"""``dp3d head``: writes the fitted head of the preview engine as a rigged asset or as a mesh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import (
    DEFAULT_HEAD_DETAIL,
    DEFAULT_HEAD_TEXTURE_SIDE,
    SEED,
    HeadDetail,
    HeadTextureSide,
)
from dp3d_core.storage.files import is_folder
from server.cli.arguments import (
    Also,
    HeadOptions,
    check_seed,
    number,
    parse_engine_options,
    sides_and_paths,
)
from server.cli.console import Common, Console, Outcome, count_of

if TYPE_CHECKING:
    from dp3d_core.preview.head import PreviewHead
    from dp3d_core.rigged.rig import RiggedHead
    from dp3d_core.rigged.take import Take


class _Source(NamedTuple):
    """A fitted head, the hash of its portrait, and the records of its further photos."""

    head: PreviewHead
    sha256: str | None
    photos: list[dict[str, Any]]


@dataclass
class Head(Common):
    """The head that the preview engine fits to a photo, with blend shapes and bones."""

    source: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """A photo, or a folder of views that the preview engine made."""
    also: Also = ()
    out: Path = Path("out/head.glb")
    """File to write, .glb or .obj; an OBJ has its material and textures beside it and no keys."""
    texture_size: HeadTextureSide = DEFAULT_HEAD_TEXTURE_SIDE
    """Side of the face's texture, texels; the hair's texture has half that side."""
    detail: HeadDetail = DEFAULT_HEAD_DETAIL
    """Quads along an edge of the model: full has two, half one, quarter about half of that."""
    static: bool = False
    """One mesh of triangles with hair, without keys, bones and parts of its own."""
    unlit: bool = False
    """Colours under even light, for a scene that has lights of its own; a rigged GLB has both.
    Views that were made with lit=false have them anyway."""
    sheet: Path | None = None
    """PNG to write beside it: the neutral face, the photo's expression and every key."""
    capture: Path | None = None
    """Face capture to play: a CSV of the app Live Link Face, or of another program with ARKit's
    names. The GLB holds it as an animation."""
    clip: Path | None = None
    """GIF to write beside it: the capture on the head, at most 20 s, or an example of ours."""
    seed: Annotated[int, number("Random seed, for a photo only", SEED)] = 0
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)
    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Option of the preview engine as name=value, such as hair=short; for a photo only."""

    def run(self, console: Console) -> Outcome:
        """Fit or read the head, and write it."""
        from dp3d_core.engines.photos import photo_line, photo_warnings

        check_seed(self.seed)
        self._check_paths()
        recording = self._recording(console)
        if self.also and is_folder(self.source):
            raise Dp3dError(
                "portrait.too_many_photos",
                "A head that is fitted already takes no further photos.",
                "Give them with the photo itself: 'dp3d head FRONT.jpg --also BACK.jpg'.",
            )
        is_fitted = is_folder(self.source)
        source = self._read_from_views() if is_fitted else self._fit_to_photo(console)
        if self.unlit:
            source.head.appearance.lit = False
        outcome = (
            self._mesh(source, console) if self.static else self._rig(source, recording, console)
        )
        console.warn(photo_warnings(source.photos))
        lines = [photo_line(photo) for photo in source.photos if photo["used"]]
        return Outcome({**outcome.data, "photos": source.photos}, [*outcome.lines, *lines])

    def _check_paths(self) -> None:
        """Refuse results that cannot be written, or would replace files of another origin."""
        from dp3d_core.preview.asset import check_asset_path
        from dp3d_core.rigged.asset import check_rig_path
        from dp3d_core.rigged.clip import check_clip_path
        from dp3d_core.rigged.sheet import check_sheet_path
        from dp3d_core.storage.results import check_results

        mesh, *side = (check_asset_path if self.static else check_rig_path)(self.out)
        if self.sheet is not None:
            check_sheet_path(self.sheet)
        if self.clip is not None:
            check_clip_path(self.clip)
        results = [path for path in (mesh, self.sheet, self.clip) if path is not None]
        also = [path for _, path in sides_and_paths(self.also)]
        sources = [self.source, *also, *([] if self.capture is None else [self.capture])]
        check_results(results, sources, side)

    def _mesh(self, source: _Source, console: Console) -> Outcome:
        """Write the mesh without a rig."""
        from dp3d_core.preview.asset import textured_parts, write_asset
        from dp3d_core.progress import Stage

        stage = Stage("mesh", 1, console.progress, console.cancel, "Painting the textures")
        parts = textured_parts(source.head, self.texture_size)
        files = write_asset(parts, self.out)
        stage.advance("The head is written", file=self.out.name)
        data = {
            "out": str(self.out),
            "files": [str(path) for path in files],
            "parts": {
                part.name: {"vertices": len(part.vertices), "triangles": len(part.faces)}
                for part in parts
            },
        }
        triangles = sum(len(part.faces) for part in parts)
        return Outcome(data, [f"{self.out}: {triangles} triangles, a texture for each part"])

    def _recording(self, console: Console) -> Take | None:
        """The capture to be played."""
        from dp3d_core.portraits.required_files import fetch_missing
        from dp3d_core.rigged.capture_file import USUAL_RATE, read_capture

        if self.capture is None and self.clip is None:
            return None
        if self.static:
            raise Dp3dError(
                "capture.bad_option",
                "A mesh without keys plays no capture.",
                "Leave out --static, or --capture and --clip.",
            )
        if self.capture is None:
            return None
        if self.out.suffix.lower() != ".glb" and self.clip is None:
            raise Dp3dError(
                "capture.bad_option",
                f"{self.out.name} has no keys and cannot hold a capture.",
                "Give --out a name that ends in .glb, or a clip to draw with --clip.",
            )
        fetch_missing(console.progress, console.cancel)  # the names of the blend shapes
        take, missing, is_timed = read_capture(self.capture)
        if missing:
            first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            absent = count_of(len(missing), "blend shape")
            console.warn([f"The capture lacks {absent} ({first}), at 0 throughout."])
        if not is_timed:
            console.warn([f"The capture has no usable timecodes: {USUAL_RATE} rows are a second."])
        return take

    def _rig(self, source: _Source, recording: Take | None, console: Console) -> Outcome:
        """Write the rigged head."""
        from dp3d_core.engines.photos import used_hashes
        from dp3d_core.progress import Stage
        from dp3d_core.rigged.asset import RIG_STEPS, rig_summary, rigged_head, write_rig
        from dp3d_core.rigged.sheet import keys_sheet
        from dp3d_core.viewsets.sheets import save_png

        steps = RIG_STEPS + 1 + (self.sheet is not None)
        stage = Stage("rig", steps, console.progress, console.cancel, "Rigging the head")
        rig = rigged_head(
            source.head,
            self.texture_size,
            photo_sha256=source.sha256,
            further_sha256=used_hashes(source.photos),
            seed=self.seed,
            on_step=stage.begin,
        )
        stage.begin("Writing the files")
        files = write_rig(
            rig, self.out, self.detail, delit=not source.head.appearance.lit, take=recording
        )
        if self.sheet is not None:
            stage.begin("Drawing the sheet of keys")
            self.sheet.parent.mkdir(parents=True, exist_ok=True)
            save_png(self.sheet, keys_sheet(rig))
            files.append(self.sheet)
        stage.end("The head is written")
        if self.clip is not None:
            self._draw_clip(rig, recording, self.clip, console)
            files.append(self.clip)
        summary = rig_summary(rig, self.detail)
        seconds = None if recording is None else round(recording.duration, 3)
        data = {
            "out": str(self.out),
            "files": [str(path) for path in files],
            **summary,
            "capture_seconds": seconds,
        }
        line = f"{self.out}: {_faces_line(summary['parts'].values())}"
        if self.out.suffix.lower() == ".glb":
            line += f", {len(summary['keys'])} keys, {len(rig.bones)} bones"
            line += "" if seconds is None else f", a capture of {seconds:.1f} s"
        pictures = ((self.sheet, "a sheet of the keys"), (self.clip, "a clip"))
        lines = [f"{path}: {what}" for path, what in pictures if path is not None]
        return Outcome(data, [line, *lines])

    def _draw_clip(
        self, rig: RiggedHead, recording: Take | None, path: Path, console: Console
    ) -> None:
        """Draw a capture, or the example, on the head."""
        from dp3d_core.progress import Stage
        from dp3d_core.rigged.clip import frame_count, write_clip
        from dp3d_core.rigged.example_take import example_take

        take = example_take() if recording is None else recording
        stage = Stage("clip", frame_count(take), console.progress, console.cancel, "Drawing a clip")
        write_clip(rig, take, path, on_frame=lambda: stage.begin("Drawing the frames of the clip"))
        stage.end("The clip is written")

    def _read_from_views(self) -> _Source:
        """The fitted head of a folder of views."""
        from dp3d_core.preview.kept_heads import HEAD_FILE, read_head
        from dp3d_core.viewsets.viewset import ViewSet

        path = self.source / HEAD_FILE
        if not path.is_file():
            raise Dp3dError(
                "viewset.not_found",
                f"{self.source} holds no fitted head.",
                "Give views of the preview engine that this version made, or the photo itself.",
            )
        head = read_head(path)
        meta = ViewSet.open(self.source).meta
        head.appearance.lit = bool(meta.parameters.get("lit", True))
        return _Source(head, meta.portrait_sha256, meta.photos)

    def _fit_to_photo(self, console: Console) -> _Source:
        """The head of the photo and of further photos."""
        from dp3d_core.engines.options import parse_options
        from dp3d_core.engines.photos import photo_records
        from dp3d_core.preview.engine import PreviewOptions
        from dp3d_core.preview.kept_heads import fitted_head

        options = parse_options(PreviewOptions, parse_engine_options(self.option))
        portrait = self.head.load(console, self.source, self.also)
        head = fitted_head(
            portrait, self.seed, choices=options.choices,
            progress=console.progress, cancel=console.cancel,
        )  # fmt: skip
        head.appearance.lit = options.lit
        return _Source(head, portrait.sha256, photo_records(portrait, head.photos))


def _faces_line(parts: Collection[Mapping[str, int]]) -> str:
    """Numbers of quads and triangles in all meshes."""
    quads, triangles = (sum(part[kind] for part in parts) for kind in ("quads", "triangles"))
    also = f" and {count_of(triangles, 'triangle')}" if triangles else ""
    return f"{quads} quads{also} in {len(parts)} meshes"
