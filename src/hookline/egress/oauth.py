"""Attempts that prove themselves by an access token: fetched where it is needed, kept while it lasts.

OAuth 2.0 client credentials, RFC 6749 4.4. The token request goes through the same sender as the attempt, so the same
rules judge where it leads, and it takes its time from the attempt's. A token is kept for one revision of its
subscription and in memory only. No text that leaves here holds a secret or a token.
"""

import asyncio
import base64
import re
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import Struct, structs

from hookline.clock import Clock
from hookline.egress.faults import BLOCKED
from hookline.egress.sender import Call, Grant, Sender
from hookline.model import Answered, ClientAuthentication, ErrorClass, Failed, Outcome, Timings

LIFETIME_SECONDS: Final = 300.0
"""Of a token that does not say how long it lasts."""
LIFETIME_SECONDS_MAX: Final = 86_400.0
MARGIN_SECONDS: Final = 30.0
"""A token is left this long before it ends, but never more than a tenth of its life: it has a way to go yet."""
TOKENS_MAX: Final = 10_000
"""Kept at once: as many as there are targets. Past it all are forgotten and asked for again."""

_TOKEN: Final = re.compile(r"[!-~]+")
_CODES: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant"),
        *("unauthorized_client", "unsupported_grant_type", "invalid_scope"),
    }
)
"""RFC 6749, 5.2: all that an error may say of itself. What else stands there could be anything, a secret too."""


class _Issued(Struct):
    """A token response: RFC 6749, 5.1."""

    access_token: str
    token_type: str
    expires_in: Any = None


class _Token(Struct, frozen=True):
    """A token at hand."""

    grant: Grant
    text: str
    good_until: float


class _Refused(Struct, frozen=True):
    """Why there is no token."""

    detail: str
    is_blocked: bool = False


_read: Final = msgspec.json.Decoder(_Issued).decode
_read_error: Final = msgspec.json.Decoder(dict[str, Any]).decode


