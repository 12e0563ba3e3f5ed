"""What a refusal looks like: every error of the API as RFC 9457 problem details, in this one place.

Never shows a stack trace, a statement or an address of ours.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from starlette.responses import Response

from hookline import errors
from hookline.errors import FieldError, HooklineError

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "/problems/"
"""A `type` is this and a slug: a relative reference, because an installation has the name its owner gave it."""


class Kind(NamedTuple):
    """One sort of refusal; the slug is promised, the title is for people."""

    status: int
    slug: str
    title: str


INVALID: Final = Kind(400, "invalid", "The request was refused")
UNAUTHENTICATED: Final = Kind(401, "unauthenticated", "A valid token is needed")
FORBIDDEN: Final = Kind(403, "forbidden", "This token's role may not do this")
NOT_FOUND: Final = Kind(404, "not-found", "There is nothing here")
METHOD_NOT_ALLOWED: Final = Kind(405, "method-not-allowed", "This path has other methods")
REQUEST_TIMEOUT: Final = Kind(408, "request-timeout", "The body took too long")
CONFLICT: Final = Kind(409, "conflict", "The request contradicts what is stored")
TOO_LARGE: Final = Kind(413, "too-large", "The body is too large")
UNSUPPORTED_MEDIA_TYPE: Final = Kind(415, "unsupported-media-type", "The body is not JSON")
TOO_MANY_REQUESTS: Final = Kind(429, "too-many-requests", "Too many requests")
INTERNAL: Final = Kind(500, "internal", "An error of ours")
UNAVAILABLE: Final = Kind(503, "unavailable", "Nothing was confirmed")

KINDS: Final = (
    INVALID,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    CONFLICT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    TOO_MANY_REQUESTS,
    INTERNAL,
    UNAVAILABLE,
)

UNAUTHENTICATED_DETAIL: Final = "Send a token that is neither expired nor revoked, as `Authorization: Bearer <token>`."
INTERNAL_DETAIL: Final = (
    "Something failed on our side and was logged under this answer's X-Request-Id. Try again; if it stays, say that id."
)


class MethodNotAllowed(HooklineError):
    """The path exists, the method there does not; `allowed` are those that do."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This path has {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


def respond(error: Exception, path: str) -> Response:
    """Turn what a handler raised into its answer; anything that is not a `HooklineError` is ours, and says nothing."""
    match error:
        case errors.Invalid():
            return problem(INVALID, str(error), path, fields=error.fields)
        case errors.Unauthenticated():
            return problem(UNAUTHENTICATED, UNAUTHENTICATED_DETAIL, path, {"WWW-Authenticate": "Bearer"})
        case errors.Forbidden():
            return problem(FORBIDDEN, str(error), path)
        case errors.NotFound():
            return problem(NOT_FOUND, str(error), path)
        case MethodNotAllowed():
            return problem(METHOD_NOT_ALLOWED, str(error), path, {"Allow": ", ".join(error.allowed)})
        case errors.RequestTimeout():
            return problem(REQUEST_TIMEOUT, str(error), path, {"Connection": "close"})
        case errors.Conflict():
            return problem(CONFLICT, str(error), path)
        case errors.TooLarge():
            return problem(TOO_LARGE, str(error), path, {"Connection": "close"})
        case errors.UnsupportedMediaType():
            return problem(UNSUPPORTED_MEDIA_TYPE, str(error), path)
        case errors.TooManyRequests():
            return problem(TOO_MANY_REQUESTS, str(error), path, {"Retry-After": str(error.retry_after_seconds)})
        case errors.Unavailable():
            return problem(UNAVAILABLE, str(error), path, {"Retry-After": str(error.retry_after_seconds)})
        case _:
            return problem(INTERNAL, INTERNAL_DETAIL, path)


def problem(
    kind: Kind, detail: str, path: str, headers: dict[str, str] | None = None, fields: Sequence[FieldError] = ()
) -> Response:
    """Render one refusal; `message` repeats `detail` for clients of the original contract."""
    content = {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": path,
        "message": detail,
        "validationErrors": [{"field": field, "message": message} for field, message in fields],
    }
    return Response(msgspec.json.encode(content), kind.status, headers, MEDIA_TYPE)
