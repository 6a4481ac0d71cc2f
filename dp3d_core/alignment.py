"""Alignment: pose and proportions of the head in a photo, found with the base head's features.

No learned weights: where brows, lashes, pupils, nostrils and the line between the lips lie on
the base head is known (``FEATURES``), and that they are darker than the skin around them is true
of every face.  A population of poses and shapes is projected into the photo at once; each
candidate collects the local darkness under its features, less that under places where a face
has none, and the best ones breed the next population (the cross-entropy method, Rubinstein 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp3d_core.cameras import CANONICAL_RADIUS, Camera
from dp3d_core.errors import Dp3dError

AVERAGE = NAMES = basis = piece = None
from dp3d_core.heads.space import EYE, EYE_RADIUS, MM
from dp3d_core.mesh import vertex_normals
from dp3d_core.synthetic.labels import lip_line

BROW_X = BROW_Y = None
from dp3d_core.trajectories import orbit_pose

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SHAPES = (
    "face_length", "midface_length", "eye_spacing", "eye_height", "nose_length", "nose_width",
    "mouth_width", "mouth_open", "smile", "brow_raise", "eye_tilt", "face_width",
)  # fmt: skip
"""Shape parameters that features tell something about."""
_SPREAD = np.array([0.6, 0.6, 0.5, 0.4, 0.5, 0.4, 0.5, 0.5, 0.4, 0.6, 0.4, 0.4])
"""How far each usually goes: the prior."""

WORKING_SIDE = 320


@dataclass(frozen=True)
class Features:
    """Points of the base head and what a photo shows there.

    Attributes:
        rest: (n, 3) on the base head, millimetres.
        points: (n, 3) on the average head.
        normals: (n, 3).
        moves: (s, n, 3) displacement for each of :data:`SHAPES`.
        group: (n,) index into ``weights``.
        weights: (g,) how much a group counts; negative where a face is not dark.
        red: (n,) bool, points of the red of the lips.

    """

    rest: Array
    points: Array
    normals: Array
    moves: Array
    group: NDArray[np.int64]
    weights: Array
    red: NDArray[np.bool_]


@lru_cache(maxsize=1)
def features() -> Features:
    """The features of the base head."""
    groups: list[tuple[float, bool, Array]] = []

    def add(weight: float, xy: Array, red: bool = False) -> None:
        groups.append((weight, red, xy))

    def both(x: Array, y: Array) -> Array:
        return np.concatenate([np.stack([x, y], -1), np.stack([-x, y], -1)])

    x = np.linspace(13, 48, 12)
    add(0.9, both(x, np.interp(x, BROW_X, BROW_Y)))
    x = np.linspace(20, 44, 11)
    t = (x - EYE[0]) / 15
    add(1.3, both(x, EYE[1] + 0.9 + 0.055 * (x - EYE[0]) + 5.2 * (1 - np.abs(t) ** 2.3)))
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    add(1.3, both(EYE[0] + 3.0 * np.cos(angle), EYE[1] + 0.5 + 3.0 * np.sin(angle)))
    add(0.8, both(np.array([5.5, 7, 8.5]), np.array([-21.0, -21, -20.5])))
    x = np.linspace(-21, 21, 15)
    # either side of the line between the lips: they part when the mouth opens
    add(0.7, np.stack([x, lip_line(np.abs(x)) + 0.4], -1))
    add(0.7, np.stack([x, lip_line(np.abs(x)) - 0.4], -1))
    x = np.linspace(-12, 12, 9)
    add(0.35, np.stack([x, np.full(9, -58.5)], -1))  # crease above the chin
    x = np.linspace(-14, 14, 9)
    add(0.35, np.stack([x, np.full(9, -37.0)], -1), red=True)
    add(0.5, np.stack([x, np.full(9, -48.0)], -1), red=True)
    # bright places
    u, v = np.meshgrid(np.linspace(26, 48, 5), np.linspace(-26, 4, 5))
    add(-1.2, both(u.ravel(), v.ravel()))
    u, v = np.meshgrid(np.linspace(-30, 30, 7), np.linspace(56, 74, 3))
    add(-0.7, np.stack([u.ravel(), v.ravel()], -1))
    v = np.linspace(-8, 22, 7)
    add(-0.9, np.stack([np.zeros(7), v], -1))
    x = np.linspace(-10, 10, 5)
    add(-0.7, np.stack([x, np.full(5, -71.0)], -1))
    add(-0.6, both(np.array([8.0, 13, 18]), np.array([-30.0, -30, -31])))
    x = np.linspace(22, 42, 5)
    add(-0.7, both(x, np.full(5, 15.0)))  # below the eyes

    xy = np.concatenate([g[2] for g in groups])
    skin = piece("skin")
    near = skin.vertices[:, 2] > 30
    vertices = skin.vertices[near]
    normals = vertex_normals(skin.vertices, skin.faces)[near]
    # the foremost vertex near each place: lips, lids and nostrils have hollows behind them
    distance = np.linalg.norm(vertices[None, :, :2] - xy[:, None], axis=2)
    near = np.where(distance < np.maximum(2.5, distance.min(1, keepdims=True)), 0, 1e3)
    nearest = (near + distance * 0.2 - vertices[None, :, 2]).argmin(1)
    z = vertices[nearest, 2]
    # lids and pupils lie on the ball of the eye
    from_eye = np.hypot(np.abs(xy[:, 0]) - EYE[0], xy[:, 1] - EYE[1])
    on_eye = from_eye < 12.5
    ball = EYE[2] + np.sqrt(np.maximum((EYE_RADIUS + 1.0) ** 2 - from_eye**2, 0))
    rest = np.column_stack([xy, np.where(on_eye, ball, z)])
    moves = basis(rest)
    points = rest + np.tensordot(AVERAGE, moves, 1)
    moves = moves[[NAMES.index(name) for name in SHAPES]]
    return Features(
        rest,
        points,
        normals[nearest],
        moves,
        np.repeat(np.arange(len(groups)), [len(g[2]) for g in groups]),
        np.array([g[0] for g in groups]),
        np.repeat([g[1] for g in groups], [len(g[2]) for g in groups]),
    )


@dataclass(frozen=True)
class Alignment:
    """A head found in a picture.

    Attributes:
        camera: sees the picture in head space.
        shape: named shape parameters.
        score: how well the features fit; above about 0.9 is surely a face.

    """

    camera: Camera
    shape: dict[str, float]
    score: float

    @property
    def yaw_pitch_roll_deg(self) -> tuple[float, float, float]:
        """Of the camera about the head."""
        yaw, pitch = self.camera.yaw_pitch_deg
        upright = orbit_pose(yaw, pitch)
        inside = upright[:3, :3].T @ self.camera.c2w[:3, :3]
        return yaw, pitch, float(np.degrees(np.arctan2(inside[1, 0], inside[0, 0])))


class _Maps:
    """Darkness and redness of a picture, from coarse to fine."""

    def __init__(self, rgb: Pixels, inside: NDArray[np.bool_], matte: Pixels | None = None) -> None:
        side = rgb.shape[0]
        self.scale = WORKING_SIDE / side
        small = cv2.resize(rgb, (WORKING_SIDE,) * 2, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        self.known = cv2.resize(
            inside.astype(np.float32), (WORKING_SIDE,) * 2, interpolation=cv2.INTER_AREA
        )
        self.lightness = lab[..., 0]
        self.red = lab[..., 1] - 0.3 * lab[..., 2]
        weighted = lab * np.array([0.35, 1, 1], np.float32)
        self.colour = np.asarray(cv2.GaussianBlur(weighted, (0, 0), 3.0), np.float32)
        self.outline = None if matte is None else self._outline(matte)

    def _outline(self, matte: Pixels) -> Array:
        small = cv2.resize(matte, (WORKING_SIDE,) * 2, interpolation=cv2.INTER_AREA) > 127
        rows = np.zeros((WORKING_SIDE, 3))
        for i, row in enumerate(small):
            columns = np.flatnonzero(row)
            if columns.size:
                first, last = columns[0], columns[-1]
                ends = self.known[i, max(first - 3, 0)] > 0.5 and first > 2
                ends = ends and self.known[i, min(last + 3, WORKING_SIDE - 1)] > 0.5
                rows[i] = first, last + 1, ends and last < WORKING_SIDE - 3
        return rows

    def at(self, sigma: float, window: float) -> _Level:
        """Local darkness and redness, about -1 to 1.

        Args:
            sigma: blur of the detail, working pixels.
            window: blur of what it is compared with.

        """
        found = []
        for sign, channel, least in ((-1, self.lightness, 6.0), (1, self.red, 3.0)):
            fine = cv2.GaussianBlur(channel, (0, 0), sigma)
            mean = cv2.GaussianBlur(channel, (0, 0), window)
            square = cv2.GaussianBlur(channel * channel, (0, 0), window)
            spread = np.sqrt(np.maximum(square - mean * mean, 0)) + least
            found.append((np.tanh(sign * (fine - mean) / spread) * self.known).astype(np.float32))
        return _Level(found[0], found[1], self.colour, self.outline)


FACE_BEFORE_AXIS = 0.155
"""Of the middle of the face, head units."""
_POSE = 6  # yaw, pitch, roll (radians), log scale, shift x and y (parts of the picture)


def _project(theta: Array, side: int, focal: float) -> tuple[Array, Array]:
    """(n, k, 2) pixels and (n, k) cosines to the camera of the features for parameters."""
    f = features()
    points = f.points[None] + np.tensordot(theta[:, _POSE:], f.moves, 1)
    rotation = rotations(theta[:, :3])
    local = np.einsum("nij,nkj->nki", rotation, points * MM)
    depth = local[..., 2] + CANONICAL_RADIUS
    scale = focal * side * np.exp(theta[:, 3])
    uv = local[..., :2] / depth[..., None] * scale[:, None, None]
    uv += (0.5 + theta[:, None, 4:6]) * side
    cosine = -np.einsum("nj,kj->nk", rotation[:, 2], f.normals)
    return uv, cosine


def rotations(angles: Array) -> Array:
    """(n, 3, 3) world to camera (OpenCV axes) of yaw, pitch and roll, radians."""
    yaw, pitch, roll = angles.T
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    right = np.stack([cy, zero, -sy], -1)
    forward = np.stack([-sy * cp, -sp, -cy * cp], -1)
    down = np.cross(forward, right)
    cr, sr = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack([cr * right + sr * down, -sr * right + cr * down, forward], 1)


def posed_camera(theta: Array, side: int, focal: float) -> Camera:
    """The camera in head space that pose parameters stand for.

    Args:
        theta: yaw, pitch and roll, radians, log scale, shift x and y, parts of the picture;
            what follows is not looked at.
        side: of the square picture, pixels.
        focal: of its lens at scale 1, image widths.

    """
    pose = np.eye(4)
    pose[:3, :3] = rotations(theta[None, :3])[0].T
    pose[:3, 3] = -CANONICAL_RADIUS * pose[:3, 2]
    scale = focal * side * float(np.exp(theta[3]))
    K = np.array([[scale, 0, 0.5 * side], [0, scale, 0.5 * side], [0, 0, 1.0]])
    K[:2, 2] += theta[4:_POSE] * side
    return Camera(pose, K, side, side)


@dataclass(frozen=True)
class _Level:
    """A picture at one fineness."""

    dark: NDArray[np.float32]
    red: NDArray[np.float32]
    colour: NDArray[np.float32]
    """(h, w, 3) blurred Lab, lightness counted less."""
    outline: Array | None
    """(h, 3) left and right end of the matte in each row and whether they are known."""


def _scores(theta: Array, maps: _Level, focal: float) -> Array:
    f = features()
    dark, red = maps.dark, maps.red
    side = dark.shape[0]
    uv, cosine = _project(theta, side, focal)
    u, v = uv[..., 0].astype(np.int32), uv[..., 1].astype(np.int32)
    inside = (u >= 0) & (v >= 0) & (u < side) & (v < side)
    at = np.clip(v, 0, side - 1), np.clip(u, 0, side - 1)
    values = np.where(f.red, red[at], dark[at]) * inside
    weight = np.clip((cosine - 0.05) / 0.25, 0, 1)
    total = np.zeros(len(theta))
    for g, w in enumerate(f.weights):
        chosen = f.group == g
        seen = weight[:, chosen]
        # a group that is hardly seen must not become a bargain
        mean = (values[:, chosen] * seen).sum(1) / np.maximum(seen.sum(1), HIDDEN * chosen.sum())
        total += w * mean
    # forehead, cheeks, nose and chin are of one colour
    plain = f.weights[f.group] < 0
    seen = weight[:, plain] + 1e-3
    colours = maps.colour[at[0][:, plain], at[1][:, plain]]
    middle = (colours * seen[..., None]).sum(1) / seen.sum(1)[:, None]
    away = np.abs(colours - middle[:, None]).sum(2) / 20.0
    total -= UNLIKE * (np.minimum(away, 1.5) * seen).sum(1) / seen.sum(1)
    if maps.outline is not None:
        total -= OUTLINE * _outline_cost(theta, maps, focal)
    return total


POSE_PRIOR, SHAPE_PRIOR, HIDDEN, EYES = 0.1, 0.25, 0.45, 0.25
UNLIKE, OUTLINE, W_OUT, W_MUCH, W_UNEVEN = 1.0, 1.0, 3.0, 1.0, 0.35
_BANDS = ((-70, -52), (-40, -26), (-14, 0), (18, 32), (44, 56), (62, 78), (88, 104))


@lru_cache(maxsize=1)
def _skull() -> tuple[Array, Array, NDArray[np.int64]]:
    """Vertices of the head in some bands of height, their face-width displacement, the band."""
    skin = piece("skin")
    points, moves, band = [], [], []
    rng = np.random.default_rng(0)
    chosen_moves = skin.basis[[NAMES.index(name) for name in SHAPES]]
    for i, (low, high) in enumerate(_BANDS):
        y = skin.vertices[:, 1]
        x = np.abs(skin.vertices[:, 0])
        index = np.flatnonzero((y > low) & (y < high) & (x < 76))
        index = rng.choice(index, min(110, len(index)), replace=False)
        average = np.tensordot(AVERAGE, skin.basis[:, index], 1)
        points.append(skin.vertices[index] + average)
        moves.append(chosen_moves[:, index])
        band.append(np.full(len(index), i))
    return np.concatenate(points), np.concatenate(moves, 1), np.concatenate(band)


def _outline_cost(theta: Array, maps: _Level, focal: float) -> Array:
    """How badly the skull's width agrees with the matte's: it hides under hair, not beside it."""
    assert maps.outline is not None
    points, _, band = _skull()
    side = maps.dark.shape[0]
    rotation = rotations(theta[:, :3])
    local = np.einsum("nij,kj->nki", rotation, points * MM)
    scale = (focal * side * np.exp(theta[:, 3]))[:, None]
    depth = local[..., 2] + CANONICAL_RADIUS
    u = local[..., 0] / depth * scale + (0.5 + theta[:, 4:5]) * side
    v = local[..., 1] / depth * scale + (0.5 + theta[:, 5:6]) * side
    unit = scale[:, 0] / CANONICAL_RADIUS * 160 * MM  # a head's width, pixels
    turned = np.clip((np.abs(np.sin(theta[:, 0])) - 0.25) / 0.35, 0, 1) * np.sign(theta[:, 0])
    cost = np.zeros(len(theta))
    for i in range(len(_BANDS)):
        inside = band == i
        left, right = u[:, inside].min(1), u[:, inside].max(1)
        row = np.clip(v[:, inside].mean(1).astype(np.int32), 0, side - 1)
        over_left = (left - maps.outline[row, 0]) / unit
        over_right = (maps.outline[row, 1] - right) / unit
        known = maps.outline[row, 2] > 0
        out = np.clip(-over_left, 0, 0.5) + np.clip(-over_right, 0, 0.5)
        # before a turned face there is no hair
        to_left, to_right = np.clip(turned, 0, 1), np.clip(-turned, 0, 1)
        much = np.clip(over_left - 0.25 + 0.21 * to_left + 0.1 * to_right, 0, 0.5) * (
            0.3 + 0.7 * to_left
        )
        much += np.clip(over_right - 0.25 + 0.21 * to_right + 0.1 * to_left, 0, 0.5) * (
            0.3 + 0.7 * to_right
        )
        uneven = np.clip(np.abs(over_left - over_right), 0, 0.6) * (1 - np.abs(turned))
        found = W_OUT * out + W_MUCH * much + W_UNEVEN * uneven * (i > 3)
        cost += known * found * 4 / len(_BANDS)
    return cost


_START = np.concatenate([np.radians([12, 9, 7]), [0.10, 0.05, 0.05], _SPREAD])
"""Width of a first population."""
_PRIOR = np.concatenate([np.radians([90, 9, 12]), [0.2, 0.1, 0.1], _SPREAD * 1.3])


@dataclass(frozen=True)
class Turn:
    """How the camera of a photo stands about the head, degrees; None is estimated.

    Raises:
        Dp3dError: ``portrait.bad_turn``.

    """

    yaw_deg: float | None = None
    """-180 to 180, positive when it stands to the head's +x side."""
    pitch_deg: float | None = None
    """-80 to 80, positive when it looks down."""
    roll_deg: float | None = None
    """-180 to 180, of the head in the picture, counter-clockwise."""

    def __post_init__(self) -> None:
        for name, value, most in zip(("yaw", "pitch", "roll"), self.values, MOST_TURN, strict=True):
            if value is not None and not abs(value) <= most:  # also for a NaN
                raise Dp3dError(
                    "portrait.bad_turn",
                    f"A head cannot have a {name} of {value} degrees.",
                    f"Give a {name} from -{most} to {most}; 0 looks straight at the camera.",
                )

    @property
    def values(self) -> tuple[float | None, float | None, float | None]:
        """Yaw, pitch and roll."""
        return self.yaw_deg, self.pitch_deg, self.roll_deg

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """(3,) which of yaw, pitch and roll are to be found."""
        return np.array([value is None for value in self.values])

    def onto(self, angles: Array) -> Array:
        """(3,) yaw, pitch and roll, radians: what is known, else ``angles``."""
        known = [np.nan if value is None else np.radians(value) for value in self.values]
        return np.where(self.unknown, angles, known)


