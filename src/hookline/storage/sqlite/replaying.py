"""Verbs of replays: count and store one, let the running ones go on in bounded steps, put back what has not started.

`replays` keeps how far each walk has come, `replayed` what is open for them and had no attempt yet. A delivery leaves
`replayed` with the first step after the end of its first attempt; until then it takes of its lane's share.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import apsw
from msgspec import structs

from hookline import lifecycle, replays
from hookline.model import DeliveryState, PayloadVersion, Replay, ReplayState
from hookline.replays import NOTHING_MISSING, Missing
from hookline.storage import records
from hookline.storage.claims import NewReplay, ReplayStep, Unreadable
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
from hookline.storage.rows import first_id_of_day
from hookline.storage.sqlite import directory, lanes, subscriptions
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

_WALKED: Final = """
SELECT event_key, entries FROM recipients
WHERE company_id = :company_id AND event_key > :cursor AND event_key <= :last_key
ORDER BY event_key LIMIT :looked_at"""
_WALKED_DEAD: Final = """
SELECT event_key, NULL AS entries FROM deliveries INDEXED BY deliveries_dead
WHERE state = 'dead' AND subscription_id = :subscription_id AND event_key > :cursor AND event_key <= :last_key
ORDER BY event_key LIMIT :looked_at"""
"""Most replays are of what died, which an index holds: no other event is touched."""

_TAKEN: Final = """
FROM ({walked}) AS walked
  CROSS JOIN events AS e ON e.key = walked.event_key
  LEFT JOIN deliveries AS d ON d.event_key = e.key AND d.subscription_id = :subscription_id
WHERE e.accepted_at >= :from_at AND e.accepted_at < :to_at AND e.data IS NOT NULL AND CASE
  WHEN d.id IS NULL THEN e.event_type IN (SELECT value FROM json_each(:missing_types))
  ELSE d.state IN (SELECT value FROM json_each(:states)) AND d.settled_at <= :created_at
    AND (:type_names IS NULL OR d.type_name IN (SELECT value FROM json_each(:type_names))) END"""
_FOUND: Final = f"""
SELECT e.key, e.event_type, d.id, d.state, d.failures, d.losses, d.reason, d.settled_at,
  CASE WHEN d.id IS NULL AND :reads_data THEN e.data END, walked.entries
{_TAKEN} LIMIT :room"""
_COUNTED: Final = f"SELECT count(*), min(e.key), max(e.key) {_TAKEN}"
_COUNTED_MISSING: Final = f"SELECT e.key, e.data, walked.entries {_TAKEN} AND d.id IS NULL"

_SUBSCRIPTIONS: Final = """
SELECT id, company_id FROM subscriptions
WHERE deleted_at IS NULL AND (:subscription_id IS NULL OR id = :subscription_id)
  AND (:company_id IS NULL OR company_id = :company_id)"""

_INSERT: Final = Bulk(
    "INSERT INTO replays (id, from_at, to_at, created_at, status, type_names, source, subscription_id, company_id,"
    " state, cursor, last_key, total)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=6,
)
_READ: Final = f"SELECT {REPLAY_COLUMNS} FROM replays WHERE id = ? ORDER BY subscription_id"

_RUNNING: Final = f"""
SELECT {PART_COLUMNS}, l.slots, l.is_open, s.deleted_at IS NOT NULL
FROM (
  SELECT * FROM replays INDEXED BY replays_running WHERE state = 'running' AND (id, subscription_id) > (?1, ?2)
  ORDER BY id, subscription_id LIMIT ?3
) AS r
  CROSS JOIN lanes AS l ON l.subscription_id = r.subscription_id
  CROSS JOIN subscriptions AS s ON s.id = r.subscription_id"""
_NEXT_ID: Final = "SELECT max(coalesce(max(id), 0), ?) + 1 FROM replays"
_OF_SUBSCRIPTION: Final = "SELECT count(*) FROM replays WHERE subscription_id = ? AND state = 'running'"
_IS_RUNNING: Final = "SELECT 1 FROM replays WHERE id = ? AND state = 'running' LIMIT 1"
_ANY_RUNNING: Final = "SELECT 1 FROM replays WHERE state = 'running' LIMIT 1"

_HAD_ITS_ATTEMPT: Final = """
DELETE FROM replayed
WHERE subscription_id IN (SELECT value FROM json_each(?1)) AND NOT EXISTS (
  SELECT 1 FROM deliveries AS d
  WHERE d.id = replayed.delivery_id AND d.due_at IS NOT NULL AND d.failures = 0 AND d.losses = 0)
