"""The API as an OpenAPI 3.1 document: ``docs/http-api.md`` in machine-readable form.

The document is written here and not generated from the routes, because they parse bodies
themselves.  A test compares it with the routes, and a fuzzer with the answers of a server.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dp3d_core.errors import CATALOGUE
from dp3d_core.limits import MAX_PHOTOS, Range
from server.jobs.model import JobState
from server.jobs.params import JOB_PARAMS
from server.web.problems import MEDIA_TYPE
from server.web.requests import DEFAULT_PAGE, IDS, PAGE

JSON = "application/json"
"""Media type of JSON."""
_SHA256 = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
    "examples": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
}
_TIME = {"type": ["string", "null"], "description": "ISO 8601, UTC"}
_COMMON_PROBLEMS = {
    400: "The request is not HTTP/1.1.",
    401: "The token is missing or wrong.",
    403: "The request does not come from the proxy of the server.",
    408: "The request arrives too slowly.",
    421: "The Host header names a host that the server does not answer for.",
    422: "A parameter, header or body cannot be used.",
    503: "The server is busy; Retry-After says when to try again.",
}
"""Problems that every operation can answer, by status."""


def _integer(limits: Range[int], **keywords: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": limits.low, "maximum": limits.high, **keywords}


_ID = _integer(IDS)


def api_document(version: str) -> dict[str, Any]:
    """The OpenAPI document of a server of that version of dp3d."""
    paths = {
        "/v1/health": _health(),
        "/v1/openapi.json": _get("openapi", "This document", _content({"type": "object"})),
        "/v1/engines": _engines(),
        "/v1/artifacts/{sha256}": _artifacts(),
        "/v1/jobs": _jobs(),
        "/v1/jobs/{job_id}": _job(),
        "/v1/jobs/{job_id}/events": _events(),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dp3d",
            "version": version,
            "description": "Photos of heads and camera paths to views, radiance fields and meshes.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


# -- paths ---------------------------------------------------------------------------------


def _health() -> dict[str, Any]:
    schema = _object(
        product={"const": "dp3d"},
        api={"const": 1},
        version={"type": "string"},
        worker={"enum": ["idle", "busy", "starting", "down"]},
    )
    methods = _get("health", "Who answers, and whether it can work", _content(schema))
    for operation in methods.values():
        operation["security"] = []
    return methods


def _engines() -> dict[str, Any]:
    schema = _object(engines={"type": "array", "items": _ref("Engine")})
    return _get("engines", "Engines as the worker sees them", _content(schema))


def _artifacts() -> dict[str, Any]:
    parameters = [_path("sha256", _SHA256, "SHA-256 of the bytes")]
    body: dict[str, Any] = {"application/octet-stream": {}}
    get = _get(
        "get_artifact",
        "The bytes of a file",
        {"description": "The bytes", "headers": {"ETag": _header()}, "content": body},
        404,
        416,
        parameters=[
            _header_parameter("If-None-Match", "a tag that the client has"),
            _header_parameter("Range", "bytes=FIRST-LAST"),
            _header_parameter("If-Range", "a tag; with another one the range is not looked at"),
        ],
    )
    for operation in get.values():
        operation["responses"] |= {
            "206": {"description": "A part of the bytes", "content": body},
            "304": {"description": "The client has the bytes"},
        }
    stored = _content(_ref("Artifact")) | {
        "links": {
            name: {"operationId": name, "parameters": {"path.sha256": "$response.body#/sha256"}}
            for name in ("get_artifact", "delete_artifact")
        }
    }
    put = _operation(
        "put_artifact", "Store a file", {"200": stored, "201": stored}, 404, 413, 500, 507
    )
    put["requestBody"] = {"required": True, "content": body}
    delete = _operation("delete_artifact", "Remove a file that no job needs", _NO_CONTENT, 404, 409)
    return {"parameters": parameters, **get, "put": put, "delete": delete}


_NO_CONTENT: dict[str, Any] = {"204": {"description": "Done"}}


def _jobs() -> dict[str, Any]:
    schema = _object(
        jobs={"type": "array", "items": _ref("JobSummary")},
        next_before={"type": ["integer", "null"], "description": "`before` of the next page"},
    )
    states = "|".join(JobState)
    get = _get(
        "list_jobs",
        "Jobs, newest first, without parameters and results",
        _content(schema),
        parameters=[
            _query("limit", _integer(PAGE, default=DEFAULT_PAGE)),
            _query("before", _ID, "jobs with a smaller number"),
            _query("after", _ID, "jobs with a larger number"),
            _query(
                "state",
                {"type": "string", "pattern": f"^({states})(,({states})){{0,4}}$"},
                "states, joined by commas",
            ),
        ],
    )
    job = _content(_ref("Job")) | {
        "headers": {"Location": _header()},
        "links": {
            name: {"operationId": name, "parameters": {"path.job_id": "$response.body#/id"}}
            for name in ("get_job", "cancel_job", "job_events")
        },
    }
    post = _operation(
        "create_job",
        "Queue a job, or get the identical one that is there",
        {"200": job, "201": job},
        *(404, 409, 424, 429, 507),
    )
    post["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref("JobRequest")}}}
    return {**get, "post": post}


def _job() -> dict[str, Any]:
    job = _content(_ref("Job"))
    delete = _operation(
        "cancel_job",
        "Cancel a job, or delete one that has ended",
        {"200": job, "202": job, **_NO_CONTENT},
        404,
        409,
    )
    delete["parameters"] = [
        _query(
            "purge",
            {"type": "boolean", "default": False},
            "delete the job, its events and what it made",
        )
    ]
    return {
        "parameters": [_path("job_id", {"type": "string", "minLength": 1})],
        **_get("get_job", "A job", job, 404),
        "delete": delete,
    }


def _events() -> dict[str, Any]:
    get = _get(
        "job_events",
        "Server-sent events of a job until it ends",
        {
            "description": "The stream; docs/http-api.md lists the events",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        404,
        parameters=[
            _query("after", _ID, "only events with a larger id"),
            _header_parameter("Last-Event-ID", "as `after`, and wins over it"),
        ],
    )
    return {"parameters": [_path("job_id", {"type": "string", "minLength": 1})], **get}


# -- parts ---------------------------------------------------------------------------------


def _get(
    name: str,
    summary: str,
    answer: dict[str, Any],
    *statuses: int,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The operations GET and HEAD, HEAD without bodies."""
    head = _operation(f"head_{name}", f"{summary}, without the body", {}, *statuses)
    head["responses"] = {
        status: {"description": response["description"]}
        for status, response in {"200": answer, **head["responses"]}.items()
    }
    methods = {"get": _operation(name, summary, {"200": answer}, *statuses), "head": head}
    if parameters:
        for operation in methods.values():
            operation["parameters"] = parameters
    return methods


