"""Cameras moved to where the faces in their frames lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dp3d_core.cameras.camera import Camera
from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits import face_models
from dp3d_core.portraits.landmarks import stable_points
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.dataset import write_subject
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import ViewMeta, ViewSet
from dp3d_core.viewsets.writer import ViewSetWriter
from nerf_export.field.fit import fit_views
from nerf_export.views.registration import PointsOf, register, triangulate

needs_faces = pytest.mark.skipif(
    not face_models.installed(), reason="the face models are absent: dp3d setup models"
)

SIZE = 256
YAWS = (-40, -30, -20, -10, 0, 10, 20, 30, 40, 180)
CAMERAS = [canonical_camera(yaw, 4.0 * (i % 3), SIZE) for i, yaw in enumerate(YAWS)]
CORNERS = [[-0.09, 0.0, 0.12], [0.09, 0.0, 0.12], [0.0, 0.06, 0.17], [0.0, -0.15, 0.14]]


def face(rng: np.random.Generator) -> np.ndarray:
    """Points on a face's front: right, left, top, bottom, and forty more."""
    around = rng.uniform((-0.1, -0.15), (0.1, 0.06), (40, 2))
    bulge = 0.2 - 4.0 * (around[:, 0] ** 2) - 2.0 * (around[:, 1] ** 2)
    return np.concatenate([CORNERS, np.column_stack([around, bulge])])


def turned(camera: Camera, degrees: float, axis: tuple[float, float, float]) -> Camera:
    """The camera after a turn about the head."""
    pose = np.eye(4)
    vector = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    pose[:3, :3] = Rotation.from_rotvec(vector).as_matrix()
    return replace(camera, c2w=pose @ camera.c2w)


def wrong_cameras(rng: np.random.Generator) -> list[Camera]:
    return [turned(camera, 4.0, tuple(rng.normal(size=3))) for camera in CAMERAS]


def detected_pixels(
    points: np.ndarray, cameras: list[Camera], rng: np.random.Generator, noise: float = 0.3
):
    """Pixels of each view but the one from behind."""
    return {
        i: camera.project(points)[0] + rng.normal(0, noise, (len(points), 2))
        for i, camera in enumerate(cameras[:-1])
    }


def apart(a: Camera, b: Camera) -> float:
    """Angle between two cameras' views of the head, degrees."""
    relative = a.c2w[:3, :3] @ b.c2w[:3, :3].T
    return float(np.degrees(Rotation.from_matrix(relative).magnitude()))


def test_exact_cameras_are_kept() -> None:
    rng = np.random.default_rng(1)
    registration = register(CAMERAS, detected_pixels(face(rng), CAMERAS, rng))
    assert not registration.suspicious
    assert max(registration.turns_deg) < 0.3
    assert registration.left == ()


def test_wrong_cameras_are_corrected() -> None:
    rng = np.random.default_rng(2)
    wrong, points = wrong_cameras(rng), face(rng)
    pixels = detected_pixels(points, CAMERAS, rng)
    used = [*range(4), *range(4, len(points), 2)]
    registration = register(wrong, {i: uv[used] for i, uv in pixels.items()})
    assert registration.suspicious
    assert registration.after < 0.3 * registration.before

    def miss(cameras: Sequence[Camera]) -> float:
        """Median reprojection error, pixels, of points that were not adjusted."""
        subset = [cameras[i] for i in registration.faces]
        fresh = np.stack([np.delete(pixels[i], used, axis=0) for i in registration.faces])
        met = triangulate(subset, fresh)
        off = [c.project(met)[0] - uv for c, uv in zip(subset, fresh, strict=True)]
        return float(np.median(np.linalg.norm(off, axis=-1)))

    assert miss(registration.cameras) < 0.5 * miss(wrong)


