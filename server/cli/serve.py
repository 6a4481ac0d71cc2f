"""``dp3d serve``: runs the backend for Blender."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from server.cli.arguments import check_numbers, number
from server.cli.console import Common, Console, Outcome
from server.settings import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    GIBIBYTE,
    KEPT_JOBS,
    MIN_TOKEN,
    PORT,
    QUEUED_JOBS,
    QUOTA_GIB,
    Exposure,
    Limits,
    Settings,
    default_data,
    load_token,
)


@dataclass
class Serve(Common):
    """The backend for Blender: HTTP on this machine only, until Ctrl-C."""

    host: str | None = None
    """Address to listen on instead of loopback; needs --allow-remote."""
    port: Annotated[int, number("TCP port (0 takes any free one)", PORT)] = DEFAULT_PORT
    token: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"Token of at least {MIN_TOKEN} characters that clients must send, instead of "
            "DP3D_TOKEN or the generated one."
        ),
    ] = None
    data: Path | None = None
    """Folder for jobs and artifacts, instead of the one in the user's data folder."""
    follow_stdin: bool = False
    """For programs that start the server: it stops when standard input ends or has the line 'stop'.
    After the line 'keep' it outlives the end of the input, until the line 'follow'."""
    allow_remote: bool = False
    """Let other machines reach the server; it then wants TLS or --behind-proxy."""
    allowed_host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Name or address by which clients call the server, beside the loopback ones and --host; may
    be given several times.  With --host 0.0.0.0 the machine's own names are allowed, too."""
    tls_cert: Path | None = None
    """PEM file with the certificate (and its chain)."""
    tls_key: Path | None = None
    """PEM file with the key of the certificate, without a password."""
    behind_proxy: str | None = None
    """IP address of the proxy that speaks TLS to the clients.  Only it may then connect, and no
    header that it forwards is trusted."""
    quota_gib: Annotated[
        float,
        number(
            "GiB that the data folder may take (artifacts, work in progress, database)", QUOTA_GIB
        ),
    ] = Limits.stored / GIBIBYTE
    max_queued: Annotated[int, number("Largest number of queued jobs", QUEUED_JOBS)] = (
        Limits.queued_jobs
    )
    keep_jobs: Annotated[
        int,
        number(
            "Ended jobs to keep (older ones are deleted with the artifacts that only they refer "
            "to)",
            KEPT_JOBS,
        ),
    ] = Limits.kept_jobs

    def run(self, console: Console) -> Outcome:
        """Serve until the server is stopped."""
        import logging
        import sys

        from server.cli.program import note_program
        from server.serving.serve import serve

        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        check_numbers("server.bad_option", self)
        token, token_file = load_token(self.token)
        settings = Settings(
            data=(self.data or default_data()).absolute(),
            token=token,
            host=DEFAULT_HOST if self.host is None else self.host,
            port=self.port,
            limits=Limits(
                stored=int(self.quota_gib * GIBIBYTE),
                queued_jobs=self.max_queued,
                kept_jobs=self.keep_jobs,
            ),
            exposure=Exposure(
                self.allow_remote,
                self.allowed_host,
                self.tls_cert,
                self.tls_key,
                self.behind_proxy,
            ),
        )

        def started(url: str) -> None:
            note_program()
            token_path = str(token_file) if token_file else None
            console.show(
                Outcome(
                    {"url": url, "token_file": token_path, "data": str(settings.data)},
                    [
                        f"dp3d serves at {url}",
                        f"token: in {token_path}" if token_path else "token: as given",
                        f"data: {settings.data}",
                        "Ctrl-C stops it; unfinished jobs go on at the next start.",
                    ],
                )
            )

        serve(settings, started, sys.stdin if self.follow_stdin else None)
        return Outcome({}, [])
