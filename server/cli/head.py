"""``dp3d head``: writes the fitted head of the preview engine as a textured mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import DEFAULT_HEAD_TEXTURE_SIDE, SEED, HeadTextureSide
from dp3d_core.storage.files import is_folder
from server.cli.arguments import Also, HeadOptions, check_seed, number, parse_engine_options
from server.cli.console import Common, Console, Outcome

if TYPE_CHECKING:
    from dp3d_core.preview.head import PreviewHead


@dataclass
class Head(Common):
    """The head that the preview engine fits to a photo, as a textured mesh."""

    source: tyro.conf.Positional[Path] = field(default=tyro.MISSING)
    """A photo, or a folder of views that the preview engine made."""
    also: Also = ()
    out: Path = Path("out/head.glb")
    """File to write, .glb or .obj; an OBJ has its material and textures beside it."""
    texture_size: HeadTextureSide = DEFAULT_HEAD_TEXTURE_SIDE
    """Side of the face's texture, texels; the hair's texture has half that side."""
    unlit: bool = False
    """Colours under even light, for a scene that has lights of its own; views that were made with
    lit=false have them anyway."""
    seed: Annotated[int, number("Random seed, for a photo only", SEED)] = 0
    head: tyro.conf.OmitArgPrefixes[HeadOptions] = field(default_factory=HeadOptions)
    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Option of the preview engine as name=value, such as hair=short; for a photo only."""

    def run(self, console: Console) -> Outcome:
        """Fit or read the head, and write it."""
        from dp3d_core.engines.photos import photo_line, photo_warnings
        from dp3d_core.preview.asset import check_asset_path, textured_parts, write_asset
        from dp3d_core.progress import Stage

        check_seed(self.seed)
        check_asset_path(self.out)
        if self.also and is_folder(self.source):
            raise Dp3dError(
                "portrait.too_many_photos",
                "A head that is fitted already takes no further photos.",
                "Give them with the photo itself: 'dp3d head FRONT.jpg --also BACK.jpg'.",
            )
        is_fitted = is_folder(self.source)
        head, photos = self._read_from_views() if is_fitted else self._fit_to_photo(console)
        if self.unlit:
            head.appearance.lit = False
        stage = Stage("mesh", 1, console.progress, console.cancel, "Painting the textures")
        parts = textured_parts(head, self.texture_size)
        files = write_asset(parts, self.out)
        stage.advance("The head is written", file=self.out.name)
        data = {
            "out": str(self.out),
            "photos": photos,
            "files": [str(path) for path in files],
            "parts": {
                part.name: {"vertices": len(part.vertices), "triangles": len(part.faces)}
                for part in parts
            },
        }
        triangles = sum(len(part.faces) for part in parts)
        console.warn(photo_warnings(photos))
        return Outcome(
            data,
            [
                f"{self.out}: {triangles} triangles, a texture for each part",
                *(photo_line(photo) for photo in photos if photo["used"]),
            ],
        )

    def _read_from_views(self) -> tuple[PreviewHead, list[dict[str, Any]]]:
        """The fitted head of a view set, and the records of its further photos."""
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
        return head, meta.photos

    def _fit_to_photo(self, console: Console) -> tuple[PreviewHead, list[dict[str, Any]]]:
        """The head of a photo, and the records of further photos."""
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
        return head, photo_records(portrait, head.photos)
