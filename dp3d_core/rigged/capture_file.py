"""Face captures as CSV files of the app Live Link Face, and of programs that write alike.

Columns are separated by commas, semicolons or tabs.  The first row names them: ``Timecode``,
``BlendShapeCount``, ARKit's 52 blend shapes with a capital first letter, ``HeadYaw``,
``HeadPitch``, ``HeadRoll``, and such columns of both eyes.  A timecode is ``HH:MM:SS:FF``, often
with a fraction of a frame, as in ``14:03:52:28.207``.  The turns of the eyes are in the blend
shapes, too, so their own columns are not read.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dp3d_core.arrays import Array
from dp3d_core.errors import Dp3dError
from dp3d_core.rigged.rig import arkit_names
from dp3d_core.rigged.take import Take
from dp3d_core.storage.files import is_file, is_folder, read_limited

MOST_BYTES = 32 * 2**20
"""Largest size of a capture."""
MOST_ROWS = 18_000
"""Greatest number of moments of a capture: five minutes at 60 per second."""
RATES = (24, 25, 30, 48, 50, 60, 120)
"""Frame rates of timecodes, frames per second."""
USUAL_RATE = 60
"""Frame rate of captures whose timecodes tell none; the app's default."""

_TURNS = ("headyaw", "headpitch", "headroll")
"""Columns of the head's turn, in lower case."""
_GREATEST_TURN = 1.4
"""Greatest angle of a head, radians; more is cut off."""
_DEGREES_FROM = 3.2
"""Angle above which a capture's angles are degrees, not radians."""
_TIMECODE = re.compile(r"\s*(\d{1,3}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d*)?)\s*")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
"""A number of other languages."""
_DAY = 86_400.0
"""Seconds after which timecodes begin anew."""
_MEAN_RATES = (2.0, 250.0)
"""Plausible mean number of moments per second."""
_REMEDY = (
    "Export the take from Live Link Face as CSV, or give a table with ARKit's names in its first "
    "row."
)


class Capture(NamedTuple):
    """A capture that was read.

    Attributes:
        take: what it holds.
        missing: blend shapes without a column, which stay 0.
        is_timed: whether times come from timecodes; otherwise moments are 1 / ``USUAL_RATE`` apart.

    """

    take: Take
    missing: tuple[str, ...]
    is_timed: bool


def read_capture(path: Path) -> Capture:
    """Read a capture.

    Columns are found by name, upper and lower case alike; weights are clipped to 0 to 1.  A moment
    at which the app saw no face has none of them and keeps those before.

    Args:
        path: the CSV file.

    Raises:
        Dp3dError: ``capture.not_found``, ``capture.too_large``, ``capture.unreadable``.

    """
    rows = _rows(path)
    columns = _columns(rows[0].cells)
    names = {name.lower(): name for name in arkit_names()}
    missing = tuple(name for low, name in names.items() if low not in columns)
    if len(missing) == len(names):
        raise _unreadable("The first row of the capture names none of ARKit's blend shapes.")
    used = [name for name in (*names, *_TURNS) if name in columns]
    values = _values(rows, [columns[name] for name in used])
    by_name = dict(zip(used, values.T, strict=True))
    zeros = np.zeros(len(values))
    weights = np.stack([np.clip(by_name.get(low, zeros), 0, 1) for low in names], -1)
    angles = np.stack([by_name.get(name, zeros) for name in _TURNS], -1)
    if np.abs(angles).max() > _DEGREES_FROM:
        angles = np.radians(angles)
    timed = "timecode" in columns
    times = _times([row.cell(columns["timecode"]) for row in rows[1:]] if timed else [])
    is_timed = times is not None
    if times is None:
        times = np.arange(len(values)) / USUAL_RATE
    kept = np.concatenate([[True], np.diff(times) > 0])
    angles = np.clip(angles, -_GREATEST_TURN, _GREATEST_TURN)
    return Capture(Take(times[kept], weights[kept], angles[kept]), missing, is_timed)


def to_csv(take: Take, rate: int = USUAL_RATE) -> str:
    """A take as the app writes it, one row per frame.

    Args:
        take: the take.
        rate: frames per second, one of :data:`RATES`.

    """
    names = arkit_names()
    titles = [name[0].upper() + name[1:] for name in names]
    lines = [",".join(["Timecode", "BlendShapeCount", *titles, "HeadYaw", "HeadPitch", "HeadRoll"])]
    for frame in range(round(take.duration * rate) + 1):
        seconds, rest = divmod(frame, rate)
        stamp = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:02}.000"
        rows = np.hstack([take.weights, take.angles]).T
        values = [float(np.interp(frame / rate, take.times, row)) for row in rows]
        lines.append(",".join([stamp, str(len(values)), *(f"{value:.6f}" for value in values)]))
    return "\n".join(lines) + "\n"


