"""From a fitted head to a rigged asset and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_core import __version__
from dp3d_core.arrays import Array
from dp3d_core.errors import Dp3dError
from dp3d_core.heads.base_files import PACKAGE
from dp3d_core.heads.bust import bust
from dp3d_core.limits import DEFAULT_HEAD_TEXTURE_SIDE
from dp3d_core.meshes.files import check_mesh_path, side_names, write_mesh_files
from dp3d_core.portraits.pose import components_of, expression_of
from dp3d_core.preview.head import PreviewHead
from dp3d_core.progress import StepCallback, no_step
from dp3d_core.rigged.baking import to_pixels
from dp3d_core.rigged.gltf import key_names, to_glb
from dp3d_core.rigged.keys import HeadKeys
from dp3d_core.rigged.mouth_material import as_shown, shown_teeth
from dp3d_core.rigged.neutral import NeutralHead
from dp3d_core.rigged.obj import MATERIALS, to_obj
from dp3d_core.rigged.parts import head_parts
from dp3d_core.rigged.rig import PHOTO_EXPRESSION, Detail, Material, RiggedHead, RiggedPart
from dp3d_core.rigged.shell import Shell
from dp3d_core.rigged.skin_material import (
    SkinBase,
    muted,
    removed_light,
    skin_material,
)
from dp3d_core.rigged.small_materials import (
    eye_light,
    eyes_material,
    lashes_material,
    teeth_material,
    tongue_material,
)
from dp3d_core.rigged.smile import Smile, light_in_mouth
from dp3d_core.rigged.take import Take
from dp3d_core.rigged.worn import worn_parts
from dp3d_core.rigged.worn_materials import (
    brim_material,
    clothes_material,
    hair_over,
    shell_materials,
)

FORMATS = (".glb", ".obj")
"""Endings of the files that can be written."""
RIG_STEPS = 3
"""Number of steps of :func:`rigged_head`."""
_LEAST_WEIGHT = 0.01
"""Least weight of a blend shape that counts as expression."""


def rigged_head(
    head: PreviewHead,
    side: int = DEFAULT_HEAD_TEXTURE_SIDE,
    *,
    photo_sha256: str | None = None,
    further_sha256: Sequence[str] = (),
    seed: int = 0,
    on_step: StepCallback = no_step,
) -> RiggedHead:
    """The rigged asset of a fitted head.

    Args:
        head: the fitted head.
        side: side of the skin's texture, texels; hair and clothes have half of it, the rest less.
        photo_sha256: hash of the photo, for the provenance.
        further_sha256: hashes of the further photos that the head was made with, likewise.
        seed: seed of the fit, for the provenance.
        on_step: called :data:`RIG_STEPS` times.

    Raises:
        Dp3dError: ``heads.no_shape`` if an earlier version kept the head.

    """
    on_step("Finding the neutral face and its blend shapes")
    neutral = neutral_head(head)
    keys = HeadKeys.of(neutral)
    shell = Shell.of(head)
    parts = [*head_parts(neutral, keys), *worn_parts(head, neutral, keys, shell)]
    on_step("Painting the skin")
    skin = keys.vertices["skin"] + keys.offsets.get(PHOTO_EXPRESSION, {}).get("skin", 0.0)
    skin = np.asarray(skin)
    hair_mm = hair_over(shell, skin)
    base = SkinBase(as_shown(head, skin), skin, side, hair_mm, shell, neutral.lips_moved)
    painted, vivid = skin_material(base)
    on_step("Painting eyes, mouth, hair and clothes")
    materials = {"skin": painted}
    materials |= _other_materials(head, parts, base, removed_light(painted), vivid, neutral.smile)
    return RiggedHead(
        tuple(parts), neutral.joints(), materials, neutral.expression,
        _provenance(photo_sha256, further_sha256, seed),
    )  # fmt: skip


def neutral_head(head: PreviewHead) -> NeutralHead:
    """A fitted head without the photo's expression.

    Raises:
        Dp3dError: ``heads.no_shape`` if an earlier version kept the head.

    """
    if head.shape is None:
        raise Dp3dError(
            "heads.no_shape",
            "The fitted head was kept by an earlier version, without the shape that a rig needs.",
            "Give the photo itself, or write the mesh without a rig (--static).",
        )
    weights = expression_of(head.shape)
    return NeutralHead.of_fit(
        components_of(head.shape),
        {name: value for name, value in weights.items() if value > _LEAST_WEIGHT},
        head.mesh.vertices[: len(bust().rest)],
        head.appearance.projection,
    )


def rig_summary(head: RiggedHead, detail: Detail) -> dict[str, Any]:
    """JSON-ready: names of the keys, faces of each mesh, and the photo's expression.

    Args:
        head: the rigged head.
        detail: level of detail that was written.

    """
    return {
        "keys": key_names(head.parts),
        "parts": {part.name: part.faces[detail].counts() for part in head.parts},
        "expression": {name: round(value, 3) for name, value in head.expression.items()},
    }


def check_rig_path(out: Path) -> list[Path]:
    """Check that a rigged head can be written to a file.

    See :func:`~dp3d_core.meshes.files.check_mesh_path`.

    Returns:
        Paths of the files that it may have, the mesh first.

    """
    return check_mesh_path(out, FORMATS, side_names(out, MATERIALS))


def write_rig(
    head: RiggedHead,
    out: Path,
    detail: Detail = "full",
    delit: bool = False,
    take: Take | None = None,
) -> list[Path]:
    """Write a rigged head.

    Args:
        head: the head.
        out: file, with one of the endings :data:`FORMATS`.
        detail: level of detail.
        delit: colours of an OBJ under even light; a GLB holds both.
        take: animation of a GLB; an OBJ has none.

    Returns:
        Paths of the files, the mesh first.

    Raises:
        Dp3dError: ``mesh.bad_format`` for another ending, ``output.*``.

    """
    check_mesh_path(out, FORMATS)
    if out.suffix.lower() == ".glb":
        return write_mesh_files(out, {out.name: to_glb(head, detail, take)})
    return write_mesh_files(out, to_obj(head, out, detail, delit))


def _other_materials(
    head: PreviewHead,
    parts: list[RiggedPart],
    base: SkinBase,
    removed: Array,
    vivid: float,
    smile: Smile | None,
) -> dict[str, Material]:
    """Materials of all parts but the skin.

    Args:
        head: the fitted head.
        parts: its meshes.
        base: what the textures share.
        removed: (n, 3) :func:`removed_light` of the skin.
        vivid: :func:`vividness` of the photo.
        smile: teeth that the photo shows.

    """
    side, skin = base.side, base.fitted
    named = {part.name: part for part in parts}
    light = eye_light(head)
    mean = float(1 / np.median(removed))
    materials = {
        "eyes": eyes_material(head, side // 2, light),
        "teeth": _teeth(head, named, side // 4, mean, smile),
        "tongue": tongue_material(side // 8, mean),
        "lashes": lashes_material(side // 4),
    }
    for name in ("eyes", "teeth", "tongue"):
        colourful = materials[name]
        materials[name] = replace(
            colourful,
            photographed=to_pixels(muted(colourful.photographed / 255, vivid)),
            delit=to_pixels(muted(colourful.delit / 255, vivid)),
        )
    worn = {part.name: part for part in parts if part.name in ("hair", "headwear")}
    if base.shell is not None:
        materials |= shell_materials(head, worn, base.shell, side // 2, skin, removed, base.hair_mm)
    if "brim" in named:
        materials["brim"] = brim_material(head, named["brim"], side // 4)
    if "clothes" in named:
        materials["clothes"] = clothes_material(head, named["clothes"], skin, side // 2)
    return materials


def _teeth(
    head: PreviewHead,
    named: dict[str, RiggedPart],
    side: int,
    light: float,
    smile: Smile | None,
) -> Material:
    """The teeth, as the photo shows them if it does."""
    if smile is None:
        return teeth_material(side, light * light_in_mouth(head.appearance.projection))
    rows = ("upper_teeth", "lower_teeth")
    upper, lower = (named[row].posed({PHOTO_EXPRESSION: 1.0}) for row in rows)
    return teeth_material(side, light, shown_teeth(smile, upper, lower, side))


def _provenance(
    photo_sha256: str | None, further_sha256: Sequence[str], seed: int
) -> dict[str, object]:
    """What an asset was made from."""
    return {
        "dp3d": __version__,
        "photo_sha256": photo_sha256 or "unknown",
        "further_photos_sha256": list(further_sha256),
        "seed": seed,
        "base_mesh": f"MakeHuman's base mesh and targets, CC0 1.0, of the package {PACKAGE}",
        "blend_shapes": "ARKit's names; MakeHuman's face units by Mika Suominen, CC0 1.0",
    }
