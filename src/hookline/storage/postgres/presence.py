"""Who works on this database: each node writes its own row, by the database's clock."""

from typing import Any, Final

from hookline.storage.postgres.database import Transaction
from hookline.storage.rows import NODE_COLUMNS, read_node
from hookline.storage.views import NODE_KEPT_MS, Node, NodeBeat

_BEAT: Final = """
INSERT INTO nodes (id, name, version, roles, started_at, seen_at, skew_ms, in_flight, max_in_flight,
  attempts_per_second, since_claim_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE SET seen_at = $6, skew_ms = $7, in_flight = $8, max_in_flight = $9,
  attempts_per_second = $10, since_claim_ms = $11"""
_FORGET_OLD: Final = "DELETE FROM nodes WHERE seen_at < $1"
_FORGET: Final = "DELETE FROM nodes WHERE id = $1"
_READ: Final = f"SELECT {NODE_COLUMNS} FROM nodes ORDER BY name, started_at LIMIT $1"


async def beat(transaction: Transaction, node: NodeBeat) -> None:
    """Note that a node lives, and forget those that have not for long."""
    await transaction.connection.execute(
        _BEAT,
        *(node.id, node.name, node.version, " ".join(node.roles), node.started_at, transaction.wall),
        *(node.wall_ms - transaction.wall, node.in_flight, node.max_in_flight, node.attempts_per_second),
        node.since_claim_ms,
    )
    await transaction.connection.execute(_FORGET_OLD, transaction.wall - NODE_KEPT_MS)


async def forget(transaction: Transaction, node_id: str) -> None:
    """Forget a node."""
    await transaction.connection.execute(_FORGET, node_id)


async def read(connection: Any, limit: int) -> tuple[Node, ...]:
    """Read the nodes by name."""
    return tuple([read_node(row) for row in await connection.fetch(_READ, limit)])
