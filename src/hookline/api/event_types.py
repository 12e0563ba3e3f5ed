"""The catalogue of event types: read by everyone, changed by the operator."""

import re
from bisect import bisect_right
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from hookline import rendering
from hookline.api.answers import items_response, json_response, no_content
from hookline.api.context import Api
from hookline.api.reading import change_of, list_limit, path_text, query_text, read_json, refuse_fields
from hookline.errors import Conflict, FieldError, NotFound
from hookline.model import Action, EventType, TypeKind

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
NAME_RULE: Final = "expected 1 to 128 of A-Z a-z 0-9 . _ -"
DESCRIPTION_LENGTH_MAX: Final = 2000
SCHEMA_BYTES_MAX: Final = 64 * 1024
"""The whole catalogue is held in memory, and a page of it is one answer."""


class NewEventType(Struct, rename="camel", kw_only=True):
    """The body of `PUT /v1/event-types/{name}`."""

    description: str | None = None
    schema: Raw = Raw(b"null")
    v1_name: str | UnsetType | None = UNSET
    """Absent: the name itself. None: V1 subscriptions never get it."""
    v2_name: str | UnsetType | None = UNSET


async def list_all(request: Request, api: Api) -> Response:
    """Answer the catalogue by name."""
    types = (await api.storage.catalogue()).types
    names = sorted(types)
    limit = list_limit(request)
    start = bisect_right(names, query_text(request, "cursor") or "")
    page = names[start : start + limit]
    return items_response([_shown(types[name]) for name in page], page[-1] if names[start + limit :] else None)


async def show(request: Request, api: Api) -> Response:
    """Answer one event type."""
    return json_response(_shown(await _found(request, api)))


async def put(request: Request, api: Api) -> Response:
    """Make an event type, or replace what was said of it."""
    body = await read_json(request, NewEventType, may_be_empty=True)
    name = path_text(request, "name")
    event_type = _event_type(name, body)
    _refuse_built_in((await api.storage.catalogue()).types.get(name))
    if not await api.storage.put_event_type(event_type, change=change_of(request, Action.EVENT_TYPE_PUT, name)):
        raise Conflict(
            f"Another event type is already seen as {event_type.v1_name or event_type.v2_name!r} in version 1 or 2: "
            "v1Name and v2Name are unique."
        )
    return json_response(_shown(event_type))


async def delete(request: Request, api: Api) -> Response:
    """Remove an event type; subscriptions that name it keep the name and get nothing for it."""
    event_type = await _found(request, api)
    _refuse_built_in(event_type)
    gone = change_of(request, Action.EVENT_TYPE_DELETED, event_type.name)
    if not await api.storage.delete_event_type(event_type.name, change=gone):
        raise _no_such_type()
    return no_content()


async def _found(request: Request, api: Api) -> EventType:
    event_type = (await api.storage.catalogue()).types.get(path_text(request, "name"))
    if event_type is None:
        raise _no_such_type()
    return event_type


def _event_type(name: str, body: NewEventType) -> EventType:
    v1_name = name if body.v1_name is UNSET else body.v1_name
    v2_name = name if body.v2_name is UNSET else body.v2_name
    refused = [
        FieldError(field, f"{NAME_RULE}.")
        for field, value in (("name", name), ("v1Name", body.v1_name), ("v2Name", body.v2_name))
        if isinstance(value, str) and not NAME.fullmatch(value)
    ]
    description = body.description or None
    if description and (len(description) > DESCRIPTION_LENGTH_MAX or "\0" in description):
        refused.append(FieldError("description", f"expected at most {DESCRIPTION_LENGTH_MAX} characters, none NUL."))
    schema = _schema(bytes(body.schema), refused)
    refuse_fields(refused)
    return EventType(name=name, v1_name=v1_name, v2_name=v2_name, description=description, schema=schema)


def _schema(raw: bytes, refused: list[FieldError]) -> bytes | None:
    if raw == b"null":
        return None
    if not raw.startswith((b"{", b"t", b"f")) or len(raw) > SCHEMA_BYTES_MAX:
        refused.append(FieldError("schema", f"expected a JSON Schema of at most {SCHEMA_BYTES_MAX:,} bytes."))
        return None
    try:
        return rendering.compact(raw)
    except (ValueError, RecursionError) as error:
        refused.append(FieldError("schema", f"{error}."))
        return None


def _refuse_built_in(event_type: EventType | None) -> None:
    if event_type is not None and event_type.kind is not TypeKind.ORDINARY:
        raise Conflict(f"{event_type.name} is built in: Hookline itself sends it, so it stays as it is.")


def _no_such_type() -> NotFound:
    return NotFound("The catalogue has no event type of this name. `GET /v1/event-types` lists it.")


def _shown(event_type: EventType) -> dict[str, Any]:
    return {
        "name": event_type.name,
        "v1Name": event_type.v1_name,
        "v2Name": event_type.v2_name,
        "kind": event_type.kind,
        "description": event_type.description,
        "schema": None if event_type.schema is None else Raw(event_type.schema),
    }
