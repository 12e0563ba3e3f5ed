"""What ends of attempts mean for the receiver: its lane's slots, hold and circuit, and whether it stays subscribed."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hookline import circuit, fairness
from hookline.circuit import Health
from hookline.lifecycle import GiveUp, Succeed
from hookline.model import InactiveReason
from hookline.storage.claims import Settlement
from hookline.storage.postgres import lanes
from hookline.storage.postgres.database import Transaction

_DEACTIVATE: Final = """
UPDATE subscriptions AS s SET active = false, inactive_reason = $4, inactive_at = $3, updated_at = $3,
  revision = s.revision + 1
FROM unnest($2::integer[], $5::bigint[]) AS asked (id, revision)
WHERE s.bucket = any($1::smallint[]) AND s.id = any($2) AND s.id = asked.id
  AND s.revision = coalesce(asked.revision, s.revision) AND s.active AND s.deleted_at IS NULL
RETURNING s.id"""
_CLOSE: Final = """
UPDATE lanes SET is_open = false, validate_at = NULL
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])"""


class Change(Struct, frozen=True):
    """What is worth telling of a receiver, and the delivery that it came of."""

    event_type: str
    reason: str
    since: int
    delivery_id: int


def holds(transaction: Transaction, settlements: Iterable[Settlement]) -> Mapping[int, int]:
    """Return until when the settlements want their subscriptions held."""
    found: dict[int, int] = {}
    for settlement in settlements:
        if settlement.hold_ms is not None:
            subscription_id = settlement.fence.subscription_id
            found[subscription_id] = max(found.get(subscription_id, 0), transaction.now + settlement.hold_ms)
    return found


async def judge(
    transaction: Transaction,
    settlements: Collection[Settlement],
    hold_untils: Mapping[int, int],
    rules: circuit.Rules,
) -> Sequence[Change]:
    """Adjust the lanes of attempts that have just ended, note when each is due next, and switch off the hopeless."""
    gone = [each for each in settlements if isinstance(each.verdict, GiveUp) and each.verdict.gone]
    off = await _deactivate(transaction, InactiveReason.GONE, gone)
    ended: dict[int, list[Settlement]] = defaultdict(list)
    for settlement in settlements:
        ended[settlement.fence.subscription_id].append(settlement)
    told, hopeless, adjusted = [], [], []
    for lane, still_in_flight in await lanes.lock_counted(transaction, ended):
        its_own = ended[lane.subscription_id]
        health, change = _health_after(lane.health, its_own, transaction.now, rules)
        if change is circuit.Change.DEACTIVATED:
            hopeless.append(its_own[-1])
        elif change is not None:
            since = transaction.wall - (transaction.now - (health.failing_since or transaction.now))
            told.append(Change(change, circuit.REASONS[change], since, its_own[-1].fence.delivery_id))
        slots = fairness.slots_after(
            lane.slots,
            lane.slots_max,
            still_in_flight + len(its_own),
            Counter(each.answered for each in its_own)[True],
            Counter(each.timed_out for each in its_own)[True],
        )
        hold_until = max(lane.hold_until or 0, hold_untils.get(lane.subscription_id, 0)) or None
        adjusted.append(lane.with_health(health).changed(slots=slots, hold_until=hold_until))
    await lanes.write(transaction, adjusted)
    # These lanes are locked already, as everybody else does last: once in days, and a deadlock is only run again.
    off += await _deactivate(transaction, InactiveReason.FAILING, hopeless)
    if off:
        its_ids = [each.fence.subscription_id for each, _ in off]
        await transaction.connection.execute(_CLOSE, transaction.buckets, its_ids)
    return [
        *told,
        *[Change(circuit.Change.DEACTIVATED, reason, transaction.wall, each.fence.delivery_id) for each, reason in off],
    ]


def _health_after(
    health: Health, ended: Sequence[Settlement], now: int, rules: circuit.Rules
) -> tuple[Health, circuit.Change | None]:
    successes = [isinstance(settlement.verdict, Succeed) for settlement in ended]
    return (health, None) if all(successes) and not health.failures else circuit.after(health, successes, now, rules)


async def _deactivate(
    transaction: Transaction, reason: InactiveReason, causes: Sequence[Settlement]
) -> list[tuple[Settlement, InactiveReason]]:
    """Switch off the subscriptions of these settlements; return one for each that was.

    One that was changed since a receiver said that it is gone stays: its receiver was not asked.
    """
    if not causes:
        return []
    by_subscription = {cause.fence.subscription_id: cause for cause in causes}
    is_of_revision = reason is InactiveReason.GONE
    rows = await transaction.connection.fetch(
        _DEACTIVATE,
        transaction.buckets,
        list(by_subscription),
        transaction.wall,
        reason,
        [each.subscription_revision if is_of_revision else None for each in by_subscription.values()],
    )
    return [(by_subscription[row[0]], reason) for row in rows]