RETURNING replay_id, subscription_id"""
"""A round begins without failures and losses, and whatever becomes of an attempt leaves one, or ends the delivery."""
_OPEN_NOW: Final = """
SELECT count(*), count(*) FILTER (WHERE replay_id = ?2) FROM replayed WHERE subscription_id = ?1"""

_REOPEN: Final = (
    "UPDATE deliveries SET state = 'pending', due_at = ?1, failures = 0, losses = 0, reason = NULL, settled_at = NULL"
    " WHERE id IN (SELECT value FROM json_each(?2))"
)
_MAKE: Final = Bulk(
    "INSERT INTO deliveries"
    " (state, due_at, subscription_id, company_id, payload_version, source, id, event_key, type_name)"
    " SELECT 'pending', ?1, ?2, ?3, ?4, ?5, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=3,
)
_NOTE: Final = Bulk(
    "INSERT INTO replayed (replay_id, subscription_id, delivery_id, state, failures, losses, reason, settled_at)"
    " SELECT ?1, ?2, * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
    columns=6,
)
_SHAPE: Final = "SELECT payload_version FROM subscriptions WHERE id = ?"
_ADVANCE: Final = "UPDATE replays SET cursor = ?3, state = ?4 WHERE id = ?1 AND subscription_id = ?2"
_COUNT_DONE: Final = (
    "UPDATE replays SET done = done + ?3, total = max(total, done + ?3) WHERE id = ?1 AND subscription_id = ?2"
)
"""What another replay had open as this one was counted, and then put back, is found here as well."""

_CANCEL: Final = (
    "UPDATE replays SET state = 'cancelled' WHERE id = ? AND (state = 'running' OR subscription_id = 0)"
    " RETURNING subscription_id"
)
_UNSTARTED: Final = """
SELECT d.id, p.state, p.failures, p.losses, p.reason, p.settled_at
FROM replayed AS p JOIN deliveries AS d ON d.id = p.delivery_id AND d.state = 'pending'
WHERE p.subscription_id IN (SELECT value FROM json_each(?1)) AND p.replay_id = ?2"""
_PUT_BACK: Final = Bulk(
    "UPDATE deliveries SET state = g.column2, failures = g.column3, losses = g.column4, reason = g.column5,"
    " settled_at = g.column6, due_at = NULL"
    " FROM (VALUES {rows}) AS g WHERE g.column1 IS NOT NULL AND deliveries.id = g.column1",
    columns=6,
)
_UNMAKE: Final = "DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))"
_LET_GO: Final = """
DELETE FROM replayed WHERE subscription_id IN (SELECT value FROM json_each(?1)) AND replay_id = ?2
RETURNING replay_id, subscription_id, delivery_id"""


class _Walk:
    """The statements of one way to walk."""

    def __init__(self, walked: str) -> None:
        self.found = _FOUND.format(walked=walked)
        self.counted = _COUNTED.format(walked=walked)
        self.counted_missing = _COUNTED_MISSING.format(walked=walked)
        self.seen = f"SELECT count(*), max(event_key) FROM ({walked})"


_EVENTS: Final = _Walk(_WALKED)
_DEAD_ALONE: Final = _Walk(_WALKED_DEAD)


# --- asked for -------------------------------------------------------------------------------------------------------


def count(connection: apsw.Connection, replay: NewReplay, wall: int) -> Sequence[Counted]:
    """Return each subscription's part with what it comes to. Reads, for as long as there is much to count."""
    asked = {"subscription_id": replay.subscription_id, "company_id": replay.company_id}
    its_subscriptions = _rows(connection, _SUBSCRIPTIONS, asked)
    return [
        _counted(connection, new_part(replay, subscription_id, company_id, wall))
        for subscription_id, company_id in its_subscriptions
    ]