def test_the_view_from_behind_keeps_its_camera() -> None:
    rng = np.random.default_rng(3)
    wrong = wrong_cameras(rng)
    registration = register(wrong, detected_pixels(face(rng), CAMERAS, rng))
    assert registration.cameras[-1] is wrong[-1]
    assert registration.turns_deg[-1] == 0
    assert len(YAWS) - 1 not in registration.faces


def test_points_of_no_face_are_rejected() -> None:
    rng = np.random.default_rng(4)
    pixels = detected_pixels(face(rng), CAMERAS, rng)
    pixels[3] = rng.uniform(0, SIZE, pixels[3].shape)
    registration = register(CAMERAS, pixels)
    assert registration.left == (3,)
    assert registration.cameras[3] is CAMERAS[3]
    assert max(registration.turns_deg) < 0.3


def test_one_wrong_camera_among_exact_ones_is_rejected() -> None:
    rng = np.random.default_rng(5)
    cameras = [*CAMERAS[:5], turned(CAMERAS[5], 8.0, (0, 1, 0)), *CAMERAS[6:]]
    registration = register(cameras, detected_pixels(face(rng), CAMERAS, rng))
    assert registration.left == (5,)
    assert registration.cameras[5] is cameras[5]


def test_a_view_far_off_is_rejected_and_moves_no_other() -> None:
    rng = np.random.default_rng(8)
    wrong = wrong_cameras(rng)
    wrong[5] = turned(CAMERAS[5], 35.0, (0, 0, 1))
    registration = register(wrong, detected_pixels(face(rng), CAMERAS, rng))
    assert 5 in registration.left
    assert registration.cameras[5] is wrong[5]
    turns = [
        Rotation.from_matrix(
            registration.cameras[i].c2w[:3, :3] @ wrong[i].c2w[:3, :3].T
        ).as_rotvec()
        for i in registration.faces
    ]
    assert np.degrees(np.linalg.norm(np.mean(turns, axis=0))) < 0.2
    assert np.degrees(np.linalg.norm(turns, axis=1)).max() > 0.5


def test_cameras_in_one_place_are_registered() -> None:
    rng = np.random.default_rng(9)
    points = face(rng)
    cameras = [CAMERAS[4]] * 6
    registration = register(cameras, {i: cameras[i].project(points)[0] for i in range(6)})
    assert not registration.suspicious


def test_few_faces_are_refused() -> None:
    rng = np.random.default_rng(6)
    pixels = detected_pixels(face(rng), CAMERAS, rng)
    with pytest.raises(Dp3dError) as caught:
        register(CAMERAS, {i: pixels[i] for i in (0, 1, 2)})
    assert caught.value.code == "viewset.no_faces"