class GrantingSender:
    """Make attempts; those that carry a grant get a token first. Use it inside one event loop."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._tokens: dict[int, _Token] = {}
        self._asking: dict[Grant, asyncio.Future[_Token | _Refused]] = {}

    async def send(self, call: Call) -> Outcome:
        """Make one attempt, as `Sender.send`; one that gets no token is `Failed` with `oauth`.

        Attempts that need a token at the same time share one request for it. A 401 from the receiver drops the token
        and is an answer like any other: the next attempt asks anew.
        """
        if call.grant is None:
            return await self._sender.send(call)
        begun_at = self._clock.monotonic_seconds()
        token = await self._token(call.grant, call)
        spent_seconds = self._clock.monotonic_seconds() - begun_at
        if isinstance(token, _Refused):
            return _failed(token, spent_seconds)
        if spent_seconds >= call.timeout_seconds:
            return _failed(_too_slow(call), spent_seconds)
        outcome = await self._sender.send(
            structs.replace(
                call,
                grant=None,
                headers=(*call.headers, ("Authorization", f"Bearer {token.text}")),
                spent_seconds=spent_seconds,
            )
        )
        if isinstance(outcome, Answered) and outcome.status == 401:
            self._drop(token)
        return outcome

    async def close(self) -> None:
        """Forget all tokens and close the connections."""
        self._tokens.clear()
        await self._sender.close()

    # tokens

    async def _token(self, grant: Grant, call: Call) -> _Token | _Refused:
        """Return a token that is good now; whoever comes first asks, the others wait for what it brings."""
        deadline = self._clock.monotonic_seconds() + call.timeout_seconds
        while True:
            held = self._tokens.get(grant.subscription_id)
            if held is not None and held.grant == grant and self._clock.monotonic_seconds() < held.good_until:
                return held
            asked = self._asking.get(grant)
            if asked is None:
                return await self._fetch(grant, call)
            await asyncio.wait((asked,), timeout=deadline - self._clock.monotonic_seconds())
            if not asked.done():
                return _too_slow(call)
            if not asked.cancelled():
                return asked.result()
            # Whoever asked was cancelled; somebody else of those who wait asks now.

    async def _fetch(self, grant: Grant, call: Call) -> _Token | _Refused:
        answer = self._asking[grant] = asyncio.get_running_loop().create_future()
        try:
            token = await self._ask(grant, call)
            if isinstance(token, _Token):
                self._keep(token)
            answer.set_result(token)
            return token
        finally:
            del self._asking[grant]
            if not answer.done():
                answer.cancel()

    async def _ask(self, grant: Grant, call: Call) -> _Token | _Refused:
        try:
            async with asyncio.timeout(call.timeout_seconds):  # over the body too
                outcome = await self._sender.send(_request(grant, call))
        except TimeoutError:
            return _too_slow(call)
        if isinstance(outcome, Failed):
            return _unreached(outcome, call)
        return self._issued(grant, outcome)

    def _issued(self, grant: Grant, answer: Answered) -> _Token | _Refused:
        if answer.status != 200:
            return _Refused(f"The token server answered {answer.status}{_code(answer.body)}.")
        try:
            issued = _read(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _Refused(
                "The token server's answer is not a token response: expected a JSON object of at most 16 KiB with "
                "`access_token` and `token_type`."
            )
        if issued.token_type.lower() != "bearer":
            return _Refused("The token server issued a token of another type than Bearer.")
        if not _TOKEN.fullmatch(issued.access_token):
            return _Refused("The token server issued a token that is not visible ASCII.")
        lives_seconds = _lifetime_seconds(issued.expires_in)
        lives_seconds -= min(MARGIN_SECONDS, lives_seconds / 10)
        return _Token(grant, issued.access_token, self._clock.monotonic_seconds() + lives_seconds)

    def _keep(self, token: _Token) -> None:
        if len(self._tokens) >= TOKENS_MAX:
            self._tokens.clear()
        self._tokens[token.grant.subscription_id] = token

    def _drop(self, token: _Token) -> None:
        """Forget a token, unless a newer one is there already."""
        if self._tokens.get(token.grant.subscription_id) is token:
            del self._tokens[token.grant.subscription_id]


def _request(grant: Grant, call: Call) -> Call:
    """Return the token request: RFC 6749, 4.4.2 and 2.3.1."""
    form = {"grant_type": "client_credentials"}
    if grant.scope is not None:
        form["scope"] = grant.scope
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    headers += [each for each in call.headers if each[0] == "User-Agent"]
    if grant.authentication is ClientAuthentication.CLIENT_SECRET_POST:
        form |= {"client_id": grant.client_id, "client_secret": grant.client_secret}
    else:
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    return Call(
        company_id=call.company_id,
        url=grant.token_url,
        headers=tuple(headers),
        body=urlencode(form).encode(),
        timeout_seconds=call.timeout_seconds,
    )


def _lifetime_seconds(said: object) -> float:
    """Read `expires_in`; some servers write the number as a string."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 20:
        said = int(said)
    if isinstance(said, int | float) and not isinstance(said, bool):
        return min(max(float(said), 0.0), LIFETIME_SECONDS_MAX)
    return LIFETIME_SECONDS


def _code(body: bytes) -> str:
    """Return the error code of a refusal, with a blank and in brackets; nothing where it gives none that is known."""
    try:
        code = _read_error(body).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return f" ({code})" if isinstance(code, str) and code in _CODES else ""


def _too_slow(call: Call) -> _Refused:
    return _Refused(f"The token server did not answer within the {call.timeout_seconds:g} s of the attempt.")


def _unreached(outcome: Failed, call: Call) -> _Refused:
    """Say of the token server what was said of a receiver."""
    if outcome.error is ErrorClass.TIMEOUT:
        return _too_slow(call)
    if outcome.detail == BLOCKED.detail:
        return _Refused("The token URL leads to an address that Hookline never calls.", is_blocked=True)
    told = outcome.detail.replace("The receiver", "The token server").replace("the receiver", "the token server")
    return _Refused(f"No access token. {told}")


def _failed(refused: _Refused, spent_seconds: float) -> Failed:
    return Failed(
        error=ErrorClass.OAUTH,
        detail=refused.detail,
        duration_ms=0 if refused.is_blocked else int(spent_seconds * 1000),
        timings=Timings(),
    )
