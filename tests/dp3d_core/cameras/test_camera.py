"""Cameras: golden values of the original code, round trips, every combination of flags."""

from __future__ import annotations

import itertools
import json
import math
import re

import numpy as np
import pytest

from dp3d_core.cameras import camera as cam
from dp3d_core.cameras import files, trajectories
from dp3d_core.cameras.camera import Camera, CameraAxes, WorldFrame
from dp3d_core.errors import Dp3dError
from tests.support import blender_cameras


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def random_camera(rng: np.random.Generator) -> Camera:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = random_rotation(rng), rng.normal(size=3) * 3
    width, height = (int(n) for n in rng.integers(16, 2000, 2))
    K = np.array(
        [
            [rng.uniform(50, 5000), 0, rng.uniform(-0.5, 1.5) * width],
            [0, rng.uniform(50, 5000), rng.uniform(-0.5, 1.5) * height],
            [0, 0, 1],
        ]
    )
    return Camera(pose, K, width, height)


# -- golden values -------------------------------------------------------------------------


def test_panohead_orbit_matches_the_original(golden):
    poses = golden("camera_golden.json")["sphere32"]["poses"]
    ours = [c.c2w for c in trajectories.panohead_orbit(32)]
    # the original computes in float32
    np.testing.assert_allclose(ours, poses, atol=1e-6)


def test_panohead_look_at_matches_the_original(golden):
    for sample in golden("camera_golden.json")["random_lookat"]:
        pose = trajectories.panohead_pose(sample["h"], sample["v"], sample["radius"])
        np.testing.assert_allclose(pose, sample["cam2world"], atol=1e-6)


def test_labels_from_rotations_match_the_original(golden):
    for sample in golden("camera_golden.json")["labels_from_rotation"]:
        w2c = np.eye(4)
        w2c[:3, :3] = sample["world2cam_rotation"]
        w2c[2, 3] = -2.7
        pose = cam.nearest_rigid(np.linalg.inv(cam.AXES_FLIP @ w2c))
        label = Camera(pose, cam.canonical_intrinsics(512), 512, 512).to_label25()
        np.testing.assert_allclose(label, sample["label25"], atol=2e-6)


def test_ellipse_matches_the_published_frames(official_outputs):
    data = json.loads((official_outputs / "cameras.json").read_text())
    for camera, truth in zip(trajectories.diffportrait3d_ellipse(16), data["cameras"], strict=True):
        np.testing.assert_allclose(camera.c2w, truth["c2w_opencv"], atol=1e-4)
        np.testing.assert_allclose(camera.K, data["K"], atol=1e-3)


# -- conversions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes_from", "axes_to", "world_from", "world_to"),
    list(itertools.product(CameraAxes, CameraAxes, WorldFrame, WorldFrame)),
)
def test_every_conversion_keeps_geometry_and_comes_back(axes_from, axes_to, world_from, world_to):
    rng = np.random.default_rng(1)
    poses = np.stack([random_camera(rng).c2w for _ in range(20)])
    there = cam.convert_pose(poses, axes=(axes_from, axes_to), world=(world_from, world_to))
    back = cam.convert_pose(there, axes=(axes_to, axes_from), world=(world_to, world_from))
    np.testing.assert_allclose(back, poses, atol=1e-12)

    # A point one unit ahead of the camera stays one unit ahead in the other world.
    ahead = {CameraAxes.OPENCV: [0, 0, 1, 1], CameraAxes.OPENGL: [0, 0, -1, 1]}
    turn = {
        (WorldFrame.HEAD, WorldFrame.Z_UP): cam.Z_UP_FROM_HEAD,
        (WorldFrame.Z_UP, WorldFrame.HEAD): np.linalg.inv(cam.Z_UP_FROM_HEAD),
    }.get((world_from, world_to), np.eye(4))
    np.testing.assert_allclose(
        there @ ahead[axes_to], (poses @ ahead[axes_from]) @ turn.T, atol=1e-12
    )
    # and the picture's right stays right, its down stays down (or up becomes -down)
    np.testing.assert_allclose(there[:, :3, 0], poses[:, :3, 0] @ turn[:3, :3].T, atol=1e-12)


def test_up_and_face_are_as_documented():
    up, face = np.array([0, 1.0, 0, 1]), np.array([0, 0, 1.0, 1])
    np.testing.assert_array_equal(cam.Z_UP_FROM_HEAD @ up, [0, 0, 1, 1])
    np.testing.assert_array_equal(cam.Z_UP_FROM_HEAD @ face, [0, -1, 0, 1])


