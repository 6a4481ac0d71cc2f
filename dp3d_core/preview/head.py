"""The fitted head: a mesh and its appearance, which any camera can render."""

from __future__ import annotations

from typing import Any

from dp3d_core.cameras.camera import Camera
from dp3d_core.meshes.mesh import Mesh
from dp3d_core.meshes.raycast import RayCaster, Render, render
from dp3d_core.portraits.portrait import Portrait
from dp3d_core.preview.choices import ALL_AUTO, Choice, HeadChoices
from dp3d_core.preview.colouring.appearance import Appearance
from dp3d_core.preview.further.photos import PhotoUse, fit_photos
from dp3d_core.preview.shape.placement import place_head
from dp3d_core.progress import StepCallback, no_step


class PreviewHead:
    """A head fitted to a portrait.

    Attributes:
        mesh: the head with hair, head units.
        caster: ray caster of the mesh.
        appearance: colours of its points.
        chosen: hair, hat, clothes and beard, with confidence.
        photos: how each reference of the portrait was used.
        shape: shape and expression of the portrait's pose (``PortraitReport.shape``), from which
            the bust was built; None for heads that earlier versions kept.

    """

    def __init__(
        self,
        portrait: Portrait,
        seed: int = 0,
        repeat_photo: bool = True,
        on_step: StepCallback = no_step,
        choices: HeadChoices = ALL_AUTO,
    ) -> None:
        """Fit a head.

        Args:
            portrait: the photo with its pose, and its references.
            seed: seed of the completion's textures.
            repeat_photo: whether views near the photo's own repeat it as it is.
            on_step: called before each step (``photo_steps``,
                ``placement_steps``, ``APPEARANCE_STEPS``).
            choices: the user's choices.

        """
        self.photos, further = fit_photos(portrait, on_step)
        placed = place_head(portrait, on_step, choices, further)
        self.mesh = placed.mesh
        self.caster = RayCaster(self.mesh)
        self.appearance = Appearance(placed, portrait, self.caster, seed, repeat_photo, on_step)
        observed = {**placed.observed, "clothes": self.appearance.clothes.observed}
        self.chosen: dict[str, Choice] = choices.resolved(observed)
        self.shape: dict[str, float] | None = dict(portrait.report.shape)

    @classmethod
    def of_parts(
        cls,
        mesh: Mesh,
        appearance: Appearance,
        chosen: dict[str, Choice],
        photos: tuple[PhotoUse, ...],
        shape: dict[str, float] | None,
    ) -> PreviewHead:
        """Restore a head from its parts (``kept_heads``)."""
        head = cls.__new__(cls)
        head.mesh, head.appearance, head.chosen = mesh, appearance, chosen
        head.photos, head.shape = photos, shape
        head.caster = RayCaster(mesh)
        return head

    def surface_colours(self, face: Any, weights: Any) -> Any:
        """(k, 3) view-independent colours of surface points, 0 to 1.

        Args:
            face: (k,) triangles of :attr:`mesh`.
            weights: (k, 3) barycentric weights in them.

        """
        return self.appearance.of_surface(face, weights)

    def surface_looks(self, face: Any, weights: Any) -> tuple[Any, Any]:
        """Colours as of :meth:`surface_colours` with the photo's light and without, (k, 3) each."""
        return self.appearance.looks_of_surface(face, weights)

    def render(self, camera: Camera) -> Render:
        """Render the head from a camera."""
        return render(self.caster, camera, self.appearance)
