"""Raw HTTP requests to a real server, and one finished job."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from tests.server.conftest import TOKEN, small_views

JOB_FIELDS = [
    "id", "kind", "state", "params", "created_at", "started_at", "finished_at", "attempt",
    "stage", "step", "of", "eta_s", "message", "result", "error",
]  # fmt: skip

EXIF_MARK = "somebody-at-a-place"


def raw(server, method, path, **arguments):
    headers = {"Authorization": f"Bearer {TOKEN}"} | arguments.pop("headers", {})
    return httpx.request(method, server.url + path, headers=headers, timeout=30, **arguments)


def problem(response):
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["problem"]
    assert body["remedy"]
    return response.status_code, body["code"]


@pytest.fixture(scope="module")
def portrait(shared_server, photo):
    """The photo with a text in its EXIF that must not come out again."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x010E] = EXIF_MARK  # ImageDescription
    exif.get_ifd(0x8825)[29] = EXIF_MARK  # GPSDateStamp
    with Image.open(photo) as picture:
        picture.save(data, "JPEG", quality=95, exif=exif)
    assert data.getvalue().count(EXIF_MARK.encode()) == 2
    with shared_server.client() as client:
        return client.put_bytes(data.getvalue())


@pytest.fixture(scope="module")
def done(shared_server, portrait):
    """A finished job: as created, its events, as it ended."""
    with shared_server.client() as client:
        job = client.create_job("views", **small_views(portrait, views=4))
        events = list(client.events(job["id"]))
        return job, events, client.job(job["id"])
