import os

from dp3d_core.progress import Progress
from nerf_export.child.talk import Talk


def test_a_parent_that_is_gone_asks_to_stop():
    """The work goes on to the checkpoint instead of ending with a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    talk = Talk(os.fdopen(writer, "w", encoding="utf-8", buffering=1))
    talk.progress(Progress("fit", 1, 2, "Step 1 of 2"))
    assert talk.stop.is_set()
    talk.result({"step": 2})


def test_events_arrive_line_by_line():
    reader, writer = os.pipe()
    talk = Talk(os.fdopen(writer, "w", encoding="utf-8", buffering=1))
    talk.progress(Progress("fit", 1, 2, "Step 1 of 2"))
    assert os.read(reader, 10_000).startswith(b'{"event": "progress"')
    assert not talk.stop.is_set()
