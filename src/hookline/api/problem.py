"""What a refusal looks like: every error of the API as RFC 9457 problem details, in this one place.

Never shows a stack trace, a statement or an address of ours.
"""

from collections.abc import Mapping, Sequence
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
UNSUPPORTED_MEDIA_TYPE: Final = Kind(415, "unsupported-media-type", "The body is of another media type")
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

FIXED_DETAILS: Final[Mapping[Kind, str]] = {
    UNAUTHENTICATED: "Send a token that is neither expired nor revoked, as `Authorization: Bearer <token>`.",
    INTERNAL: "Something failed on our side. It was logged under the X-Request-Id: try again, or say that id.",
}
"""Where nothing of the error itself may show: not why a token was refused, not what broke."""


class MethodNotAllowed(HooklineError):
    """The path exists, the method there does not; `allowed` are those that do."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This path has {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


KIND_OF: Final[Mapping[type[object], Kind]] = {
    errors.Invalid: INVALID,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.WrongCredentials: UNAUTHENTICATED,
    errors.Forbidden: FORBIDDEN,
    errors.NotFound: NOT_FOUND,
    MethodNotAllowed: METHOD_NOT_ALLOWED,
    errors.RequestTimeout: REQUEST_TIMEOUT,
    errors.Conflict: CONFLICT,
    errors.TooLarge: TOO_LARGE,
    errors.UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE,
    errors.TooManyRequests: TOO_MANY_REQUESTS,
    errors.Unavailable: UNAVAILABLE,
}


def respond(error: Exception, path: str, extra: Mapping[str, str] | None = None) -> Response:
    """Turn what a handler raised into its answer; what is not in `KIND_OF` is our own fault, and says nothing.

    `extra` are members that another standard wants beside ours.
    """
    kind = next((KIND_OF[sort] for sort in type(error).__mro__ if sort in KIND_OF), INTERNAL)
    fields = error.fields if isinstance(error, errors.Invalid) else ()
    is_fixed = kind in FIXED_DETAILS and not isinstance(error, errors.WrongCredentials)
    detail = FIXED_DETAILS[kind] if is_fixed else str(error)
    return problem(kind, detail, path, _headers(error), fields=fields, extra=extra)


def _headers(error: Exception) -> dict[str, str] | None:
    match error:
        case errors.WrongCredentials():
            return {"WWW-Authenticate": error.scheme}
        case errors.Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case errors.RequestTimeout() | errors.TooLarge():
            return {"Connection": "close"}  # the rest of the body is not read
        case errors.TooManyRequests() | errors.Unavailable():
            return {"Retry-After": str(error.retry_after_seconds)}
        case _:
            return None


def problem(
    kind: Kind,
    detail: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    fields: Sequence[FieldError] = (),
    extra: Mapping[str, str] | None = None,
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
        **(extra or {}),
    }
    return Response(msgspec.json.encode(content), kind.status, headers, MEDIA_TYPE)