# -- rows and columns --


class _Row(NamedTuple):
    """A row of the table that is not blank.

    Attributes:
        number: line of the file at which it ends, from 1.
        cells: what stands in its columns.

    """

    number: int
    cells: list[str]

    def cell(self, column: int) -> str:
        """What stands in a column; nothing beyond the row's end."""
        return self.cells[column].strip() if column < len(self.cells) else ""


def _rows(path: Path) -> list[_Row]:
    """Rows of the file, the names of the columns first."""
    if is_folder(path):
        raise _unreadable(f"{path} is a folder, not a capture.")
    if not is_file(path):
        raise Dp3dError(
            "capture.not_found",
            f"There is no capture at {path}.",
            "Check the path; it must be a CSV file of Live Link Face.",
        )
    try:
        data = read_limited(path, MOST_BYTES)
    except OSError as error:
        raise _unreadable(f"The capture {path.name} cannot be opened.", str(error)) from error
    except ValueError:
        raise _too_large(f"{path.name} is larger than {MOST_BYTES // 2**20} MiB.") from None
    try:
        text = data.decode("utf-8-sig")
        table = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        rows = [_Row(table.line_num, cells) for cells in table if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(f"{path.name} is no table of text.", str(error)) from error
    if len(rows) < 2:
        raise _unreadable(f"{path.name} holds no moment of a face.")
    if len(rows) - 1 > MOST_ROWS:
        raise _too_large(f"{path.name} has {len(rows) - 1} moments.")
    return rows


def _delimiter(text: str) -> str:
    """The sign between columns: the first of comma, semicolon and tab that names are apart by."""
    titles = text.lstrip().partition("\n")[0]
    return next((sign for sign in ",;\t" if sign in titles), ",")


def _columns(titles: Sequence[str]) -> dict[str, int]:
    """Column of each name in lower case; those that are read stand there once."""
    names = [title.strip().lower() for title in titles]
    read = {name.lower() for name in arkit_names()} | {*_TURNS, "timecode"}
    twice = {name for name in read if names.count(name) > 1}
    if twice:
        raise _unreadable(f"The capture has the column {min(twice)!r} more than once.")
    return {name: number for number, name in enumerate(names)}


def _values(rows: Sequence[_Row], used: Sequence[int]) -> Array:
    """(n, columns) numbers of the used columns; a row without any repeats the one before.

    Args:
        rows: the names of the columns, and n rows.
        used: numbers of the columns.

    """
    titles, *moments = rows
    values = np.zeros((len(moments), len(used)))
    for index, row in enumerate(moments):
        cells = [row.cell(column) for column in used]
        if not any(cells):
            values[index] = values[index - 1] if index else 0.0
            continue
        for at, (column, cell) in enumerate(zip(used, cells, strict=True)):
            values[index, at] = _number(cell, row.number, titles.cell(column))
    return values


def _number(cell: str, row: int, title: str) -> float:
    """Number of a cell that is not of a blank row."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    where = f"row {row} of the column {title!r}"
    if not cell:
        raise _unreadable(f"The capture has no number in {where}.")
    if _DECIMAL_COMMA.fullmatch(cell):
        raise Dp3dError(
            "capture.unreadable",
            f"The capture has a decimal comma in {where}: {cell}.",
            "Write numbers with a decimal point, as in 0.5.",
        )
    raise _unreadable(f"The capture has {cell:.40}, which is no finite number, in {where}.")


# -- times --


def _times(timecodes: Sequence[str]) -> Array | None:
    """(n,) seconds from 0; None if the timecodes tell none."""
    matches = [_TIMECODE.fullmatch(code) for code in timecodes]
    if len(matches) < 2 or not all(matches):
        return None
    fields = np.array([[float(v) for v in match.groups()] for match in matches if match])
    seconds, frames = fields[:, :3] @ [3600, 60, 1], fields[:, 3]
    if seconds[0] == seconds[-1]:  # too short to count the frames of a second
        return None
    rate = next((rate for rate in RATES if frames.max() < rate), None)
    if rate is None:
        return None
    times = seconds + frames / rate
    times += _DAY * np.cumsum(np.concatenate([[0.0], np.diff(times) < -_DAY / 2]))
    times -= times[0]
    low, high = _MEAN_RATES
    if (np.diff(times) < 0).any() or not low <= (len(times) - 1) / times[-1] <= high:
        return None
    return np.asarray(times)


# -- errors --


def _unreadable(problem: str, detail: str = "") -> Dp3dError:
    return Dp3dError("capture.unreadable", problem, _REMEDY, detail)


def _too_large(problem: str) -> Dp3dError:
    return Dp3dError(
        "capture.too_large",
        f"The capture is too long: {problem}",
        f"Cut it into takes of at most {MOST_ROWS} rows, five minutes at 60 per second.",
    )