def test_label25_round_trip():
    rng = np.random.default_rng(2)
    for _ in range(50):
        camera = random_camera(rng)
        back = Camera.from_label25(camera.to_label25(), camera.width, camera.height)
        np.testing.assert_allclose(back.c2w, camera.c2w, atol=1e-9)
        np.testing.assert_allclose(back.K, camera.K, rtol=1e-9)


def test_label25_with_six_decimals_is_accepted_and_a_scaled_one_is_not():
    label = trajectories.canonical_camera(33, 11).to_label25()
    assert Camera.from_label25(np.round(label, 6)).yaw_pitch_deg == pytest.approx(
        (33, 11), abs=1e-3
    )
    label[:12] *= 1.01
    with pytest.raises(Dp3dError) as error:
        Camera.from_label25(label)
    assert error.value.code == "camera.invalid"


@pytest.mark.parametrize("per_frame", [True, False])
@pytest.mark.parametrize("use_fov", [True, False])
def test_transforms_round_trip(per_frame, use_fov):
    rng = np.random.default_rng(3)
    if use_fov:
        cameras = trajectories.full_orbit(5, 10, size=64)
    elif per_frame:
        cameras = [random_camera(rng) for _ in range(5)]
    else:
        first = random_camera(rng)
        cameras = [
            Camera(random_camera(rng).c2w, first.K, first.width, first.height) for _ in range(5)
        ]
    names = [f"images/{i:04d}.png" for i in range(5)]
    data = json.loads(json.dumps(files.cameras_to_transforms(cameras, names)))
    if not per_frame:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            data[key] = data["frames"][0][key]
            for frame in data["frames"]:
                del frame[key]
    if use_fov:
        for holder in [data, *data["frames"]]:
            if "fl_x" in holder:
                holder["camera_angle_x"] = 2 * math.atan(holder["w"] / 2 / holder["fl_x"])
            for key in ("fl_x", "fl_y", "cx", "cy"):
                holder.pop(key, None)
    back, paths = files.cameras_from_transforms(data)
    assert paths == names
    for a, b in zip(cameras, back, strict=True):
        np.testing.assert_allclose(a.c2w, b.c2w, atol=1e-9)
        np.testing.assert_allclose(a.K, b.K, rtol=1e-9)
        assert (a.width, a.height) == (b.width, b.height)


def test_transforms_with_distortion_are_refused():
    data = files.cameras_to_transforms(trajectories.full_orbit(2), ["a.png", "b.png"])
    data["k1"] = 0.01
    with pytest.raises(Dp3dError) as error:
        files.cameras_from_transforms(data)
    assert error.value.code == "camera.file_invalid"


# -- Blender -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.001, 0.24, 1.0, 37.0])
@pytest.mark.parametrize("seed", range(5))
def test_blender_round_trip_over_anchors(scale, seed):
    rng = np.random.default_rng(seed)
    anchor = np.eye(4)
    anchor[:3, :3], anchor[:3, 3] = random_rotation(rng) * scale, rng.normal(size=3) * 10
    camera = random_camera(rng)
    world = blender_cameras.blender_pose_from_head(camera.c2w, anchor)
    np.testing.assert_allclose(cam.head_pose_from_blender(world, anchor), camera.c2w, atol=1e-9)
    # the scale of a Blender camera object is ignored, as Blender does
    world[:3, :3] *= 2.5
    np.testing.assert_allclose(cam.head_pose_from_blender(world, anchor), camera.c2w, atol=1e-9)


def test_a_point_seen_from_blender_is_seen_at_the_same_pixel():
    rng = np.random.default_rng(5)
    for _ in range(20):
        anchor = np.eye(4)
        scale = rng.uniform(0.1, 5)
        anchor[:3, :3], anchor[:3, 3] = random_rotation(rng) * scale, rng.normal(size=3)
        head = random_camera(rng)
        world = blender_cameras.blender_pose_from_head(head.c2w, anchor)
        point = head.position + head.c2w[:3, 2] * 2 + rng.normal(size=3) * 0.1
        # Blender's own way: world -> view -> projection -> window
        view = np.linalg.inv(world) @ (anchor @ [*point, 1])
        clip = blender_cameras.projection_from_intrinsics(head.K, head.width, head.height) @ view
        ndc = clip[:2] / clip[3]
        pixel = [(ndc[0] + 1) / 2 * head.width, (1 - ndc[1]) / 2 * head.height]
        np.testing.assert_allclose(head.project([point])[0][0], pixel, rtol=1e-7, atol=1e-6)


