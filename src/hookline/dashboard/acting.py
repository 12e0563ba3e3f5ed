"""How pages change things: by asking the API, in process, as the one who has signed in.

So there is one set of rules, one permission for each role and one record of who did what, whoever asks and however.
Never asks over the network.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.types import ASGIApp

from hookline.dashboard.context import Dashboard, Visit
from hookline.errors import Conflict, Forbidden, HooklineError, NotFound, TooManyRequests, Unavailable

INVALID: Final = 400


class Answer(NamedTuple):
    """What the API said: a status and, but for 204, a body."""

    status: int
    body: dict[str, Any]

    @property
    def fields(self) -> dict[str, str]:
        """Return what is wrong with which member of the request; empty where nothing is."""
        return {each["field"]: each["message"] for each in self.body.get("validationErrors", ())}

    @property
    def detail(self) -> str:
        """Return the refusal in one sentence."""
        return str(self.body.get("detail", ""))


async def ask(
    visit: Visit,
    dashboard: Dashboard,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    query: Mapping[str, str | int] | None = None,
) -> Answer:
    """Return the answer; raise what a refusal means, but for 400, which belongs beside the form's fields."""
    scope = {"principal": visit.who}
    answer = await _call(visit, dashboard, method, path, body=body, query=query or {}, more=scope)
    if answer.status > INVALID:
        raise _refusal(answer)
    return answer


async def log_in(visit: Visit, dashboard: Dashboard, username: str, password: str) -> Answer:
    """Ask for a token of an account, as nobody yet; return whatever the API says."""
    body = {"username": username, "password": password}
    return await _call(visit, dashboard, "POST", "/v1/login", body=body, query={}, more={})


def _refusal(answer: Answer) -> HooklineError:
    match answer.status:
        case 401 | 403:
            return Forbidden(answer.detail)
        case 404:
            return NotFound(answer.detail)
        case 409:
            return Conflict(answer.detail)
        case 429:
            return TooManyRequests(answer.detail, 1)
        case 503:
            return Unavailable(answer.detail)
        case _:
            raise RuntimeError(f"the API answered {answer.status} to a page of ours")


async def _call(
    visit: Visit,
    dashboard: Dashboard,
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | None,
    query: Mapping[str, str | int],
    more: Mapping[str, Any],
) -> Answer:
    content = b"" if body is None else msgspec.json.encode(body)
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "headers": [] if body is None else [(b"content-type", b"application/json")],
        "client": visit.request.scope.get("client"),
        **more,
    }
    status, said = await exchange(dashboard.api, scope, content)
    return Answer(status, msgspec.json.decode(said) if said else {})


async def exchange(app: ASGIApp, scope: dict[str, Any], content: bytes = b"") -> tuple[int, bytes]:
    """Make one request of an application in process; return status and body."""
    status, chunks = 500, []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(chunks)
