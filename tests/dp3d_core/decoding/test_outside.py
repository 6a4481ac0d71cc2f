"""Decoding in a child process: crashes, endless loops and memory do not affect the caller."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dp3d_core.decoding import outside
from dp3d_core.decoding.outside import decode_outside
from dp3d_core.decoding.picture import Wanted, decode_picture
from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.portraits.load import load_portrait
from tests.conftest import shared_path
from tests.support.photos import encode


def children() -> set[int]:
    """Ids of idle decoding processes."""
    return {decoder.process_id for decoder in outside.idle_decoders()}


@pytest.fixture(scope="module")
def endless() -> bytes:
    """A JPEG of 1 MB whose last scan comes 20,000 times: it takes minutes."""
    data = encode(Image.new("L", (6000, 6000), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 20_000 + data[-2:]


@pytest.fixture
def alone() -> None:
    """End idle decoding processes first."""
    outside.end_idle_decoders()


def test_the_same_pixels_as_in_this_process(astronaut: Path):
    data = astronaut.read_bytes()
    here, there = decode_picture(data), decode_outside(data)
    np.testing.assert_array_equal(here.rgb, there.rgb)
    assert (here.alpha, here.scale, here.notes) == (there.alpha, there.scale, there.notes)
    rgba = np.dstack([here.rgb, here.rgb[..., 0]])
    np.testing.assert_array_equal(decode_outside(encode(rgba)).alpha, rgba[..., 3])


def test_numbers_of_a_palette_cross_over():
    """Only where they are requested, and not where an entry is transparent."""
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(numbers, "P")
    picture.putpalette([value for i in range(12) for value in (i * 20, 0, 255 - i)])
    wanted = Wanted(srgb=False, indices=True)
    decoded = decode_outside(encode(picture), wanted)
    np.testing.assert_array_equal(decoded.rgb, np.dstack([numbers] * 3))
    assert decoded.palette is not None
    assert decoded.palette[:6] == bytes([0, 0, 255, 20, 0, 254])
    colours = decode_outside(encode(picture))
    assert colours.palette is None
    assert tuple(colours.rgb[0, 2]) == (40, 0, 253)
    clear = decode_outside(encode(picture, transparency=3), wanted)
    assert clear.palette is None
    assert clear.alpha is not None


def test_what_is_wanted_crosses_over(astronaut_rgb):
    small = decode_outside(encode(astronaut_rgb), Wanted(longest=100))
    assert max(small.rgb.shape) == 100
    assert small.scale == pytest.approx(100 / max(astronaut_rgb.shape))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = encode(astronaut_rgb, exif=exif)
    assert decode_outside(stored, Wanted(upright=False)).rgb.shape == astronaut_rgb.shape
    with pytest.raises(Dp3dError) as error:
        decode_outside(encode(astronaut_rgb[:20]), Wanted(least_side=32))
    assert error.value.code == "portrait.too_small"


@pytest.mark.usefixtures("alone")
def test_one_process_decodes_many_pictures(astronaut_rgb):
    decode_outside(encode(astronaut_rgb))
    before = children()
    assert len(before) == 1
    for _ in range(3):
        decode_outside(encode(astronaut_rgb))
        with pytest.raises(Dp3dError):
            decode_outside(b"no picture")
    assert children() == before


def test_a_decoder_that_takes_too_long_is_ended(endless, astronaut_rgb):
    with pytest.raises(Dp3dError) as error:
        decode_outside(endless, deadline_s=0.5)
    assert error.value.code == "portrait.too_slow"
    assert not children()
    assert decode_outside(encode(astronaut_rgb)).rgb.shape == astronaut_rgb.shape


def test_a_cancel_ends_a_decoder(endless):
    asked = threading.Event()

    def cancel() -> bool:
        stop = asked.is_set()
        asked.set()
        return stop

    with pytest.raises(Cancelled):
        decode_outside(endless, cancel=cancel)
    assert not children()
    with pytest.raises(Cancelled):
        load_portrait(endless, cancel=lambda: True)


@pytest.mark.usefixtures("alone")
def test_a_decoder_that_breaks_down_is_the_pictures_fault(endless, astronaut_rgb):
    decode_outside(encode(astronaut_rgb))
    (process,) = children()

    def cancel() -> bool:  # polled after the picture was sent
        os.kill(process, signal.SIGTERM)
        return False

    with pytest.raises(Dp3dError) as error:
        decode_outside(endless, cancel=cancel)
    assert error.value.code == "portrait.unreadable"
    assert "broke down" in error.value.problem


def decoders() -> set[int]:
    """Ids of all decoding processes, busy ones included."""
    tasks = Path("/proc/self/task").glob("*/children")
    started = {pid for task in tasks for pid in task.read_text().split()}
    return {
        int(pid)
        for pid in started
        if b"dp3d_core.decoding.child" in Path("/proc", pid, "cmdline").read_bytes()
    }


@pytest.mark.usefixtures("alone")
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")
def test_a_decoder_that_is_killed_is_not_the_pictures_fault(astronaut_rgb, endless):
    decode_outside(encode(astronaut_rgb))
    killed: set[int] = set()

    def cancel() -> bool:
        for process in decoders() - killed:
            killed.add(process)
            os.kill(process, signal.SIGKILL)
        return False

    with pytest.raises(Dp3dError) as error:
        decode_outside(endless, cancel=cancel)
    assert error.value.code == "portrait.decoder_failed"
    assert "killed" in error.value.problem


@pytest.mark.usefixtures("alone")
def test_a_process_that_died_while_it_waited_is_replaced(astronaut_rgb):
    decode_outside(encode(astronaut_rgb))
    (process,) = children()
    os.kill(process, signal.SIGTERM)
    assert decode_outside(encode(astronaut_rgb)).rgb.shape == astronaut_rgb.shape


@pytest.mark.usefixtures("alone")
def test_a_process_that_cannot_start_is_named(monkeypatch, astronaut_rgb):
    for program in filter(None, ("/nowhere/python", shutil.which("false"))):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(Dp3dError) as error:
            decode_outside(encode(astronaut_rgb))
        assert error.value.code == "portrait.decoder_failed"


def test_threads_decode_at_the_same_time(astronaut_rgb):
    pictures: list[object] = []
    data = encode(astronaut_rgb)
    threads = [
        threading.Thread(target=lambda: pictures.append(decode_outside(data).rgb.shape))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pictures == [astronaut_rgb.shape] * 4


CHILD_OF_A_CHILD = """
import sys
from dp3d_core.decoding.outside import decode_outside, idle_decoders
decode_outside(open(sys.argv[1], "rb").read())
print(idle_decoders()[0].process_id, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_a_decoder_ends_with_its_parent(astronaut: Path):
    command = [sys.executable, "-c", CHILD_OF_A_CHILD, str(astronaut)]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    process = int(answer.stdout)
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        threading.Event().wait(0.1)
    pytest.fail("the decoding process lives on")


TOO_MUCH = """
import numpy
from dp3d_core.decoding.child import limit_memory
limit_memory()
numpy.ones(300_000_000, numpy.uint8)
try:
    numpy.ones(2_000_000_000, numpy.uint8)
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_the_system_limits_a_decoders_memory():
    command = [sys.executable, "-c", TOO_MUCH]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    assert answer.stdout == "refused\n"


PEAK = """
import sys
from pathlib import Path
from dp3d_core.decoding.picture import decode_picture
print(decode_picture(open(sys.argv[1], "rb").read()).rgb.shape)
# ru_maxrss would count the process that started this one
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_bytes(path: Path) -> int:
    command = [sys.executable, "-c", PEAK, str(path)]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    return int(answer.stdout.split()[-1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the peak otherwise")
def test_the_memory_that_a_large_picture_takes():
    """120 megapixels of 16 bits in 231 KB, which took 3.2 GB once."""
    assert peak_bytes(shared_path("data/server_attacks/max_gray16_119M.png")) < 1e9


def largest(kind: str) -> Image.Image:
    """A picture just below the limit of a format."""
    megapixels = {"PNG": 120, "GIF": 90, "WEBP": 51, "TIFF": 90, "JPEG": 115, "BMP": 50}[kind]
    side = int((megapixels * 1e6) ** 0.5)
    picture = Image.radial_gradient("L").resize((side, side), Image.Resampling.NEAREST)
    return picture if kind == "GIF" else picture.convert("RGB")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the peak otherwise")
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "JPEG", "BMP"])
def test_the_memory_that_the_largest_pictures_take(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    options = {"JPEG": {"progressive": True}, "TIFF": {"compression": "tiff_lzw"}}
    path = tmp_path / "large"
    largest(kind).save(path, kind, **options.get(kind, {}))
    assert peak_bytes(path) < 1e9


def zip_bomb_chunk(name: bytes, prefix: bytes) -> bytes:
    """A PNG's chunk that unpacks to 40 MB."""
    content = prefix + zlib.compress(bytes(40_000_000), 9)
    crc = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + crc


@pytest.mark.parametrize(
    "bomb", [(b"iCCP", b"p\0\0"), (b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")]
)
def test_packed_texts_and_profiles_are_not_unpacked(astronaut_rgb, bomb):
    data = encode(astronaut_rgb)
    data = data[:33] + zip_bomb_chunk(*bomb) + data[33:]
    with pytest.raises(Dp3dError) as error:
        decode_outside(data)
    assert error.value.code == "portrait.unreadable"


def test_a_file_of_too_many_bytes_is_refused(monkeypatch, tmp_path, astronaut_rgb):
    path = tmp_path / "large.tif"
    with path.open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(Dp3dError) as error:
        load_portrait(path)
    assert error.value.code == "portrait.too_large"
    assert "300 MB" in error.value.problem