def test_projection_round_trip():
    rng = np.random.default_rng(6)
    for _ in range(50):
        c = random_camera(rng)
        p = blender_cameras.projection_from_intrinsics(c.K, c.width, c.height)
        np.testing.assert_allclose(
            cam.intrinsics_from_projection(p, c.width, c.height), c.K, rtol=1e-9, atol=1e-9
        )


def test_blender_path_file():
    anchor = blender_cameras.default_anchor((1, 2, 3), 0.5)
    truth = trajectories.full_orbit(4, 20, size=256)
    data = {
        "schema": files.BLENDER_PATH_SCHEMA,
        "width": 256,
        "height": 256,
        "frames": [
            {
                "anchor_world": anchor.tolist(),
                "camera_world": blender_cameras.blender_pose_from_head(c.c2w, anchor).tolist(),
                "projection": blender_cameras.projection_from_intrinsics(c.K, 256, 256).tolist(),
            }
            for c in truth
        ],
    }
    for a, b in zip(files.cameras_from_dict(data), truth, strict=True):
        np.testing.assert_allclose(a.c2w, b.c2w, atol=1e-9)
        np.testing.assert_allclose(a.K, b.K, rtol=1e-9)


@pytest.mark.parametrize(
    "anchor",
    [np.diag([1, 1, 2.0, 1]), np.diag([-1, 1, 1.0, 1]), np.diag([0, 0, 0.0, 1]),
     np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])],
    ids=["uneven", "mirrored", "zero", "sheared"],
)  # fmt: skip
def test_anchors_without_a_pinhole_are_refused(anchor):
    with pytest.raises(Dp3dError) as error:
        cam.split_anchor(anchor)
    assert error.value.code == "camera.anchor_not_uniform"


def test_orthographic_is_refused():
    p = np.eye(4)
    with pytest.raises(Dp3dError) as error:
        cam.intrinsics_from_projection(p, 10, 10)
    assert error.value.code == "camera.not_perspective"


# -- the camera itself ---------------------------------------------------------------------


def test_directions_and_project_are_inverse():
    rng = np.random.default_rng(7)
    c = random_camera(rng)
    uv = rng.uniform(0, 1, (30, 2)) * [c.width, c.height]
    points = c.position + c.directions(uv) * rng.uniform(0.5, 4, (30, 1))
    back, depth = c.project(points)
    np.testing.assert_allclose(back, uv, atol=1e-6)
    assert (depth > 0).all()
    behind = c.project([c.position - c.c2w[:3, 2]])
    assert np.isnan(behind[0]).all()
    assert behind[1][0] == pytest.approx(-1)


def test_canonical_camera_sees_the_head_centre_in_the_middle():
    for yaw, pitch in itertools.product(range(0, 360, 45), (-90, -60, 0, 60, 90)):
        c = trajectories.canonical_camera(yaw, pitch)
        np.testing.assert_allclose(c.project([[0, 0, 0]])[0][0], [256, 256], atol=1e-9)
        assert np.linalg.norm(c.position) == pytest.approx(2.7)
    front = trajectories.canonical_camera()
    np.testing.assert_allclose(front.c2w[:3, :3], np.diag([1, -1, -1]), atol=1e-12)
    assert front.project([[0.1, 0.2, 0]])[0][0, 0] > 256  # +x is the picture's right
    assert front.project([[0.1, 0.2, 0]])[0][0, 1] < 256  # +y is up


def test_resized_camera_scales_pixels():
    c = random_camera(np.random.default_rng(8))
    half = c.resized(c.width * 2, c.height * 3)
    p = c.position + c.c2w[:3, 2] * 2 + 0.1
    np.testing.assert_allclose(half.project([p])[0], c.project([p])[0] * [2, 3], rtol=1e-9)


@pytest.mark.parametrize(
    "broken",
    [
        {"c2w": np.diag([2.0, 2, 2, 1])},
        {"c2w": np.diag([-1.0, 1, 1, 1])},
        {"c2w": np.full((4, 4), np.nan)},
        {"c2w": np.eye(3)},
        {"K": np.diag([-5.0, 5, 1])},
        {"K": np.array([[5, 1, 0], [0, 5, 0], [0, 0, 1.0]])},
        {"width": 0},
    ],
    ids=["scaled", "mirrored", "nan", "shape", "negative focal", "skew", "empty"],
)
def test_bad_cameras_are_refused(broken):
    good = {"c2w": np.eye(4), "K": cam.canonical_intrinsics(8), "width": 8, "height": 8}
    with pytest.raises(Dp3dError) as error:
        Camera(**{**good, **broken})
    assert error.value.code == "camera.invalid"


# -- files and trajectories ----------------------------------------------------------------


