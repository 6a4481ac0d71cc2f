"""Place the head: from pose and shape of the portrait to a mesh with the photo's silhouette.

``portraits.pose`` has fitted pose and shape to landmarks.  Here neck and shoulders are fitted to
the matte (``shoulders``), the photo is parsed (``photo.parsing``), hair and headwear are fitted
(``hair``, ``clothing``), and the silhouette is brought onto the matte's (``outline``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dp3d_core.arrays import Array, Indices32, Mask, Pixels, smoothstep
from dp3d_core.cameras.camera import Camera
from dp3d_core.heads.bust import BustRegion as Region
from dp3d_core.heads.bust import bust
from dp3d_core.heads.space import BUST_CUT_MM, MM
from dp3d_core.meshes.mesh import Mesh, unit
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.bare_head import BareHead
from dp3d_core.preview.choices import ALL_AUTO, AUTO, Choice, HeadChoices
from dp3d_core.preview.clothing.brims import headwear_with_brim
from dp3d_core.preview.clothing.headwear import Headwear, observed_headwear
from dp3d_core.preview.hair.beard import BeardEvidence, lift_skin
from dp3d_core.preview.hair.disagreement import disagreement, exclude_pixels, visible_parts
from dp3d_core.preview.hair.ears import move_ears_as_wholes
from dp3d_core.preview.hair.fit import draw_in_under_hair, grow_hair, limit_hair_moves, plain_hair
from dp3d_core.preview.hair.length import TURNED_DEG, is_bald, observed_hair, without_low_hair
from dp3d_core.preview.hair.outline_marks import HairView, Outline, hair_outline
from dp3d_core.preview.hair.styles import HANGING, SHORN, STYLES, HairStyle
from dp3d_core.preview.hair.thickness import DEFAULT_HAIR_MM
from dp3d_core.preview.parts import Part
from dp3d_core.preview.photo.face_colours import FaceColours, bare_scalp, fringe
from dp3d_core.preview.photo.parsing import Kind, Parsing, palette_of, parse_photo
from dp3d_core.preview.shape.outline import SNAP_STEPS, fit_outline, snap_outline
from dp3d_core.preview.shape.shoulders import limit_asymmetry, neck_and_shoulders
from dp3d_core.progress import StepCallback, no_step

_FURTHER_REACH = 0.03
"""Greatest correction of the silhouette in a further photo, image widths."""
_SNAP_REACH = 0.08
"""Greatest correction of the silhouette of a head whose hair already follows it, image widths."""


_HELD = (-112.0, -72.0)
"""Heights between which the skin begins to be held by the final fit, millimetres."""
_BARE_HELD = (-126.0, -84.0)
"""Heights between which visible skin begins to be held, millimetres: a bare neck has no ledges,
as a collar has."""
_CLOSE_CROP = DEFAULT_HAIR_MM
"""Typical thickness of hair, millimetres, up to which a scalp of the skin's colour is bare; hair
without a visible outline has this thickness."""
_CHEST_HALF_WIDTH = 60.0
"""Half the width of the chest, millimetres."""
_NECK_END = -130.0
"""Height of the upper end of the chest, millimetres."""
_HIGHEST_CUT = -168.0
"""Greatest height at which a bust may end, millimetres."""
_END_QUANTILE = 0.03
"""Quantile of the heights of the visible body at which the bust ends."""
_MIN_FACING = 0.2
"""Least cosine to the camera of a visible vertex."""
_EXCLUDED_MARGIN = 15
"""Width of the margin around excluded pixels in which silhouettes are excluded as well, pixels."""


@dataclass(frozen=True, eq=False)
class PlacedPhoto:
    """A further photo of the head.

    Attributes:
        portrait: the photo, with its pose.
        parsing: classes of its pixels.

    """

    portrait: Portrait
    parsing: Parsing


@dataclass(frozen=True, eq=False)
class PlacedHead:
    """A head placed in its photo.

    Attributes:
        mesh: the head, head units; ``parts`` are :class:`~dp3d_core.preview.parts.Part`.
        bare: the head without hair; its vertices are the first of ``mesh``.
        parsing: classes of the photo's pixels; None without a matte of the photo.
        choices: the user's choices.
        observed: hair, hat and beard of the photo.
        hair_mm: typical thickness of the hair, millimetres.
        excluded: (PARSING_SIDE, PARSING_SIDE) bool, pixels of a beard or fringe that the user's
            choices remove.
        further: further photos of the head.

    """

    mesh: Mesh
    bare: BareHead
    parsing: Parsing | None
    choices: HeadChoices
    observed: Mapping[str, Choice]
    hair_mm: float
    excluded: Mask | None = None
    further: tuple[PlacedPhoto, ...] = ()


def place_head(
    portrait: Portrait,
    on_step: StepCallback = no_step,
    choices: HeadChoices = ALL_AUTO,
    further: Sequence[Portrait] = (),
) -> PlacedHead:
    """Build the head and fit it to the portrait's matte.

    Args:
        portrait: the photo, with its pose, shape and matte.
        on_step: called :func:`placement_steps` times.
        choices: the user's choices, which override the photo.
        further: further photos of the head, with their poses.

    """
    on_step("Building face and skull")
    shape = portrait.report.shape
    bare = BareHead.of(components_of(shape), expression_of(shape))
    if not _has_outline(portrait):
        on_step("Building the hair")
        return _head_without_matte(bare, choices)
    on_step("Fitting neck and shoulders")
    bare = bare.moved(neck_and_shoulders(portrait, bare.mesh.vertices))
    on_step("Finding skin, hair and clothes in the photo")
    parsing = parse_photo(portrait, bare.caster, bare.region_of)
    palette = palette_of(portrait, parsing)
    others = [
        PlacedPhoto(photo, parse_photo(photo, bare.caster, bare.region_of, palette))
        for photo in further
    ]
    on_step("Building the hair")
    bald = is_bald(parsing) if choices.hair == AUTO else choices.hair == "bald"
    if choices.hair != AUTO:
        parsing = without_low_hair(portrait, parsing)
    hair = headwear = None
    if not bald or choices.hat == "worn":
        shrunk = bare.moved(
            fit_outline(bare.mesh, portrait.camera, portrait.matte, portrait.inside, 1.0).vertices
        )
        outline = hair_outline(portrait, parsing)
        grow = partial(
            grow_hair,
            portrait,
            parsing,
            shrunk.caster,
            int(Part.HAIR),
            style=_style(choices, bald),
            further=[HairView.of(photo.portrait, photo.parsing) for photo in others],
        )
        hair = grow(outline=outline)
        may_be_bald = choices.hair == choices.hat == AUTO and hair.typical <= _CLOSE_CROP * MM
        if may_be_bald and bare_scalp(FaceColours.of(portrait, shrunk, parsing.valid)):
            hair = None
    if hair is None:
        outline_view = _outline_view(portrait, parsing, bare.mesh, choices)
        mesh = fit_outline(bare.mesh, *outline_view)
        mesh = snap_outline(mesh, *outline_view, on_step)
        mesh = _snapped(mesh, further)
    else:
        bare = shrunk
        headwear = Headwear.of(portrait, parsing, hair)
        brim = None
        if choices.hat != "none":
            headwear, brim = headwear_with_brim(portrait, parsing, outline, hair, headwear)
        worn = choices.hat == "worn" or (choices.hat == AUTO and headwear.likely)
        if brim is not None:
            beside = ~brim.edge
            hair = grow(outline=Outline(outline.uv[beside], outline.normal[beside]))
            headwear = headwear.of_shell(hair.mesh)
        mesh = join_meshes(
            draw_in_under_hair(hair, bare.mesh), _with_headwear(hair.mesh, headwear, worn)
        )
        if brim is not None:
            mesh = join_meshes(mesh, brim.mesh(hair, headwear))
        outline_view = _outline_view(portrait, parsing, mesh, choices)
        # the silhouette beside a head with hair is that of the hair: the skin is held
        height = bare.mesh.vertices[:, 1] / MM
        uv, _ = portrait.camera.project(bare.mesh.vertices)
        skin = parsing.at(uv, portrait.camera.width)[:, Kind.SKIN]
        held = np.maximum(smoothstep(height, *_HELD), skin * smoothstep(height, *_BARE_HELD))
        # the scalp is held as well, or it would pierce the hair, which moves little
        held = np.maximum(held, hair.coverage(bare.mesh.vertices))
        held *= ~((bare.region == Region.EAR) & hair.beside_free_ear(bare.mesh.vertices))
        snapped = snap_outline(mesh, *outline_view, on_step, _SNAP_REACH, held)
        snapped = _snapped(snapped, further)
        # moves are not limited for headwear: a brim is not a spike
        limited = snapped if worn or headwear.possible else limit_hair_moves(mesh, snapped, hair)
        count = len(bare.mesh.vertices)
        vertices = limited.vertices.copy()
        bare_vertices = move_ears_as_wholes(mesh.vertices[:count], vertices[:count])
        if abs(portrait.report.yaw_deg) < TURNED_DEG:
            bare_vertices = limit_asymmetry(mesh.vertices[:count], bare_vertices)
        vertices[:count] = bare_vertices
        mesh = limited.with_vertices(vertices)
    face = FaceColours.of(portrait, bare, parsing.valid)
    beard = BeardEvidence.of(face)
    observed = {
        "hair": observed_hair(portrait, parsing, hair),
        "hat": observed_headwear(portrait, parsing, headwear),
        "beard": beard.choice(),
    }
    beard_differs = choices.beard not in (AUTO, observed["beard"].choice)
    if beard_differs and choices.beard != "none":
        mesh = lift_skin(mesh, choices.beard)
    # chosen clothes and hanging hair are shown in full
    show_all = choices.clothes != AUTO or choices.hair in HANGING
    mesh = _level(mesh, BUST_CUT_MM if show_all else _photo_end(portrait, bare.mesh))
    bare_vertices = mesh.vertices[: len(bare.mesh.vertices)]
    excluded = beard.dark & (beard_differs and choices.beard != "full")
    if choices.hair in SHORN:
        excluded = excluded | fringe(face)
    thickness = 0.0 if hair is None else hair.typical / MM
    return PlacedHead(
        mesh,
        bare.moved(bare_vertices),
        parsing,
        choices,
        observed,
        thickness,
        excluded,
        tuple(others),
    )


def _snapped(mesh: Mesh, photos: Sequence[Portrait]) -> Mesh:
    """The mesh with the outline of hair, neck and shoulders moved onto that of further photos.

    Photos without an outline of their own move nothing.
    """
    is_hair = np.isin(mesh.parts, (Part.HAIR, Part.HAT))
    for photo in filter(_has_outline, photos):
        snapped = snap_outline(mesh, photo.camera, photo.matte, photo.inside, reach=_FURTHER_REACH)
        share = np.maximum(is_hair, 1 - smoothstep(mesh.vertices[:, 1] / MM, *_HELD))[:, None]
        mesh = mesh.with_vertices(mesh.vertices + (snapped.vertices - mesh.vertices) * share)
    return mesh


def _head_without_matte(bare: BareHead, choices: HeadChoices) -> PlacedHead:
    """The head without a matte of the photo: the user's choices, else defaults."""
    reason = "The head could not be separated from its background."
    defaults = {"hair": "short", "hat": "none", "beard": "none"}
    observed = {name: Choice(choice, 0.2, reason=reason) for name, choice in defaults.items()}
    worn = choices.hat == "worn"
    mesh = bare.mesh
    if choices.hair != "bald" or worn:
        part = Part.HAT if worn else Part.HAIR
        mesh = join_meshes(mesh, plain_hair(bare.caster, int(part), _style(choices, bald=False)))
    if choices.beard not in (AUTO, "none"):
        mesh = lift_skin(mesh, choices.beard)
    mesh = _level(mesh)
    bare = bare.moved(mesh.vertices[: len(bare.mesh.vertices)])
    return PlacedHead(mesh, bare, None, choices, observed, DEFAULT_HAIR_MM)