def create(transaction: Transaction, replay: NewReplay, counted: Sequence[Counted], wall: int) -> Replay | None:
    """Store a replay as it was counted at `wall`; None where its subscription has as many as it may."""
    of_one = replay.subscription_id
    if of_one is not None and transaction.one(_OF_SUBSCRIPTION, (of_one,)) >= replays.RUNNING_MAX:
        return None
    replay_id = transaction.one(_NEXT_ID, (first_id_of_day(wall),))
    shared = (replay_id, replay.from_at, replay.to_at, wall, replay.status, names(replay), replay.source)
    _INSERT.run(transaction, parts_to_store(replay, counted), shared)
    return read(transaction.connection, replay_id)


def read(connection: apsw.Connection, replay_id: int) -> Replay | None:
    """Read a replay, its parts taken together."""
    return read_replay(_rows(connection, _READ, (replay_id,)))


def cancel(transaction: Transaction, replay_id: int) -> bool:
    """End a running replay; put back what nobody has claimed yet, and count what somebody has."""
    if not transaction.one(_IS_RUNNING, (replay_id,)):
        return False
    connection = transaction.connection
    its_subscriptions = [row[0] for row in _rows(connection, _CANCEL, (replay_id,))]
    end_first_attempts(transaction, its_subscriptions)
    whose = (json_ids(its_subscriptions), replay_id)
    unstarted: Mapping[int, tuple[Any, ...]] = {row[0]: row[1:] for row in _rows(connection, _UNSTARTED, whose)}
    _PUT_BACK.run(
        transaction,
        [
            (delivery_id, lifecycle.after(lifecycle.PENDING, lifecycle.PUT_BACK[DeliveryState(state)]), *before)
            for delivery_id, (state, *before) in unstarted.items()
            if state is not None
        ],
    )
    transaction.run(_UNMAKE, (json_ids(one for one, (state, *_) in unstarted.items() if state is None),))
    let_go = _rows(connection, _LET_GO, whose)
    _count_done(transaction, [row[:2] for row in let_go if row[2] not in unstarted])
    lanes.refresh(transaction, its_subscriptions)
    return True


def _counted(connection: apsw.Connection, part: Part) -> Counted:
    walk, missing = _walk(part), _missing(connection, part)
    asked = _bindings(part, missing, looked_at=-1)
    keys = []
    if missing.demands is not None:
        # What a filter lets through only the filter can tell.
        lacking = _rows(connection, walk.counted_missing, asked)
        keys = [key for key, data, entries in lacking if is_taken(missing, entries, data)]
        asked["missing_types"] = "[]"
    ((total, first, last),) = _rows(connection, walk.counted, asked)
    ends = [key for key in (first, last, *keys[:1], *keys[-1:]) if key is not None]
    if not ends:
        return Counted(part, 0)
    return Counted(structs.replace(part, cursor=min(ends) - 1, last_key=max(ends)), total + len(keys))


# --- going on --------------------------------------------------------------------------------------------------------


def step(transaction: Transaction, place: tuple[int, int]) -> ReplayStep:
    """Let the replays after `place` go on, or again the first where none is left."""
    rows = _rows(transaction.connection, _RUNNING, (*place, replays.PARTS_MAX))
    if not rows:
        return ReplayStep(place=replays.FIRST, has_moved=False, is_running=transaction.one(_ANY_RUNNING) is not None)
    parts = [read_part(row) for row in rows]
    has_moved = end_first_attempts(transaction, [part.subscription_id for part in parts]) > 0
    for part, (*_, slots, is_open, is_deleted) in zip(parts, rows, strict=True):
        if is_deleted:
            transaction.run(_ADVANCE, (part.replay_id, part.subscription_id, part.cursor, ReplayState.CANCELLED))
            _rows(transaction.connection, _LET_GO, (json_ids([part.subscription_id]), part.replay_id))
        elif is_open:
            has_moved |= _go_on(transaction, part, slots)
    is_last = len(parts) < replays.PARTS_MAX
    next_place = replays.FIRST if is_last else (parts[-1].replay_id, parts[-1].subscription_id)
    return ReplayStep(place=next_place, has_moved=has_moved, is_running=True)