@pytest.mark.parametrize(("axes", "world"), list(itertools.product(CameraAxes, WorldFrame)))
def test_camera_file_round_trip_in_every_convention(tmp_path, axes, world):
    truth = [random_camera(np.random.default_rng(s)) for s in range(4)]
    data = files.cameras_to_dict(truth)
    data["coordinates"] |= {"camera_axes": axes.value, "world": world.value}
    for entry in data["cameras"]:
        entry["c2w"] = cam.convert_pose(
            entry["c2w"], axes=(CameraAxes.OPENCV, axes), world=(WorldFrame.HEAD, world)
        ).tolist()
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(data))
    for a, b in zip(truth, files.load_cameras(path), strict=True):
        np.testing.assert_allclose(a.c2w, b.c2w, atol=1e-9)
        np.testing.assert_allclose(a.K, b.K, rtol=1e-12)


def one_camera(width=64, height=48, distance=2.7):
    pose = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, distance], [0, 0, 0, 1]]
    camera = {"c2w": pose, "K": [[200, 0, 32], [0, 200, 24], [0, 0, 1]]}
    return {
        "schema": files.CAMERA_FILE_SCHEMA,
        "cameras": [camera | {"width": width, "height": height}],
    }


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(one_camera()), "utf-8-sig")
    (camera,) = files.load_cameras(path)
    assert (camera.width, camera.height) == (64, 48)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100_000, '{"schema": "dp3d.cameras/1", "cameras": []}',
                '{"schema": "dp3d.cameras/1", "cameras": [{"c2w": 1}]}',
                *(json.dumps(one_camera(**wrong)) for wrong in (
                    {"width": "64"}, {"width": 64.5}, {"height": True}, {"height": 10**400},
                    {"distance": 1e300}, {"distance": float("nan")})),
                '{"schema": "dp3d.cameras/1", "coordinates": 3, "cameras": [3]}',
                '{"schema": "dp3d.blender-path/1", "frames": [{}]}', '{"schema": "dp3d.blender-path/1"}'],
)  # fmt: skip
def test_damaged_camera_files_give_an_error_of_ours(tmp_path, content):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(Dp3dError) as error:
        files.load_cameras(path)
    assert error.value.code in {"camera.file_invalid", "camera.invalid"}
    assert not re.search(r"Error\b|NoneType|<class", error.value.problem), "Python's own words"


def test_the_wide_lens_shows_the_whole_head():
    """High hair (0.42 above the centre) and shoulders, from every side; the canonical cuts it."""
    crown, shoulder = [0.0, 0.42, 0.0], [0.34, -0.36, -0.09]
    points = np.array([crown, shoulder, [-shoulder[0], *shoulder[1:]]])
    for preset in ("orbit", "capture", "sweep"):
        for camera in trajectories.cameras_from_request({"preset": preset, "views": 24}):
            uv = camera.project(points[: 3 if preset == "orbit" else 1])[0]
            assert ((uv > 0) & (uv < 512)).all(), (preset, camera.yaw_pitch_deg)
    uv = trajectories.canonical_camera().project([crown])[0]
    assert uv[0, 1] < 0


def test_cameras_of_eg3d_see_the_head_where_eg3d_has_it():
    """The published frames' measurements (docs/coordinates.md): nose tip and ears, EG3D units."""
    from dp3d_core.synthetic.head import HeadSpec, build_head

    head = build_head(HeadSpec(clothes=None)).mesh.vertices
    nose = head[np.abs(head[:, 0]) < 0.01][:, 2].max()
    assert (nose - cam.EG3D_ORIGIN[2]) / cam.EG3D_SCALE == pytest.approx(0.06, abs=0.03)
    ear = head[head[:, 0] > 0.17]
    ear = ear[(ear[:, 1] > -0.05) & (ear[:, 1] < 0.08)]
    # the heads in the published frames are flatter than ours: their ears lie further in front
    assert -0.28 < (ear[:, 2].mean() - cam.EG3D_ORIGIN[2]) / cam.EG3D_SCALE < -0.23

    rng = np.random.default_rng(4)
    for _ in range(20):
        camera = random_camera(rng)
        back = cam.camera_to_eg3d(cam.camera_from_eg3d(camera))
        np.testing.assert_allclose(back.c2w, camera.c2w, atol=1e-12)
    # a point of the head falls on the same pixel in both spaces
    theirs = trajectories.canonical_camera(20, 10)
    point = np.array([[0.05, -0.1, 0.02]])
    turn = np.radians(cam.EG3D_TILT_DEG)
    y, z = point[0, 1:]
    turned = [0.05, np.cos(turn) * y - np.sin(turn) * z, np.sin(turn) * y + np.cos(turn) * z]
    ours = cam.EG3D_SCALE * np.array([turned]) + cam.EG3D_ORIGIN
    np.testing.assert_allclose(
        cam.camera_from_eg3d(theirs).project(ours)[0], theirs.project(point)[0], atol=1e-9
    )


