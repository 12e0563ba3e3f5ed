"""When a receiver that only fails is left alone, and when it is asked again. Pure.

After enough failures in a row the circuit of its subscription opens: one delivery is tried now and then, the others
wait and use up no attempt. A success closes it. Where nothing but failures has come for days, the subscription is
switched off, and its deliveries are held.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

DAY_MS: Final = 86_400_000
FAILURES_TO_OPEN: Final = 20
SPAN_MS_TO_OPEN: Final = 60_000
"""Between the first and the last of them: a burst of parallel attempts into one restart opens nothing."""
PROBE_MS: Final = 30_000
WAITED_MS_MAX: Final = DAY_MS
"""A delivery that has waited so long behind an open circuit goes on by its own schedule: it must end some day."""


class Rules(Struct, frozen=True, kw_only=True):
    """What the operator wants."""

    is_on: bool = True
    deactivate_after_ms: int | None = 5 * DAY_MS
    """Of nothing but failures; None: never."""


RULES: Final = Rules()


class Health(Struct, frozen=True, array_like=True):
    """How a receiver has done lately, as its lane keeps it."""

    failures: int = 0
    """Failed attempts in a row."""
    failing_since: int | None = None
    """When the first of them ended."""
    probe_at: int | None = None
    """When one delivery may be tried; None: the circuit is closed."""


HEALTHY: Final = Health()


class Change(StrEnum):
    """What is worth telling of a change of health, in the names of the operational events."""

    FAILING = "subscription.failing"
    RECOVERED = "subscription.recovered"
    DEACTIVATED = "subscription.deactivated"


DEAD: Final = "delivery.dead"
"""The operational event of a delivery that ended without success."""

REASONS: Final[Mapping[Change, str]] = {
    Change.FAILING: "only failed attempts lately",
    Change.RECOVERED: "an attempt succeeded",
}
"""Of changes that have no reason of their own."""


def after(health: Health, successes: Iterable[bool], now: int, rules: Rules) -> tuple[Health, Change | None]:
    """Return the health after attempts that ended at `now`, in the order in which they did, and what changed by it.

    `DEACTIVATED` asks for the subscription to be switched off.
    """
    changed: Change | None = None
    for success in successes:
        if success:
            changed = Change.RECOVERED if _was_told(health, rules) else changed
            health = HEALTHY
            continue
        since = now if health.failing_since is None else health.failing_since
        health = Health(health.failures + 1, since, health.probe_at)
        if rules.deactivate_after_ms is not None and now - since >= rules.deactivate_after_ms:
            return HEALTHY, Change.DEACTIVATED
        if _opens(health, now, rules):
            health = Health(health.failures, since, now + PROBE_MS)
            changed = Change.FAILING
        elif not rules.is_on and health.failures == FAILURES_TO_OPEN:
            changed = Change.FAILING
    return health, changed


def _opens(health: Health, now: int, rules: Rules) -> bool:
    return (
        rules.is_on
        and health.probe_at is None
        and health.failures >= FAILURES_TO_OPEN
        and health.failing_since is not None
        and now - health.failing_since >= SPAN_MS_TO_OPEN
    )


def _was_told(health: Health, rules: Rules) -> bool:
    """Tell whether somebody was told that the receiver fails; with the circuit off that is all that happens."""
    return health.probe_at is not None or (not rules.is_on and health.failures >= FAILURES_TO_OPEN)
