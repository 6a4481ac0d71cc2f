"""The file of the job database: opened, checked, mended, and its errors given codes.

A damaged SQLite file is set aside, and every row that can still be read in it or in the last
backup goes into a new one.  Other databases (a SQLAlchemy URL of the user's) are opened as they
are: their own server looks after them.
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
"""``PRAGMA user_version`` of the files that are written here; 0 in those from before it was set."""
BUSY_TIMEOUT_S = 3.0
"""Seconds that a statement waits for another program's lock."""
START_TIMEOUT_S = 30.0
"""Seconds that opening waits for another program's lock."""
_MOST_REFUSALS = 10_000
"""Row numbers of a damaged table that are tried one after the other without an answer."""
_SIGNS_OF_DAMAGE = ("malformed", "not a database", "corrupt", "no such table")
"""Of SQLite; a file that was deleted is made again, without tables."""


def database_error(error: BaseException) -> Dp3dError | None:
    """The error with a code for what a database said; None where it is a defect of ours."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    said = str(error).lower()
    if "disk is full" in said or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return disk_full("The job database cannot be written: the disk is full.")
    if any(sign in said for sign in _SIGNS_OF_DAMAGE):
        return Dp3dError(
            "server.database_damaged",
            "The job database is damaged.",
            "It is mended by itself from what can be read and from its last backup; send the "
            "request again in a few seconds.",
            str(error),
        )
    if isinstance(error, sqlite3.OperationalError | SQLAlchemyError | OSError | DBAPIError):
        if "no such column" in said or "syntax" in said:
            return None
        why = "another program holds it" if "locked" in said else f"it says: {str(error)[:120]}"
        return Dp3dError(
            "server.database_busy",
            f"The job database cannot be used just now ({why}).",
            "Send the request again in a few seconds; if it stays so, close the program that has "
            "jobs.sqlite open and check the rights of the server's data folder.",
            str(error),
        )
    return None


@contextmanager
def database_errors() -> Iterator[None]:
    """Give what a database says a code.

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
    """A session whose errors have codes; see :func:`database_errors`."""
    with database_errors(), Session(engine, expire_on_commit=False) as session:
        yield session


def sqlite_path(url: str) -> Path | None:
    """File of a SQLite URL; None for other databases and those in memory."""
    if not url.startswith("sqlite:///") or url.endswith(":memory:"):
        return None
    return Path(url.removeprefix("sqlite:///"))


def open_database(url: str) -> Engine:
    """Engine of the job database, its tables made when absent, its file mended when damaged.

    Raises:
        Dp3dError: ``server.database_busy``, ``server.database_foreign``, ``storage.full``,
            ``output.not_writable``.

    """
    path = sqlite_path(url)
    try:
        if path is not None:
            if not is_sound(path):
                mend(path)
            elif backup_path(path).is_file() and not (path.is_file() and has_tables(path)):
                path.touch()  # it was deleted or emptied: its jobs come back from the backup
                mend(path)
        return _opened(url)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        if "readonly" in str(error).lower() or "unable to open" in str(error).lower():
            raise _unwritable(path, "read-only") from error
        coded = database_error(error)
        if coded is None:
            raise
        raise coded from error


def _unwritable(path: Path | None, why: str) -> Dp3dError:
    return Dp3dError(
        "output.not_writable",
        f"The job database {path.name if path else ''} cannot be written ({why}).",
        "Check the rights of the server's data folder, or choose another one with --data.",
    )


def _opened(url: str) -> Engine:
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


def _foreign(why: str) -> Dp3dError:
    return Dp3dError(
        "server.database_foreign",
        f"The job database is not of this version of dp3d: {why}.",
        "Use the version that wrote it, or give this one a folder of its own with --data.",
    )


def _check_version(engine: Engine, is_sqlite: bool) -> None:
    if is_sqlite:
        with engine.connect() as connection:
            version = connection.execute(text("PRAGMA user_version")).scalar()
        if version not in range(SCHEMA_VERSION + 1):
            raise _foreign(f"its schema is {version}, this is {SCHEMA_VERSION}")


def _add_columns(engine: Engine, table: Table) -> None:
    """Add the columns that an older file lacks; refuse a file that lacks more than that."""
    known = [column["name"] for column in inspect(engine).get_columns(table.name)]
    strange = [name for name in known if name not in table.columns]
    absent = [column for column in table.columns if column.name not in known]
    lost = [column.name for column in absent if column.name not in model.ADDED_COLUMNS]
    for has, names in (("has", strange), ("lacks", lost)):
        if names:
            raise _foreign(f"table {table.name!r} {has} the column {names[0]!r}")
    for column in absent:
        kind = column.type.compile(engine.dialect)
        with engine.begin() as connection:
            connection.execute(
                text(
                    f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind} "
                    f"{model.ADDED_COLUMNS[column.name]}"
                )
            )


# -- damage --------------------------------------------------------------------------------


