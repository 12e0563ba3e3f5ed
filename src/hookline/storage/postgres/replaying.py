"""Verbs of replays: count and store one, let the running ones go on in bounded steps, put back what has not started.

`replays` keeps how far each walk has come, `replayed` what is open for them and had no attempt yet. A delivery leaves
`replayed` with the first step after the end of its first attempt; until then it takes of its lane's share.

A step locks the parts it serves and their subscriptions, and leaves those that another node serves: so two never make
the same delivery. Lanes are locked last, but in `cancel`, which must not wait for them with deliveries in hand that a
claim wants.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from hookline import lifecycle, replays
from hookline.model import DeliveryState, Replay, ReplayState
from hookline.replays import NOTHING_MISSING, Missing
from hookline.storage import records
from hookline.storage.claims import NewReplay, ReplayStep
from hookline.storage.postgres import buckets, directory, lanes, reopening, subscriptions
from hookline.storage.postgres.database import Transaction
from hookline.storage.replay_parts import (
    PART_COLUMNS,
    REPLAY_COLUMNS,
    Counted,
    Part,
    is_taken,
    names,
    new_part,
    parts_to_store,
    read_part,
    read_replay,
)
from hookline.storage.rows import DAMAGE

BODIES_MAX: Final = 1_000
"""Read at once where a filter is to be asked of each."""

_WALKED: Final = """
SELECT event_key, event_bucket, event_type, accepted_at, entries FROM recipients
WHERE bucket = any($1::smallint[]) AND company_id = $2 AND event_key > $4 AND event_key <= $5
ORDER BY event_key LIMIT $6"""
_WALKED_DEAD: Final = """
SELECT r.event_key, r.event_bucket, r.event_type, r.accepted_at, r.entries
FROM ended_deliveries AS dead JOIN recipients AS r
  ON r.bucket = any($1::smallint[]) AND r.company_id = $2 AND r.event_key = dead.event_key
WHERE dead.bucket = any($1) AND dead.subscription_id = $3 AND dead.state = 'dead'
  AND dead.event_key > $4 AND dead.event_key <= $5
ORDER BY dead.event_key LIMIT $6"""
"""Most replays are of what died, which an index holds: no other event is touched."""

_TAKEN: Final = """
FROM ({walked}) AS walked
  LEFT JOIN LATERAL (
    SELECT id, state, failures, 0 AS losses, reason, settled_at, type_name FROM ended_deliveries
    WHERE bucket = any($1) AND event_key = walked.event_key AND subscription_id = $3
    UNION ALL
    SELECT id, state, failures, losses, NULL, NULL, type_name FROM deliveries
    WHERE bucket = any($1) AND event_key = walked.event_key AND subscription_id = $3
  ) AS d ON true
WHERE walked.accepted_at >= $7 AND walked.accepted_at < $8 AND CASE
  WHEN d.id IS NULL THEN walked.event_type = any($9::text[])
  ELSE d.state = any($10::text[]) AND d.settled_at <= $11
    AND ($12::text[] IS NULL OR d.type_name = any($12)) END"""
_FOUND: Final = f"""
SELECT walked.event_key, walked.event_bucket, walked.event_type, walked.entries, d.id, d.state, d.failures, d.losses,
  d.reason, d.settled_at
{_TAKEN} LIMIT $13"""
_COUNTED: Final = f"""
SELECT count(*), min(walked.event_key), max(walked.event_key) {_TAKEN} AND walked.event_key <> all($13::bigint[])"""
_COUNTED_MISSING: Final = f"SELECT walked.event_key, walked.event_bucket, walked.entries {_TAKEN} AND d.id IS NULL"

_ERASED: Final = """
SELECT key FROM events WHERE bucket = any($1::smallint[]) AND data IS NULL AND key > $2 AND key <= $3"""
"""Few, and with an index of their own: so a count touches no other event."""
_BODIES: Final = """
SELECT key, data FROM events WHERE bucket = any($1::smallint[]) AND key = any($2::bigint[]) AND data IS NOT NULL"""
_SIZES: Final = """
SELECT key, length(data) FROM events
WHERE bucket = any($1::smallint[]) AND key = any($2::bigint[]) AND data IS NOT NULL"""

_SUBSCRIPTIONS: Final = """
SELECT id, company_id FROM subscriptions
WHERE deleted_at IS NULL AND ($1::bigint IS NULL OR id = $1) AND ($2::bigint IS NULL OR company_id = $2)"""
_OF_SUBSCRIPTION: Final = """
SELECT count(*) FROM replays WHERE bucket = any($1::smallint[]) AND subscription_id = $2 AND state = 'running'"""
_INSERT: Final = """
INSERT INTO replays (
  id, from_at, to_at, created_at, status, type_names, source, subscription_id, company_id, state, cursor, last_key,
  total, bucket)
