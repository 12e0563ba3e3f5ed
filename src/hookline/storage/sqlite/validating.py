"""Verbs on handshakes with receivers: a lane whose receiver has not granted its callback URL stays closed."""

from typing import Any, Final

from hookline.model import Subscription
from hookline.storage.sqlite import lanes, subscriptions
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.views import VALIDATION_DOUBLINGS_MAX

_TAKE: Final = f"""
UPDATE lanes SET validate_at = ?1 + (?2 << min(validate_tries, {VALIDATION_DOUBLINGS_MAX})),
  validate_tries = validate_tries + 1
WHERE subscription_id IN (SELECT subscription_id FROM lanes WHERE validate_at <= ?1 ORDER BY validate_at LIMIT ?3)
RETURNING subscription_id"""
_GRANT: Final = """
UPDATE lanes SET is_granted = 1, is_open = 1, validate_at = NULL, allowed_per_second = ?3,
  rate_per_second = coalesce(min(rate_per_second, ?3), rate_per_second, ?3)
WHERE subscription_id = ?1 AND validation_url = ?2 AND validate_at IS NOT NULL"""


def take(transaction: Transaction, wait_ms: int, limit: int) -> tuple[Subscription, ...]:
    """Take those whose receivers are to be asked now, each for the time that it then waits."""
    taken: list[Any] = transaction.connection.execute(_TAKE, (transaction.now, wait_ms, limit)).fetchall()
    found = subscriptions.by_ids(transaction.connection, [row[0] for row in taken]) if taken else {}
    return tuple([each for each in found.values() if isinstance(each, Subscription)])


def grant(transaction: Transaction, subscription_id: int, callback_url: str, allowed_per_second: float | None) -> bool:
    """Open the lane, unless another URL is wanted by now, or none."""
    granted = transaction.run(_GRANT, (subscription_id, callback_url, allowed_per_second))
    if granted:
        lanes.refresh(transaction, [subscription_id])
    return bool(granted)
