"""Errors and progress survive pickling, JSON and processes."""

from __future__ import annotations

import pickle

import pytest

from dp3d_core.errors import CATALOGUE, Cancelled, Dp3dError, ExitCode
from dp3d_core.progress import Progress, Stage


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_survives_dict_and_pickle(code):
    error = Dp3dError(code, "It is wrong.", "Do this.", "detail")
    for copy in (Dp3dError.from_dict(error.to_dict()), pickle.loads(pickle.dumps(error))):
        assert (copy.code, copy.problem, copy.remedy, copy.detail) == (
            code, "It is wrong.", "Do this.", "detail",
        )  # fmt: skip
    assert 400 <= error.to_dict()["status"] < 600
    assert error.exit_code not in {ExitCode.OK, ExitCode.USAGE}


def test_unknown_codes_are_a_defect_here_and_internal_from_outside():
    with pytest.raises(KeyError):
        Dp3dError("no.such", "", "")
    assert Dp3dError.from_dict({"code": "no.such"}).code == "internal"
    assert isinstance(pickle.loads(pickle.dumps(Cancelled())), Cancelled)


def test_stage_counts_and_is_cancelled_between_steps():
    events: list[Progress] = []
    stop = False
    stage = Stage("views", 4, events.append, lambda: stop, start=1)
    stage.advance("one")
    assert (events[-1].step, events[-1].of) == (2, 4)
    assert events[-1].eta_s is not None
    stop = True
    with pytest.raises(Cancelled):
        stage.advance("two")
    assert events[-1].step == 3  # what was done before the cancel is reported
    with pytest.raises(Cancelled):
        Stage("views", 4, events.append, lambda: stop)