SELECT $1, $2, $3, $4, $5, $6, $7, * FROM unnest(
  $8::integer[], $9::integer[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::smallint[])"""
_READ: Final = f"SELECT {REPLAY_COLUMNS} FROM replays WHERE id = $1 ORDER BY subscription_id"
"""By whoever has the id, of whatever company: the bucket is not known."""

_RUNNING: Final = f"""
SELECT {PART_COLUMNS}, s.deleted_at IS NOT NULL
FROM replays AS r JOIN subscriptions AS s ON s.id = r.subscription_id AND s.bucket = r.bucket
WHERE r.bucket = any($1::smallint[]) AND s.bucket = any($1) AND r.state = 'running'
  AND (r.id, r.subscription_id) > ($2::bigint, $3::integer)
ORDER BY r.id, r.subscription_id LIMIT $4
FOR NO KEY UPDATE SKIP LOCKED"""
_ANY_RUNNING: Final = "SELECT EXISTS (SELECT FROM replays WHERE bucket = any($1::smallint[]) AND state = 'running')"
_LANES: Final = """
SELECT subscription_id, slots, is_open FROM lanes
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])"""

_HAD_ITS_ATTEMPT: Final = """
DELETE FROM replayed AS p
WHERE p.bucket = any($1::smallint[]) AND p.subscription_id = any($2::integer[]) AND NOT EXISTS (
  SELECT FROM deliveries AS d
  WHERE d.bucket = any($1) AND d.id = p.delivery_id AND d.failures = 0 AND d.losses = 0)
RETURNING p.replay_id, p.subscription_id"""
"""A round begins without failures and losses, and whatever becomes of an attempt leaves one, or ends the delivery."""
_OPEN_NOW: Final = """
SELECT subscription_id, replay_id, count(*) FROM replayed
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[])
GROUP BY subscription_id, replay_id"""

_MAKE: Final = """
INSERT INTO deliveries (
  state, due_at, subscription_id, company_id, payload_version, source, bucket, id, event_key, type_name, data_bytes,
  event_bucket)
SELECT 'pending', $1, s.id, s.company_id, s.payload_version, $4, s.bucket, made.*
FROM subscriptions AS s, unnest($5::bigint[], $6::bigint[], $7::text[], $8::integer[], $9::smallint[]) AS made
WHERE s.bucket = any($2::smallint[]) AND s.id = $3"""
_NOTE: Final = """
INSERT INTO replayed (
  replay_id, subscription_id, bucket, delivery_id, state, failures, losses, reason, settled_at)
