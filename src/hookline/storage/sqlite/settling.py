"""The verbs that end attempts: `settle`, `release`, `park`, and the lost attempts that a claim finds.

The fence is checked once, by reading the rows that are still `sending` under the given attempt; all later statements
of the transaction go by id alone, as nobody else writes.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, assert_never

import msgspec

from hookline import circuit, lifecycle
from hookline.circuit import Health
from hookline.lifecycle import GiveUp, Move, Reason, Retry, Succeed, Verdict
from hookline.model import ErrorClass
from hookline.storage.claims import Fence, Settlement
from hookline.storage.sqlite import lanes, notices, receivers
from hookline.storage.sqlite.receivers import LaneState
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

LOSSES_MAX: Final = 500
"""Passed leases that one claim judges: after a crash with everything in flight, claims stay short."""

_READ: Final = """
SELECT
  (SELECT json_group_array(json_array(id, attempt, is_erased)) FROM deliveries
    WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'sending'),
  (SELECT json_group_array(json_array(l.subscription_id, s.deleted_at IS NOT NULL, l.slots, l.slots_max, l.hold_until,
      (SELECT count(*) FROM deliveries AS d WHERE d.state = 'sending' AND d.subscription_id = l.subscription_id),
      json_array(l.failed_in_a_row, l.failing_since, l.probe_at)))
    FROM lanes AS l JOIN subscriptions AS s ON s.id = l.subscription_id
    WHERE l.subscription_id IN (SELECT value FROM json_each(?2)))"""

_LOST: Final = """
SELECT json_group_array(json_array(
  d.id, attempt, losses, d.subscription_id, deleted_at IS NOT NULL, hold_until, is_erased)) FROM (
  SELECT id, attempt, losses, subscription_id, is_erased FROM deliveries WHERE state = 'sending' AND due_at <= ?1
  ORDER BY due_at LIMIT ?2
) AS d JOIN subscriptions AS s ON s.id = d.subscription_id JOIN lanes AS l ON l.subscription_id = d.subscription_id"""

_FLYING: Final = msgspec.json.Decoder(list[tuple[int, int, int]])
_LANES: Final = msgspec.json.Decoder(list[tuple[int, int, int, int, int | None, int, Health]])
_LOSSES: Final = msgspec.json.Decoder(list[tuple[int, int, int, int, int, int | None, int]])

_NOTHING_SENT: Final = (None,) * 7
"""Timings, heads and body of an attempt that left no trace."""

_SUCCEED: Final = (
    "UPDATE deliveries SET state = 'succeeded', losses = 0, due_at = NULL, claimed_at = NULL, settled_at = ?1"
    " WHERE id IN (SELECT value FROM json_each(?2))"
)
_FAIL: Final = Bulk(
    "UPDATE deliveries SET state = g.column2, failures = failures + g.column3, losses = g.column4, due_at = g.column5,"
    " reason = g.column6, settled_at = g.column7, claimed_at = NULL"
    " FROM (VALUES {rows}) AS g WHERE g.column1 IS NOT NULL AND deliveries.id = g.column1",
    columns=7,
)
_LOG: Final = Bulk(
    "INSERT INTO attempts (created_at, id, delivery_id, subscription_id, number, http_status, error, detail,"
    " duration_ms, dns_ms, connect_ms, tls_ms, wait_ms, request_head, response_head, response_body, next_attempt_at,"
    " dead_lettered) SELECT ?1, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=17,
)
_RELEASE: Final = (
    "UPDATE deliveries SET state = 'pending', due_at = ?1, claimed_at = NULL"
    " WHERE id IN (SELECT value FROM json_each(?2))"
)
_PARK: Final = (
    "UPDATE deliveries SET state = ?1, due_at = NULL, claimed_at = NULL, reason = ?2, settled_at = ?3"
    " WHERE id IN (SELECT value FROM json_each(?4))"
)


def settle(
    transaction: Transaction, requests: Sequence[Sequence[Settlement]], rules: circuit.Rules = circuit.RULES
) -> Sequence[Sequence[bool]]:
    """Record the ends of attempts whose fence is current; answer for each whether it was."""
    settlements = list(chain.from_iterable(requests))
    flying, erased, its_lanes = _read(transaction, [settlement.fence for settlement in settlements])
    answers = [_take_out(flying, settlement.fence) for settlement in settlements]
    current = [settlement for settlement, is_current in zip(settlements, answers, strict=True) if is_current]
    if current:
        holds = receivers.holds(transaction, current)
        endings = _Endings(transaction, erased)
        for settlement in current:
            lane = its_lanes[settlement.fence.subscription_id]
            hold_until = max(lane.hold_until or 0, holds.get(lane.subscription_id, 0))
            endings.add(settlement, hold_until, is_deleted=bool(lane.is_deleted))
        endings.write()
        receivers.judge(transaction, its_lanes, current, holds, rules)
        lanes.refresh(transaction, its_lanes)
    answer = iter(answers)
    return [tuple([next(answer) for _ in request]) for request in requests]


def release(transaction: Transaction, requests: Sequence[Sequence[Fence]]) -> Sequence[None]:
    """Hand back what is still under the given fences."""
    fences = list(chain.from_iterable(requests))
    flying, erased, its_lanes = _read(transaction, fences)
    current = [fence.delivery_id for fence in fences if flying.get(fence.delivery_id) == fence.attempt]
    if current:
        transaction.run(_RELEASE, (transaction.now, json_ids(key for key in current if key not in erased)))
        endings = _Endings(transaction, erased)
        for delivery_id in erased.intersection(current):
            endings.cancel(delivery_id)
        endings.write()
        lanes.refresh(transaction, its_lanes)
    return [None] * len(requests)


def park(transaction: Transaction, requests: Sequence[Sequence[Fence]]) -> Sequence[None]:
    """End what is still under the given fences and cannot be read."""
    fences = list(chain.from_iterable(requests))
    flying, _, its_lanes = _read(transaction, fences)
    current = [fence.delivery_id for fence in fences if flying.get(fence.delivery_id) == fence.attempt]
    if current:
        state = lifecycle.after(lifecycle.SENDING, Move.PARK)
        transaction.run(_PARK, (state, Reason.UNREADABLE, transaction.wall, json_ids(current)))
        notices.note_dead(transaction, current)
        lanes.refresh(transaction, its_lanes)
    return [None] * len(requests)


class Losses(NamedTuple):
    """What became of attempts whose lease had passed."""

    lost: int
    parked: int


def log_losses(transaction: Transaction) -> Losses:
    """Log attempts whose lease has passed, oldest first, and judge their deliveries; `LOSSES_MAX` at a time."""
    found = _LOSSES.decode(transaction.one(_LOST, (transaction.now, LOSSES_MAX)))
    endings = _Endings(transaction, {row[0] for row in found if row[6]})
    parked = 0
    for delivery_id, attempt, losses, subscription_id, is_deleted, hold_until, is_erased in found:
        verdict = lifecycle.verdict_of_loss(losses)
        parked += isinstance(verdict, GiveUp) and not (is_deleted or is_erased)
        fence = Fence(delivery_id=delivery_id, subscription_id=subscription_id, company_id=0, attempt=attempt)
        endings.add_loss(fence, verdict, losses, hold_until or 0, is_deleted=bool(is_deleted))
    endings.write()
    lanes.refresh(transaction, {row[3] for row in found})
    return Losses(len(found), parked)


def _read(
    transaction: Transaction, fences: Sequence[Fence]
) -> tuple[dict[int, int], frozenset[int], Mapping[int, LaneState]]:
    """Return the current attempt of each delivery that is in flight, which of them are erased, and the lanes by id."""
    flying, its_lanes = transaction.one(
        _READ,
        (json_ids([fence.delivery_id for fence in fences]), json_ids({fence.subscription_id for fence in fences})),
    )
    rows = _FLYING.decode(flying)
    return (
        {row[0]: row[1] for row in rows},
        frozenset([row[0] for row in rows if row[2]]),
        {row[0]: LaneState(*row) for row in _LANES.decode(its_lanes)},
    )


def _take_out(flying: dict[int, int], fence: Fence) -> bool:
    """Tell whether the fence is current, and let a second settlement of the same attempt find nothing."""
    is_current = flying.get(fence.delivery_id) == fence.attempt
    if is_current:
        del flying[fence.delivery_id]
    return is_current


class _Endings:
    """The rows that ends of attempts come to: a move of the delivery and a line of the log for each."""

    def __init__(self, transaction: Transaction, erased: Collection[int]) -> None:
        self._transaction = transaction
        self._erased = erased
        self._succeeded: list[int] = []
        self._dead: list[int] = []
        self._moved: list[tuple[Any, ...]] = []
        self._log: list[tuple[Any, ...]] = []

    def add(self, settlement: Settlement, hold_until: int, *, is_deleted: bool) -> None:
        """Add the end that a worker reports."""
        record, timings = settlement.record, settlement.record.timings
        next_attempt_at, dead_lettered = self._move(
            settlement.fence, settlement.verdict, 1, 0, hold_until, is_deleted=is_deleted
        )
        self._log.append(
            (
                self._transaction.counters.next_attempt(),
                settlement.fence.delivery_id,
                settlement.fence.subscription_id,
                settlement.fence.attempt,
                record.http_status,
                record.error,
                record.detail,
                record.duration_ms,
                timings.dns_ms,
                timings.connect_ms,
                timings.tls_ms,
                timings.wait_ms,
                record.request_head,
                record.response_head,
                None if settlement.fence.delivery_id in self._erased else record.response_body,
                next_attempt_at,
                dead_lettered,
            )
        )

    def add_loss(self, fence: Fence, verdict: Verdict, losses: int, hold_until: int, *, is_deleted: bool) -> None:
        """Add an attempt that nobody reports any more: it uses no retry and took no time that we know of."""
        next_attempt_at, dead_lettered = self._move(fence, verdict, 0, losses + 1, hold_until, is_deleted=is_deleted)
        attempt_id = self._transaction.counters.next_attempt()
        known = (attempt_id, fence.delivery_id, fence.subscription_id, fence.attempt, None, ErrorClass.LOST, None, 0)
        self._log.append((*known, *_NOTHING_SENT, next_attempt_at, dead_lettered))

    def cancel(self, delivery_id: int) -> None:
        """Add the end of a delivery that was not attempted and has nothing left to send."""
        state = lifecycle.after(lifecycle.SENDING, Move.CANCEL)
        self._moved.append((delivery_id, state, 0, 0, None, Reason.ERASED, self._transaction.wall))

    def write(self) -> None:
        """Store all rows."""
        transaction = self._transaction
        if self._succeeded:
            transaction.run(_SUCCEED, (transaction.wall, json_ids(self._succeeded)))
        _FAIL.run(transaction, self._moved)
        _LOG.run(transaction, self._log, (transaction.wall,))
        notices.note_dead(transaction, self._dead)

    def _move(
        self, fence: Fence, verdict: Verdict, failures: int, losses: int, hold_until: int, *, is_deleted: bool
    ) -> tuple[int | None, bool]:
        """Move the delivery; return when its next attempt is due by the wall clock, and whether it is dead now."""
        now, wall = self._transaction.now, self._transaction.wall
        match verdict:
            case Succeed():
                self._succeeded.append(fence.delivery_id)
                return None, False
            case Retry() | GiveUp() if is_deleted or fence.delivery_id in self._erased:
                state = lifecycle.after(lifecycle.SENDING, Move.CANCEL)
                reason = Reason.DELETED if is_deleted else Reason.ERASED
                self._moved.append((fence.delivery_id, state, failures, losses, None, reason, wall))
                return None, False
            case Retry(wait_ms):
                state = lifecycle.after(lifecycle.SENDING, Move.LOSE if losses else Move.RETRY)
                self._moved.append((fence.delivery_id, state, failures, losses, now + wait_ms, None, None))
                return wall + max(wait_ms, hold_until - now), False
            case GiveUp(reason):
                state = lifecycle.after(lifecycle.SENDING, Move.PARK if losses else Move.GIVE_UP)
                self._moved.append((fence.delivery_id, state, failures, losses, None, reason, wall))
                self._dead.append(fence.delivery_id)
                return None, True
            case _:
                assert_never(verdict)
