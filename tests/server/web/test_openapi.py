"""The OpenAPI document: complete, and consistent with the routes and a server's answers."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from server.jobs.model import Job
from server.jobs.queries import _SUMMARY_COLUMNS
from server.web.openapi import api_document
from server.web.routes import router
from tests.conftest import REPOSITORY
from tests.server.conftest import TOKEN

DOCUMENT = api_document("0")
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
]
CASES = 250
FUZZED = 900
"""Examples of each operation in the slow run: more than 10,000 requests together."""


def test_every_route_is_described_and_nothing_else():
    routes = {(route.path, method.lower()) for route in router.routes for method in route.methods}
    assert {(path, method) for method, path, _ in OPERATIONS} == routes


def test_every_parameter_of_a_route_is_described():
    for route in router.routes:
        fields = route.dependant.query_params + route.dependant.header_params
        names = {field.alias.lower() for field in fields + route.dependant.path_params}
        for method in route.methods:
            methods = DOCUMENT["paths"][route.path]
            described = methods.get("parameters", []) + methods[method.lower()].get(
                "parameters", []
            )
            assert {p["name"].lower() for p in described} == names


def test_every_reference_resolves():
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)):
        assert name in DOCUMENT["components"]["schemas"]


def test_operation_ids_are_unique():
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_jobs_have_the_described_members():
    job = Job(kind="views", params={}).to_dict()
    assert set(DOCUMENT["components"]["schemas"]["Job"]["properties"]) == set(job)
    summary = DOCUMENT["components"]["schemas"]["JobSummary"]["properties"]
    assert set(summary) == {*_SUMMARY_COLUMNS, "error"}


@pytest.mark.parametrize("page", ["docs/http-api.md"])
def test_the_page_names_every_address(page):
    text = (REPOSITORY / page).read_text("utf-8")
    for path in DOCUMENT["paths"]:
        assert f"`{path}" in text or f" {path}" in text, path


class Generator:
    """Generates valid and invalid requests from the document."""

    TEXTS = ("", "0", "-1", "x", "é", "%00", "..", "a" * 300, "9" * 30, "null", "[]", "\U0001f600")
    VALUES: tuple[Any, ...] = (
        *(None, True, False, 0, -1, 1, 1.5, 1e300, 2**53 - 1, 2**63, -(2**70), "", "x", "\0"),
        *("\ud800", [], [[]], {}, {"a": {"a": {}}}, "e" * 5000, [1] * 50),
    )

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def schema(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """A value of a schema or, in one of six cases, any value."""
        if depth > 6 or self.random.random() < 0.17:
            return self.random.choice(self.VALUES)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.schema(DOCUMENT["components"]["schemas"][name], depth)
        for name in ("oneOf", "anyOf", "enum"):
            if name in schema:
                choice = self.random.choice(schema[name])
                return choice if name == "enum" else self.schema(choice, depth + 1)
        if "const" in schema:
            return schema["const"]
        kinds = schema.get("type", "object")
        kind = self.random.choice(kinds) if isinstance(kinds, list) else kinds
        if kind == "object":
            members = schema.get("properties", {"preset": {"enum": ["orbit", "arc", "x"]}})
            chosen = {n: self.schema(s, depth + 1) for n, s in members.items()}
            if self.random.random() < 0.2:
                chosen.pop(self.random.choice([*chosen]), None)
            return chosen
        if kind == "array":
            items = schema.get("items", {"type": "number"})
            return [self.schema(items, depth + 1) for _ in range(self.random.randrange(5))]
        if kind in ("integer", "number"):
            edge = schema.get(self.random.choice(["minimum", "maximum"]), 7)
            return edge + self.random.choice([-1, 0, 1])
        if kind == "string":
            return self.random.choice([*schema.get("examples", []), *self.TEXTS])
        return {"boolean": True, "null": None}.get(kind)

    def text(self, schema: dict[str, Any]) -> str:
        value = self.schema(schema)
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode(errors="replace").decode()[:2000]

    def request(self, url: str, job_id: str) -> tuple[dict[str, Any], httpx.Request]:
        method, path, operation = self.random.choice(OPERATIONS)
        described = DOCUMENT["paths"][path].get("parameters", []) + operation.get("parameters", [])
        query, headers = [], {"Authorization": f"Bearer {TOKEN}"}
        for parameter in described:
            name, text = parameter["name"], self.text(parameter["schema"])
            if parameter["in"] == "path":
                known = name == "job_id" and self.random.random() < 0.5
                path = path.replace(f"{{{name}}}", quote(job_id if known else text, safe=""))
            elif self.random.random() < 0.5:
                if parameter["in"] == "query":
                    query.append((name, text))
                else:
                    headers[name] = re.sub(r"[^ -~]", "?", text).strip()
        if self.random.random() < 0.1:
            query.append((self.random.choice(["x", "limit", "after"]), "1"))
        if self.random.random() < 0.05:
            headers["Authorization"] = "Bearer wrong"
        content = b""
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]
            value = self.schema(body.get("application/json", {}).get("schema", {"type": "string"}))
            content = json.dumps(value).encode()
        return operation, httpx.Request(
            method.upper(), url + path, params=query, headers=headers, content=content
        )


def check(operation, request, response):
    message = f"{request.method} {request.url} {request.content[:300]!r} -> {response.status_code}"
    status = str(response.status_code)
    if status in ("404", "405") and "no_such_address" in response.text:
        return  # the text of a parameter changed the address
    assert status in operation["responses"], message
    assert response.status_code < 500, message
    if request.method == "HEAD" or response.status_code in (204, 304):
        assert response.content == b"", message
    elif status[0] in "45":
        assert response.headers["content-type"] == "application/problem+json", message
        problem = DOCUMENT["components"]["schemas"]["Problem"]
        assert set(response.json()) == set(problem["required"]), message
    else:
        kinds = operation["responses"][status]["content"]
        assert response.headers["content-type"].partition(";")[0] in kinds, message


def test_generated_requests_get_described_answers(shared_server, client, photo):
    """A small version of the slow test with Schemathesis below."""
    portrait = client.put_file(photo)
    params = {"portrait": portrait, "cameras": {"preset": "orbit", "views": 1, "size": 16}}
    client.engines()
    job_id = client.create_job("views", **params)["id"]
    client.wait(job_id)
    generator = Generator(7)
    with httpx.Client(timeout=60) as http:
        for _ in range(CASES):
            operation, request = generator.request(shared_server.url, job_id)
            check(operation, request, http.send(request))
    assert client.health()["worker"] in ("idle", "busy")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_ten_thousand_requests_of_schemathesis(server_process):
    environment = str(Path(sys.executable).parent)
    program = shutil.which("schemathesis", path=environment) or shutil.which("schemathesis")
    if program is None:
        pytest.skip("needs Schemathesis: pip install 'dp3d[fuzz]'")
    with server_process.client() as client:
        client.engines()
    checks = [
        *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
        *("response_schema_conformance", "response_headers_conformance", "unsupported_method"),
    ]
    run = subprocess.run(
        [
            *(program, "run", f"{server_process.url}/v1/openapi.json", "--seed", "1"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(checks)),
            *("--max-examples", str(FUZZED), "--request-timeout", "30", "--no-color"),
            *("--phases", "examples,coverage,fuzzing"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=2300,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    assert int(re.search(r"(\d[\d,]*) generated", run.stdout)[1].replace(",", "")) >= 10_000