def end_first_attempts(transaction: Transaction, subscription_ids: Iterable[int]) -> int:
    """Let go of what has had its first attempt, or was ended otherwise; return how many."""
    ended = _rows(transaction.connection, _HAD_ITS_ATTEMPT, (json_ids(subscription_ids),))
    _count_done(transaction, ended)
    return len(ended)


def _go_on(transaction: Transaction, part: Part, slots: int) -> bool:
    """Open what the lane has room for, and end the replay behind its last delivery; tell whether anything moved."""
    ((open_now, its_own),) = _rows(transaction.connection, _OPEN_NOW, (part.subscription_id, part.replay_id))
    room = replays.room(slots, open_now)
    cursor = part.cursor
    opened = 0
    if room and cursor < part.last_key:
        cursor, opened = _open(transaction, part, room)
    is_over = cursor >= part.last_key and not its_own + opened
    if cursor == part.cursor and not is_over:
        return False
    state = ReplayState.DONE if is_over else ReplayState.RUNNING
    transaction.run(_ADVANCE, (part.replay_id, part.subscription_id, cursor, state))
    return True


def _open(transaction: Transaction, part: Part, room: int) -> tuple[int, int]:
    """Open up to `room` deliveries behind the cursor; return the cursor after them, and how many."""
    connection, walk, missing = transaction.connection, _walk(part), _missing(transaction.connection, part)
    asked = _bindings(part, missing, looked_at=replays.EVENTS_LOOKED_AT) | {"room": room}
    found = _rows(connection, walk.found, asked)
    again, made = [], []
    for key, event_type, delivery_id, *before, data, entries in found:
        if delivery_id is not None:
            again.append((delivery_id, *before))
        elif data is None or is_taken(missing, entries, data):
            made.append((transaction.counters.next_delivery(), key, missing.names[event_type]))
    if again:
        transaction.run(_REOPEN, (transaction.now, json_ids(row[0] for row in again)))
    if made:
        shape: PayloadVersion = transaction.one(_SHAPE, (part.subscription_id,))
        shared = (transaction.now, part.subscription_id, part.company_id, shape, part.source)
        _MAKE.run(transaction, made, shared)
    noted = [*again, *((delivery_id, None, 0, 0, None, None) for delivery_id, _, _ in made)]
    if noted:
        _NOTE.run(transaction, noted, (part.replay_id, part.subscription_id))
        lanes.wake(transaction, [part.subscription_id])
    if len(found) == room:
        return found[-1][0], len(noted)
    ((seen, last_seen),) = _rows(connection, walk.seen, asked)
    return (last_seen if seen == replays.EVENTS_LOOKED_AT else part.last_key), len(noted)


def _walk(part: Part) -> _Walk:
    return _DEAD_ALONE if part.status is DeliveryState.DEAD else _EVENTS


def _missing(connection: apsw.Connection, part: Part) -> Missing:
    """Return what the subscription would get by what it and the catalogue are now."""
    if part.status is not None:
        return NOTHING_MISSING
    (subscription,) = subscriptions.by_ids(connection, [part.subscription_id]).values()
    if isinstance(subscription, Unreadable):
        return NOTHING_MISSING
    types = directory.catalogue(connection).types.values()
    return replays.missing(records.route_of(subscription), types, part.type_names)


def _bindings(part: Part, missing: Missing, looked_at: int) -> dict[str, Any]:
    return {
        "subscription_id": part.subscription_id,
        "company_id": part.company_id,
        "from_at": part.from_at,
        "to_at": part.to_at,
        "created_at": part.created_at,
        "cursor": part.cursor,
        "last_key": part.last_key,
        "looked_at": looked_at,
        "states": records.encode(replays.states(part.status)),
        "type_names": None if part.type_names is None else records.encode(part.type_names),
        "missing_types": records.encode(list(missing.names)),
        "reads_data": missing.demands is not None,
    }


def _rows(connection: apsw.Connection, sql: str, bindings: Any) -> list[Any]:
    return connection.execute(sql, bindings).fetchall()


def _count_done(transaction: Transaction, done: Iterable[tuple[int, int]]) -> None:
    for (replay_id, subscription_id), number in Counter(done).items():
        transaction.run(_COUNT_DONE, (replay_id, subscription_id, number))