SELECT $1, $2, $3, * FROM unnest(
  $4::bigint[], $5::text[], $6::integer[], $7::integer[], $8::text[], $9::bigint[])"""
_ADVANCE: Final = """
UPDATE replays SET cursor = $4, state = $5
WHERE bucket = any($1::smallint[]) AND id = $2 AND subscription_id = $3"""
_COUNT_DONE: Final = """
UPDATE replays AS r SET done = r.done + more.done, total = greatest(r.total, r.done + more.done)
FROM unnest($2::bigint[], $3::integer[], $4::bigint[]) AS more (id, subscription_id, done)
WHERE r.bucket = any($1::smallint[]) AND r.id = more.id AND r.subscription_id = more.subscription_id"""
"""What another replay had open as this one was counted, and then put back, is found here as well."""

_PARTS: Final = """
SELECT subscription_id, state FROM replays WHERE bucket = any($1::smallint[]) AND id = $2
ORDER BY subscription_id FOR NO KEY UPDATE"""
_CANCEL: Final = """
UPDATE replays SET state = 'cancelled'
WHERE bucket = any($1::smallint[]) AND id = $2 AND (state = 'running' OR subscription_id = 0)"""
_UNSTARTED: Final = """
SELECT d.id, p.state, p.failures, p.losses, p.reason, p.settled_at
FROM replayed AS p JOIN deliveries AS d ON d.id = p.delivery_id AND d.bucket = p.bucket
WHERE p.bucket = any($1::smallint[]) AND d.bucket = any($1) AND p.subscription_id = any($2::integer[])
  AND p.replay_id = $3 AND d.state = 'pending'
FOR UPDATE OF d"""
_PUT_BACK: Final = """
WITH closed AS (
  DELETE FROM deliveries AS d
  USING unnest($2::bigint[], $3::text[], $4::integer[], $5::integer[], $6::text[], $7::bigint[])
    AS g (id, state, failures, losses, reason, settled_at)
  WHERE d.bucket = any($1::smallint[]) AND d.id = g.id
  RETURNING d.id, d.event_key, g.settled_at, d.subscription_id, d.company_id, d.attempt, g.failures, d.data_bytes,
    g.state, d.payload_version, d.type_name, d.source, g.reason, d.event_bucket, d.bucket
)
INSERT INTO ended_deliveries (
  id, event_key, settled_at, subscription_id, company_id, attempt, failures, data_bytes, state, payload_version,
  type_name, source, reason, event_bucket, bucket)
SELECT * FROM closed"""
_UNMAKE: Final = "DELETE FROM deliveries WHERE bucket = any($1::smallint[]) AND id = any($2::bigint[])"
_LET_GO: Final = """
DELETE FROM replayed
WHERE bucket = any($1::smallint[]) AND subscription_id = any($2::integer[]) AND replay_id = $3
RETURNING replay_id, subscription_id, delivery_id"""


class _Walk:
    """The statements of one way to walk."""

    def __init__(self, walked: str) -> None:
        self.found = _FOUND.format(walked=walked)
        self.counted = _COUNTED.format(walked=walked)
        self.counted_missing = _COUNTED_MISSING.format(walked=walked)
        # A parameter must be named somewhere to have a type, and only one of the ways names the subscription.
        self.seen = f"SELECT count(*), max(event_key) FROM ({walked}) AS walked WHERE $3::integer IS NOT NULL"


_EVENTS: Final = _Walk(_WALKED)
_DEAD_ALONE: Final = _Walk(_WALKED_DEAD)

# --- asked for -------------------------------------------------------------------------------------------------------


async def count(connection: Any, replay: NewReplay, wall: int) -> Sequence[Counted]:
    """Return each subscription's part with what it comes to. Reads, for as long as there is much to count."""
    rows = await connection.fetch(_SUBSCRIPTIONS, replay.subscription_id, replay.company_id)
    parts = [new_part(replay, row[0], row[1], wall) for row in rows]
    if not parts:
        return []
    keys = await connection.fetch(_ERASED, buckets.EVERY, parts[0].cursor, parts[0].last_key)  # of the same time all
    erased = [key for (key,) in keys]
    return [await _counted(connection, part, erased) for part in parts]


