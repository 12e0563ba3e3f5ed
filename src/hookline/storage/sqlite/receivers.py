"""What ends of attempts mean for the receiver: its lane's slots, hold and circuit, and whether it stays subscribed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from hookline import circuit, fairness
from hookline.circuit import Health
from hookline.lifecycle import GiveUp, Succeed
from hookline.model import InactiveReason
from hookline.storage import records
from hookline.storage.claims import Settlement
from hookline.storage.sqlite import notices
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

_ADJUST: Final = Bulk(
    "UPDATE lanes SET slots = coalesce(g.column2, slots),"
    " hold_until = coalesce(max(coalesce(hold_until, 0), g.column3), hold_until)"
    " FROM (VALUES {rows}) AS g WHERE g.column1 IS NOT NULL AND lanes.subscription_id = g.column1",
    columns=3,
)
_FOLLOW: Final = Bulk(
    "UPDATE lanes SET failed_in_a_row = g.column2, failing_since = g.column3, probe_at = g.column4"
    " FROM (VALUES {rows}) AS g WHERE g.column1 IS NOT NULL AND lanes.subscription_id = g.column1",
    columns=4,
)
_DEACTIVATE: Final = (
    "UPDATE subscriptions SET active = 0, inactive_reason = ?2, inactive_at = ?1, updated_at = ?1,"
    " revision = subscriptions.revision + 1"
    " FROM (SELECT value ->> 0 AS id, value ->> 1 AS revision FROM json_each(?3)) AS asked"
    " WHERE subscriptions.id = asked.id AND subscriptions.revision = coalesce(asked.revision, subscriptions.revision)"
    " AND active = 1 AND deleted_at IS NULL RETURNING subscriptions.id"
)
_CLOSE: Final = (
    "UPDATE lanes SET is_open = 0, validate_at = NULL WHERE subscription_id IN (SELECT value FROM json_each(?1))"
)


class LaneState(NamedTuple):
    """A lane as it was before the attempts ended."""

    subscription_id: int
    is_deleted: int
    """Whether its subscription is."""
    slots: int
    slots_max: int
    hold_until: int | None
    in_flight: int
    health: Health


def holds(transaction: Transaction, settlements: Sequence[Settlement]) -> Mapping[int, int]:
    """Return until when the settlements want their subscriptions held."""
    found: dict[int, int] = {}
    for settlement in settlements:
        if settlement.hold_ms is not None:
            subscription_id = settlement.fence.subscription_id
            found[subscription_id] = max(found.get(subscription_id, 0), transaction.now + settlement.hold_ms)
    return found


def judge(
    transaction: Transaction,
    its_lanes: Mapping[int, LaneState],
    settlements: Sequence[Settlement],
    hold_untils: Mapping[int, int],
    rules: circuit.Rules,
) -> None:
    """Adjust the lanes of ended attempts, and switch off who is gone or only fails; most ends change nothing."""
    _adjust(transaction, its_lanes, settlements, hold_untils)
    gone = [each for each in settlements if isinstance(each.verdict, GiveUp) and each.verdict.gone]
    _deactivate(transaction, InactiveReason.GONE, gone)
    _follow_health(transaction, its_lanes, settlements, rules)


def _adjust(
    transaction: Transaction,
    its_lanes: Mapping[int, LaneState],
    settlements: Sequence[Settlement],
    hold_untils: Mapping[int, int],
) -> None:
    """Grow or halve the lanes' slots and lengthen their holds."""
    answers, timeouts = Counter[int](), Counter[int]()
    for settlement in settlements:
        subscription_id = settlement.fence.subscription_id
        answers[subscription_id] += settlement.answered
        timeouts[subscription_id] += settlement.timed_out
    rows = []
    for subscription_id in answers:
        lane = its_lanes[subscription_id]
        slots = fairness.slots_after(
            lane.slots, lane.slots_max, lane.in_flight, answers[subscription_id], timeouts[subscription_id]
        )
        if slots != lane.slots or subscription_id in hold_untils:
            rows.append((subscription_id, slots, hold_untils.get(subscription_id)))
    _ADJUST.run(transaction, rows)


def _follow_health(
    transaction: Transaction,
    its_lanes: Mapping[int, LaneState],
    settlements: Sequence[Settlement],
    rules: circuit.Rules,
) -> None:
    """Open and close circuits of receivers that fail, or did until now, and switch off the hopeless."""
    ended: dict[int, list[Settlement]] = {}
    for settlement in settlements:
        lane = its_lanes[settlement.fence.subscription_id]
        was_well = not lane.health.failures and lane.subscription_id not in ended
        if not lane.is_deleted and not (was_well and isinstance(settlement.verdict, Succeed)):
            ended.setdefault(lane.subscription_id, []).append(settlement)
    rows, notes, hopeless = [], [], []
    for subscription_id, its_own in ended.items():
        successes = [isinstance(settlement.verdict, Succeed) for settlement in its_own]
        now = transaction.now
        health, change = circuit.after(its_lanes[subscription_id].health, successes, now, rules)
        rows.append((subscription_id, health.failures, health.failing_since, health.probe_at))
        if change is circuit.Change.DEACTIVATED:
            hopeless.append(its_own[-1])
        elif change is not None:
            since = transaction.wall - (now - (health.failing_since or now))
            notes.append((change, its_own[-1].fence.delivery_id, circuit.REASONS[change], since))
    _FOLLOW.run(transaction, rows)
    notices.note(transaction, notes)
    _deactivate(transaction, InactiveReason.FAILING, hopeless)


def _deactivate(transaction: Transaction, reason: InactiveReason, causes: Sequence[Settlement]) -> None:
    """Switch off the subscriptions of these settlements, and tell of it.

    One that was changed since a receiver said that it is gone stays: its receiver was not asked.
    """
    if not causes:
        return
    by_subscription = {cause.fence.subscription_id: cause for cause in causes}
    is_of_revision = reason is InactiveReason.GONE
    asked = [(key, each.subscription_revision if is_of_revision else None) for key, each in by_subscription.items()]
    cursor = transaction.connection.execute(_DEACTIVATE, (transaction.wall, reason, records.encode(asked)))
    deactivated = [row[0] for row in cursor]
    transaction.run(_CLOSE, (json_ids(deactivated),))
    change = circuit.Change.DEACTIVATED
    rows = [(change, by_subscription[key].fence.delivery_id, reason, transaction.wall) for key in deactivated]
    notices.note(transaction, rows)
