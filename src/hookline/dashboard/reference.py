"""The API reference: the OpenAPI description, which programs read, laid out for people. Says nothing of its own."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

from hookline.dashboard import acting, frame
from hookline.dashboard.context import Dashboard, Visit

DESCRIPTION: Final = "/openapi.json"
METHODS: Final = ("get", "post", "put", "patch", "delete")
EVERYWHERE: Final = frozenset({"401", "403", "408", "413", "415", "429", "500", "503"})
"""Said once for all calls instead of at each."""

Schema = Mapping[str, Any]


class Member(Struct, frozen=True):
    """One row of a table: a parameter, or a member of a body."""

    name: str
    where: str
    """`path`, `query` or `header`; empty for a member of a body."""
    kind: str
    is_required: bool
    text: str


class Answer(Struct, frozen=True):
    """One status that a call may answer."""

    status: str
    text: str
    body: str | None


class Call(Struct, frozen=True):
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    text: str
    parameters: Sequence[Member]
    body: str | None
    """The name of its schema, or what it is."""
    answers: Sequence[Answer]


class Shape(Struct, frozen=True):
    """One schema that calls name."""

    name: str
    text: str
    members: Sequence[Member]


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Show every call and every shape."""
    scope = {"type": "http", "method": "GET", "path": DESCRIPTION, "query_string": b"", "headers": []}
    status, said = await acting.exchange(dashboard.api, scope)
    if status != 200:
        raise RuntimeError(f"the API answered {status} when asked for its description")
    description = msgspec.json.decode(said)
    return frame.page(
        visit,
        dashboard,
        "reference.html",
        title="API reference",
        version=description["info"]["version"],
        groups=groups(description),
        shapes=shapes(description),
        everywhere=[
            _answer(status, {"$ref": f"#/components/responses/{status}"}, description) for status in sorted(EVERYWHERE)
        ],
    )


# --- from a description to rows --------------------------------------------------------------------------------------


def groups(description: Schema) -> Mapping[str, Sequence[Call]]:
    """Return the calls by tag, in the order of the description."""
    found: dict[str, list[Call]] = {}
    for path, methods in description["paths"].items():
        for method in METHODS:
            if operation := methods.get(method):
                tag = (operation.get("tags") or ["other"])[0]
                found.setdefault(tag, []).append(_call(path, method, operation, description))
    return found


def shapes(description: Schema) -> Sequence[Shape]:
    """Return the schemas that have members of their own, by name."""
    return [
        Shape(name, schema.get("description", ""), members)
        for name, schema in sorted(description["components"]["schemas"].items())
        if (members := list(_members(schema)))
    ]


def kind(schema: Schema) -> str:
    """Say in words what a value is."""
    if "$ref" in schema:
        return _name(schema)
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return " or ".join("null" if value is None else str(value) for value in values)
    names = schema.get("type", "anything")
    several = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(names, list):
        several = [{**schema, "type": name} for name in names]
    if several:
        return " or ".join(dict.fromkeys(map(kind, several)))
    return f"list of {kind(schema.get('items', {}))}" if names == "array" else f"{names}{_bounds(schema)}"


def _call(path: str, method: str, operation: Schema, description: Schema) -> Call:
    content = operation.get("requestBody", {}).get("content", {})
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        text=operation.get("description", ""),
        parameters=[
            Member(
                each["name"], each["in"], kind(each["schema"]), each.get("required", False), each.get("description", "")
            )
            for each in operation.get("parameters", ())
        ],
        body=next((kind(media["schema"]) for media in content.values()), None),
        answers=[
            _answer(status, answer, description)
            for status, answer in operation["responses"].items()
            if status not in EVERYWHERE
        ],
    )


def _answer(status: str, answer: Schema, description: Schema) -> Answer:
    if "$ref" in answer:
        answer = description["components"]["responses"][_name(answer)]
    body = next((kind(media["schema"]) for media in answer.get("content", {}).values() if "schema" in media), None)
    return Answer(status, answer.get("description", ""), body)


def _members(schema: Schema) -> Iterable[Member]:
    for part in schema.get("allOf", ()):
        yield from _members(part)
    required = frozenset(schema.get("required", ()))
    for name, value in schema.get("properties", {}).items():
        yield Member(name, "", kind(value), name in required, _text(value))


def _text(schema: Schema) -> str:
    """Return what is said of a value, or of the first of its kinds that anything is said of."""
    several = (schema, *schema.get("anyOf", ()))
    return next((each["description"] for each in several if "description" in each), "")


def _name(schema: Schema) -> str:
    name: str = schema["$ref"].rpartition("/")[2]
    return name


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum", schema.get("minLength")), schema.get("maximum", schema.get("maxLength"))
    said = schema.get("format", "")
    if low is not None and high is not None and high < 2**31:
        said = f"{low} to {high:,}"
    elif high is not None and high < 2**31:
        said = f"at most {high:,}"
    return f" ({said})" if said and said not in {"int32", "int64"} else ""
