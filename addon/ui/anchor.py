# SPDX-License-Identifier: GPL-3.0-or-later
"""The button *Add Anchor*: creates the head anchor, selects it and frames it in the 3D view."""

# No postponed annotations here: Blender reads property definitions from them.

from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, EnumProperty
from mathutils import Matrix, Vector

from ..scene import anchor as head_anchor

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_LEAST_HEIGHT = 0.06
"""Height of a head in the 3D view below which it counts as out of sight, of the view's height."""
_FRAMED_DISTANCE = 3.0
"""Distance of a framed head from the viewpoint, in head heights at a lens of 36 mm: the head then
takes about a quarter of the view's height."""
_HEAD_HEIGHT = 0.51
"""Head units from chin to crown."""


class DP3D_OT_add_anchor(bpy.types.Operator):
    """Add an empty that says where the head is."""

    bl_idname = "dp3d.add_anchor"
    bl_label = "Add Anchor"
    bl_description = (
        "Add an empty that says where the head is: upright, life size, its face towards the "
        "front view. The scene keeps one: where it is there already, it is selected and shown"
    )
    bl_options = {"REGISTER", "UNDO"}

    placement: EnumProperty(
        name="Place",
        description="Where the new anchor stands",
        items=(
            (
                "FLOOR",
                "Standing on the Floor",
                "Head of a figure 1.75 m tall that stands on the floor (Z = 0) below the 3D "
                "cursor: eyes at 1.62 m, the anchor, which is the centre of the head, at 1.59 m",
            ),
            ("CURSOR", "3D Cursor", "Centre of the head at the 3D cursor"),
        ),
    )
    another: BoolProperty(
        name="Another One",
        description="Add a new anchor even where the scene has one",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Add or find the anchor, choose it, show it."""
        scene = context.scene
        anchor = scene.dp3d.anchor
        if self.another or anchor is None or scene not in anchor.users_scene:
            anchor = head_anchor.add(scene, placement=self.placement)
            scene.dp3d.anchor = anchor
        else:
            self.report({"INFO"}, f"The scene has a head anchor already: {anchor.name}")
        context.view_layer.update()
        select_only(context, anchor)
        frame(context, anchor)
        return {"FINISHED"}


def select_only(context: bpy.types.Context, thing: bpy.types.Object) -> None:
    """Leave any edit mode, deselect everything, select one object and make it active."""
    layer = context.view_layer
    active = layer.objects.active
    mode_set: Any = bpy.ops.object.mode_set
    if active is not None and active.mode != "OBJECT" and mode_set.poll():
        mode_set(mode="OBJECT")
    for other in layer.objects:
        if other.select_get(view_layer=layer):
            other.select_set(False, view_layer=layer)
    if thing.name not in layer.objects:  # its collection is excluded from the view layer
        return
    thing.hide_set(False, view_layer=layer)
    thing.select_set(True, view_layer=layer)
    layer.objects.active = thing


def frame(context: bpy.types.Context, anchor: bpy.types.Object) -> bool:
    """Move the 3D view to a head that is outside the view or too small to be noticed.

    Views through a camera, and those whose rotation is locked (four views), stay as they are.

    Returns:
        Whether the view was moved.

    """
    area = context.area
    space = None if area is None else area.spaces.active
    if not isinstance(space, bpy.types.SpaceView3D):
        return False
    view = space.region_3d
    if view is None or view.view_perspective == "CAMERA" or view.lock_rotation:
        return False
    if in_sight(view.perspective_matrix, anchor.matrix_world):
        return False
    size = _HEAD_HEIGHT * anchor.matrix_world.to_scale().y
    view.view_location = anchor.matrix_world.translation
    view.view_distance = _FRAMED_DISTANCE * size * space.lens / 36.0
    return True


def in_sight(perspective: Matrix, world: Matrix) -> bool:
    """Whether a head is wholly inside a view and tall enough to be seen.

    Args:
        perspective: ``RegionView3D.perspective_matrix``.
        world: matrix of the anchor.

    """
    half = _HEAD_HEIGHT / 2
    points = ((0, half, 0), (0, -half, 0), (half, 0, 0), (-half, 0, 0), (0, 0, half))
    corners = [
        corner
        for point in points
        if (corner := _project(perspective, world @ Vector(point))) is not None
        and max(abs(corner.x), abs(corner.y)) <= 1
    ]
    if len(corners) < len(points):
        return False
    spread = [max(c[i] for c in corners) - min(c[i] for c in corners) for i in (0, 1)]
    return max(spread) / 2 >= _LEAST_HEIGHT


def _project(perspective: Matrix, point: Vector) -> Vector | None:
    """Place in the view, -1 to 1; None behind it."""
    clip = perspective @ point.to_4d()
    return clip.to_3d() / clip.w if clip.w > 1e-9 else None


def draw_add(layout: Any) -> None:
    """Draw the buttons that add an anchor: on the floor below the 3D cursor, or at the cursor."""
    row = layout.row(align=True)
    add = row.operator("dp3d.add_anchor", text="Add Anchor", icon="EMPTY_ARROWS")
    add.placement = "FLOOR"
    row.operator("dp3d.add_anchor", text="At Cursor", icon="CURSOR").placement = "CURSOR"


CLASSES = (DP3D_OT_add_anchor,)