MOST_TURN = (180, 80, 180)
"""Degrees that a :class:`Turn` takes."""


@dataclass(frozen=True)
class Known:
    """What is known before the search: it is kept."""

    turn: Turn = Turn()
    place: bool = False
    """The crop frames the head exactly: no scale, no shift."""
    about_deg: tuple[float, float] = (0.0, 45.0)
    """Expected yaw and its spread."""
    framed: bool = False
    """A detector that knows frontal faces made the crop: its size and place are nearly right."""
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Where a detector saw the two eyes, parts of the crop, the left one in the picture first."""


def search(
    rgb: Pixels,
    inside: NDArray[np.bool_],
    focal: float,
    matte: Pixels | None = None,
    *,
    yaws_deg: Sequence[float] = (-50, -25, 0, 25, 50),
    known: Known | None = None,
    seed: int = 0,
) -> Alignment:
    """Find roughly where a crop shows a head: the first, coarse step.

    Args:
        rgb: (s, s, 3) uint8.
        inside: (s, s) bool, where the crop is known.
        focal: of the crop's lens, image widths.
        matte: (s, s) uint8, the head's outline where it is known.
        yaws_deg: where the search starts.
        known: what is not searched.
        seed: of the random numbers.

    """
    fit = _Fit(_Maps(rgb, inside, matte), focal, known or Known(), np.random.default_rng(seed))
    found = [fit.coarse(yaw) for yaw in yaws_deg]
    mean, _, score = max(found, key=lambda f: f[2])
    return fit.result(mean, score, rgb.shape[0])


def align(
    rgb: Pixels,
    inside: NDArray[np.bool_],
    focal: float,
    matte: Pixels | None = None,
    *,
    yaws_deg: Sequence[float] = (-50, -25, 0, 25, 50),
    known: Known | None = None,
    seed: int = 0,
) -> Alignment:
    """Pose and proportions of the head in a crop that frames it roughly.

    Args:
        rgb: (s, s, 3) uint8, a head crop.
        inside: (s, s) bool, where it is known.
        focal: of the crop's lens, image widths.
        matte: (s, s) uint8, the head's outline where it is known.
        yaws_deg: where the search starts.
        known: what is not searched.
        seed: of the random numbers.

    """
    fit = _Fit(_Maps(rgb, inside, matte), focal, known or Known(), np.random.default_rng(seed))
    starts = sorted((fit.coarse(yaw) for yaw in yaws_deg), key=lambda f: -f[2])
    finals = [fit.fine(mean, width) for mean, width, _ in starts[:2]]
    # an open mouth and a short face look alike halfway: each is tried from its own end
    mean, width, _ = starts[0]
    for variant in ({"mouth_open": 1.2}, {"face_length": -0.7, "midface_length": -0.7}):
        other = mean.copy()
        for name, value in variant.items():
            other[_POSE + SHAPES.index(name)] = value
        finals.append(fit.fine(other, width))
    mean, _, score = max(finals, key=lambda f: f[2])
    return fit.result(mean, score, rgb.shape[0])


class _Fit:
    """One search: populations that get narrower."""

    def __init__(self, maps: _Maps, focal: float, known: Known, rng: np.random.Generator) -> None:
        self.maps, self.focal, self.known, self.rng = maps, focal, known, rng
        self.pose = np.zeros(_POSE + len(SHAPES), bool)
        self.pose[:_POSE] = True
        self.pose[:3] = known.turn.unknown
        self.pose[3:_POSE] = not known.place
        self.pose[_POSE + SHAPES.index("mouth_open")] = True
        self.all = self.pose.copy()
        self.all[_POSE:] = True

    def coarse(self, yaw_deg: float) -> tuple[Array, Array, float]:
        """Mean, width and score of the population that starts at a yaw."""
        mean = np.zeros(_POSE + len(SHAPES))
        mean[:3] = self.known.turn.onto(np.array([np.radians(yaw_deg), 0, 0]))
        return self._narrow(mean, _START, (5.0, 22.0), 8, 300, self.pose)

    def fine(self, mean: Array, width: Array) -> tuple[Array, Array, float]:
        """The same with shape, in finer pictures."""
        width = np.maximum(width, _START * 0.5)
        mean, width, _ = self._narrow(mean, width, (3.0, 18.0), 12, 400, self.all)
        return self._narrow(mean, np.maximum(width, _START * 0.2), (1.8, 16.0), 12, 400, self.all)

    def _narrow(
        self,
        mean: Array,
        width: Array,
        fineness: tuple[float, float],
        rounds: int,
        count: int,
        free: NDArray[np.bool_],
    ) -> tuple[Array, Array, float]:
        picture = self.maps.at(*fineness)
        opened = _POSE + SHAPES.index("mouth_open")
        best = -np.inf
        for _ in range(rounds):
            noise = self.rng.normal(size=(count, len(mean)))
            noise[0] = 0
            theta = mean + noise * width * free
            theta[:, opened] = np.abs(theta[:, opened])
            theta[:, _POSE:] = np.clip(theta[:, _POSE:], -1.5, 1.5)
            value = _scores(theta, picture, self.focal) - self._penalty(theta)
            value -= self._eye_cost(theta)
            elite = theta[np.argsort(-value)[: max(12, count // 12)]]
            mean = elite.mean(0)
            width = np.where(free, np.maximum(elite.std(0), 0.06 * _START), width)
            best = float(value.max())
        return mean, width, best

    def _eye_cost(self, theta: Array) -> Array:
        """How far the eyes are from where a detector saw them; a wrong one costs little more."""
        if self.known.eyes is None:
            return np.zeros(len(theta))
        f = features()
        rotation = rotations(theta[:, :3])
        cost = np.zeros(len(theta))
        scale = self.focal * np.exp(theta[:, 3:4])
        spread = 0.12 * scale / CANONICAL_RADIUS * 2 * EYE[0] * MM
        for side, seen in zip((-1, 1), self.known.eyes, strict=True):
            pupil = EYE * [side, 1, 1] + [0, 0, EYE_RADIUS]
            nearest = np.abs(f.rest - pupil).sum(1).argmin()
            move = np.tensordot(theta[:, _POSE:], f.moves[:, nearest], 1)
            point = pupil + f.points[nearest] - f.rest[nearest] + move
            local = np.einsum("nij,nj->ni", rotation, point * MM)
            uv = local[:, :2] / (local[:, 2:] + CANONICAL_RADIUS) * scale + 0.5 + theta[:, 4:6]
            cost += np.minimum((((uv - np.asarray(seen)) / spread) ** 2).sum(1), 9.0)
        return cost * EYES

    def _penalty(self, theta: Array) -> Array:
        unlikely = (theta / _PRIOR) ** 2
        expected, spread = np.radians(self.known.about_deg)
        unlikely[:, 0] = ((theta[:, 0] - expected) / spread) ** 2
        if self.known.framed:
            # the crop is centred on the face, which lies before the axis that the head turns about
            before = FACE_BEFORE_AXIS * self.focal / CANONICAL_RADIUS
            away = theta[:, 3:6].copy()
            away[:, 1] -= before * np.sin(theta[:, 0])
            away[:, 2] += before * np.sin(theta[:, 1])
            unlikely[:, 3:6] = (away / np.array([0.06, 0.035, 0.035])) ** 2
        # seen from further aside a face has too few features to be told from other things
        unlikely[:, 0] += (np.maximum(np.abs(theta[:, 0]) - np.radians(62), 0) / 0.08) ** 2
        return np.asarray(
            unlikely[:, :_POSE].sum(1) * POSE_PRIOR + unlikely[:, _POSE:].sum(1) * SHAPE_PRIOR
        )

    def result(self, mean: Array, score: float, side: int) -> Alignment:
        """The alignment that parameters stand for."""
        shape = {
            name: round(float(value), 4) for name, value in zip(SHAPES, mean[_POSE:], strict=True)
        }
        return Alignment(posed_camera(mean, side, self.focal), shape, score)