@pytest.fixture(scope="module")
def turned_head(tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    """A rendered head whose cameras are each some four degrees beside the truth."""
    rng, root = np.random.default_rng(7), tmp_path_factory.mktemp("turned")
    subject = replace(random_subject(4), backdrop=((1.0, 1.0, 1.0),))
    calls = {"progress": no_progress, "cancel": never_cancel}
    true = write_subject(subject, CAMERAS[:-1], root / "true", **calls)
    turned_cameras = [turned(camera, 4.0, tuple(rng.normal(size=3))) for camera in true.cameras]
    writer = ViewSetWriter(root / "given", turned_cameras, ViewMeta(engine="test"))
    for i in range(len(turned_cameras)):
        writer.write(i, true.frame(i), true.mask(i))
    return writer.finish()


@needs_faces
@pytest.mark.nerf
def test_poses_are_refined_on_request(
    nerf_environment: Path, turned_head: ViewSet, tmp_path: Path
) -> None:
    calls = {"progress": no_progress, "cancel": never_cancel}
    known = {"preset": "tiny", "steps": 20, "points_of": stable_points}
    doubted = fit_views(turned_head.root, tmp_path / "doubted", **known, **calls)
    assert any("--poses refined" in warning for warning in doubted.meta.warnings)
    assert doubted.meta.registration is None
    fit = fit_views(turned_head.root, tmp_path / "fit", poses="refined", **known, **calls)
    registration = fit.meta.registration
    assert registration["after"] < 0.6 * registration["before"]
    assert 1 < registration["largest_turn_deg"] < 12
    for i, (camera, given_camera) in enumerate(zip(fit.cameras, turned_head.cameras, strict=True)):
        np.testing.assert_allclose(
            apart(camera, given_camera), registration["turns_deg"][i], atol=0.01
        )
    with pytest.raises(Dp3dError) as caught:  # other poses make another fit
        fit_views(turned_head.root, tmp_path / "fit", poses="given", **known, **calls)
    assert caught.value.code == "viewset.mismatch"


@needs_faces
@pytest.mark.nerf
def test_generated_views_are_refined_by_default(
    nerf_environment: Path, turned_head: ViewSet, tmp_path: Path
) -> None:
    meta = replace(turned_head.meta, approximate_poses=True)
    writer = ViewSetWriter(tmp_path / "views", turned_head.cameras, meta)
    for i in range(len(turned_head)):
        writer.write(i, turned_head.frame(i), turned_head.mask(i))
    views = writer.finish()
    assert ViewSet.open(views.root).meta.approximate_poses
    calls = {"progress": no_progress, "cancel": never_cancel}
    fit = fit_views(
        views.root, tmp_path / "fit", preset="tiny", steps=1, points_of=stable_points, **calls
    )
    assert fit.meta.registration["faces"]
    assert any("were moved" in warning for warning in fit.meta.warnings)


@pytest.mark.nerf
def test_views_without_a_face_are_refused_only_where_poses_must_be_refined(
    nerf_environment: Path, head_views: ViewSet, tmp_path: Path
) -> None:
    def fit(poses: str, points_of: PointsOf | None) -> None:
        fit_views(
            *(head_views.root, tmp_path / "fit"),
            **{"preset": "tiny", "steps": 1, "poses": poses, "points_of": points_of},
            **{"progress": no_progress, "cancel": never_cancel},
        )

    with pytest.raises(Dp3dError) as caught:
        fit("refined", lambda frame: None)
    assert caught.value.code == "viewset.no_faces"
    assert not any((tmp_path / "fit").iterdir())
    with pytest.raises(Dp3dError) as caught:
        fit("refined", None)
    assert caught.value.code == "fit.bad_option"
    with pytest.raises(Dp3dError) as caught:
        fit("somehow", None)
    assert caught.value.code == "fit.bad_option"
    fit("auto", lambda frame: None)


@pytest.mark.nerf
def test_a_resumed_fit_keeps_its_poses(
    nerf_environment: Path, turned_head: ViewSet, tmp_path: Path
) -> None:
    """What finds faces may be gone by then."""
    pixels = detected_pixels(face(np.random.default_rng(10)), CAMERAS, np.random.default_rng(11))
    frames_left = iter(range(len(turned_head)))

    def next_points(frame: np.ndarray) -> np.ndarray:
        return pixels[next(frames_left)]

    def stop_in(stage: str):
        reached: list[str] = []
        return (lambda event: reached.append(event.stage)), (lambda: stage in reached)

    job = {"preset": "tiny", "steps": 100, "poses": "refined"}
    listen, stopped = stop_in("fit")
    with pytest.raises(Cancelled):
        fit_views(
            *(turned_head.root, tmp_path / "fit"),
            **{**job, "points_of": next_points, "progress": listen, "cancel": stopped},
        )
    fit = fit_views(
        *(turned_head.root, tmp_path / "fit"),
        **{**job, "points_of": lambda frame: None},
        **{"progress": no_progress, "cancel": never_cancel},
    )
    registration = fit.meta.registration
    assert len(registration["faces"]) >= 7
    for i, (camera, given_camera) in enumerate(zip(fit.cameras, turned_head.cameras, strict=True)):
        np.testing.assert_allclose(
            apart(camera, given_camera), registration["turns_deg"][i], atol=0.01
        )
