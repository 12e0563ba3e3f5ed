"""What a caller can do wrong, and what may keep us from answering.

Each class is mapped to one HTTP status in `api/problem.py` and to one line of the command line.
A receiver's fault is never an exception: it is an `Outcome` (see `model`).
"""

from collections.abc import Sequence
from typing import NamedTuple


class FieldError(NamedTuple):
    """One refused member of a request: `field` as the caller named it, `message` with the remedy."""

    field: str
    message: str


class HooklineError(Exception):
    """Carry a message that is safe to show: what was expected, what was found, what to do."""


class Invalid(HooklineError):
    """The request is understood and refused (400)."""

    def __init__(self, message: str, fields: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        """Refuse one member."""
        return cls(f"{field}: {message}", [FieldError(field, message)])


class Unauthenticated(HooklineError):
    """No token, or one that is malformed, unknown, expired or revoked (401)."""


class WrongCredentials(Unauthenticated):
    """Name and secret do not belong together, whichever of them is wrong (401)."""

    def __init__(self, scheme: str = "Bearer") -> None:
        super().__init__("The name or the secret is wrong.")
        self.scheme = scheme
        """What the answer's `WWW-Authenticate` names."""


class Forbidden(HooklineError):
    """The token's role may not do this (403)."""


class NotFound(HooklineError):
    """No such thing, or another company's: the two are never told apart (404)."""


class Conflict(HooklineError):
    """The request contradicts what is stored (409)."""


class TooLarge(HooklineError):
    """A body over its limit (413)."""


class UnsupportedMediaType(HooklineError):
    """A body that is not JSON where JSON is expected (415)."""


class RequestTimeout(HooklineError):
    """A body that did not arrive in time (408)."""


class TooManyRequests(HooklineError):
    """A limit of rate was met (429)."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(HooklineError):
    """The database did not confirm: nothing is promised, the outcome may be unknown (503)."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StartRefused(HooklineError):
    """The program will not start like this; the message says what to change."""
