"""Opens, checks, backs up and repairs the file of the job database; gives its errors codes.

A damaged SQLite file is renamed, and every row still readable in it or in the last backup is
copied into a new file.  Other databases (a SQLAlchemy URL of the user) are opened unchecked.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import Table
from sqlmodel import Session, SQLModel, create_engine

from dp3d_core.errors import Dp3dError
from server.jobs import model
from server.storage.artifacts import disk_full

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
"""``PRAGMA user_version`` of files written by this version; 0 in files of the first versions."""
BUSY_TIMEOUT_S = 3.0
"""Seconds that an SQL statement waits for another program's lock."""
START_TIMEOUT_S = 30.0
"""Seconds that opening the database waits for another program's lock."""
_MAX_UNREADABLE_ROWS = 10_000
"""Consecutive unreadable row numbers after which the copy of a damaged table stops."""
_DAMAGE_MESSAGES = ("malformed", "not a database", "corrupt", "no such table")
"""Parts of SQLite messages that mean damage.

"no such table" is one of them: SQLite replaces a deleted file by one without tables.
"""


def database_error(error: BaseException) -> Dp3dError | None:
    """The coded error for an exception of the database; None for a defect of dp3d.

    Codes are ``server.database_busy``, ``server.database_damaged`` and ``storage.full``.
    """
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    message = str(error).lower()
    if "disk is full" in message or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return disk_full("The job database cannot be written: the disk is full.")
    if any(part in message for part in _DAMAGE_MESSAGES):
        return Dp3dError(
            "server.database_damaged",
            "The job database is damaged.",
            "The server repairs it from its readable rows and the last backup; send the request "
            "again in a few seconds.",
            str(error),
        )
    if isinstance(error, sqlite3.OperationalError | SQLAlchemyError | OSError | DBAPIError):
        if "no such column" in message or "syntax" in message:
            return None
        is_locked = "locked" in message
        reason = "another program holds it" if is_locked else f"it says: {str(error)[:120]}"
        return Dp3dError(
            "server.database_busy",
            f"The job database cannot be used just now ({reason}).",
            "Send the request again in a few seconds; if it stays so, close the program that has "
            "jobs.sqlite open and check the rights of the server's data folder.",
            str(error),
        )
    return None


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn exceptions of the database into coded errors; see :func:`database_error`.

    Raises:
        Dp3dError: ``server.database_busy``, ``server.database_damaged``, ``storage.full``.

    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        coded = database_error(error)
        if coded is None:
            raise
        raise coded from error


@contextmanager
def session_of(engine: Engine) -> Iterator[Session]:
    """A database session that raises coded errors; see :func:`database_errors`."""
    with database_errors(), Session(engine, expire_on_commit=False) as session:
        yield session


def sqlite_path(url: str) -> Path | None:
    """File of a SQLite URL; None for other databases and those in memory."""
    if not url.startswith("sqlite:///") or url.endswith(":memory:"):
        return None
    return Path(url.removeprefix("sqlite:///"))


def open_database(url: str) -> Engine:
    """Open the job database: make missing tables, repair a damaged file.

    Raises:
        Dp3dError: ``server.database_busy``, ``server.database_foreign``, ``storage.full``,
            ``output.not_writable``.

    """
    path = sqlite_path(url)
    try:
        if path is not None:
            if not is_intact(path):
                repair(path)
            elif backup_path(path).is_file() and not (path.is_file() and has_tables(path)):
                path.touch()  # deleted or emptied: the jobs come back from the backup
                repair(path)
        return _create_engine(url)
    except OSError as error:
        raise _not_writable(path, error.strerror or str(error)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        if "readonly" in str(error).lower() or "unable to open" in str(error).lower():
            raise _not_writable(path, "read-only") from error
        coded = database_error(error)
        if coded is None:
            raise
        raise coded from error


def _not_writable(path: Path | None, reason: str) -> Dp3dError:
    return Dp3dError(
        "output.not_writable",
        f"The job database {path.name if path else ''} cannot be written ({reason}).",
        "Check the rights of the server's data folder, or choose another one with --data.",
    )


def _create_engine(url: str) -> Engine:
    is_sqlite = url.startswith("sqlite")
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S} if is_sqlite else {}
    engine = create_engine(url, connect_args=arguments)
    if is_sqlite:

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            # WAL: readers never wait for the writer; NORMAL keeps the file whole through a
            # crash of the process.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            # A damaged text is one damaged value, not a statement that fails.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")

    try:
        _check_version(engine, is_sqlite)
        SQLModel.metadata.create_all(engine)
        for table in SQLModel.metadata.sorted_tables:
            _add_columns(engine, table)
        if is_sqlite:
            with engine.begin() as connection:
                connection.execute(text(f"PRAGMA user_version={SCHEMA_VERSION}"))
    except BaseException:
        engine.dispose()
        raise
    return engine


