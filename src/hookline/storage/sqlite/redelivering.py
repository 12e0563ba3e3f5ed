"""The verb `redeliver`: somebody wants one delivery again."""

from typing import Final

from hookline import lifecycle
from hookline.model import DeliveryState
from hookline.storage.claims import Redelivery
from hookline.storage.sqlite import lanes, replaying
from hookline.storage.sqlite.transaction import Transaction

_FIND: Final = """
SELECT e.id, CASE WHEN d.state = 'pending' AND s.active = 0 THEN 'held' ELSE d.state END,
  CASE WHEN d.due_at IS NULL THEN d.reason ELSE s.inactive_reason END, e.data IS NULL
FROM deliveries AS d
  JOIN subscriptions AS s ON s.id = d.subscription_id
  JOIN events AS e ON e.key = d.event_key
WHERE d.id = ?1 AND d.subscription_id = ?2 AND s.deleted_at IS NULL"""

_REOPEN: Final = (
    "UPDATE deliveries SET state = 'pending', due_at = ?1, failures = 0, losses = 0, reason = NULL, settled_at = NULL"
    " WHERE id = ?2"
)


def redeliver(transaction: Transaction, subscription_id: int, delivery_id: int) -> Redelivery | None:
    """Open one delivery again where it has ended."""
    row = transaction.one(_FIND, (delivery_id, subscription_id))
    if row is None:
        return None
    event_id, state, reason, is_erased = row
    found = Redelivery(event_id=event_id, state=DeliveryState(state), reason=reason, is_erased=bool(is_erased))
    if found.state in lifecycle.REOPENABLE and not found.is_erased:
        replaying.end_first_attempts(transaction, [subscription_id])  # what a replay did with it is over
        transaction.run(_REOPEN, (transaction.now, delivery_id))
        lanes.wake(transaction, [subscription_id])
    return found
