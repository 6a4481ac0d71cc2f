"""Settings of one server: address, data folder, limits, token, protection."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.limits import Range
from dp3d_core.storage.paths import dp3d_home

DEFAULT_HOST = "127.0.0.1"
"""Address of a server started without ``--host``."""
DEFAULT_PORT = 8765
"""TCP port of a server started without ``--port``."""
PORT = Range(0, 65535)
"""TCP ports; 0 stands for any free one."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names and addresses that reach a server from its own machine only."""
EVERY_INTERFACE = frozenset({"0.0.0.0", "::", ""})
"""Addresses that listen on all interfaces of the machine."""
MIN_TOKEN = 24
"""Least characters of a token: 144 bits when ``secrets.token_urlsafe`` generated it."""

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
QUOTA_GIB = Range[float](0.01, 1_000_000)
"""Quota of the data folder, GiB."""
QUEUED_JOBS = Range(1, 1_000_000)
"""Largest number of queued jobs that a server can be given."""
KEPT_JOBS = Range(1, 10_000_000)
"""Largest number of ended jobs that a server can be given."""


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what clients and jobs may use of one server."""

    upload: int = 64 * MEBIBYTE
    """Largest artifact a client may send, bytes."""
    body: int = 8 * MEBIBYTE
    """Largest JSON body, bytes."""
    stored: int = 50 * GIBIBYTE
    """Quota: bytes of everything in the data folder.  Beyond, uploads and jobs are refused, and
    queued jobs wait."""
    queued_jobs: int = 500
    """Largest number of queued jobs."""
    kept_jobs: int = 2000
    """Largest number of ended jobs; the oldest ones beyond are deleted."""
    unused_s: float = 24 * 3600.0
    """Seconds after which an artifact that no job refers to is removed."""
    connections: int = 512
    """Largest number of open connections."""
    streams: int = 256
    """Largest number of open event streams."""
    header_s: float = 10.0
    """Time limit for receiving the head of a request, seconds."""
    silence_s: float = 30.0
    """Longest stall of a body being received or an answer being read, seconds."""


@dataclass(frozen=True)
class Exposure:
    """Options that protect a server which other machines can reach."""

    allow_remote: bool = False
    """Whether the server may listen on an address other than loopback."""
    hosts: tuple[str, ...] = ()
    """Names allowed in a ``Host`` header besides the loopback names and the server's address."""
    tls_cert: Path | None = None
    """PEM file of the certificate and its chain."""
    tls_key: Path | None = None
    """PEM file of the certificate's key, without a password."""
    behind_proxy: str | None = None
    """IP address of the TLS proxy in front of the server; no other address may connect."""


@dataclass(frozen=True)
class Settings:
    """Configuration that a server starts with."""

    data: Path
    """Folder for the database, artifacts, work in progress and logs."""
    token: str = field(repr=False)
    """Bearer token that every client must send."""
    host: str = DEFAULT_HOST
    """Address to listen on; ``serving.exposure.check_exposure`` checks it when it is not loopback.
    """
    port: int = DEFAULT_PORT
    """TCP port; 0 for any free port."""
    database: str | None = None
    """SQLAlchemy URL; None for the SQLite file in ``data``."""
    limits: Limits = field(default_factory=Limits)
    """Quota, sizes, numbers and time limits."""
    exposure: Exposure = field(default_factory=Exposure)
    """Protection of a server that other machines can reach."""

    @property
    def database_url(self) -> str:
        """URL of the job database."""
        return self.database or f"sqlite:///{(self.data / 'jobs.sqlite').as_posix()}"

    @property
    def artifacts(self) -> Path:
        """Folder of the artifact store."""
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
        """Names allowed in a ``Host`` header, in lower case."""
        own = _own_names() if self.host in EVERY_INTERFACE else {self.host}
        return LOOPBACK_NAMES | {name.strip("[]").lower() for name in (*own, *self.exposure.hosts)}


def _own_names() -> set[str]:
    """Host names and addresses of this machine, without the wildcard addresses."""
    name = socket.gethostname()
    names = {name, socket.getfqdn()}
    with suppress(OSError):
        names |= {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)}
    return names - EVERY_INTERFACE


def default_data() -> Path:
    """Data folder of a server started without ``--data``."""
    return dp3d_home() / "server"


def token_file() -> Path:
    """File of the generated token."""
    return dp3d_home() / "token"


def load_token(explicit: str | None = None) -> tuple[str, Path | None]:
    """The bearer token, and the file it was read from.

    Sources in order: ``explicit``, the variable ``DP3D_TOKEN``, the token file.  An absent token
    file is made with a random token, readable by the user alone.

    Returns:
        token, and the token file; None as file for a token that was passed in.

    Raises:
        Dp3dError: ``server.bad_request`` for a token that is too short or that an HTTP header
            cannot carry, ``output.not_writable`` when the token file cannot be made.

    """
    for token in (explicit, os.environ.get("DP3D_TOKEN")):
        if token is not None and token != "":
            return _check_token(token), None
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
        return _check_token(path.read_text("utf-8").strip()), path
    except OSError as error:
        raise Dp3dError(
            "output.not_writable",
            f"The token file {path} cannot be used ({error.strerror}).",
            "Give a token with --token or DP3D_TOKEN, or set DP3D_HOME to a writable folder.",
        ) from error


def _check_token(token: str) -> str:
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
