"""Patches of the NeRF process, in its own environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

COMPAT = Path(__file__).resolve().parents[3] / "nerf_export/child/compat.py"
PROGRAM = f"""
import runpy, sys
runpy.run_path({str(COMPAT)!r})["apply"]()
import nerfstudio.models.splatfacto
import torch
print("compiler", "torch._dynamo" in sys.modules)

@torch.compile
def plain(x):
    return 2 * x

@torch.compile(backend="eager")
def bracketed(x, plus=0):
    \"\"\"Three times.\"\"\"
    return 3 * x + plus

print("compiler", "torch._dynamo" in sys.modules)
print(bracketed.__name__, bracketed.__doc__)
print("computed", plain(torch.tensor(4.0)).item(), bracketed(torch.tensor(5.0), plus=1).item())
print("compiler", "torch._dynamo" in sys.modules)
module = torch.compile(torch.nn.Identity(), backend="eager")
print(type(module).__name__, module(torch.tensor(7.0)).item())
"""


@pytest.mark.nerf
def test_functions_are_compiled_when_they_are_called(nerf_environment: Path) -> None:
    completed = subprocess.run(
        [str(nerf_environment), "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.splitlines() == [
        *("compiler False", "compiler False", "bracketed Three times."),
        *("computed 8.0 16.0", "compiler True", "OptimizedModule 7.0"),
    ]