async def create(transaction: Transaction, replay: NewReplay, counted: Sequence[Counted], wall: int) -> Replay | None:
    """Store a replay as it was counted at `wall`; None where its subscription has as many as it may."""
    connection, of_one = transaction.connection, replay.subscription_id
    if of_one is not None:
        running = await connection.fetchval(_OF_SUBSCRIPTION, transaction.buckets, of_one)
        if running >= replays.RUNNING_MAX:
            return None
    replay_id = transaction.ids[0]
    rows = [(*row, buckets.of_company(row[1])) for row in parts_to_store(replay, counted)]
    await connection.execute(
        _INSERT,
        *(replay_id, replay.from_at, replay.to_at, wall, replay.status, names(replay), replay.source),
        *_columns(rows, 7),
    )
    return await read(connection, replay_id)


async def read(connection: Any, replay_id: int) -> Replay | None:
    """Read a replay, its parts taken together."""
    return read_replay(await connection.fetch(_READ, replay_id))


async def cancel(transaction: Transaction, replay_id: int) -> bool:
    """End a running replay; put back what nobody has claimed yet, and count what somebody has."""
    connection, its_buckets = transaction.connection, transaction.buckets
    parts = await connection.fetch(_PARTS, its_buckets, replay_id)
    running = [row[0] for row in parts if row[1] == ReplayState.RUNNING]
    if not running:
        return False
    await connection.execute(_CANCEL, its_buckets, replay_id)
    locked = await lanes.lock(transaction, running)  # nobody claims from them any more
    await end_first_attempts(transaction, running)
    rows = await connection.fetch(_UNSTARTED, its_buckets, running, replay_id)
    unstarted: Mapping[int, tuple[Any, ...]] = {row[0]: tuple(row)[1:] for row in rows}
    back = [
        (delivery_id, lifecycle.after(lifecycle.PENDING, lifecycle.PUT_BACK[DeliveryState(state)]), *before)
        for delivery_id, (state, *before) in unstarted.items()
        if state is not None
    ]
    if back:
        await connection.execute(_PUT_BACK, its_buckets, *_columns(back, 6))
    await connection.execute(_UNMAKE, its_buckets, [one for one, (state, *_) in unstarted.items() if state is None])
    let_go = await connection.fetch(_LET_GO, its_buckets, running, replay_id)
    await _count_done(transaction, [(row[0], row[1]) for row in let_go if row[2] not in unstarted])
    await lanes.write(transaction, locked)
    return True


async def _counted(connection: Any, part: Part, erased: Sequence[int]) -> Counted:
    walk, missing = _walk(part), await _missing(connection, part)
    keys: list[int] = []
    if missing.demands is not None:
        # What a filter lets through only the filter can tell.
        lacking = await connection.fetch(walk.counted_missing, *_bindings(part, missing, looked_at=None))
        for start in range(0, len(lacking), BODIES_MAX):
            some = lacking[start : start + BODIES_MAX]
            bodies = await _bodies(connection, [row[:2] for row in some])
            keys += [key for key, _, entries in some if key in bodies and is_taken(missing, entries, bodies[key])]
        missing = NOTHING_MISSING
    asked = _bindings(part, missing, looked_at=None)
    total, first, last = await connection.fetchrow(walk.counted, *asked, erased)
    ends = [key for key in (first, last, *keys[:1], *keys[-1:]) if key is not None]
    if not ends:
        return Counted(part, 0)
    return Counted(structs.replace(part, cursor=min(ends) - 1, last_key=max(ends)), total + len(keys))


# --- going on --------------------------------------------------------------------------------------------------------


