"""Sealing again, with the first key, what an earlier one sealed: so that the earlier one can be let go.

One subscription after the other, each in a transaction of its own: it may be interrupted and repeated at any time, and
servers may be at work meanwhile, as long as they hold both keys.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from hookline import credentials
from hookline.errors import Conflict
from hookline.model import PayloadVersion, Subscription
from hookline.sealing import Keyring, Unsealable
from hookline.storage.protocol import Storage
from hookline.storage.views import SubscriptionQuery

PAGE: Final = 200
TRIES: Final = 5
"""Of one subscription, where somebody changes it at the same moment."""


class Resealed(Struct, frozen=True, kw_only=True):
    """What came of it, in subscriptions."""

    sealed: int
    """Sealed again by this run."""
    current: int
    """Sealed with the first key already."""
    closed: tuple[int, ...]
    """Ids of those that no key at hand opens: they stay as they are."""
    damaged: tuple[int, ...] = ()
    """Ids of those whose rows cannot be read, likewise."""


async def reseal(storage: Storage, keyring: Keyring, progress: Callable[[int], None] = lambda _seen: None) -> Resealed:
    """Walk all subscriptions and seal again what is not current; `progress` is told how many were seen."""
    sealed = current = seen = 0
    closed: list[int] = []
    damaged: list[int] = []
    after_id: int | None = 0
    while after_id is not None:
        query = SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion), after_id=after_id, limit=PAGE)
        page = await storage.subscriptions(query)
        for subscription in page.items:
            try:
                if await _reseal_one(storage, subscription, keyring):
                    sealed += 1
                else:
                    current += 1
            except Unsealable:
                closed.append(subscription.id)
            seen += 1
        damaged += page.unreadable
        progress(seen)
        after_id = page.next_after_id
    return Resealed(sealed=sealed, current=current, closed=tuple(closed), damaged=tuple(damaged))


async def _reseal_one(storage: Storage, subscription: Subscription, keyring: Keyring) -> bool:
    """Return whether there was something to seal again; one that is deleted meanwhile needs nothing."""
    now: Subscription | None = subscription
    for _ in range(TRIES):
        changed = None if now is None else credentials.resealed(now, keyring)
        if changed is None:
            return False
        if await storage.replace_subscription(changed, lift_hold=False):
            return True
        now = await storage.subscription(subscription.id)
    raise Conflict(
        f"Subscription {subscription.id} is changed all the time. Repeat this later: it goes on where it was."
    )
