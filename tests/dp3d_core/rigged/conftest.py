"""A random person's rigged head, and a fitted one with materials."""

from __future__ import annotations

import dataclasses
import os

import pytest

from dp3d_core.cameras.trajectories import canonical_camera
from dp3d_core.portraits import face_models
from dp3d_core.portraits.load import load_portrait
from dp3d_core.preview.head import PreviewHead
from dp3d_core.rigged.asset import rigged_head
from dp3d_core.rigged.keys import HeadKeys
from dp3d_core.rigged.neutral import NeutralHead
from dp3d_core.rigged.rig import RiggedHead
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject
from dp3d_core.viewsets.viewset import encode_png
from tests.support import viewers
from tests.support.rig_checks import random_keys, random_rig

SIDE = 512
"""Side of the skin's texture in tests, texels."""


@pytest.fixture(scope="package", autouse=True)
def _installed() -> None:
    if not face_models.installed():
        pytest.skip("dp3d setup models")


@pytest.fixture(scope="package")
def person() -> tuple[NeutralHead, HeadKeys]:
    return random_keys(1)


@pytest.fixture(scope="package")
def plain() -> RiggedHead:
    """A random person without materials."""
    return random_rig(1)


@pytest.fixture(scope="package")
def fitted() -> PreviewHead:
    subject = random_subject(20)
    spec = dataclasses.replace(subject.spec, hair="crop", hat=None, glasses=None)
    view = SyntheticHead(dataclasses.replace(subject, spec=spec)).render(
        canonical_camera(8.0, 2, 480, focal=2.8)
    )
    return PreviewHead(load_portrait(encode_png(view.rgb)), repeat_photo=False)


@pytest.fixture(scope="package")
def rig(fitted: PreviewHead) -> RiggedHead:
    return rigged_head(fitted, SIDE, photo_sha256="0" * 64, further_sha256=["1" * 64], seed=7)


@pytest.fixture(scope="session")
def node_command() -> str:
    """Node with the packages of ``make env-viewers``.  In CI its absence is a failure."""
    if (command := viewers.find_node()) and viewers.PACKAGES.is_dir():
        return command
    message = "no node, or none of its packages: 'make env-viewers'"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium without a window; the tests are skipped where there is none."""
    if command := viewers.find_chromium():
        return command
    pytest.skip(f"no Chromium: install one, or name it in {viewers.CHROMIUM}")
