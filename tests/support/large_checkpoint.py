"""Makes a full-size checkpoint of random weights in the official layout, and measures its import.

    python -m tests.support.large_checkpoint make model.th --variant diffportrait3d
    python -m tests.support.large_checkpoint measure model.th

The file is never in memory as a whole.  Linux only: memory use is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import torch

from dp3d_core.checkpoints.names import SCHEDULE, Official
from dp3d_core.models.config import PUBLISHED, NetworkConfig, Variant
from dp3d_core.models.networks import Networks
from dp3d_core.models.text_encoder import text_encoder

PIECE = 1 << 22
"""Random numbers that are repeated to fill the weights."""


def official_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by official name."""
    views = config.view_modules
    official = Official(views is not None and views.after_downsamplers)
    components = Networks.of(config, meta=True).named()
    components["text_encoder"] = text_encoder(config.text, meta=True)
    shapes = {
        official.name(component, key): tuple(value.shape)
        for component, net in components.items()
        for key, value in net.state_dict().items()
    }
    return shapes | dict.fromkeys(SCHEDULE, (1000,))


def make(path: Path, config: NetworkConfig) -> None:
    """Write the file's structure with torch, then fill in random float32 numbers."""
    state = {name: torch.empty(shape) for name, shape in official_shapes(config).items()}
    with torch.serialization.skip_data():  # memory that is not written to is not allocated
        torch.save({"state_dict": state}, path)
    numbers = np.random.default_rng(0).normal(0, 0.02, PIECE).astype("<f4").tobytes()
    with zipfile.ZipFile(path) as archive:
        entries = [e for e in archive.infolist() if "/data/" in e.filename]
    with path.open("r+b") as file:
        for entry in entries:
            file.seek(entry.header_offset + 26)
            lengths = file.read(4)
            skipped = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            file.seek(skipped, 1)
            remaining = entry.file_size
            while remaining:
                remaining -= file.write(numbers[: min(remaining, len(numbers))])


class MemoryWatch(threading.Thread):
    """Records the peak memory of a process while it runs, bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.peaks = dict.fromkeys(("VmRSS", "RssAnon", "RssFile"), 0)

    def run(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                name, _, value = line.partition(":")
                if name in self.peaks:
                    self.peaks[name] = max(self.peaks[name], int(value.split()[0]) * 1024)
            time.sleep(0.05)


def measure(path: Path, *options: str) -> dict[str, object]:
    """Time, memory and longest silence of ``dp3d models import``."""
    began = time.monotonic()
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "server.cli.main",
            "models",
            "import",
            str(path),
            "--json",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = MemoryWatch(child.pid)
    watch.start()
    silences, last, stages = [], began, {}
    for line in child.stderr:
        now = time.monotonic()
        silences.append(now - last)
        last = now
        if line.startswith("{"):
            event = json.loads(line)
            stages.setdefault(event["stage"], [round(now - began, 1), 0])[1] = round(now - began, 1)
    answer = json.loads(child.stdout.read())
    child.wait()
    return {
        "seconds": round(time.monotonic() - began, 1),
        "stages": stages,
        "longest_silence_s": round(max(silences[1:], default=0), 2),
        "first_message_s": round(silences[0], 2),
        "peak_gb": {name: round(value / 1e9, 2) for name, value in watch.peaks.items()},
        "answer": answer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "measure"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--variant", type=Variant, default=Variant.DIFFPORTRAIT3D)
    parser.add_argument("--half", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.path, PUBLISHED[arguments.variant])
        print(f"{arguments.path}: {arguments.path.stat().st_size / 1e9:.2f} GB")
    else:
        print(
            json.dumps(measure(arguments.path, *(["--half"] if arguments.half else [])), indent=1)
        )


if __name__ == "__main__":
    main()
