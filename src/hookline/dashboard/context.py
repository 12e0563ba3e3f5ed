"""What every page may use: the dependencies of the dashboard in one value, and what is known of one request.

Constructs nothing; `wiring` fills it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from hookline.authentication import Authenticator, Principal
from hookline.clock import Clock
from hookline.config import Settings
from hookline.dashboard.assets import Assets
from hookline.dashboard.pages import Pages
from hookline.dashboard.sessions import Session, Sessions
from hookline.links import Links
from hookline.model import Role
from hookline.storage.protocol import Storage
from hookline.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The dependencies of all pages."""

    storage: Storage
    authenticator: Authenticator
    sessions: Sessions
    links: Links
    assets: Assets
    pages: Pages
    clock: Clock
    random_bytes: Callable[[int], bytes]
    settings: Settings
    telemetry: Telemetry
    api: ASGIApp
    """The API: whatever a page changes, it asks this to change, as anybody would."""
    is_draining: Callable[[], bool]


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request: who asks, with what form, and what the frame around the page needs."""

    request: Request
    session: Session
    principal: Principal | None
    form: dict[str, list[str]] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    """To set with the answer."""

    @property
    def who(self) -> Principal:
        """Return who asks; only on pages that need somebody."""
        if self.principal is None:
            raise RuntimeError("this page is for those who have signed in")
        return self.principal

    @property
    def signed_in_as(self) -> str:
        """Say with what somebody has signed in: `token ops`, `account ann`, `portal`."""
        if self.session.is_portal:
            return self.session.name
        return f"{'token' if self.who.account_id is None else 'account'} {self.session.name}"

    @property
    def is_operator(self) -> bool:
        """Tell whether the operator's face is shown."""
        return self.who.role is Role.OPERATOR

    @property
    def may_write(self) -> bool:
        """Tell whether buttons that change something are shown."""
        return self.who.role in {Role.OPERATOR, Role.MEMBER}

    @property
    def company_id(self) -> int | None:
        """Return the company that all is narrowed to; None: of all companies."""
        return self.who.company_id

    def query(self, name: str) -> str:
        """Return a query parameter without white space around it, empty where absent."""
        return self.request.query_params.get(name, "").strip()

    def said(self, name: str) -> str:
        """Return a field of the form, empty where absent."""
        return self.form.get(name, [""])[0].strip()

    def part(self, name: str) -> str:
        """Return one segment of the path."""
        text: str = self.request.scope["path_params"][name]
        return text


Page = Callable[[Visit, Dashboard], Awaitable[Response]]
"""Answers one route. Raises `errors.HooklineError` for what the visitor did wrong."""

Facts = dict[str, Any]
"""What a template is given."""