def is_sound(path: Path, patience_s: float = START_TIMEOUT_S) -> bool:
    """Whether SQLite can read a file from end to end; also True where there is none.

    Args:
        path: the file.
        patience_s: seconds to wait for another program's lock.

    Raises:
        sqlite3.OperationalError: where another program holds it.

    """
    if not path.is_file():
        return True
    try:
        with closing(sqlite3.connect(path, timeout=patience_s)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "disk image" in str(error) or "malformed" in str(error):
            return False
        raise
    except sqlite3.DatabaseError:
        return False
    return bool(answer == ("ok",))


def has_tables(path: Path) -> bool:
    """Whether a sound file has a table of jobs."""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'job'"
        return bool(connection.execute(query).fetchone()[0])


def backup_path(path: Path) -> Path:
    """Where the backup of a database file lies."""
    return path.with_name(f"{path.stem}.backup{path.suffix}")


def _jobs_in(connection: sqlite3.Connection) -> int:
    try:
        return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
    except sqlite3.Error:
        return 0


def _jobs_in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return _jobs_in(connection)


class Anchor:
    """A connection that stays with the file that was opened, whatever becomes of its name.

    A file that is deleted, moved away or replaced while it is open goes on taking what is
    written, and is lost with the last connection to it.

    Args:
        path: of the file.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens it
        self._file = _identity(path)

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    @property
    def is_lost(self) -> bool:
        """Whether another file, or none, has the name now."""
        return _identity(self._path) != self._file

    def put_back(self) -> None:
        """Give the name to a copy of the file; what has it now is moved aside.

        Raises:
            sqlite3.Error, OSError: it cannot be written.

        """
        fresh = self._path.with_name(f".{self._path.name}.rescued")
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        if os.path.lexists(self._path):
            self._path.rename(_aside(self._path, "replaced"))
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        fresh.replace(self._path)
        log.error("the file of the job database was gone or another one; it was written anew")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _aside(path: Path, why: str) -> Path:
    """A name beside a file that says what became of it, and when."""
    return path.with_name(f"{path.stem}.{why}-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")


def back_up(path: Path) -> None:
    """Copy a sound database to its backup, as a whole; one that cannot be copied is left.

    A backup is never worth a failure of the server.
    """
    target = backup_path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        if not path.is_file() or not is_sound(path, BUSY_TIMEOUT_S):
            return
        temporary.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            if not _jobs_in(source) and target.is_file() and _jobs_in_file(target):
                return  # emptied by somebody: the backup is worth more
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        temporary.replace(target)
    except (sqlite3.Error, OSError) as error:
        log.warning("the job database was not backed up (%s)", error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def mend(path: Path) -> Path:
    """Set a damaged database aside and make a new one of all rows that can be read.

    Rows of the damaged file go before those of the backup, which may be older.

    Returns:
        the damaged file, for who wants to look into it.

    """
    aside = _copy_aside(path)
    fresh = path.with_name(f".{path.name}.mended")
    fresh.unlink(missing_ok=True)
    _opened(f"sqlite:///{fresh.as_posix()}").dispose()
    with closing(sqlite3.connect(fresh)) as target:
        for source in (aside, backup_path(path)):
            for table in SQLModel.metadata.sorted_tables:
                _copy_rows(source, target, table.name)
        # Rows may be lost, and what they named must not be removed as needed by nobody.
        target.execute("INSERT OR REPLACE INTO databasebirth VALUES (1, ?)", (time.time(),))
        # Listeners wait for ids above those they have seen, some of which may be lost: go on at
        # an id that no database has counted to.
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
        "the job database was damaged: %d jobs could be read and go on; the damaged file is %s",
        jobs,
        aside.name,
    )
    return aside


def _copy_aside(path: Path) -> Path:
    """Copy a damaged file with its log, so that what was written last is looked at as well."""
    aside = _aside(path, "damaged")
    shutil.copyfile(path, aside)
    log_of_writes = path.with_name(path.name + "-wal")
    if log_of_writes.is_file():
        shutil.copyfile(log_of_writes, aside.with_name(aside.name + "-wal"))
    return aside


def _copy_rows(source: Path, target: sqlite3.Connection, table: str) -> None:
    """Copy the rows of a table that can be read; rows that are there already stay."""
    if not source.is_file():
        return
    allowed = {row[1] for row in target.execute(f"PRAGMA table_info({table})")}
    with closing(sqlite3.connect(source)) as connection:
        for names, row in _readable_rows(connection, table):
            kept = [(n, value) for n, value in zip(names, row, strict=True) if n in allowed]
            marks = ", ".join("?" * len(kept))
            with suppress(sqlite3.Error):  # a row that breaks the rules of the table
                target.execute(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(n for n, _ in kept)}) "
                    f"VALUES ({marks})",
                    [value for _, value in kept],
                )
    target.commit()


def _readable_rows(
    connection: sqlite3.Connection, table: str
) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
    """Names and values of rows, one query each: a bad page costs its own rows alone."""
    number, refusals = 0, 0
    while refusals < _MOST_REFUSALS:
        try:
            cursor = connection.execute(
                f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 1", (number,)
            )
            row = cursor.fetchone()
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "not a database" in str(error):
                return
            number, refusals = number + 1, refusals + 1
            continue
        if row is None:
            return
        number, refusals = row[0], 0
        yield [description[0] for description in cursor.description[1:]], row[1:]
