"""The report of a real, very short fit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import pytest

from dp3d_core.progress import never_cancel, no_progress
from nerf_export.field.fit import Fit
from nerf_export.mesh.textured_mesh import build_mesh
from server.reports import fit_report
from server.reports.fit_report import write_fit_report

CALLS = {"progress": no_progress, "cancel": never_cancel}


@pytest.mark.nerf
def test_a_report_has_pictures_and_figures(
    tiny_fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_report, "_TURN_FRAMES", 6)
    fit = tmp_path / "fit"  # a copy: the report is written into the folder
    shutil.copytree(tiny_fit.root, fit)
    page = write_fit_report(fit, **CALLS)
    folder = page.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "report.html",
        "report.json",
        "turntable.webm",
        "views.png",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert report["scores"] == tiny_fit.scores
    assert report["silhouettes"]["mean"] > 0.9
    assert "one shape fills" in page.read_text()
    assert "as given" in page.read_text()
    assert report["seconds"] > 0
    assert "mesh" not in report
    reader = cv2.VideoCapture(str(folder / "turntable.webm"))
    good, frame = reader.read()
    assert good
    assert (frame.min(-1) < 200).mean() > 0.05  # the head covers part of the picture
    assert (frame[0] > 230).all()
    before = (folder / "turntable.webm").stat().st_mtime_ns

    glb = tmp_path / "head.glb"
    stats = build_mesh(fit, glb, faces=2000, texture_size=128, **CALLS)
    write_fit_report(fit, mesh=glb, mesh_stats=stats.to_dict(), **CALLS)
    text = page.read_text()
    assert str(stats.faces) in text
    for name in re.findall(r"src='?([\w.]+)", text):
        assert (folder / name).is_file()
    assert (folder / "turntable.webm").stat().st_mtime_ns == before  # not written again
