"""Folders with random faults are read, or refused with a code: nothing else."""

from __future__ import annotations

import pytest

from tests.support.mutations import FORMATS, count_outcomes


@pytest.mark.parametrize(
    ("count", "seed"), [(90, 7), pytest.param(2500, 8, marks=pytest.mark.slow)]
)
def test_faults_are_refused_with_a_code(count: int, seed: int) -> None:
    outcomes = count_outcomes(count, seed)
    assert sum(outcomes.values()) == count
    results = {result for _, result in outcomes}
    assert {"read", "viewset.invalid", "camera.file_invalid"} <= results
    assert {format_ for format_, _ in outcomes} == set(FORMATS)
