"""How values of the model are written into columns of text, for every engine alike. Pure."""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from hookline.model import Policies, Recipient, Route, Secret, Subscription
from hookline.storage.protocol import Accepted

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_POLICIES: Final = msgspec.json.Decoder(Policies)
_SECRETS: Final = msgspec.json.Decoder(tuple[Secret, ...])
_ROUTE: Final = msgspec.json.Decoder(Route)
_ANSWER: Final = msgspec.json.Decoder(tuple[Accepted, ...])


class _Attributes(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an event's entries said of a recipient."""

    case_directions: tuple[str, ...] = ()
    partner_company_ids: tuple[int, ...] = ()


_ATTRIBUTES: Final = msgspec.json.Decoder(_Attributes)


def encode(value: object) -> str:
    """Write a value as compact JSON text."""
    return msgspec.json.encode(value).decode()


def names(text: str | None) -> tuple[str, ...] | None:
    """Read event types; None means every ordinary one."""
    return None if text is None else _NAMES.decode(text)


def policies(text: str) -> Policies:
    """Read policies."""
    return _POLICIES.decode(text)


def secrets(text: str) -> tuple[Secret, ...]:
    """Read live secrets, newest first."""
    return _SECRETS.decode(text)


def route(text: str) -> Route:
    """Read a route."""
    return _ROUTE.decode(text)


def answer(text: str) -> tuple[Accepted, ...]:
    """Read the first answer to an idempotency key."""
    return _ANSWER.decode(text)


def attributes(recipient: Recipient) -> str | None:
    """Write what a recipient has beside its company; None where it has nothing."""
    if not (recipient.case_directions or recipient.partner_company_ids):
        return None
    return encode(_Attributes(recipient.case_directions, recipient.partner_company_ids))


def recipient(company_id: int, company_revision: int, text: str | None) -> Recipient:
    """Read a recipient."""
    said = _Attributes() if text is None else _ATTRIBUTES.decode(text)
    return Recipient(
        company_id=company_id,
        company_revision=company_revision,
        case_directions=said.case_directions,
        partner_company_ids=said.partner_company_ids,
    )


def route_of(subscription: Subscription) -> Route:
    """Tell what matching needs to know of a subscription."""
    return Route(
        subscription_id=subscription.id,
        company_id=subscription.company_id,
        payload_version=subscription.payload_version,
        event_types=subscription.event_types,
    )


def host_of(callback_url: str) -> str:
    """Return lower-case host and port of a callback URL: what the host cap counts."""
    parts = urlsplit(callback_url)
    return f"{(parts.hostname or '').lower()}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)}"
