"""Length of the hair around the head, from the sides of the portrait and a photo from behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dp3d_core.heads.space import MM
from dp3d_core.preview.hair import length
from dp3d_core.preview.hair.styles import HANGS


@pytest.mark.parametrize(
    ("beside", "behind", "expected"),
    [
        ((-100, -104), -96, -96),  # long all round
        ((-54, -48), -48, -48),  # to the chin all round, as short hair on the nape
        ((-96, -90), -36, 0),  # plaits
        ((0, 0), -42, 0),  # short
        ((0, 0), -110, -110),  # combed back
    ],
)
def test_the_photo_from_behind_tells_whether_hair_hangs_there(
    monkeypatch: pytest.MonkeyPatch, beside: tuple[int, int], behind: int, expected: int
) -> None:
    monkeypatch.setattr(length, "hair_lengths", lambda *_: tuple(mm * MM for mm in beside))
    monkeypatch.setattr(length, "_length_behind", lambda *_: (behind * MM, True))
    portrait = SimpleNamespace(report=SimpleNamespace(yaw_deg=3.0))
    backs = {
        yaw: [(SimpleNamespace(camera=SimpleNamespace(yaw_pitch_deg=(yaw, 0.0))), None)]
        for yaw in (-170.0, 90.0)
    }
    around = length.length_by_column(None, portrait, 72, backs[-170.0])
    assert around[0] == pytest.approx(expected * MM)
    assert around[18] == pytest.approx(beside[0] * MM, abs=2 * MM)
    from_the_side = length.length_by_column(None, portrait, 72, backs[90.0])
    assert from_the_side[0] == pytest.approx(min(beside) * MM)
    assert (around[54] < HANGS * MM) == (beside[1] < HANGS)


@pytest.mark.parametrize(
    ("beside", "backs", "expected"),
    [
        (-150, [(0, True), (-110, True)], -110),  # one photo misses the hair
        (-150, [(-110, True), (0, True)], -110),
        (-150, [(-40, False)], -150),  # cut above the nape: as beside
        (-150, [(-40, False), (-110, True)], -110),
        (0, [(-120, False)], -120),  # cut below the nape: it hangs
        (-150, [(-120, False)], -150),
        (0, [(-40, False)], 0),
        (-90, [(0, True), (0, True)], 0),  # plaits
        (-100, [(-104, True), (-98, True), (-36, True)], -98),
    ],
)
def test_photos_from_behind_count_where_they_show_the_ends_of_the_hair(
    monkeypatch: pytest.MonkeyPatch,
    beside: int,
    backs: list[tuple[int, bool]],
    expected: int,
) -> None:
    monkeypatch.setattr(length, "hair_lengths", lambda *_: (beside * MM, beside * MM))
    monkeypatch.setattr(length, "_length_behind", lambda back, _: (back[0] * MM, back[1]))
    portrait = SimpleNamespace(report=SimpleNamespace(yaw_deg=3.0))
    photo = SimpleNamespace(camera=SimpleNamespace(yaw_pitch_deg=(175.0, 0.0)))
    around = length.length_by_column(None, portrait, 72, [(photo, back) for back in backs])
    assert around[0] == pytest.approx(expected * MM)