def test_trajectories():
    orbit = trajectories.full_orbit(32)
    yaws = [c.yaw_pitch_deg[0] % 360 for c in orbit]
    np.testing.assert_allclose(yaws, np.arange(32) * 11.25, atol=1e-9)
    arc = trajectories.frontal_arc(5, 60, 10)
    np.testing.assert_allclose(
        [c.yaw_pitch_deg for c in arc], [(y, 10) for y in (-60, -30, 0, 30, 60)], atol=1e-9
    )
    sweep = trajectories.elevation_sweep(4, 30, (-30, 60))
    np.testing.assert_allclose(
        [c.yaw_pitch_deg for c in sweep], [(30, p) for p in (-30, 0, 30, 60)], atol=1e-9
    )
    assert len(trajectories.frontal_arc(1)) == len(trajectories.elevation_sweep(1)) == 1
    rings = trajectories.capture_sphere(32, (-15, 5, 30))
    assert len(rings) == 32
    assert len({(round(a, 6), round(b, 6)) for a, b in (c.yaw_pitch_deg for c in rings)}) == 32


def test_closed_paths_are_recognised():
    assert trajectories.is_closed(trajectories.full_orbit(12))
    assert trajectories.is_closed(trajectories.full_orbit(16, pitch_deg=20))
    first = trajectories.full_orbit(12)
    assert trajectories.is_closed([*first, first[0]])  # the last repeats the first
    for views in (9, 16, 24, 32, 48, 72):
        assert not trajectories.is_closed(
            trajectories.capture_sphere(views)
        )  # rings above each other
    assert not trajectories.is_closed(trajectories.frontal_arc(8, 150))
    assert not trajectories.is_closed(trajectories.frontal_arc(12))
    assert not trajectories.is_closed([trajectories.canonical_camera(0)])
    assert not trajectories.is_closed([trajectories.canonical_camera(0)] * 6)


def test_paths_of_rings_are_divided():
    assert trajectories.closed_rings(trajectories.capture_sphere(32)) == [
        range(11),
        range(11, 22),
        range(22, 32),
    ]
    orbit = trajectories.full_orbit(12)
    assert trajectories.closed_rings([*orbit, *orbit]) == [range(12), range(12, 24)]
    assert trajectories.closed_rings([*orbit, orbit[0]]) == [range(13)]
    arc = trajectories.frontal_arc(9)
    # a path with a loop is not divided
    for path in (arc, [*orbit, *arc], [*arc, *orbit], orbit[:1], [orbit[0]] * 6):
        assert trajectories.closed_rings(path) == [range(len(path))]
    rng = np.random.default_rng(0)
    wild = [
        trajectories.canonical_camera(float(yaw), float(pitch))
        for yaw, pitch in rng.uniform((0, -30), (360, 30), (4096, 2))
    ]
    assert trajectories.closed_rings(wild) == [range(4096)]


def test_neighbours_of_rings():
    pairs = trajectories.neighbours(trajectories.capture_sphere(32))
    assert len(pairs) == 32  # each ring closes
    assert (10, 0) in pairs
    assert (10, 11) not in pairs
    assert trajectories.neighbours(trajectories.frontal_arc(3)) == [(0, 1), (1, 2)]
    assert trajectories.neighbours(trajectories.full_orbit(1)) == []


@pytest.mark.parametrize(
    ("index", "value", "name"),
    [
        ((0, 0), 1e-300, "fx"),
        ((0, 0), 1e-3, "fx"),
        ((1, 1), 1e8, "fy"),
        ((0, 2), 1e7, "cx"),
        ((1, 2), -1e7, "cy"),
    ],
)
def test_lenses_out_of_range_are_refused(index, value, name):
    K = np.array([[270.0, 0, 32], [0, 270, 32], [0, 0, 1]])
    K[index] = value
    with pytest.raises(Dp3dError) as caught:
        Camera(np.eye(4), K, 64, 64)
    assert caught.value.code == "camera.invalid"
    assert name in caught.value.problem


def test_wide_long_and_shifted_lenses_are_taken():
    for focal, centre in ((0.01, 32), (64 * 5e5, 32), (270, 64 * 600), (270, -64 * 600)):
        K = np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1.0]])
        assert Camera(np.eye(4), K, 64, 64).K[0, 0] == focal
