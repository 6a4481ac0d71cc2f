"""Checks that a server listens on loopback, or elsewhere only with TLS and the flag for it."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from dp3d_core.errors import Dp3dError
from dp3d_core.storage.files import read_limited
from server.settings import Settings

_MAX_PEM_BYTES = 10_000_000
"""Largest size of a certificate or key file."""


def check_exposure(settings: Settings) -> ssl.SSLContext | None:
    """Check the address and protection of a server, and load its TLS certificate.

    An address that other machines can reach needs ``allow_remote`` and either TLS or a proxy that
    speaks TLS: otherwise the token would cross the network unencrypted.

    Returns:
        the TLS context; None for plain HTTP.

    Raises:
        Dp3dError: ``server.not_protected``, ``server.bad_tls``, or ``server.bad_request`` for an
            invalid host name or proxy address.

    """
    exposure = settings.exposure
    for name in exposure.hosts:
        _check_host(name)
    if exposure.behind_proxy is not None:
        _check_proxy(exposure.behind_proxy)
    context = _tls(exposure.tls_cert, exposure.tls_key)
    if not settings.is_remote:
        return context
    if not exposure.allow_remote:
        raise Dp3dError(
            "server.not_protected",
            f"Other machines could reach {settings.host or 'every interface'}.",
            "Leave --host away and use an SSH tunnel, or add --allow-remote with --tls-cert and "
            "--tls-key (or --behind-proxy).",
        )
    if context is None and exposure.behind_proxy is None:
        raise Dp3dError(
            "server.not_protected",
            "The token would cross the network unencrypted.",
            "Add --tls-cert and --tls-key, or --behind-proxy with the address of a proxy that "
            "speaks TLS.",
        )
    return context


def _check_host(name: str) -> None:
    bare = name.strip("[]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if name and all(c.isascii() and (c.isalnum() or c in "-._") for c in name):
            return
        raise Dp3dError(
            "server.bad_request",
            f"{name[:80]!r} is not a host name.",
            "Give --allowed-host a name or address without scheme and port, as clients write it.",
        ) from None


def _check_proxy(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise Dp3dError(
            "server.bad_request",
            f"{address[:80]!r} is not the address of a proxy.",
            "Give --behind-proxy the IP address that the proxy connects from, such as 127.0.0.1.",
        ) from error


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise _bad_tls("a certificate and its key belong together")
    for path in (cert, key):
        try:
            read_limited(path, _MAX_PEM_BYTES)
        except OSError as error:
            raise _bad_tls(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise _bad_tls(str(error)) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password argument, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _bad_tls(
            f"{cert.name} and {key.name} are no certificate with its key in PEM, or the key has "
            "a password"
        ) from error
    return context


def _bad_tls(reason: str) -> Dp3dError:
    return Dp3dError(
        "server.bad_tls",
        f"TLS cannot be used: {reason}.",
        "Give --tls-cert and --tls-key one PEM file each, the key without a password.",
    )
