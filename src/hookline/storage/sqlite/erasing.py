"""The verb `erase`: what an event said goes, that it was and what became of it stays.

An attempt under way may end, for its body is out of our hands. Its delivery is marked: `settling` then keeps no body of
the answer, and makes no further attempt.
"""

from typing import Final

from hookline import lifecycle
from hookline.lifecycle import Move, Reason
from hookline.storage.sqlite import lanes
from hookline.storage.sqlite.transaction import Transaction

_ERASE: Final = "UPDATE events SET data = NULL WHERE id = ? RETURNING key"
_ERASE_BODIES: Final = """
UPDATE attempts SET response_body = NULL
WHERE response_body IS NOT NULL AND delivery_id IN (SELECT id FROM deliveries WHERE event_key = ?)"""
_CANCEL: Final = """
UPDATE deliveries SET state = ?1, due_at = NULL, reason = ?2, settled_at = ?3
WHERE event_key = ?4 AND state = 'pending' RETURNING subscription_id"""
_MARK: Final = "UPDATE deliveries SET is_erased = 1 WHERE event_key = ? AND state = 'sending'"


def erase(transaction: Transaction, event_id: str) -> bool:
    """Erase the event's data and the bodies that were answered to it, and cancel what waits to be sent."""
    key = transaction.one(_ERASE, (event_id,))
    if key is None:
        return False
    transaction.run(_ERASE_BODIES, (key,))
    transaction.run(_MARK, (key,))
    state = lifecycle.after(lifecycle.PENDING, Move.CANCEL)
    cancelled = transaction.connection.execute(_CANCEL, (state, Reason.ERASED, transaction.wall, key))
    its_subscriptions: list[int] = [subscription_id for (subscription_id,) in cancelled]
    lanes.refresh(transaction, its_subscriptions)
    return True