async def step(transaction: Transaction, place: tuple[int, int]) -> ReplayStep:
    """Let the replays after `place` go on, or again the first where none is left."""
    connection, its_buckets = transaction.connection, transaction.buckets
    rows = await connection.fetch(_RUNNING, its_buckets, *place, replays.PARTS_MAX)
    if not rows:
        is_running = await connection.fetchval(_ANY_RUNNING, its_buckets)
        return ReplayStep(place=replays.FIRST, has_moved=False, is_running=is_running)
    parts = [read_part(row) for row in rows]
    its_subscriptions = list({part.subscription_id for part in parts})
    ended = await end_first_attempts(transaction, its_subscriptions)
    found_lanes = await connection.fetch(_LANES, its_buckets, its_subscriptions)
    open_slots = {row[0]: row[1] for row in found_lanes if row[2]}
    open_now = {(row[0], row[1]): row[2] for row in await connection.fetch(_OPEN_NOW, its_buckets, its_subscriptions)}
    woken: set[int] = set()
    has_moved = ended > 0
    for part, row in zip(parts, rows, strict=True):
        if row[-1]:
            await _advance(transaction, part, part.cursor, ReplayState.CANCELLED)
            await connection.fetch(_LET_GO, its_buckets, [part.subscription_id], part.replay_id)
        elif part.subscription_id in open_slots:
            has_moved |= await _go_on(transaction, part, open_slots[part.subscription_id], open_now, woken)
    await lanes.write(transaction, await lanes.lock(transaction, woken))
    is_last = len(parts) < replays.PARTS_MAX
    next_place = replays.FIRST if is_last else (parts[-1].replay_id, parts[-1].subscription_id)
    return ReplayStep(place=next_place, has_moved=has_moved, is_running=True)


async def end_first_attempts(transaction: Transaction, subscription_ids: Collection[int]) -> int:
    """Let go of what has had its first attempt, or was ended otherwise; return how many."""
    ended = await transaction.connection.fetch(_HAD_ITS_ATTEMPT, transaction.buckets, list(subscription_ids))
    await _count_done(transaction, [(row[0], row[1]) for row in ended])
    return len(ended)


async def _go_on(
    transaction: Transaction, part: Part, slots: int, open_now: dict[tuple[int, int], int], woken: set[int]
) -> bool:
    """Open what the lane has room for, and end the replay behind its last delivery; tell whether anything moved."""
    subscription_id = part.subscription_id
    room = replays.room(slots, sum(number for (whose, _), number in open_now.items() if whose == subscription_id))
    cursor, its_own = part.cursor, open_now.get((subscription_id, part.replay_id), 0)
    if room and cursor < part.last_key:
        cursor, opened = await _open(transaction, part, room)
        if opened:
            its_own += opened
            open_now[subscription_id, part.replay_id] = its_own
            woken.add(subscription_id)
    is_over = cursor >= part.last_key and not its_own
    if cursor == part.cursor and not is_over:
        return False
    await _advance(transaction, part, cursor, ReplayState.DONE if is_over else ReplayState.RUNNING)
    return True


class _Found(Struct, frozen=True):
    """An event that the walk takes, with the delivery that the subscription has of it."""

    event_key: int
    event_bucket: int
    event_type: str
    entries: str | None
    delivery_id: int | None
    state: str | None
    failures: int | None
    losses: int | None
    reason: str | None
    settled_at: int | None


async def _open(transaction: Transaction, part: Part, room: int) -> tuple[int, int]:
    """Open up to `room` deliveries behind the cursor; return the cursor after them, and how many."""
    connection, walk, missing = transaction.connection, _walk(part), await _missing(transaction.connection, part)
    asked = _bindings(part, missing, looked_at=replays.EVENTS_LOOKED_AT)
    found = [_Found(*row) for row in await connection.fetch(walk.found, *asked, room)]
    noted = [*await _reopen(transaction, found), *await _make(transaction, part, missing, found)] if found else []
    if noted:
        its_bucket = buckets.of_company(part.company_id)
        await connection.execute(_NOTE, part.replay_id, part.subscription_id, its_bucket, *_columns(noted, 6))
    if len(found) == room:
        return found[-1].event_key, len(noted)
    seen, last_seen = await connection.fetchrow(walk.seen, *asked[:6])
    return (last_seen if seen == replays.EVENTS_LOOKED_AT else part.last_key), len(noted)


