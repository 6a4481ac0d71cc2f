"""PSNR by its definition, and of pictures without a difference."""

from __future__ import annotations

import numpy as np
import pytest

from dp3d_core.viewsets.psnr import NO_ERROR_DB, psnr


def test_it_is_that_of_the_definition():
    error = np.full((4, 4, 3), 8 / 255)
    assert psnr((error**2).mean()) == pytest.approx(20 * np.log10(255 / 8))


def test_no_difference_is_a_number_that_json_knows():
    assert psnr(0.0) == NO_ERROR_DB == 100