def _photo_end(portrait: Portrait, bare: Mesh) -> float:
    """Height down to which the photo shows the chest of a bare head, millimetres.

    The bust's default cut if the photo shows the whole chest, or ends above ``_HIGHEST_CUT``.
    """
    camera = portrait.camera
    x, y, _ = (bare.vertices / MM).T
    to_camera = unit(camera.position - bare.vertices)
    body = (y < _NECK_END) & (y > BUST_CUT_MM)
    body &= np.einsum("ni,ni->n", to_camera, bare.normals) > _MIN_FACING
    uv, _ = camera.project(bare.vertices[body])
    # the photo may extend below the crop
    visible = portrait.reaches(uv)
    chest = np.abs(x[body]) < _CHEST_HALF_WIDTH
    if not visible.any() or visible[chest].all():
        return BUST_CUT_MM
    # shoulders lie behind the chest and are visible farther down
    end = float(np.quantile(y[body][visible], _END_QUANTILE))
    # else only a strip of the chest would remain
    return end if end < _HIGHEST_CUT else BUST_CUT_MM


def _level(mesh: Mesh, end: float = BUST_CUT_MM) -> Mesh:
    """Restore the flat end of a bust after its shoulders were moved.

    Args:
        mesh: the head.
        end: height of the plane, millimetres; not below the bust's default cut.

    """
    vertices = mesh.vertices.copy()
    bust().level(vertices)
    if end > BUST_CUT_MM:
        _draw_up(vertices, mesh.faces, end * MM)
    # triangles pressed flat onto the plane are removed
    low = vertices[:, 1] <= end * MM + 1e-9
    faces = mesh.faces[~low[mesh.faces].all(1)]
    return Mesh.of(vertices, faces, mesh.parts)


