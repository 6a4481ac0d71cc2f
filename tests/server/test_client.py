"""The Python client against a real server, and against servers of other products."""

from __future__ import annotations

import http.server
import json
import re
import threading

import pytest

import server.client
from dp3d_core.viewsets.viewset import ViewSet
from server.client import API_VERSION, Cancelled, Client, Dp3dError, parse_events
from tests.conftest import REPOSITORY
from tests.server.conftest import TOKEN, small_views, wait_until


def code_of(call, *arguments):
    with pytest.raises(Dp3dError) as caught:
        call(*arguments)
    assert caught.value.problem
    assert caught.value.remedy
    return caught.value.code


def test_exported_names_exist():
    assert all(hasattr(server.client, name) for name in server.client.__all__)
    assert issubclass(Cancelled, Dp3dError)


def run_example(code, shared_server, photo, folder, monkeypatch, **names):
    """Run an example of the documentation in a folder with a photo ``me.jpg``."""
    monkeypatch.chdir(folder)
    (folder / "me.jpg").write_bytes(photo.read_bytes())
    code = code.replace("http://127.0.0.1:8765", shared_server.url)
    exec(compile(code, "example", "exec"), names)
    return names


def test_the_example_of_http_api_md_runs(shared_server, photo, tmp_path, monkeypatch, capsys):
    page = (REPOSITORY / "docs/http-api.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    code = code.replace('Path("~/.local/share/dp3d/token")', 'Path("token")')
    (tmp_path / "token").write_text(TOKEN + "\n")
    run_example(code, shared_server, photo, tmp_path, monkeypatch)
    assert len(ViewSet.open(tmp_path / "views")) == 8
    assert "progress The head is placed" in capsys.readouterr().out


def test_the_example_of_the_docstring_runs(shared_server, photo, tmp_path, monkeypatch):
    lines = re.findall(r"^(?:>>>|\.\.\.) (.*)$", server.client.__doc__, re.M)
    assert len(lines) == 5
    code = "\n".join(["from pathlib import Path", *lines])
    names = {"Client": Client, "token": TOKEN}
    names = run_example(code, shared_server, photo, tmp_path, monkeypatch, **names)
    assert len(ViewSet.open(tmp_path / "views")) == 32
    assert set(names["result"]) >= {"views", "portrait_report", "warnings"}


def test_every_method_is_in_http_api_md():
    page = (REPOSITORY / "docs/http-api.md").read_text("utf-8").partition("## Python client")[2]
    named = set(re.findall(r"[`, ](\w+)(?=[`(])", "\n".join(re.findall(r"^\| `.*", page, re.M))))
    calls = {name for name in vars(Client) if not name.startswith("_")} - {"close", "url"}
    assert calls <= named


def test_files_and_folders_survive_a_round_trip(client, tmp_path):
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/a.txt").write_bytes(b"first")
    (tmp_path / "in/sub/b.bin").write_bytes(bytes(range(256)))
    (tmp_path / "in/.hidden").write_bytes(b"not sent")
    tree = client.put_tree(tmp_path / "in")
    assert client.put_tree(tmp_path / "in") == tree
    out = client.get_tree(tree, tmp_path / "out")
    got = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert got == {"a.txt": b"first", "sub/b.bin": bytes(range(256))}
    assert client.put_file(tmp_path / "in/a.txt") == client.put_bytes(b"first")


def test_invalid_file_names_are_refused(client, tmp_path):
    (tmp_path / "what?").write_bytes(b"")
    assert code_of(client.put_tree, tmp_path) == "artifact.bad_tree"


def test_missing_artifacts_and_jobs_are_reported(client):
    assert code_of(client.get_bytes, 64 * "0") == "artifact.not_found"
    assert code_of(client.job, "none") == "job.not_found"
    assert code_of(lambda: list(client.events("none"))) == "job.not_found"


def test_waiting_for_a_cancelled_job_raises_cancelled(client, photo):
    job = client.create_job("views", fresh=True, **small_views(client.put_file(photo), views=60))
    client.cancel(job["id"])
    wait_until(lambda: client.job(job["id"])["state"] == "cancelled")
    with pytest.raises(Cancelled):
        client.wait(job["id"])


def test_events_resume_after_an_id(client, photo):
    job = client.create_job("views", **small_views(client.put_file(photo)))
    events = list(client.events(job["id"]))
    middle = events[len(events) // 2].id
    assert [event.id for event in client.events(job["id"], middle)] == [
        event.id for event in events if event.id > middle
    ]


def test_a_wrong_token_is_refused(shared_server):
    with Client(shared_server.url, "wrong") as client:
        client.health()  # needs no token
        assert code_of(client.jobs) == "server.unauthorized"


def test_a_server_that_does_not_answer_is_reported():
    with Client("http://127.0.0.1:9", TOKEN) as client:
        assert code_of(client.health) == "server.unreachable"
        assert code_of(lambda: list(client.events("x"))) == "server.unreachable"


@pytest.fixture
def client_of():
    """Makes a client of a server that gives one answer to every request."""
    servers = []

    def make(status, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        fake = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        servers.append(fake)
        return Client(f"http://127.0.0.1:{fake.server_port}", TOKEN)

    yield make
    for fake in servers:
        fake.shutdown()
        fake.server_close()


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"{}", "server.not_ours"),
        (200, b"no JSON", "server.not_ours"),
        (404, b'{"product": "dp3d"}', "server.not_ours"),
        (200, json.dumps({"product": "dp3d", "api": API_VERSION + 1}).encode(),
         "server.version_mismatch"),
    ],
)  # fmt: skip
def test_another_product_or_version_is_reported(client_of, status, body, code):
    with client_of(status, body) as client:
        assert code_of(client.health) == code


def test_an_error_page_of_another_server_is_reported(client_of):
    with client_of(500, b"a page") as client:
        assert code_of(client.jobs) == "server.not_ours"


def test_corrupted_bytes_are_refused(client_of):
    with client_of(200, b"changed") as client:
        assert code_of(client.get_bytes, 64 * "a") == "artifact.hash_mismatch"


def test_event_streams_are_read_with_comments_and_colons():
    lines = [": hello", "", "id: 3", "event: state", 'data: {"a": "b: c"}', "", ": beat", ""]
    (event,) = parse_events(iter(lines))
    assert (event.id, event.event, event.data) == (3, "state", {"a": "b: c"})