async def _reopen(transaction: Transaction, found: Sequence[_Found]) -> Sequence[tuple[Any, ...]]:
    """Open ended deliveries again, but those of erased events; return rows of `replayed`."""
    ended = [one for one in found if one.delivery_id is not None]
    if not ended:
        return []
    sizes = await _sizes(transaction.connection, ended)
    ids = [one.delivery_id for one in ended if one.delivery_id is not None and one.event_key in sizes]
    reopened = await reopening.reopen(transaction, ids)
    return [
        (one.delivery_id, one.state, one.failures, one.losses, one.reason, one.settled_at)
        for one in ended
        if one.delivery_id in reopened
    ]


async def _make(
    transaction: Transaction, part: Part, missing: Missing, found: Sequence[_Found]
) -> Sequence[tuple[Any, ...]]:
    """Make the deliveries that are missing; return rows of `replayed`."""
    lacking = [one for one in found if one.delivery_id is None]
    if not lacking:
        return []
    bodies = await _bodies(transaction.connection, [(one.event_key, one.event_bucket) for one in lacking])
    taken = [
        one for one in lacking if one.event_key in bodies and is_taken(missing, one.entries, bodies[one.event_key])
    ]
    ids = await transaction.draw(len(taken))
    made = [
        (delivery_id, one.event_key, missing.names[one.event_type], len(bodies[one.event_key]), one.event_bucket)
        for delivery_id, one in zip(ids, taken, strict=True)
    ]
    if made:
        await transaction.connection.execute(
            _MAKE, transaction.now, transaction.buckets, part.subscription_id, part.source, *_columns(made, 5)
        )
    return [(delivery_id, None, 0, 0, None, None) for delivery_id in ids]


async def _bodies(connection: Any, events: Sequence[Any]) -> Mapping[int, bytes]:
    rows = await connection.fetch(_BODIES, [bucket for _, bucket in events], [key for key, _ in events])
    return dict(map(tuple, rows))


async def _sizes(connection: Any, found: Sequence[_Found]) -> Mapping[int, int]:
    """Return the sizes of the events' data; one whose data was erased is missing."""
    rows = await connection.fetch(_SIZES, [one.event_bucket for one in found], [one.event_key for one in found])
    return dict(map(tuple, rows))


def _walk(part: Part) -> _Walk:
    return _DEAD_ALONE if part.status is DeliveryState.DEAD else _EVENTS


async def _missing(connection: Any, part: Part) -> Missing:
    """Return what the subscription would get by what it and the catalogue are now."""
    if part.status is not None:
        return NOTHING_MISSING
    try:
        subscription = await subscriptions.by_id(connection, part.subscription_id, part.company_id)
    except DAMAGE:
        return NOTHING_MISSING
    if subscription is None:
        return NOTHING_MISSING
    types = (await directory.catalogue(connection)).types.values()
    return replays.missing(records.route_of(subscription), types, part.type_names)


def _bindings(part: Part, missing: Missing, looked_at: int | None) -> Sequence[Any]:
    """Return $1 to $12 of a walk."""
    return (
        [buckets.of_company(part.company_id)],
        part.company_id,
        part.subscription_id,
        part.cursor,
        part.last_key,
        looked_at,
        part.from_at,
        part.to_at,
        list(missing.names),
        list(replays.states(part.status)),
        part.created_at,
        part.type_names,
    )


async def _advance(transaction: Transaction, part: Part, cursor: int, state: ReplayState) -> None:
    await transaction.connection.execute(
        _ADVANCE, transaction.buckets, part.replay_id, part.subscription_id, cursor, state
    )


async def _count_done(transaction: Transaction, done: Iterable[tuple[int, int]]) -> None:
    rows = [(*whose, number) for whose, number in sorted(Counter(done).items())]
    if rows:
        await transaction.connection.execute(_COUNT_DONE, transaction.buckets, *_columns(rows, 3))


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    """Turn rows into the arrays that `unnest` makes rows of again."""
    return list(zip(*rows, strict=True)) if rows else [()] * count
