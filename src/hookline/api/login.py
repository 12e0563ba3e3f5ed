"""Where whoever has no token comes for one: by name and password, or as an OAuth 2.0 client (RFC 6749, 4.4).

Every refusal of the token endpoint is a problem like any other, with the members `error` and `error_description` that
OAuth clients read beside it.
"""

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from hookline import errors
from hookline.accounts import TOKEN_SECONDS
from hookline.api import problem
from hookline.api.answers import json_response
from hookline.api.context import Api
from hookline.api.reading import read_form, read_json, shown_path
from hookline.errors import HooklineError, Invalid, WrongCredentials

GRANT: Final = "client_credentials"
BASIC: Final = 'Basic realm="hookline"'
_NOT_DESCRIBING: Final = re.compile(r"[^ !#-\[\]-~]")
"""What no `error_description` may hold (RFC 6749, 5.2)."""
NO_CACHE: Final = {"Pragma": "no-cache"}
"""RFC 6749, 5.1, beside the `Cache-Control: no-store` that every answer has."""


class Login(Struct, kw_only=True):
    """The body of `POST /v1/login`."""

    username: str
    password: str


class UnsupportedGrant(Invalid):
    """A grant type that is not `client_credentials`."""


async def log_in(request: Request, api: Api) -> Response:
    """Answer a token for a name and its password."""
    body = await read_json(request, Login)
    token = await api.accounts.log_in(body.username, body.password, _address(request))
    return json_response({"accessToken": token, "tokenType": "Bearer", "expiresIn": TOKEN_SECONDS})


async def token(request: Request, api: Api) -> Response:
    """Answer a token for a client, whose id and secret stand in the form or in the header."""
    try:
        return json_response(await _token(request, api), headers=NO_CACHE)
    except HooklineError as error:
        said = {"error": _oauth_error(error), "error_description": _NOT_DESCRIBING.sub("'", str(error))}
        return problem.respond(error, shown_path(request.scope), said)


async def _token(request: Request, api: Api) -> dict[str, object]:
    form = await read_form(request)
    client_id, secret = _credentials(request, form)
    grant = form.get("grant_type")
    if grant is None:
        raise Invalid.field("grant_type", f"is required: {GRANT}.")
    if grant != GRANT:
        raise UnsupportedGrant.field("grant_type", f"expected {GRANT}.")
    try:
        access_token = await api.accounts.token_for_client(client_id, secret, _address(request))
    except WrongCredentials:
        raise WrongCredentials(BASIC) from None
    return {"access_token": access_token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Return client id and secret; a request that shows them in both ways is refused (RFC 6749, 2.3)."""
    headers = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not headers:
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form or len(headers) > 1:
        raise Invalid("Show client id and secret once: in the form, or as HTTP Basic.")
    client_id, secret = _basic(headers[0])
    if form.get("client_id", client_id) != client_id:
        raise Invalid.field("client_id", "is another one than that of the header.")
    return client_id, secret


def _basic(header: bytes) -> tuple[str, str]:
    """Read `Basic base64(id:secret)`, each of the two form-encoded (RFC 6749, 2.3.1)."""
    scheme, _, encoded = header.partition(b" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != b"basic" or not colon:
        raise WrongCredentials(BASIC)
    return unquote_plus(client_id), unquote_plus(secret)


def _address(request: Request) -> str:
    """Return where the request comes from; behind trusted proxies, what they say."""
    client = request.scope.get("client")
    return client[0] if client else ""


def _oauth_error(error: HooklineError) -> str:
    """Name a refusal as RFC 6749 does, in 5.2 and, for what is our fault, 4.1.2.1."""
    match error:
        case WrongCredentials():
            return "invalid_client"
        case UnsupportedGrant():
            return "unsupported_grant_type"
        case errors.TooManyRequests() | errors.Unavailable():
            return "temporarily_unavailable"
        case _:
            return "invalid_request"
