"""Ask receivers whether they want deliveries, where a subscription says so: no stranger's server is made to listen.

The CloudEvents web hook handshake ("HTTP 1.1 Web Hooks for Event Delivery" 1.0.1, section 4): an OPTIONS request that
names who would send, answered by who may. Until it is granted the subscription's lane stays closed, so nothing here is
on the path of a delivery. What is due stands in the database: whoever stops in the middle asks again, later.
"""

import asyncio
import logging
import re
from typing import Final

from msgspec import Struct, structs

from hookline.dispatch import Targets, Unserved
from hookline.egress.oauth import GrantingSender
from hookline.egress.sender import Call
from hookline.model import Failed, Outcome, Subscription
from hookline.storage.protocol import Storage

log = logging.getLogger("hookline.validating")

WAIT_MS: Final = 10_000
"""Before a receiver is asked again; doubled each time, up to 43 minutes (`VALIDATION_DOUBLINGS_MAX`)."""
HANDSHAKES_MAX: Final = 50
"""Of one step, all at once."""
HANDSHAKE_SECONDS: Final = 5
"""A receiver that is not there holds up the next step no longer than this."""
ANYBODY: Final = "*"
"""Allows every origin, or any rate."""
MINUTE_SECONDS: Final = 60

_RATE: Final = re.compile(r"[1-9][0-9]{0,8}")


class Granted(Struct, frozen=True):
    """The receiver wants our deliveries."""

    allowed_per_second: float | None
    """At most so many; None: as many as there are."""


class Withheld(Struct, frozen=True):
    """It does not, or does not yet."""

    reason: str


class Validator:
    """Make the handshakes that are due."""

    def __init__(self, storage: Storage, sender: GrantingSender, targets: Targets, origin: str) -> None:
        self._storage = storage
        self._sender = sender
        self._targets = targets
        self._origin = origin

    async def step(self) -> None:
        """Ask every receiver that is due, and note who grants; raises `Unavailable` where the database is away."""
        due = await self._storage.take_validations(WAIT_MS, HANDSHAKES_MAX)
        answers = await asyncio.gather(*[self._ask(subscription) for subscription in due])
        for subscription, answer in zip(due, answers, strict=True):
            if isinstance(answer, Withheld):
                log.info("subscription %d is not validated: %s", subscription.id, answer.reason)
            elif await self._storage.grant_validation(
                subscription.id, subscription.callback_url, allowed_per_second=answer.allowed_per_second
            ):
                log.info("subscription %d is validated", subscription.id)

    async def _ask(self, subscription: Subscription) -> Granted | Withheld:
        try:
            target = self._targets.made_of(subscription)
        except Unserved as error:
            return Withheld(str(error))
        call = target.handshake(handshake_headers(self._origin, subscription.policies.rate_per_second))
        if isinstance(call, Failed):
            return Withheld(call.detail)
        return judge(await self._sender.send(_in_time(call)), self._origin)


def handshake_headers(origin: str, rate_per_second: int | None) -> tuple[tuple[str, str], ...]:
    """Return what the request says beside where it goes; a rate is told in requests a minute."""
    rate = () if rate_per_second is None else (("WebHook-Request-Rate", str(rate_per_second * MINUTE_SECONDS)),)
    return (("WebHook-Request-Origin", origin), *rate)


def judge(outcome: Outcome, origin: str) -> Granted | Withheld:
    """Tell whether the receiver wants deliveries from `origin`, and how many."""
    if isinstance(outcome, Failed):
        return Withheld(outcome.detail)
    if not 200 <= outcome.status <= 299:
        return Withheld(f"The receiver answered {outcome.status}.")
    allowed = _field(outcome.head, b"WebHook-Allowed-Origin")
    if allowed is None or allowed.lower() not in {ANYBODY, origin.lower()}:
        return Withheld(f"The receiver's answer lacks `WebHook-Allowed-Origin: {origin}`.")
    rate = _field(outcome.head, b"WebHook-Allowed-Rate")
    if rate is None or rate == ANYBODY:
        return Granted(None)
    if not _RATE.fullmatch(rate):
        return Withheld("The receiver's answer has a `WebHook-Allowed-Rate` that is neither a number nor `*`.")
    return Granted(int(rate) / MINUTE_SECONDS)


def _field(head: bytes, name: bytes) -> str | None:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1].strip().decode("latin-1") if found else None


def _in_time(call: Call) -> Call:
    return structs.replace(call, timeout_seconds=min(call.timeout_seconds, HANDSHAKE_SECONDS))
