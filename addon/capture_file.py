# SPDX-License-Identifier: GPL-3.0-or-later
"""Face captures: CSV files of the app Live Link Face, as ``dp3d head --capture`` reads them.

``dp3d_core.rigged.capture_file`` describes the format; ``tests/addon/test_capture.py`` compares the
two.  Standard library only.
"""

from __future__ import annotations

import csv
import io
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .link.errors import AddonError

_MOST_BYTES = 32 * 2**20
"""Largest size of a capture."""
_MOST_ROWS = 18_000
"""Greatest number of moments of a capture."""
_RATES = (24, 25, 30, 48, 50, 60, 120)
"""Frame rates of timecodes, frames per second."""
_USUAL_RATE = 60
"""Frame rate of captures whose timecodes tell none."""
_TURNS = ("headyaw", "headpitch", "headroll")
"""Columns of the head's turn, in lower case."""
_GREATEST_TURN = 1.4
"""Greatest angle of a head, radians; more is cut off."""
_DEGREES_FROM = 3.2
"""Angle above which a capture's angles are degrees, not radians."""
_MEAN_RATES = (2.0, 250.0)
"""Plausible mean number of moments per second."""
_DAY = 86_400.0
"""Seconds after which timecodes begin anew."""
_TIMECODE = re.compile(r"\s*(\d{1,3}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d*)?)\s*")


class Capture(NamedTuple):
    """Moments of a face.

    Attributes:
        times: seconds, ascending from 0.
        columns: values at the times, by name in lower case: of the blend shapes that were asked
            for, 0 to 1, and ``headyaw``, ``headpitch``, ``headroll`` in radians.

    """

    times: list[float]
    columns: dict[str, list[float]]

    def at(self, name: str, time: float) -> float:
        """Value of a column at a time, linear between the moments; 0 for one it lacks."""
        values = self.columns.get(name)
        if values is None:
            return 0.0
        after = bisect_right(self.times, time)
        if after in (0, len(values)):
            return values[min(after, len(values) - 1)]
        before, start = after - 1, self.times[after - 1]
        along = (time - start) / (self.times[after] - start)
        return values[before] + (values[after] - values[before]) * along


def read(path: Path, names: Sequence[str]) -> Capture:
    """Read the blend shapes of some names, and the turn of the head.

    Raises:
        AddonError: ``addon.capture_unreadable``.

    """
    rows = _rows(path)
    titles = [title.strip().lower() for title in rows[0][1]]
    shapes = [name.lower() for name in names if name.lower() in titles]
    if not shapes:
        raise _unreadable(f"The first row of {path.name} names none of the head's blend shapes.")
    used = [*shapes, *(name for name in _TURNS if name in titles)]
    if any(titles.count(name) > 1 for name in (*used, "timecode")):
        raise _unreadable(f"{path.name} has a column more than once.")
    table: list[list[float]] = []
    for number, row in rows[1:]:
        cells = [_cell(row, titles.index(name)) for name in used]
        if not any(cells):  # no face was seen
            table.append(table[-1] if table else [0.0] * len(used))
            continue
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise _unreadable(f"Row {number} of {path.name} lacks a number.")
        table.append(values)
    columns = {name: [row[i] for row in table] for i, name in enumerate(used)}
    for name in shapes:
        columns[name] = [min(max(value, 0.0), 1.0) for value in columns[name]]
    turns = [columns[name] for name in _TURNS if name in columns]
    unit = math.pi / 180 if any(abs(v) > _DEGREES_FROM for t in turns for v in t) else 1.0
    for name in _TURNS:
        if name in columns:
            columns[name] = [
                min(max(value * unit, -_GREATEST_TURN), _GREATEST_TURN) for value in columns[name]
            ]
    times = None
    if "timecode" in titles:
        times = _times([_cell(row, titles.index("timecode")) for _, row in rows[1:]])
    if times is None:
        times = [number / _USUAL_RATE for number in range(len(table))]
    kept = [i for i in range(len(times)) if i == 0 or times[i] > times[i - 1]]
    return Capture(
        [times[i] for i in kept],
        {name: [column[i] for i in kept] for name, column in columns.items()},
    )


def _cell(row: Sequence[str], column: int) -> str:
    """What stands in a column of a row; nothing beyond its end."""
    return row[column].strip() if column < len(row) else ""


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line of the file at which it ends, from 1."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
        titles = text.lstrip().partition("\n")[0]
        delimiter = next((sign for sign in ",;\t" if sign in titles), ",")
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(table.line_num, row) for row in table if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(f"{path.name} cannot be read as a table: {error}.") from error
    if len(data) > _MOST_BYTES or len(rows) > _MOST_ROWS + 1:
        raise _unreadable(f"{path.name} has more than {_MOST_ROWS} rows or 32 MiB.")
    if len(rows) < 2:
        raise _unreadable(f"{path.name} holds no moment of a face.")
    return rows


def _times(timecodes: Sequence[str]) -> list[float] | None:
    """Seconds from 0; None if the timecodes tell none."""
    matches = [_TIMECODE.fullmatch(code) for code in timecodes]
    fields = [[float(value) for value in match.groups()] for match in matches if match]
    if len(fields) < max(2, len(matches)):
        return None
    seconds = [3600 * hour + 60 * minute + second for hour, minute, second, _ in fields]
    most = max(frame for *_, frame in fields)
    rate = next((rate for rate in _RATES if most < rate), None)
    if rate is None or seconds[0] == seconds[-1]:
        return None
    days, times = 0, [seconds[0] + fields[0][3] / rate]
    for second, (*_, frame) in zip(seconds[1:], fields[1:], strict=True):
        time = second + frame / rate + days * _DAY
        if time < times[-1] - _DAY / 2:  # past midnight
            days, time = days + 1, time + _DAY
        if time < times[-1]:
            return None
        times.append(time)
    times = [time - times[0] for time in times]
    low, high = _MEAN_RATES
    return times if low <= (len(times) - 1) / times[-1] <= high else None


def _unreadable(problem: str) -> AddonError:
    return AddonError(
        "addon.capture_unreadable",
        problem,
        "Choose the CSV file of a take of Live Link Face, or a table with ARKit's names.",
    )
