"""What an answer looks like where nothing is wrong: JSON, lists with a cursor, or nothing."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from hookline.clock import rfc3339
from hookline.storage.views import Item, Page

JSON: Final = "application/json"
ALWAYS: Final = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""Headers of every answer: nearly all are one company's own business, and none is a page."""
_encode = msgspec.json.Encoder().encode


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON; `value` is built of dicts, lists and Structs, instants already rendered."""
    return Response(_encode(value), status, headers, JSON)


def no_content() -> Response:
    """Answer 204: done, and nothing to say."""
    return Response(status_code=204)


def list_response(page: Page[Item], show: Callable[[Item], dict[str, Any]]) -> Response:
    """Answer `{items, next}`; `next` is the cursor to go on with, null at the end."""
    return items_response([show(item) for item in page.items], page.next_after_id)


def items_response(items: Sequence[Any], cursor: int | str | None) -> Response:
    """Answer `{items, next}` of what is already shown."""
    return json_response({"items": items, "next": None if cursor is None else str(cursor)})


def instant(at: int | None) -> str | None:
    """Render an instant as RFC 3339, None as null."""
    return None if at is None else rfc3339(at)
