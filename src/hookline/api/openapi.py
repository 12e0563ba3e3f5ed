"""The description of the API as OpenAPI 3.1, made of `operations`.

What every route of a sort answers (401, 403, 503 …) is added here once.
"""

from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import hookline
from hookline.api import problem
from hookline.api.answers import JSON
from hookline.api.context import Api
from hookline.api.login import BASIC
from hookline.api.operations import OPERATIONS, PATH_PARAMETERS, Operation
from hookline.api.schemas import (
    SCHEMAS,
    TEXT,
    one_of,
    ref,
)


async def description(_request: Request, _api: Api) -> Response:
    """Answer `GET /openapi.json`."""
    return Response(_encoded(), media_type=JSON)


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """Build the OpenAPI document of everything that exists."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hookline",
            "version": hookline.__version__,
            "description": "Publish events, subscribe callback URLs, read the delivery log.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(kind.status): _problem(kind) for kind in problem.KINDS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [] if operation.roles is None else [{"token": []}],
        "responses": _responses(path, operation),
    }
    if operation.roles is not None:
        said["description"] = f"For: {', '.join(operation.roles)}."
    parameters = [*_path_parameters(path), *operation.query]
    if parameters:
        said["parameters"] = parameters
    if operation.body:
        said["requestBody"] = {
            "required": not operation.body_is_optional,
            "content": {operation.body_media_type: {"schema": ref(operation.body)}},
        }
    return said | (operation.extra or {})


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "description": text}
        for name, (schema, text) in ((name, PATH_PARAMETERS[name]) for name in names)
    ]


def _responses(path: str, operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": operation.answer.text, "headers": REQUEST_ID}
    if operation.answer.schema is not None:
        success["content"] = {operation.answer.media_type: {"schema": operation.answer.schema}}
    statuses = {500, *operation.problems}
    if operation.roles is not None:
        statuses |= {401, 403, 429, 503}
    if operation.query or operation.body:
        statuses.add(400)
    if operation.body:
        statuses |= {408, 413, 415}
    if "{" in path:
        statuses.add(404)
    problems = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}
    return {str(operation.answer.status): success} | problems


REQUEST_ID: Final = {
    "X-Request-Id": {"required": True, "schema": TEXT, "description": "Names this request in the log."}
}
PROBLEM_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": one_of("Bearer", BASIC)}},
    429: {"Retry-After": {"required": True, "schema": TEXT}},
    503: {"Retry-After": {"required": True, "schema": TEXT}},
}


def _problem(kind: problem.Kind) -> dict[str, Any]:
    return {
        "description": f"{kind.title} (`{problem.TYPE_PREFIX}{kind.slug}`).",
        "headers": REQUEST_ID | PROBLEM_HEADERS.get(kind.status, {}),
        "content": {problem.MEDIA_TYPE: {"schema": ref("Problem")}},
    }