def _operation(name: str, summary: str, answers: dict[str, Any], *statuses: int) -> dict[str, Any]:
    titles = {kind.http_status: kind.title for kind in CATALOGUE.values()}
    problems = {status: f"{titles[status]}, or alike." for status in statuses} | _COMMON_PROBLEMS
    return {
        "operationId": name,
        "summary": summary,
        "responses": answers
        | {
            str(status): {
                "description": text,
                "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
            }
            for status, text in sorted(problems.items())
        },
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "The answer", "content": {JSON: {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def _header() -> dict[str, Any]:
    return {"schema": {"type": "string"}}


def _path(name: str, schema: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": text}


def _query(name: str, schema: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _header_parameter(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": text}


# -- schemas -------------------------------------------------------------------------------


def _schemas() -> dict[str, Any]:
    models: list[tuple[type[BaseModel], Any]] = [(m, "validation") for m in JOB_PARAMS.values()]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    summary = _summary()
    return {
        **definitions["$defs"],
        "Problem": _problem(),
        "Artifact": _object(sha256=_SHA256, size={"type": "integer", "minimum": 0}),
        "Engine": _engine(),
        "JobRequest": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "kind": {"const": kind},
                        "params": _ref(model.__name__),
                        "fresh": {"type": "boolean", "default": False},
                    },
                    "required": ["kind", "params"],
                    "additionalProperties": False,
                }
                for kind, model in JOB_PARAMS.items()
            ]
        },
        "JobSummary": _object(number={"type": "integer"}, **summary),
        "Job": _object(
            **summary,
            params={"type": "object"},
            result={"type": ["object", "null"]},
        ),
    }


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    return _object(
        type=text,
        title=text,
        status={"type": "integer"},
        code={"enum": sorted(CATALOGUE)},
        problem=text,
        remedy=text,
        detail=text,
    )


def _engine() -> dict[str, Any]:
    option = _object(
        name={"type": "string"},
        type={"enum": ["str", "int", "float", "bool"]},
        default={},
        description={"type": "string"},
        choices={"type": ["array", "null"]},
        minimum={"type": ["number", "null"]},
        maximum={"type": ["number", "null"]},
        step={"type": ["number", "null"]},
    )
    return _object(
        name={"type": "string"},
        title={"type": "string"},
        available={"type": "boolean"},
        problem={"type": ["string", "null"]},
        options={"type": "array", "items": option},
        error={"anyOf": [_ref("Problem"), {"type": "null"}]},
        references={"type": "integer", "minimum": 1, "maximum": MAX_PHOTOS},
    )


def _summary() -> dict[str, Any]:
    return {
        "id": {"type": "string"},
        "kind": {"type": "string"},
        "state": {"enum": list(JobState)},
        "created_at": {"type": "string"},
        "started_at": _TIME,
        "finished_at": _TIME,
        "attempt": {"type": "integer"},
        "stage": {"type": ["string", "null"]},
        "step": {"type": "integer"},
        "of": {"type": "integer"},
        "eta_s": {"type": ["number", "null"]},
        "message": {"type": "string"},
        "error": {"anyOf": [_ref("Problem"), {"type": "null"}]},
    }
