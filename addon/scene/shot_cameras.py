# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates the camera of each view of an export in the scene's copy."""

from __future__ import annotations

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import anchor as head_anchor
from . import camera_check, camera_path, export_shots, scene_copy
from .export_shots import Shot
from .object_data import camera_data
from .orbit_cameras import set_clipping, set_lens
from .scene_copy import SceneCopy
from .trajectories import HeadCamera, from_blender, to_blender


class ShotCameras:
    """Cameras of the views, one after another.

    Args:
        copy: the scene's copy.
        shots: the views; their cameras and places are filled in as they become known.

    """

    def __init__(self, copy: SceneCopy, shots: list[Shot]) -> None:
        self._copy, self._shots = copy, shots
        self._unseen: dict[str, list[int]] = {}
        """Name of a camera -> scene frames at which it does not see the head."""
        self._blurred: set[str] = set()
        """Names of cameras with depth of field."""

    def measure(self, index: int, *, judge: bool = False) -> HeadCamera:
        """The camera of a view in head space; sets the copy to its frame.

        Args:
            index: of the view.
            judge: note what a person should know about a camera of the scene.

        Raises:
            AddonError: ``addon.anchor_missing``, ``addon.camera_missing``,
                ``camera.anchor_not_uniform``, ``camera.not_perspective``.

        """
        shot = self._shots[index]
        copy = self._copy.required()
        if shot.camera_uid:  # so that it is evaluated where the view layer hides it
            copy.camera = self.camera(index)
        depsgraph = self._copy.at_frame(shot.frame)
        anchor = self._copy.anchor
        if anchor is None:
            raise AddonError(
                "addon.anchor_missing",
                "The head anchor was deleted during the export.",
                "Undo, or press Add Anchor, and export again.",
            )
        anchor_world = anchor.evaluated_get(depsgraph).matrix_world.copy()
        head_anchor.check(anchor_world)
        if shot.preset is not None and shot.place is None:
            world = to_blender(shot.preset.c2w, camera_path.rows(anchor_world))
            self._shots[index] = shot._replace(place=(Matrix(world), anchor_world.median_scale))
        camera = self.camera(index)
        if shot.preset is not None:
            depsgraph.update()
        evaluated = camera.evaluated_get(depsgraph)
        export_shots.check_perspective(camera_data(evaluated), camera.name)
        projection = evaluated.calc_matrix_camera(
            depsgraph,
            x=shot.width,
            y=shot.height,
            scale_x=shot.aspect[0],
            scale_y=shot.aspect[1],
        )
        if judge and shot.preset is None:
            self._judge(camera, evaluated, anchor_world, projection, int(shot.frame))
        return from_blender(
            camera_path.rows(evaluated.matrix_world),
            camera_path.rows(anchor_world),
            camera_path.rows(projection),
            shot.width,
            shot.height,
        )

    def camera(self, index: int) -> bpy.types.Object:
        """The camera of a view; the temporary one is put where a preset wants it.

        Raises:
            AddonError: ``addon.camera_missing``.

        """
        shot, copy = self._shots[index], self._copy.required()
        if shot.preset is not None and shot.place is not None:
            return _temporary_camera(copy, shot.preset, *shot.place)
        if not shot.camera_uid:  # of the path: known only now
            camera = copy.camera
            if camera is None or camera.type != "CAMERA":
                raise AddonError(
                    "addon.camera_missing",
                    f"The scene has no camera at frame {copy.frame_current}.",
                    "Set the scene's camera (Scene properties), or use a preset.",
                )
            self._shots[index] = shot._replace(
                camera_uid=camera.session_uid, camera_name=camera.name
            )
            return camera
        camera = scene_copy.by_uid(bpy.data.objects, shot.camera_uid)
        if camera is None:
            raise AddonError(
                "addon.camera_missing",
                f"The camera {shot.camera_name!r} was deleted during the export.",
                "Undo, or export again with the cameras that are there.",
            )
        return camera

    def _judge(
        self,
        camera: bpy.types.Object,
        evaluated: bpy.types.Object,
        anchor_world: Matrix,
        projection: Matrix,
        frame: int,
    ) -> None:
        location, rotation, _ = evaluated.matrix_world.decompose()
        scale = anchor_world.median_scale
        view = Matrix.LocRotScale(location, rotation, (scale,) * 3).inverted() @ anchor_world
        if not camera_check.sees(view, projection):
            self._unseen.setdefault(camera.name, []).append(frame)
        if camera_data(evaluated).dof.use_dof:
            self._blurred.add(camera.name)

    def warnings(self, *, with_frames: bool) -> list[str]:
        """What a person should know about the cameras that were judged, a sentence each.

        Args:
            with_frames: name the frames at which a camera does not see the head.

        """
        warnings = []
        for name, frames in self._unseen.items():
            at = f" {camera_check.frames_in_words(frames)}" if with_frames else ""
            warnings.append(f"The camera {name!r} does not see the head{at}.")
        if self._blurred:
            names = ", ".join(repr(name) for name in sorted(self._blurred))
            warnings.append(
                f"Depth of field is on ({names}): a fit takes its blur for the head's surface."
            )
        return warnings


def _temporary_camera(
    copy: bpy.types.Scene, lens: HeadCamera, world: Matrix, scale: float
) -> bpy.types.Object:
    """The copy's temporary camera at a place."""
    cameras = (o for o in copy.objects if o.type == "CAMERA")
    camera = next(filter(scene_copy.is_ours, cameras), None)
    if camera is None:
        camera = scene_copy.temporary(copy, "camera", bpy.data.cameras.new(".dp3d export"))
    camera.rotation_mode = "QUATERNION"
    camera.location, camera.rotation_quaternion, _ = world.decompose()
    set_lens(camera_data(camera), lens)
    set_clipping(camera_data(camera), scale)
    return camera
