"""What is to be told as an operational event, noted with the change that it tells of: neither is without the other.

Deliveries of operational events note nothing: a receiver of them that fails would make more of them for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from hookline.model import OPERATIONAL_TYPES
from hookline.storage.claims import Notice
from hookline.storage.postgres.database import Transaction
from hookline.storage.rows import NOTICE_COLUMNS, read_notice

_CAUSES: Final = """
SELECT key, id FROM events
WHERE bucket = any($1::smallint[]) AND key = any($2::bigint[]) AND event_type <> all($3::text[])"""
_NOTE: Final = """
INSERT INTO notices (
  created_at, id, event_type, company_id, subscription_id, delivery_id, event_id, reason, since, bucket)
SELECT $1, * FROM unnest(
  $2::bigint[], $3::text[], $4::integer[], $5::integer[], $6::bigint[], $7::text[], $8::text[], $9::bigint[],
  $10::smallint[])"""
_READ: Final = f"""
SELECT {NOTICE_COLUMNS}
FROM notices WHERE bucket = any($1::smallint[]) ORDER BY id LIMIT $2"""
_DROP: Final = "DELETE FROM notices WHERE bucket = any($1::smallint[]) AND id = any($2::bigint[])"


class Note(Struct, frozen=True):
    """What is worth telling, and the delivery that it came of."""

    event_type: str
    reason: str
    since: int
    delivery_id: int
    subscription_id: int
    company_id: int
    event_key: int
    event_bucket: int
    bucket: int


async def note(transaction: Transaction, notes: Sequence[Note]) -> None:
    """Note what has happened; nothing where there is nothing."""
    if not notes:
        return
    event_ids = await _event_ids(transaction, notes)
    told = [each for each in notes if each.event_key in event_ids]
    if not told:
        return
    rows = [
        (
            note_id,
            each.event_type,
            each.company_id,
            each.subscription_id,
            each.delivery_id,
            event_ids[each.event_key],
            each.reason,
            each.since,
            each.bucket,
        )
        for note_id, each in zip(await transaction.draw(len(told)), told, strict=True)
    ]
    await transaction.connection.execute(_NOTE, transaction.wall, *zip(*rows, strict=True))


async def read(connection: Any, buckets: Sequence[int], limit: int) -> tuple[Notice, ...]:
    """Read the oldest."""
    return tuple([read_notice(row) for row in await connection.fetch(_READ, buckets, limit)])


async def drop(transaction: Transaction, ids: Sequence[int]) -> None:
    """Remove what has been told."""
    await transaction.connection.execute(_DROP, transaction.buckets, ids)


async def _event_ids(transaction: Transaction, notes: Sequence[Note]) -> Mapping[int, str]:
    """Return the ids of the events that may cause one of ours, by key."""
    rows = await transaction.connection.fetch(
        _CAUSES,
        list({each.event_bucket for each in notes}),
        list({each.event_key for each in notes}),
        OPERATIONAL_TYPES,
    )
    return {row[0]: row[1] for row in rows}