def _foreign_database(reason: str) -> Dp3dError:
    return Dp3dError(
        "server.database_foreign",
        f"The job database is not of this version of dp3d: {reason}.",
        "Use the version that wrote it, or give this one a folder of its own with --data.",
    )


def _check_version(engine: Engine, is_sqlite: bool) -> None:
    if is_sqlite:
        with engine.connect() as connection:
            version = connection.execute(text("PRAGMA user_version")).scalar()
        if version not in range(SCHEMA_VERSION + 1):
            raise _foreign_database(f"its schema is {version}, this is {SCHEMA_VERSION}")


def _add_columns(engine: Engine, table: Table) -> None:
    """Add the columns that files of older versions lack; refuse any other difference.

    Raises:
        Dp3dError: ``server.database_foreign``.

    """
    existing = [column["name"] for column in inspect(engine).get_columns(table.name)]
    unknown = [name for name in existing if name not in table.columns]
    absent = [column for column in table.columns if column.name not in existing]
    required = [column.name for column in absent if column.name not in model.ADDED_COLUMNS]
    for has, names in (("has", unknown), ("lacks", required)):
        if names:
            raise _foreign_database(f"table {table.name!r} {has} the column {names[0]!r}")
    for column in absent:
        sql_type = column.type.compile(engine.dialect)
        with engine.begin() as connection:
            connection.execute(
                text(
                    f"ALTER TABLE {table.name} ADD COLUMN {column.name} {sql_type} "
                    f"{model.ADDED_COLUMNS[column.name]}"
                )
            )


# -- damage --------------------------------------------------------------------------------


