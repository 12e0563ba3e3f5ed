"""A ping: a real event for one subscription alone, to see its whole way work before anything depends on it.

It goes whatever types the subscription asks for, and is stored, sent, retried and logged like any other.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from hookline import matching, tokens
from hookline.errors import Conflict, Unavailable
from hookline.model import PayloadVersion, Recipient, Subscription
from hookline.storage.protocol import Storage
from hookline.storage.publications import Catalogue, NewDelivery, NewEvent, Publication, Published

EVENT_TYPE: Final = "webhook.ping"
TOKEN_BYTES: Final = 8
"""Of the `requestToken`: as long as receivers know it from other events."""
TRIES: Final = 5
"""A company or a catalogue that changes meanwhile costs one more."""


async def ping(
    storage: Storage,
    subscription: Subscription,
    *,
    event_source: str,
    now: int,
    random_bytes: Callable[[int], bytes],
) -> str | None:
    """Make a ping durable and return its event's id; None where the company is gone.

    Raises `Conflict` where the catalogue gives pings no name that this subscription could see.
    """
    event_id = tokens.new_event_id(now, random_bytes)
    data = msgspec.json.encode({"requestToken": random_bytes(TOKEN_BYTES).hex()})
    for _ in range(TRIES):
        catalogue = await storage.catalogue()
        recipients = await _recipients(storage, subscription.company_id)
        if recipients is None:
            return None
        event = NewEvent(
            id=event_id,
            event_type=EVENT_TYPE,
            data=data,
            occurred_at=None,
            fingerprint=None,
            recipients=recipients,
            deliveries=(
                NewDelivery(
                    subscription_id=subscription.id,
                    company_id=subscription.company_id,
                    payload_version=subscription.payload_version,
                    type_name=_name(catalogue, subscription.payload_version),
                    source=event_source if subscription.payload_version is PayloadVersion.V2 else None,
                ),
            ),
        )
        result = await storage.publish(Publication(events=(event,), catalogue_revision=catalogue.revision))
        if isinstance(result, Published):
            return event_id
    raise Unavailable("Subscriptions changed too quickly to send a ping. Nothing was stored; try again.")


def _name(catalogue: Catalogue, shape: PayloadVersion) -> str:
    event_type = catalogue.types.get(EVENT_TYPE)
    name = None if event_type is None else matching.seen_name(event_type, shape)
    if name is None:
        raise Conflict(
            f"The catalogue gives {EVENT_TYPE} no name for payload version {shape}, so its subscriptions never get it. "
            "Publish an event of an ordinary type to try this one."
        )
    return name


async def _recipients(storage: Storage, company_id: int) -> tuple[Recipient, ...] | None:
    """Return whom the event is for."""
    found = (await storage.routes([company_id])).get(company_id)
    return None if found is None else (Recipient(company_id=company_id, company_revision=found.revision),)
