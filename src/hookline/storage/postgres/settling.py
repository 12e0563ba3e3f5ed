"""The verbs that end attempts: `settle`, `release`, `park`, and the lost attempts that a claim finds.

The fence is checked by locking the rows that are still `sending` under the given attempt; all later statements of the
transaction go by id alone, as nobody else can move them. A delivery that ends leaves the open ones in the same
statement that logs its attempt. Lanes are locked last and for as short as can be.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, assert_never

from hookline import circuit, lifecycle
from hookline.lifecycle import GiveUp, Move, Reason, Retry, Succeed, Verdict
from hookline.model import ErrorClass
from hookline.storage.claims import Fence, Settlement
from hookline.storage.postgres import lanes, notices, receivers
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.notices import Note
from hookline.storage.postgres.receivers import Change

LOSSES_MAX: Final = 500
"""Passed leases that one claim judges: after a crash with everything in flight, claims stay short."""

_LOCK: Final = """
SELECT d.id, d.attempt, d.losses, d.subscription_id, d.company_id, d.bucket, s.deleted_at IS NOT NULL, l.hold_until,
  d.event_key, d.event_bucket, d.is_erased
FROM deliveries AS d
  JOIN subscriptions AS s ON s.id = d.subscription_id AND s.bucket = d.bucket
  JOIN lanes AS l ON l.subscription_id = d.subscription_id AND l.bucket = d.bucket
WHERE d.bucket = any($1::smallint[]) AND s.bucket = any($1) AND l.bucket = any($1) AND {which}
FOR NO KEY UPDATE OF d {others}"""
_LOCK_FENCED: Final = _LOCK.format(
    which="(d.state = 'sending') IS TRUE AND d.id = any($2::bigint[]) ORDER BY d.id", others=""
)
"""Written as it is, the state leads to no index: the rows are found by their ids, not among all that are in flight."""
_LOCK_LOST: Final = _LOCK.format(
    which="d.claimed_at IS NOT NULL AND d.due_at <= $2 ORDER BY d.due_at LIMIT $3", others="SKIP LOCKED"
)

ENDED_COLUMNS: Final = (
    "id, event_key, settled_at, subscription_id, company_id, attempt, failures, data_bytes, state, payload_version,"
    " type_name, source, reason, event_bucket, bucket"
)

_WRITE: Final = f"""
WITH kept AS (
  UPDATE deliveries SET state = 'pending', failures = failures + ($3::integer[])[array_position($2, id)],
    losses = ($4::integer[])[array_position($2, id)], due_at = ($5::bigint[])[array_position($2, id)], claimed_at = NULL
  WHERE bucket = any($1::smallint[]) AND id = any($2::bigint[])
), ended AS (
  DELETE FROM deliveries WHERE bucket = any($1) AND id = any($6::bigint[])
  RETURNING *, array_position($6, id) AS place
), moved AS (
  INSERT INTO ended_deliveries ({ENDED_COLUMNS})
  SELECT id, event_key, $10, subscription_id, company_id, attempt, failures + ($8::integer[])[place], data_bytes,
    ($7::text[])[place], payload_version, type_name, source, ($9::text[])[place], event_bucket, bucket
  FROM ended
)
INSERT INTO attempts (
  created_at, id, delivery_id, subscription_id, company_id, number, http_status, error, detail, duration_ms, dns_ms,
  connect_ms, tls_ms, wait_ms, request_head, response_head, response_body, next_attempt_at, dead_lettered, bucket)
