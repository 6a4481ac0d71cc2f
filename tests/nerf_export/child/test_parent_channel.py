import os

from dp3d_core.progress import Progress
from nerf_export.child.parent_channel import ParentChannel


def test_a_parent_that_is_gone_asks_to_stop():
    """The work goes on to the checkpoint instead of ending with a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    parent = ParentChannel(os.fdopen(writer, "w", encoding="utf-8", buffering=1))
    parent.progress(Progress("fit", 1, 2, "Step 1 of 2"))
    assert parent.stop.is_set()
    parent.result({"step": 2})


def test_events_arrive_line_by_line():
    reader, writer = os.pipe()
    parent = ParentChannel(os.fdopen(writer, "w", encoding="utf-8", buffering=1))
    parent.progress(Progress("fit", 1, 2, "Step 1 of 2"))
    assert os.read(reader, 10_000).startswith(b'{"event": "progress"')
    assert not parent.stop.is_set()