def _draw_up(vertices: Array, faces: Indices32, height: float) -> None:
    """Move vertices (n, 3) below a height along their edges up to its plane, in place."""
    low = vertices[:, 1] < height
    edges = np.concatenate([faces[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    below, above = edges[low[edges[:, 0]] & ~low[edges[:, 1]]].T
    lower_end, upper_end = vertices[below], vertices[above]
    fraction = (height - lower_end[:, 1]) / np.maximum(upper_end[:, 1] - lower_end[:, 1], 1e-9)
    crossing = lower_end + (upper_end - lower_end) * fraction[:, None]
    crossings = np.bincount(below, minlength=len(vertices))
    for axis in (0, 2):
        sums = np.bincount(below, crossing[:, axis], len(vertices))
        vertices[crossings > 0, axis] = (sums / np.maximum(crossings, 1))[crossings > 0]
    vertices[low, 1] = height


def _style(choices: HeadChoices, bald: bool) -> HairStyle | None:
    """The chosen style; None leaves it to the photo.  A hat on a bald head lies close: short."""
    return STYLES["short"] if bald else STYLES.get(choices.hair)


def _with_headwear(shell: Mesh, headwear: Headwear, worn: bool) -> Mesh:
    """Label the cloth of a shell as headwear if it is worn."""
    if not worn:
        return shell
    return replace(shell, parts=np.where(headwear.cloth, Part.HAT, Part.HAIR).astype(np.uint8))


def _outline_view(
    portrait: Portrait, parsing: Parsing, mesh: Mesh, choices: HeadChoices
) -> tuple[Camera, Pixels, Mask]:
    """Camera, matte and valid mask for the fit of the silhouette (``outline``).

    Pixels that contradict chosen hair or clothes are removed from the valid mask.
    """
    inside = portrait.inside
    if choices.covering or choices.clothes == "none":
        parts = visible_parts(mesh, portrait.camera)
        inside = exclude_pixels(
            portrait, disagreement(parsing, parts, choices), _EXCLUDED_MARGIN
        ).inside
    return portrait.camera, portrait.matte, inside


def join_meshes(first: Mesh, second: Mesh) -> Mesh:
    """Join two meshes; the vertices of ``first`` come first."""
    faces = np.concatenate([first.faces, second.faces + len(first.vertices)])
    return Mesh(
        np.concatenate([first.vertices, second.vertices]),
        faces.astype(np.int32),
        np.concatenate([first.normals, second.normals]),
        np.concatenate([first.parts, second.parts]),
    )


def placement_steps(portrait: Portrait) -> int:
    """Number of steps of :func:`place_head`."""
    return 4 + SNAP_STEPS if _has_outline(portrait) else 2


def _has_outline(portrait: Portrait) -> bool:
    """Whether the matte was found in the photo, not taken from the template."""
    return portrait.report.matte_source != "template"