def is_intact(path: Path, timeout_s: float = START_TIMEOUT_S) -> bool:
    """Whether SQLite reads a database file without an error; True for a missing file.

    Args:
        path: of the file.
        timeout_s: seconds to wait for another program's lock.

    Raises:
        sqlite3.OperationalError: another program holds the lock for longer.

    """
    if not path.is_file():
        return True
    try:
        with closing(sqlite3.connect(path, timeout=timeout_s)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "disk image" in str(error) or "malformed" in str(error):
            return False
        raise
    except sqlite3.DatabaseError:
        return False
    return bool(answer == ("ok",))


def has_tables(path: Path) -> bool:
    """Whether an intact database file has the job table."""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'job'"
        return bool(connection.execute(query).fetchone()[0])


def backup_path(path: Path) -> Path:
    """Path of the backup of a database file."""
    return path.with_name(f"{path.stem}.backup{path.suffix}")


def _count_jobs(connection: sqlite3.Connection) -> int:
    try:
        return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
    except sqlite3.Error:
        return 0


def _count_jobs_in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return _count_jobs(connection)


class HeldFile:
    """A connection that keeps a database file alive when its path is deleted or replaced.

    SQLite goes on writing to a file that was deleted, moved or replaced while it was open; its
    content is lost when the last connection closes.

    Args:
        path: of the database file.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens it
        self._file = _device_and_inode(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def is_lost(self) -> bool:
        """Whether the path now names another file, or none."""
        return _device_and_inode(self._path) != self._file

    def restore(self) -> None:
        """Write a copy of the held file to its path; a file that is there now is renamed.

        Raises:
            sqlite3.Error, OSError: the copy cannot be written.

        """
        fresh = self._path.with_name(f".{self._path.name}.rescued")
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        if os.path.lexists(self._path):
            self._path.rename(_dated_path(self._path, "replaced"))
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        fresh.replace(self._path)
        log.error("the file of the job database was deleted or replaced; it was written again")


def _device_and_inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _dated_path(path: Path, reason: str) -> Path:
    """Path for a file that is set aside: its name with the reason and the time."""
    return path.with_name(f"{path.stem}.{reason}-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")


def back_up(path: Path) -> None:
    """Copy an intact database to its backup; a damaged database leaves the old backup.

    A failure is logged and not raised: the server goes on without a new backup.
    """
    target = backup_path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        if not path.is_file() or not is_intact(path, BUSY_TIMEOUT_S):
            return
        temporary.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            if not _count_jobs(source) and target.is_file() and _count_jobs_in_file(target):
                return  # emptied from outside: keep the backup with its jobs
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        temporary.replace(target)
    except (sqlite3.Error, OSError) as error:
        log.warning("the job database was not backed up (%s)", error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def repair(path: Path) -> Path:
    """Replace a damaged database by a new one with all readable rows.

    A row of the damaged file wins over the row of the backup, which may be older.

    Returns:
        copy of the damaged file.

    """
    damaged_copy = _copy_damaged(path)
    fresh = path.with_name(f".{path.name}.mended")
    fresh.unlink(missing_ok=True)
    _create_engine(f"sqlite:///{fresh.as_posix()}").dispose()
    with closing(sqlite3.connect(fresh)) as target:
        for source in (damaged_copy, backup_path(path)):
            for table in SQLModel.metadata.sorted_tables:
                _copy_rows(source, target, table.name)
        # Rows may be lost: keep all artifacts that are older than this repair.
        target.execute("INSERT OR REPLACE INTO databasebirth VALUES (1, ?)", (time.time(),))
        # Listeners wait for ids above the last one they saw, which may be lost: continue at an id
        # that no database has reached.
        newest = target.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        target.execute(
            "INSERT INTO event (id, job_id, event, data) VALUES (?, '', 'deleted', '{}')",
            (max(newest + 1, int(time.time())),),
        )
        target.commit()
        target.execute("PRAGMA journal_mode=DELETE")
        jobs = target.execute("SELECT count(*) FROM job").fetchone()[0]
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    fresh.replace(path)
    log.error(
        "the job database was damaged: %d jobs were recovered; the damaged file is %s",
        jobs,
        damaged_copy.name,
    )
    return damaged_copy


def _copy_damaged(path: Path) -> Path:
    """Copy a damaged file together with its write-ahead log, which has the last changes."""
    copy = _dated_path(path, "damaged")
    shutil.copyfile(path, copy)
    write_ahead_log = path.with_name(path.name + "-wal")
    if write_ahead_log.is_file():
        shutil.copyfile(write_ahead_log, copy.with_name(copy.name + "-wal"))
    return copy


def _copy_rows(source: Path, target: sqlite3.Connection, table: str) -> None:
    """Copy the readable rows of a table; rows that the target already has stay."""
    if not source.is_file():
        return
    allowed = {row[1] for row in target.execute(f"PRAGMA table_info({table})")}
    with closing(sqlite3.connect(source)) as connection:
        for names, row in _readable_rows(connection, table):
            cells = [(n, value) for n, value in zip(names, row, strict=True) if n in allowed]
            marks = ", ".join("?" * len(cells))
            with suppress(sqlite3.Error):  # a row that breaks a constraint of the table
                target.execute(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(n for n, _ in cells)}) "
                    f"VALUES ({marks})",
                    [value for _, value in cells],
                )
    target.commit()


def _readable_rows(
    connection: sqlite3.Connection, table: str
) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
    """Column names and values of each readable row.

    One query per row: a damaged page loses only the rows on it.
    """
    number, failures = 0, 0
    while failures < _MAX_UNREADABLE_ROWS:
        try:
            cursor = connection.execute(
                f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 1", (number,)
            )
            row = cursor.fetchone()
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "not a database" in str(error):
                return
            number, failures = number + 1, failures + 1
            continue
        if row is None:
            return
        number, failures = row[0], 0
        yield [description[0] for description in cursor.description[1:]], row[1:]
