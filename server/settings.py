"""Settings of one server: where it listens, where it keeps its data, who may call it."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.paths import dp3d_home

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
EVERY_INTERFACE = frozenset({"0.0.0.0", "::", ""})
MIN_TOKEN = 24
"""Characters of a token: 144 bits of what ``secrets.token_urlsafe`` makes."""

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


@dataclass(frozen=True)
class Limits:
    """What one server takes at most."""

    upload: int = 64 * MEBIBYTE
    """Largest artifact a client may send, bytes."""
    body: int = 8 * MEBIBYTE
    """Largest JSON body, bytes."""
    stored: int = 50 * GIBIBYTE
    """Bytes of everything in the data folder; beyond, no upload and no job is taken, and jobs
    wait."""
    queued_jobs: int = 500
    """Jobs that may wait."""
    kept_jobs: int = 2000
    """Ended jobs that are kept; of more, the oldest are deleted."""
    unused_s: float = 24 * 3600.0
    """Seconds after which an artifact that no job refers to is removed."""
    connections: int = 512
    """Open connections."""
    streams: int = 256
    """Open event streams."""
    header_s: float = 10.0
    """Seconds in which the head of a request must be complete."""
    silence_s: float = 30.0
    """Seconds in which a body, or a client that reads an answer, must have moved on."""


@dataclass(frozen=True)
class Exposure:
    """What a person allowed for a server that other machines can reach."""

    allow_remote: bool = False
    """Whether an address beside loopback may be listened on."""
    hosts: tuple[str, ...] = ()
    """Names that a ``Host`` header may carry, besides the loopback ones and the address."""
    tls_cert: Path | None = None
    """PEM file of the certificate (and its chain)."""
    tls_key: Path | None = None
    """PEM file of its key, without a password."""
    behind_proxy: str | None = None
    """Address of the proxy that speaks TLS to the clients; nobody else may connect."""


@dataclass(frozen=True)
class Settings:
    """Everything a server must know before it starts."""

    data: Path
    """Folder for the database, artifacts, work in progress and logs."""
    token: str = field(repr=False)
    """The bearer token every client must send."""
    host: str = DEFAULT_HOST
    """Address to listen on; see ``serving.exposure.check_exposure`` for any but loopback."""
    port: int = DEFAULT_PORT
    """TCP port, 0 for any free one."""
    database: str | None = None
    """SQLAlchemy URL; None for the SQLite file in ``data``."""
    limits: Limits = field(default_factory=Limits)
    """What is taken at most."""
    exposure: Exposure = field(default_factory=Exposure)
    """Who may reach it."""

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
    def is_remote(self) -> bool:
        """Whether other machines can reach the address."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() not in LOOPBACK_NAMES

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Names a ``Host`` header may carry, in lower case."""
        own = _own_names() if self.host in EVERY_INTERFACE else {self.host}
        return LOOPBACK_NAMES | {name.strip("[]").lower() for name in (*own, *self.exposure.hosts)}


def _own_names() -> set[str]:
    """Name and addresses of this machine, as far as it knows them."""
    name = socket.gethostname()
    names = {name, socket.getfqdn()}
    with suppress(OSError):
        names |= {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)}
    return names - EVERY_INTERFACE


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
        Dp3dError: ``server.bad_request`` for a token that no HTTP header can carry or that is
            too short, ``output.not_writable`` when the file cannot be made.

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
    if len(token) < MIN_TOKEN:
        raise Dp3dError(
            "server.bad_request",
            f"The token has {len(token)} characters; one of fewer than {MIN_TOKEN} can be guessed.",
            "Leave --token and DP3D_TOKEN away to have a token made, or delete the token file.",
        )
    return token
