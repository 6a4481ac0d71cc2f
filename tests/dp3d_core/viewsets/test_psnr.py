"""PSNR by its definition, and of identical pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.viewsets.psnr import NO_ERROR_DB, psnr


def test_psnr_follows_its_definition():
    error = np.full((4, 4, 3), 8 / 255)
    assert psnr((error**2).mean()) == pytest.approx(20 * np.log10(255 / 8))


def test_identical_pictures_have_a_finite_psnr():
    assert psnr(0.0) == NO_ERROR_DB == 100