SELECT $10, * FROM unnest(
  $11::bigint[], $12::bigint[], $13::integer[], $14::integer[], $15::integer[], $16::integer[], $17::text[],
  $18::text[], $19::integer[], $20::integer[], $21::integer[], $22::integer[], $23::integer[], $24::bytea[],
  $25::bytea[], $26::bytea[], $27::bigint[], $28::boolean[], $29::smallint[])"""
"""A delivery is found by its id, and what is to become of it by the place of that id: joined one by one, each may be
sought in an index of something else."""

_RELEASE: Final = """
UPDATE deliveries SET state = 'pending', due_at = $2, claimed_at = NULL
WHERE bucket = any($1::smallint[]) AND id = any($3::bigint[])"""


_NOTHING_SENT: Final = (None,) * 7
"""Timings, heads and body of an attempt that left no trace."""


async def settle(transaction: Transaction, settlements: Sequence[Settlement], rules: circuit.Rules) -> Sequence[bool]:
    """Record the ends of attempts whose fence is current; answer for each whether it was."""
    transaction = _within(transaction, [settlement.fence for settlement in settlements])
    flying = await _lock(transaction, [settlement.fence for settlement in settlements])
    current: dict[int, Settlement] = {}
    answers = []
    for settlement in settlements:
        fence = settlement.fence
        row = flying.get(fence.delivery_id)
        # The second settlement of one attempt finds the first.
        is_current = row is not None and row.attempt == fence.attempt and fence.delivery_id not in current
        answers.append(is_current)
        if is_current:
            current[fence.delivery_id] = settlement
    if current:
        holds = receivers.holds(transaction, current.values())
        endings = _Endings(transaction)
        for (delivery_id, settlement), attempt_id in zip(current.items(), transaction.ids, strict=False):
            hold_until = holds.get(settlement.fence.subscription_id, 0)
            endings.add(flying[delivery_id], settlement, attempt_id, hold_until)
        await endings.write()
        told = await receivers.judge(transaction, list(current.values()), holds, rules)
        await notices.note(transaction, [*endings.deaths, *[_note(flying, each) for each in told]])
    return answers


async def release(transaction: Transaction, fences: Sequence[Fence]) -> None:
    """Hand back what is still under the given fences."""
    transaction = _within(transaction, fences)
    current = await _lock(transaction, fences)
    if current:
        left = [row.id for row in current.values() if not row.is_erased]
        await transaction.connection.execute(_RELEASE, transaction.buckets, transaction.now, left)
        if len(left) < len(current):
            endings = _Endings(transaction)
            for row in current.values():
                if row.is_erased:
                    endings.cancel(row)
            await endings.write()
        await _refresh_lanes(transaction, current.values())


async def park(transaction: Transaction, fences: Sequence[Fence]) -> None:
    """End what is still under the given fences and cannot be read."""
    transaction = _within(transaction, fences)
    current = await _lock(transaction, fences)
    if current:
        endings = _Endings(transaction)
        for row in current.values():
            endings.park(row)
        await endings.write()
        deaths = [row.note(circuit.DEAD, Reason.UNREADABLE, transaction.wall) for row in current.values()]
        await notices.note(transaction, deaths)
        await _refresh_lanes(transaction, current.values())


class Losses(NamedTuple):
    """What became of attempts whose lease had passed."""

    lost: int
    parked: int


async def log_losses(transaction: Transaction) -> Losses:
    """Log attempts whose lease has passed, oldest first, and judge their deliveries; `LOSSES_MAX` at a time.

    Those that another node is logging are its to count.
    """
    rows = await transaction.connection.fetch(_LOCK_LOST, transaction.buckets, transaction.now, LOSSES_MAX)
    lost = [_Flying(*row) for row in rows]
    if not lost:
        return Losses(0, 0)
    endings = _Endings(transaction)
    parked = 0
    for row, attempt_id in zip(lost, await transaction.draw(len(lost)), strict=True):
        verdict = lifecycle.verdict_of_loss(row.losses)
        parked += isinstance(verdict, GiveUp) and not (row.is_deleted or row.is_erased)
        endings.add_loss(row, verdict, attempt_id)
    await endings.write()
    await notices.note(transaction, endings.deaths)
    await _refresh_lanes(transaction, lost)
    return Losses(len(lost), parked)


class _Flying(NamedTuple):
    """A delivery in flight that this transaction has locked."""

    id: int
    attempt: int
    losses: int
    subscription_id: int
    company_id: int
    bucket: int
    is_deleted: bool
    """Whether its subscription is."""
    hold_until: int | None
    """Of its lane, as it was before."""
    event_key: int
    event_bucket: int
    is_erased: bool
    """Whether its event is, since it was claimed."""

    def note(self, event_type: str, reason: str, since: int) -> Note:
        """Return what is to be told because of it."""
        return Note(
            event_type=event_type,
            reason=reason,
            since=since,
            delivery_id=self.id,
            subscription_id=self.subscription_id,
            company_id=self.company_id,
            event_key=self.event_key,
            event_bucket=self.event_bucket,
            bucket=self.bucket,
        )


def _within(transaction: Transaction, fences: Sequence[Fence]) -> Transaction:
    return transaction.within(fence.company_id for fence in fences)


async def _lock(transaction: Transaction, fences: Sequence[Fence]) -> Mapping[int, _Flying]:
    """Lock what is in flight under the given fences; by id."""
    if not fences:
        return {}
    attempts = {(fence.delivery_id, fence.attempt) for fence in fences}
    ids = list({delivery_id for delivery_id, _ in attempts})
    rows = await transaction.connection.fetch(_LOCK_FENCED, transaction.buckets, ids)
    # Compared here, for there it is every fence with every row.
    return {row[0]: _Flying(*row) for row in rows if (row[0], row[1]) in attempts}


async def _refresh_lanes(transaction: Transaction, moved: Iterable[_Flying]) -> None:
    await lanes.write(transaction, await lanes.lock(transaction, {row.subscription_id for row in moved}))


def _note(flying: Mapping[int, _Flying], change: Change) -> Note:
    return flying[change.delivery_id].note(change.event_type, change.reason, change.since)


class _Endings:
    """The rows that ends of attempts come to: a delivery kept or ended, and a line of the log for each attempt."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._kept: list[tuple[Any, ...]] = []
        self._ended: list[tuple[Any, ...]] = []
        self._log: list[tuple[Any, ...]] = []
        self.deaths: list[Note] = []
        """What is to be told of deliveries that ended without success."""

    def add(self, row: _Flying, settlement: Settlement, attempt_id: int, hold_until: int) -> None:
        """Add the end that a worker reports; `hold_until` is what its batch asks of its lane."""
        record, timings = settlement.record, settlement.record.timings
        next_attempt_at, dead_lettered = self._move(row, settlement.verdict, None, hold_until)
        self._log.append(
            (
                attempt_id,
                row.id,
                row.subscription_id,
                row.company_id,
                row.attempt,
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
                None if row.is_erased else record.response_body,
                next_attempt_at,
                dead_lettered,
                row.bucket,
            )
        )

    def add_loss(self, row: _Flying, verdict: Verdict, attempt_id: int) -> None:
        """Add an attempt that nobody reports any more: it uses no retry and took no time that we know of."""
        next_attempt_at, dead_lettered = self._move(row, verdict, row.losses + 1, 0)
        known = (attempt_id, row.id, row.subscription_id, row.company_id, row.attempt, None, ErrorClass.LOST, None, 0)
        self._log.append((*known, *_NOTHING_SENT, next_attempt_at, dead_lettered, row.bucket))

    def park(self, row: _Flying) -> None:
        """Add the end of a delivery that cannot be attempted, and so leaves no line."""
        self._end(row, Move.PARK, 0, Reason.UNREADABLE)

    def cancel(self, row: _Flying) -> None:
        """Add the end of a delivery that was not attempted and has nothing left to send."""
        self._end(row, Move.CANCEL, 0, Reason.ERASED)

    async def write(self) -> None:
        """Store all rows, with one statement."""
        await self._transaction.connection.execute(
            _WRITE,
            self._transaction.buckets,
            *_columns(self._kept, 4),
            *_columns(self._ended, 4),
            self._transaction.wall,
            *_columns(self._log, 19),
        )

    def _move(self, row: _Flying, verdict: Verdict, losses: int | None, hold_until: int) -> tuple[int | None, bool]:
        """Move the delivery; return when its next attempt is due by the wall clock, and whether it is dead now.

        `losses` are those in a row with this one, None for an attempt that was made.
        """
        now, wall = self._transaction.now, self._transaction.wall
        is_lost = losses is not None
        failures = 0 if is_lost else 1
        match verdict:
            case Succeed():
                self._end(row, Move.SUCCEED, 0, None)
                return None, False
            case Retry() | GiveUp() if row.is_deleted or row.is_erased:
                self._end(row, Move.CANCEL, failures, Reason.DELETED if row.is_deleted else Reason.ERASED)
                return None, False
            case Retry(wait_ms):
                self._kept.append((row.id, failures, losses or 0, now + wait_ms))
                return wall + max(wait_ms, hold_until - now, (row.hold_until or 0) - now), False
            case GiveUp(reason):
                self._end(row, Move.PARK if is_lost else Move.GIVE_UP, failures, reason)
                self.deaths.append(row.note(circuit.DEAD, reason, wall))
                return None, True
            case _:
                assert_never(verdict)

    def _end(self, row: _Flying, move: Move, failures: int, reason: str | None) -> None:
        self._ended.append((row.id, lifecycle.after(lifecycle.SENDING, move), failures, reason))


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    """Turn rows into the arrays that `unnest` makes rows of again."""
    return list(zip(*rows, strict=True)) if rows else [()] * count
