"""Protection of servers on remote addresses, tokens, and permissions of the data folder."""

from __future__ import annotations

import os
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dp3d_core.errors import Dp3dError
from server.serving.exposure import check_exposure
from server.serving.privacy import make_private
from server.settings import MIN_TOKEN, Exposure, Settings, load_token
from tests.server.conftest import ServerProcess, wait_until


def settings(host, **exposure):
    return Settings(Path(), "t", host, exposure=replace(Exposure(), **exposure))


def code_of(call, *arguments):
    with pytest.raises(Dp3dError) as caught:
        call(*arguments)
    return caught.value.code


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key, made by OpenSSL."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-keyout", str(key), "-out", str(cert)),
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the openssl command")
    return cert, key


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "LOCALHOST", "127.0.0.5"])
def test_loopback_needs_no_protection(host):
    assert check_exposure(settings(host)) is None


REMOTE = ["0.0.0.0", "::", "", "192.168.1.5", "example.org", "127.0.0.1.example.org"]


@pytest.mark.parametrize("host", REMOTE)
def test_remote_addresses_need_the_flag_and_encryption(host):
    assert code_of(check_exposure, settings(host)) == "server.not_protected"
    assert code_of(check_exposure, settings(host, allow_remote=True)) == "server.not_protected"
    proxied = settings(host, allow_remote=True, behind_proxy="10.0.0.1")
    assert check_exposure(proxied) is None
    assert (
        code_of(check_exposure, settings(host, behind_proxy="10.0.0.1")) == "server.not_protected"
    )


def test_tls_files_make_a_context(certificate):
    cert, key = certificate
    context = check_exposure(settings("0.0.0.0", allow_remote=True, tls_cert=cert, tls_key=key))
    assert isinstance(context, ssl.SSLContext)


def test_invalid_tls_files_are_refused(certificate, tmp_path):
    cert, key = certificate
    locked, text = tmp_path / "locked.pem", tmp_path / "text.pem"
    text.write_text("hello")
    subprocess.run(
        [
            *("openssl", "rsa", "-aes256", "-passout", "pass:secret"),
            *("-in", str(key), "-out", str(locked)),
        ],
        check=True,
        capture_output=True,
    )
    for pair in (
        (cert, None),
        (None, key),
        (cert, tmp_path / "nothing.pem"),
        (cert, Path("/dev/zero")),
        (cert, tmp_path),
        (text, key),
        (cert, text),
        (cert, locked),
        (key, cert),
    ):
        wrong = settings("127.0.0.1", tls_cert=pair[0], tls_key=pair[1])
        assert code_of(check_exposure, wrong) == "server.bad_tls"


@pytest.mark.parametrize("name", ["", "http://a", "a:80", "a b", "a/b", "*", "é", "a,b"])
def test_invalid_host_names_are_refused(name):
    assert code_of(check_exposure, settings("127.0.0.1", hosts=(name,))) == "server.bad_request"


@pytest.mark.parametrize("address", ["", "proxy.example.org", "10.0.0.1:80", "*", "10.0.0.0/8"])
def test_invalid_proxy_addresses_are_refused(address):
    wrong = settings("127.0.0.1", behind_proxy=address)
    assert code_of(check_exposure, wrong) == "server.bad_request"


def test_allowed_hosts_are_the_address_and_the_named_hosts():
    assert settings("127.0.0.1").allowed_hosts == {"localhost", "127.0.0.1", "::1"}
    named = settings("192.168.1.5", hosts=("Head.example.org",)).allowed_hosts
    assert named >= {"192.168.1.5", "head.example.org"}
    everywhere = settings("0.0.0.0").allowed_hosts
    assert "0.0.0.0" not in everywhere
    assert "evil.example" not in everywhere


@pytest.mark.parametrize("token", ["x", "t" * (MIN_TOKEN - 1)])
def test_short_tokens_are_refused_from_every_source(token, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_HOME", str(tmp_path))
    monkeypatch.delenv("DP3D_TOKEN", raising=False)
    assert code_of(load_token, token) == "server.bad_request"
    (tmp_path / "token").write_text(token)
    assert code_of(load_token) == "server.bad_request"
    monkeypatch.setenv("DP3D_TOKEN", token)
    assert code_of(load_token) == "server.bad_request"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
class TestPrivacy:
    def old_folder(self, folder):
        for name in ("artifacts/00", "work/job/views", "logs"):
            (folder / name).mkdir(parents=True)
        for name in (
            *("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "jobs.backup.sqlite", "reserve"),
            *("jobs.damaged-20260101-120000.sqlite", "jobs.damaged-20260101-120000.sqlite-wal"),
            *(".jobs.backup.sqlite.tmp", ".jobs.sqlite.mended", "server.lock", "worker.lock"),
            *("artifacts/00/a", "logs/worker.log"),
        ):
            (folder / name).write_bytes(b"")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def open_to_others(self, folder):
        return [p.name for p in (folder, *folder.rglob("*")) if p.stat().st_mode & 0o077]

    def test_a_folder_of_an_earlier_version_becomes_private(self, tmp_path):
        folder = tmp_path / "data"
        self.old_folder(folder)
        make_private(folder)
        assert self.open_to_others(folder) == []

    @pytest.mark.parametrize("name", ["workshop.txt", "reserved", "jobs.txt", "logs of mine"])
    def test_similar_names_are_not_taken_for_files_of_dp3d(self, tmp_path, name):
        folder = tmp_path / "data"
        self.old_folder(folder)
        (folder / name).write_bytes(b"")
        (folder / name).chmod(0o644)
        make_private(folder)
        assert sorted(self.open_to_others(folder)) == ["data", name]

    def test_a_start_makes_a_copied_data_folder_private(self, tmp_path):
        server = ServerProcess(tmp_path).start()
        server.home = tmp_path / "home"
        with server.client() as client:
            wait_until(lambda: client.health()["worker"] == "idle")
        server.stop()
        (server.data / "jobs.backup.sqlite").write_bytes(b"")
        heads = server.home / "heads"
        heads.mkdir(parents=True)
        (heads / "a.npz").write_bytes(b"")
        for path in (server.data, *server.data.rglob("*"), heads, heads / "a.npz"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        server.start()
        try:
            assert (server.data / "reserve").is_file()
            assert self.open_to_others(server.data) == []
            assert self.open_to_others(heads) == []
        finally:
            server.stop()

    def test_other_files_keep_their_permissions(self, tmp_path):
        folder = tmp_path / "data"
        self.old_folder(folder)
        (folder / "holiday.jpg").write_bytes(b"")
        (folder / "holiday.jpg").chmod(0o644)
        (folder / "work" / "link").symlink_to(folder / "holiday.jpg")
        make_private(folder)
        assert sorted(self.open_to_others(folder)) == ["data", "holiday.jpg", "link"]
