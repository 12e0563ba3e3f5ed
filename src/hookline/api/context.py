"""What every handler may use: the dependencies of the API in one value, and the shape of a handler.

Constructs nothing; `wiring` fills it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from hookline.accounts import Accounts
from hookline.api.readiness import Readiness
from hookline.api.turns import Turns
from hookline.authentication import Authenticator
from hookline.clock import Clock
from hookline.config import Settings
from hookline.egress.url import UrlRules
from hookline.links import Links
from hookline.publishing import Publisher
from hookline.sealing import Keyring
from hookline.storage.protocol import Storage
from hookline.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The dependencies of all handlers."""

    storage: Storage
    publisher: Publisher
    accounts: Accounts
    links: Links
    authenticator: Authenticator
    readiness: Readiness
    keyring: Keyring
    clock: Clock
    random_bytes: Callable[[int], bytes]
    settings: Settings
    url_rules: UrlRules
    telemetry: Telemetry
    wake: Callable[[], None]
    """Hint the engine that something is due; may be lost."""
    turns: Turns = field(default_factory=Turns)
    """Of those who change one subscription, or one company."""


Handler = Callable[[Request, Api], Awaitable[Response]]
"""Answers one route. Raises `errors.HooklineError` for what the caller did wrong."""
