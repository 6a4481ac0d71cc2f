"""Settings of one server: where it listens, where it keeps its data, who may call it."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.paths import dp3d_home

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """Everything a server must know before it starts."""

    data: Path
    """Folder for the database, artifacts, work in progress and logs."""
    token: str = field(repr=False)
    """The bearer token every client must send."""
    host: str = DEFAULT_HOST
    """Address to listen on; anything but loopback only when a person asked for it."""
    port: int = DEFAULT_PORT
    """TCP port, 0 for any free one."""
    database: str | None = None
    """SQLAlchemy URL; None for the SQLite file in ``data``."""
    upload_limit: int = 64 * MEBIBYTE
    """Largest artifact a client may send, bytes."""
    body_limit: int = 8 * MEBIBYTE
    """Largest JSON body, bytes."""

    @property
    def database_url(self) -> str:
        """URL of the job database."""
        return self.database or f"sqlite:///{(self.data / 'jobs.sqlite').as_posix()}"

    @property
    def artifacts(self) -> Path:
        """Folder of the content-addressed files."""
        return self.data / "artifacts"

    @property
    def work(self) -> Path:
        """Folder with one subfolder per unfinished job."""
        return self.data / "work"

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.data / "logs"

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names a ``Host`` header may carry; None for any (listening on every interface)."""
        if self.host in ("0.0.0.0", "::", ""):
            return None
        return LOOPBACK_NAMES | {self.host.lower()}


def default_data() -> Path:
    """Where a server keeps its data when nothing else is said."""
    return dp3d_home() / "server"


def token_file() -> Path:
    """Where the generated token is kept."""
    return dp3d_home() / "token"


def load_token(explicit: str | None = None) -> tuple[str, Path | None]:
    """The token of this user's server, and the file it is kept in.

    In this order: ``explicit``, the variable ``DP3D_TOKEN``, the token file, which is made
    with a fresh token, readable by the user alone, when it is absent.

    Raises:
        Dp3dError: ``server.bad_request`` for a token that no HTTP header can carry,
            ``output.not_writable`` when the file cannot be made.

    """
    for given in (explicit, os.environ.get("DP3D_TOKEN")):
        if given is not None and given != "":
            return _checked(given), None
    path = token_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
        else:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        return _checked(path.read_text("utf-8").strip()), path
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"The token file {path} cannot be used ({error.strerror}).",
            "Give a token with --token or DP3D_TOKEN, or set DP3D_HOME to a writable folder.",
        ) from error


def _checked(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Dp3dError(
            "server.bad_request",
            "The token is empty or holds a character that an HTTP header cannot carry.",
            "Use letters, digits, '-' and '_', or delete the token file to have a new one made.",
        )
    return token
