"""Views that contradict each other by known amounts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dp3d_core.cameras.trajectories import diffportrait3d_ellipse
from dp3d_core.evaluation.perturbed_views import write_perturbed_views
from dp3d_core.progress import never_cancel, no_progress
from dp3d_core.synthetic.rendering import SyntheticHead
from dp3d_core.synthetic.subjects import random_subject

CALLS = {"progress": no_progress, "cancel": never_cancel}
CAMERAS = diffportrait3d_ellipse(3, 96)


def test_views_are_a_little_beside_the_truth_and_the_same_each_time(tmp_path):
    subject = replace(random_subject(9001), backdrop=((1.0, 1.0, 1.0),))
    views = write_perturbed_views(subject, CAMERAS, tmp_path / "a", **CALLS)
    assert views.meta.approximate_poses
    head = SyntheticHead(subject)
    for i, camera in enumerate(CAMERAS):
        true = head.render(camera).rgba[..., 3] > 127
        drawn = views.mask(i) > 127
        apart = (true ^ drawn).sum() / true.sum()
        assert 0.002 < apart < 0.1
    again = write_perturbed_views(subject, CAMERAS, tmp_path / "b", **CALLS)
    (tmp_path / "a" / "frames" / "0001.png").unlink()
    mended = write_perturbed_views(subject, CAMERAS, tmp_path / "a", **CALLS)
    for i in range(len(CAMERAS)):
        np.testing.assert_array_equal(mended.frame(i), again.frame(i))
