"""What is to be told as an operational event, noted with the change that it tells of: neither is without the other.

Deliveries of operational events note nothing: a receiver of them that fails would make more of them for ever.
"""

from collections.abc import Sequence
from typing import Final

import apsw

from hookline.circuit import DEAD
from hookline.model import OPERATIONAL_TYPES
from hookline.storage.claims import Notice
from hookline.storage.rows import NOTICE_COLUMNS, read_notice
from hookline.storage.sqlite.transaction import Bulk, Transaction, json_ids

_NOTE: Final = Bulk(
    "INSERT INTO notices (event_type, company_id, subscription_id, delivery_id, event_id, reason, since, created_at)"
    " SELECT g.column1, d.company_id, d.subscription_id, d.id, e.id, coalesce(g.column3, d.reason), g.column4, ?1"
    " FROM (VALUES {rows}) AS g CROSS JOIN deliveries AS d ON d.id = g.column2"
    " CROSS JOIN events AS e ON e.key = d.event_key"
    " WHERE g.column1 IS NOT NULL"
    f" AND e.event_type NOT IN ({', '.join(map(repr, OPERATIONAL_TYPES))})",
    columns=4,
)
_READ: Final = f"""
SELECT {NOTICE_COLUMNS}
FROM notices ORDER BY id LIMIT ?"""


def note(transaction: Transaction, rows: Sequence[tuple[str, int, str | None, int]]) -> None:
    """Note event type, the delivery that it came of, reason (None: the delivery's), and since when it is so."""
    _NOTE.run(transaction, rows, (transaction.wall,))


def note_dead(transaction: Transaction, delivery_ids: Sequence[int]) -> None:
    """Note deliveries that have just died."""
    note(transaction, [(DEAD, delivery_id, None, transaction.wall) for delivery_id in delivery_ids])


def read(connection: apsw.Connection, limit: int) -> tuple[Notice, ...]:
    """Read the oldest."""
    return tuple([read_notice(row) for row in connection.execute(_READ, (limit,))])


def drop(transaction: Transaction, ids: Sequence[int]) -> None:
    """Remove what has been told."""
    transaction.run("DELETE FROM notices WHERE id IN (SELECT value FROM json_each(?))", (json_ids(ids),))
