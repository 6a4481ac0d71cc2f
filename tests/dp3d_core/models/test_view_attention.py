"""View attention."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'diffusion' is not installed")

from dp3d_core.models import view_attention
from dp3d_core.models.view_attention import ViewAttention


def test_attention_in_parts_gives_the_whole_result(monkeypatch) -> None:
    torch.manual_seed(0)
    module = ViewAttention(32, 2, 4).eval()
    torch.nn.init.normal_(module.proj_out.weight)
    features = torch.randn(8, 32, 5, 3)
    sizes: list[int] = []
    module.block.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with torch.no_grad():
        whole = module(features, 4)
        monkeypatch.setattr(view_attention, "_SEQUENCES_AT_ONCE", 7)
        parts = module(features, 4)
    assert sizes == [30, 7, 7, 7, 7, 2]
    assert not torch.equal(whole, features)
    torch.testing.assert_close(parts, whole)
