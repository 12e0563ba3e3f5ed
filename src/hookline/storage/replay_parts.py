"""A replay as both engines store it: a part for each subscription, and how parts read as one replay. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from hookline.model import BUILT_IN_COMPANY_ID, DeliveryState, Replay, ReplayState
from hookline.replays import Missing
from hookline.storage import records
from hookline.storage.claims import NewReplay
from hookline.storage.rows import DAMAGE, DAY_MS, Row, first_id_of_day

WHOLE: Final = 0
"""Stands for the subscription in the part that a replay over several has besides theirs: it belongs to the operator's
own company, shows that the replay exists, and has nothing to do."""


class Part(Struct, frozen=True, kw_only=True):
    """One subscription's part of a replay, as far as the walk has come."""

    replay_id: int
    subscription_id: int
    company_id: int
    status: DeliveryState | None
    type_names: tuple[str, ...] | None
    source: str | None
    from_at: int
    to_at: int
    created_at: int
    """What has ended later than this was delivered meanwhile, and is left alone."""
    cursor: int
    """Key of the last event that was looked at."""
    last_key: int
    """Of the last event that counts: the walk ends there."""


class Counted(NamedTuple):
    """A part that is not stored yet, walked once to the end."""

    part: Part
    total: int


PART_COLUMNS: Final = (
    "r.id, r.subscription_id, r.company_id, r.status, r.type_names, r.source, r.from_at, r.to_at, r.created_at,"
    " r.cursor, r.last_key"
)
REPLAY_COLUMNS: Final = (
    "id, company_id, subscription_id, state, total, done, from_at, to_at, status, type_names, created_at"
)


def new_part(replay: NewReplay, subscription_id: int, company_id: int, wall: int) -> Part:
    """Return the part of a subscription with all of the walk before it. What is accepted after `wall` is not in it."""
    to_at = min(replay.to_at, wall + 1)
    return Part(
        replay_id=0,
        subscription_id=subscription_id,
        company_id=company_id,
        status=replay.status,
        type_names=replay.type_names,
        source=replay.source,
        from_at=replay.from_at,
        to_at=to_at,
        created_at=wall,
        cursor=first_id_of_day(replay.from_at) - 1,
        last_key=first_id_of_day(to_at + 2 * DAY_MS),  # where a clock was set back, ids stay up to a day ahead of it
    )


def parts_to_store(replay: NewReplay, counted: Sequence[Counted]) -> Sequence[tuple[Any, ...]]:
    """Return rows of subscription, company, state, cursor, last key and total.

    A replay over several subscriptions leaves out those that have nothing to do.
    """
    rows: list[tuple[Any, ...]] = [
        (
            part.subscription_id,
            part.company_id,
            ReplayState.RUNNING if total else ReplayState.DONE,
            part.cursor,
            part.last_key,
            total,
        )
        for part, total in counted
        if total or replay.subscription_id is not None
    ]
    if replay.subscription_id is None:
        rows.append((WHOLE, BUILT_IN_COMPANY_ID, ReplayState.DONE, 0, 0, 0))
    return rows


def is_taken(missing: Missing, entries: str | None, data: bytes) -> bool:
    """Tell whether an event, of which this is stored, is one of the missing.

    One that cannot be read is: what is made of it is parked where somebody sees it, and holds no replay up.
    """
    try:
        return missing.takes(records.entries_of(entries), data)
    except DAMAGE:
        return True


def names(replay: NewReplay) -> str | None:
    """Write its type names; None for all."""
    return None if replay.type_names is None else records.encode(replay.type_names)


def read_part(row: Row) -> Part:
    """Read `PART_COLUMNS`."""
    return Part(
        replay_id=row[0],
        subscription_id=row[1],
        company_id=row[2],
        status=None if row[3] is None else DeliveryState(row[3]),
        type_names=records.names(row[4]),
        source=row[5],
        from_at=row[6],
        to_at=row[7],
        created_at=row[8],
        cursor=row[9],
        last_key=row[10],
    )


def read_replay(rows: Sequence[Row]) -> Replay | None:
    """Read `REPLAY_COLUMNS` of a replay's parts by subscription; None without any."""
    if not rows:
        return None
    first = rows[0]
    is_running = any(row[3] == ReplayState.RUNNING for row in rows)
    return Replay(
        id=first[0],
        company_id=first[1],
        subscription_id=None if first[2] == WHOLE else first[2],
        state=ReplayState.RUNNING if is_running else ReplayState(first[3]),
        total=sum(row[4] for row in rows),
        done=sum(row[5] for row in rows),
        from_at=first[6],
        to_at=first[7],
        status=None if first[8] is None else DeliveryState(first[8]),
        type_names=records.names(first[9]),
        created_at=first[10],
    )
