"""Our own API, as the command line calls it: JSON in and out, refusals as `Failure`."""

import http.client
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from hookline.cli.failure import EXIT_REFUSED, EXIT_UNREACHED, EXIT_USAGE, Failure
from hookline.cli.target import Target

TIMEOUT_SECONDS: Final = 35
"""Above the longest that the server lets one of our calls take."""

NEXT_STEPS: Final[Mapping[int, str]] = {
    401: "The token is not (or no longer) known there: make one with `hookline token create NAME`.",
    403: "This token's role may not do that: use one with the role `operator`.",
    503: "Nothing is lost: repeat it, a publish with the same --idempotency-key.",
}
REACHING: Final[Mapping[str, str]] = {
    "http": "`hookline serve --dev` starts one here.",
    "https": "Without a proxy before it that does TLS, it is reached by http://.",
}


class Client:
    """A server with a token. One connection per call, or one for all, which then only one thread may use."""

    def __init__(self, target: Target, *, keeps_connection: bool = False) -> None:
        self._target = target
        self._keeps_connection = keeps_connection
        self._kept: http.client.HTTPConnection | None = None
        self._address = urlsplit(target.url)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the decoded answer, None for an empty one; raise `Failure` on any status but 2xx.

        Members of `query` that are None are left out.
        """
        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        status, answer = self._exchange(
            method,
            self._address.path + path + (f"?{asked}" if asked else ""),
            body,
            {
                "Authorization": f"Bearer {self._target.token}",
                **({"Content-Type": "application/json"} if body is not None else {}),
                **(headers or {}),
            },
        )
        if not 200 <= status <= 299:
            raise _refusal(status, answer)
        return _decoded(answer)

    def is_answering(self) -> bool:
        """Tell whether a server lives there."""
        try:
            self._exchange("GET", self._address.path + "/healthz", None, {})
        except Failure:
            return False
        return True

    def why_not_ready(self) -> str | None:
        """Return why the server would make no event durable now, in its words; None where it would."""
        status, answer = self._exchange("GET", self._address.path + "/readyz", None, {})
        return None if status == 200 else str(_refusal(status, answer))

    def text(self, path: str) -> str:
        """Return an answer that is no JSON; raise `Failure` on any status but 200."""
        status, answer = self._exchange(
            "GET", self._address.path + path, None, {"Authorization": f"Bearer {self._target.token}"}
        )
        if status != 200:
            raise _refusal(status, answer)
        return answer.decode()

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = self._kept or self._connection()
        self._kept = None
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Failure(
                f"{self._target.url} did not answer: {getattr(error, 'strerror', None) or error}.",
                f"Is it running? {REACHING[self._address.scheme]}",
                EXIT_UNREACHED,
            ) from error
        if self._keeps_connection:
            self._kept = connection
        else:
            connection.close()
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        connect = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        try:
            return connect(self._address.netloc, timeout=TIMEOUT_SECONDS)
        except http.client.InvalidURL as error:
            raise Failure(
                f"--url is {self._target.url!r}: {error}.", "It should read like https://hooks.example.com.", EXIT_USAGE
            ) from error


def all_items(client: Client, path: str, *, company_id: int | None = None) -> list[dict[str, Any]]:
    """Walk a list of the operator API to its end."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.call("GET", path, query={"limit": 200, "cursor": cursor, "companyId": company_id})
        items += page["items"]
        cursor = page.get("next")
        if cursor is None:
            return items


def _refusal(status: int, answer: bytes) -> Failure:
    try:
        problem = msgspec.json.decode(answer)
        message = str(problem["detail"])
        details = [f"{error['field']}: {error['message']}" for error in problem.get("validationErrors", ())]
    except (msgspec.DecodeError, KeyError, TypeError):
        message, details = "the answer is not one of Hookline's. Is --url right?", []
    more = [detail for detail in details if detail != message]
    return Failure("\n  ".join([f"{status}, {message}", *more]), NEXT_STEPS.get(status), EXIT_REFUSED)


def _decoded(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise Failure("the answer is not JSON.", "Does --url name a Hookline server?", EXIT_REFUSED) from error
