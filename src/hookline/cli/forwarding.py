"""Handing a delivery on to a program of one's own: the same bytes, the same headers, and its status back."""

import http.client
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from hookline.cli.failure import EXIT_USAGE, Failure

TIMEOUT_SECONDS: Final = 30
"""As long as the sender waits by default: a slower answer would reach nobody."""
UNREACHED: Final = 502

_OURS: Final = frozenset({"host", "content-length", "connection", "transfer-encoding", "expect"})
"""What belongs to a connection and not to the request."""


class Forwarder:
    """A program's address. Any thread may call it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Failure(f"--forward-to is {url!r}.", "It should read like http://127.0.0.1:3000/in.", EXIT_USAGE)
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._authority = parts.netloc
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def __call__(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the program's status; 502 where it did not answer."""
        connection = self._connection(self._authority, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(
                "POST", self._path, body, {name: value for name, value in headers.items() if name not in _OURS}
            )
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return UNREACHED
        finally:
            connection.close()
