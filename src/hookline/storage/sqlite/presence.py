"""Who works on this database: here one process alone, but pages ask both engines alike."""

from typing import Final

import apsw

from hookline.storage.rows import NODE_COLUMNS, read_node
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.views import NODE_KEPT_MS, Node, NodeBeat

_BEAT: Final = """
INSERT INTO nodes (id, name, version, roles, started_at, seen_at, skew_ms, in_flight, max_in_flight,
  attempts_per_second, since_claim_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT DO UPDATE SET seen_at = ?6, skew_ms = ?7, in_flight = ?8, max_in_flight = ?9, attempts_per_second = ?10,
  since_claim_ms = ?11"""
_FORGET_OLD: Final = "DELETE FROM nodes WHERE seen_at < ?"
_FORGET: Final = "DELETE FROM nodes WHERE id = ?"
_READ: Final = f"SELECT {NODE_COLUMNS} FROM nodes ORDER BY name, started_at LIMIT ?"


def beat(transaction: Transaction, node: NodeBeat) -> None:
    """Note that a node lives, and forget those that have not for long."""
    transaction.run(
        _BEAT,
        (
            *(node.id, node.name, node.version, " ".join(node.roles), node.started_at, transaction.wall),
            *(node.wall_ms - transaction.wall, node.in_flight, node.max_in_flight, node.attempts_per_second),
            node.since_claim_ms,
        ),
    )
    transaction.run(_FORGET_OLD, (transaction.wall - NODE_KEPT_MS,))


def forget(transaction: Transaction, node_id: str) -> None:
    """Forget a node."""
    transaction.run(_FORGET, (node_id,))


def read(connection: apsw.Connection, limit: int) -> tuple[Node, ...]:
    """Read the nodes by name."""
    return tuple([read_node(row) for row in connection.execute(_READ, (limit,))])
