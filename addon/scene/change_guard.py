# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops an export when the scene is edited during it."""

from __future__ import annotations

from collections.abc import Sequence

from ..link.errors import AddonError
from . import scene_copy, scene_state
from .export_shots import Shot
from .scene_copy import SceneCopy


class ChangeGuard:
    """What the scene showed when the export began, to be compared before each view.

    Args:
        copy: the scene's copy.
        shots: the views.
        by_frame: whether the views are of several scene frames.

    """

    def __init__(self, copy: SceneCopy, shots: Sequence[Shot], *, by_frame: bool) -> None:
        self._copy, self._shots, self._by_frame = copy, shots, by_frame
        self._states: list[scene_state.State] = []
        """What each scene frame shows: the first frame whole, others by their difference from it.
        One state where all views are of one frame."""
        self._edits = scene_state.Edits(scene_copy.MARK)
        self._checked: tuple[float, int] | None = None
        """Frame and signature of the last state that was as it should be."""
        self._measured = 0
        """Signature of the scene when its first state was taken."""

    def take(self, index: int) -> None:
        """Keep what the scene shows at the frame of a view, to which the copy is set."""
        if self._states and not self._by_frame:
            return
        state = self._state(index)
        first = self._states[0] if self._states else {}
        self._states.append(scene_state.difference(state, first))
        if not first:
            self._measured = self._signature()

    def check(self, index: int, *, thoroughly: bool) -> None:
        """Refuse a scene that is not the one the export began with.

        Hashing a scene of a million vertices takes a fifth of a second: it is done again only
        where Blender has reported an edit, or thoroughly.

        Args:
            index: of the view, to whose frame the copy is set.
            thoroughly: also where no edit was reported.

        Raises:
            AddonError: ``addon.scene_changed``.

        """
        now = self._shots[index].frame, self._signature()
        if not thoroughly and (now[1] == self._measured or now == self._checked):
            return
        expected = self._states[0]
        if self._by_frame and index:
            expected = expected | self._states[index]
        changed = scene_state.changes(expected, self._state(index))
        if changed:
            names = ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")
            raise AddonError(
                "addon.scene_changed",
                f"The scene was changed during the export ({names}): view {index + 1} would not "
                "match the others.",
                "Undo the change and export again, which goes on, or press Start Over.",
            )
        self._checked = now

    def digest(self) -> str:
        """SHA-256 of all that the scene shows, and of its settings."""
        return scene_state.digest(self._states, scene_state.settings(self._copy.required()))

    def end(self) -> None:
        """Stop listening to Blender's edits."""
        self._edits.end()

    def _state(self, index: int) -> scene_state.State:
        shapes = self._shots[index].frame == self._shots[0].frame
        return scene_state.take(
            self._copy.required(), self._copy.depsgraph(), scene_copy.MARK, shapes=shapes
        )

    def _signature(self) -> int:
        """Changes when an object comes or goes, or Blender reports an edit."""
        copy = self._copy.find()
        objects = () if copy is None else (thing.session_uid for thing in copy.objects)
        return hash((self._edits.count, *objects))
