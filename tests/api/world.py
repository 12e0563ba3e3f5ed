"""What the API's tests stand on: a clock that is set by hand, a storage that can be told to fail, a few companies."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hookline import config
from hookline.accounts import Accounts
from hookline.api.context import Api
from hookline.api.readiness import Readiness
from hookline.authentication import Authenticator
from hookline.clock import Clock
from hookline.config import Settings
from hookline.egress.url import UrlRules
from hookline.links import Links
from hookline.publishing import Publisher
from hookline.quotas import quotas_of
from hookline.sealing import Keyring
from hookline.storage.protocol import Storage
from hookline.telemetry import Telemetry

OPERATOR_TOKEN = "an operator token of 32 visible ones".replace(" ", "-")
SECRET_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


class Dial:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_795_000_000_000

    def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    def wall_ms(self) -> int:
        return self.now_ms

    def schedule_ms(self) -> int:
        return self.now_ms

    def monotonic_seconds(self) -> float:
        return self.now_ms / 1000


class Faults:
    """The real storage behind a switch: while `failing` is set, every verb but open and close raises it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.failing: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._storage, name)
        if self.failing is None or name in {"open", "close"}:
            return verb
        failing = self.failing

        async def fail(*_: Any, **__: Any) -> None:
            raise failing

        return fail


def settings_for(variables: dict[str, str]) -> Settings:
    return config.from_environment(
        {"HOOKLINE_SECRET_KEY": SECRET_KEY, "HOOKLINE_OPERATOR_TOKEN": OPERATOR_TOKEN, **variables}
    )


@dataclass(frozen=True)
class World:
    """Two companies, and a token of each role in the first."""

    company: int
    other_company: int
    tokens: dict[str, str]
    other_member: str

    @classmethod
    def build(cls, call: Callable[..., Any]) -> "World":
        company, other = (call("POST", "/v1/companies", {"name": name}).json["id"] for name in ("Acme", "Other"))

        def token(path: str, role: str) -> str:
            text: str = call("POST", path, {"name": role, "role": role}).json["token"]
            return text

        return cls(
            company=company,
            other_company=other,
            tokens={
                "operator": token("/v1/tokens", "operator"),
                "publisher": token("/v1/tokens", "publisher"),
                "member": token(f"/v1/companies/{company}/tokens", "member"),
                "viewer": token(f"/v1/companies/{company}/tokens", "viewer"),
            },
            other_member=token(f"/v1/companies/{other}/tokens", "member"),
        )


def make_api(storage: Storage, clock: Clock, settings: Settings, is_draining: Callable[[], bool]) -> Api:
    """Wire the API as `wiring` does, with nobody to wake."""
    return Api(
        storage=storage,
        publisher=Publisher(
            storage=storage,
            clock=clock,
            random_bytes=secrets.token_bytes,
            event_source="test",
            quotas=quotas_of(settings, storage, clock),
        ),
        accounts=Accounts(storage=storage, clock=clock, random_bytes=secrets.token_bytes),
        links=Links(storage=storage, clock=clock, random_bytes=secrets.token_bytes, public_url=settings.public_url),
        authenticator=Authenticator(storage, clock, [settings.operator_token or ""]),
        readiness=Readiness(storage, clock, is_draining),
        keyring=Keyring(settings.secret_keys),
        clock=clock,
        random_bytes=secrets.token_bytes,
        settings=settings,
        url_rules=UrlRules(),
        telemetry=Telemetry(clock=clock),
        wake=lambda: None,
    )
