"""How values of the model are written into columns of text, for every engine alike. Pure."""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from hookline.model import Entry, Policies, Recipient, Route, Secret, Subscription
from hookline.storage.publications import Accepted

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_POLICIES: Final = msgspec.json.Decoder(Policies)
_SECRETS: Final = msgspec.json.Decoder(tuple[Secret, ...])
_ROUTE: Final = msgspec.json.Decoder(Route)
_ANSWER: Final = msgspec.json.Decoder(tuple[Accepted, ...])


_ENTRIES: Final = msgspec.json.Decoder(tuple[Entry, ...])


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


def entries(recipient: Recipient) -> str | None:
    """Write what a recipient's entries say beside the company; None where they say nothing."""
    return encode(recipient.entries) if recipient.entries else None


def entries_of(text: str | None) -> tuple[Entry, ...]:
    """Read what a recipient's entries say."""
    return () if text is None else _ENTRIES.decode(text)


def recipient(company_id: int, company_revision: int, text: str | None) -> Recipient:
    """Read a recipient."""
    return Recipient(
        company_id=company_id,
        company_revision=company_revision,
        entries=entries_of(text),
    )


def route_of(subscription: Subscription) -> Route:
    """Tell what matching needs to know of a subscription."""
    policies = subscription.policies
    return Route(
        subscription_id=subscription.id,
        company_id=subscription.company_id,
        payload_version=subscription.payload_version,
        event_types=subscription.event_types,
        case_directions=policies.case_directions,
        partner_company_ids=policies.partner_company_ids,
        filter=policies.filter,
    )


def validation_url(subscription: Subscription) -> str | None:
    """Return the callback URL where its receiver must grant it before anything is sent; None where it need not."""
    return subscription.callback_url if subscription.policies.validation else None


def host_of(callback_url: str) -> str:
    """Return lower-case host and port of a callback URL: what the host cap counts."""
    parts = urlsplit(callback_url)
    return f"{(parts.hostname or '').lower()}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)}"
