"""Verbs on subscriptions. Each change raises the company's revision and keeps what matching saw of it by revision."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import apsw

from hookline import fairness
from hookline.model import Subscription
from hookline.storage import records
from hookline.storage.claims import Unreadable
from hookline.storage.protocol import Creation
from hookline.storage.publications import Routes
from hookline.storage.rows import (
    DAMAGE,
    SUBSCRIPTION_COLUMNS,
    changed_values,
    read_routes,
    read_subscription,
    subscription_page,
    subscription_values,
    try_subscription,
)
from hookline.storage.sqlite import lanes
from hookline.storage.sqlite.transaction import Transaction, json_ids
from hookline.storage.views import Page, SubscriptionQuery

_BY_IDS: Final = f"SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions WHERE id IN (SELECT value FROM json_each(?1))"
_BY_ID: Final = f"""
SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions
WHERE id = ?1 AND deleted_at IS NULL AND (?2 IS NULL OR company_id = ?2)"""
_PAGE: Final = f"""
SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions
WHERE id > ?1 AND deleted_at IS NULL AND payload_version IN (SELECT value FROM json_each(?2)) {{narrowed}}
ORDER BY id LIMIT ?3"""
_PAGE_OF_ALL: Final = _PAGE.format(narrowed="")
_PAGE_OF_COMPANY: Final = _PAGE.format(narrowed="AND company_id = ?4")

_ROUTES: Final = """
SELECT c.id, c.revision, (
  SELECT r.route FROM subscription_revisions AS r WHERE r.company_id = c.id AND r.subscription_id = s.id
  ORDER BY r.revision DESC LIMIT 1)
FROM companies AS c LEFT JOIN subscriptions AS s ON s.company_id = c.id AND s.deleted_at IS NULL
WHERE c.id IN (SELECT value FROM json_each(?1)) AND c.deleted_at IS NULL
ORDER BY c.id, s.id"""

_INSERT: Final = f"INSERT INTO subscriptions ({SUBSCRIPTION_COLUMNS}) VALUES ({', '.join('?' * 17)})"
_INSERT_LANE: Final = (
    "INSERT INTO lanes (subscription_id, company_id, host, is_open, slots, slots_max, is_ordered, rate_per_second,"
    " validation_url, validate_at) VALUES (?1, ?2, ?3, ?4 AND ?9 IS NULL, ?5, ?6, ?7, ?8, ?9,"
    " CASE WHEN ?4 AND ?9 IS NOT NULL THEN ?10 END)"
)
_REPLACE: Final = """
UPDATE subscriptions SET callback_url = ?, event_types = ?, policies = ?, secrets = ?, auth_type = ?, auth_sealed = ?,
  headers_sealed = ?, trust_sealed = ?, active = ?, inactive_reason = ?, inactive_at = ?, updated_at = ?,
  revision = revision + 1
WHERE id = ? AND revision = ? - 1 AND deleted_at IS NULL"""
_REPLACE_LANE: Final = """
UPDATE lanes SET host = ?2, is_open = ?3 AND (?7 IS NULL OR lane.is_kept), slots_max = ?4, slots = min(slots, ?4),
  is_ordered = ?5, rate_per_second = coalesce(min(?6, lane.allowed), ?6, lane.allowed),
  next_start_us = CASE WHEN coalesce(?6, lane.allowed) IS NOT NULL THEN next_start_us END,
  validation_url = ?7, is_granted = lane.is_kept, allowed_per_second = lane.allowed, validate_tries = 0,
  validate_at = CASE WHEN ?3 AND ?7 IS NOT NULL AND NOT lane.is_kept THEN ?8 END
FROM (
  SELECT is_granted AND validation_url IS ?7 AS is_kept,
    CASE WHEN is_granted AND validation_url IS ?7 THEN allowed_per_second END AS allowed
  FROM lanes WHERE subscription_id = ?1
) AS lane
WHERE subscription_id = ?1"""
_LIFT: Final = (
    "UPDATE lanes SET hold_until = NULL, failed_in_a_row = 0, failing_since = NULL, probe_at = NULL"
    " WHERE subscription_id = ?"
)

_DELETE: Final = "UPDATE subscriptions SET deleted_at = ? WHERE id = ?"
_CLOSE_LANE: Final = "UPDATE lanes SET is_open = 0, validate_at = NULL WHERE subscription_id = ?"
_RAISE_REVISION: Final = "UPDATE companies SET revision = revision + 1 WHERE id = ? RETURNING revision"
_KEEP_ROUTE: Final = (
    "INSERT INTO subscription_revisions (company_id, subscription_id, revision, route) VALUES (?, ?, ?, ?)"
)


def create(transaction: Transaction, subscription: Subscription, per_company_max: int) -> Creation:
    """Store a new one with its lane."""
    company_id = subscription.company_id
    if transaction.one("SELECT 1 FROM companies WHERE id = ? AND deleted_at IS NULL", (company_id,)) is None:
        return Creation.NO_COMPANY
    if transaction.one("SELECT 1 FROM subscriptions WHERE id = ?", (subscription.id,)):
        return Creation.ID_TAKEN
    count = "SELECT count(*) FROM subscriptions WHERE company_id = ? AND deleted_at IS NULL"
    if transaction.one(count, (company_id,)) >= per_company_max:
        return Creation.QUOTA_REACHED
    transaction.run(_INSERT, subscription_values(subscription))
    policies = subscription.policies
    transaction.run(
        _INSERT_LANE,
        (
            subscription.id,
            company_id,
            records.host_of(subscription.callback_url),
            subscription.active,
            min(fairness.SLOTS_AT_FIRST, policies.max_in_flight),
            policies.max_in_flight,
            policies.ordered,
            policies.rate_per_second,
            records.validation_url(subscription),
            transaction.now,
        ),
    )
    _keep_route(transaction, company_id, subscription.id, records.encode(records.route_of(subscription)))
    return Creation.CREATED


def replace(transaction: Transaction, subscription: Subscription, *, lift_hold: bool) -> bool:
    """Store a changed one over its predecessor; False where that is not what is stored."""
    replaced = transaction.run(_REPLACE, (*changed_values(subscription), subscription.id, subscription.revision))
    if not replaced:
        return False
    policies, host = subscription.policies, records.host_of(subscription.callback_url)
    transaction.run(
        _REPLACE_LANE,
        (
            subscription.id,
            host,
            subscription.active,
            policies.max_in_flight,
            policies.ordered,
            policies.rate_per_second,
            records.validation_url(subscription),
            transaction.now,
        ),
    )
    if lift_hold:
        transaction.run(_LIFT, (subscription.id,))
    lanes.refresh(transaction, [subscription.id])
    route = records.encode(records.route_of(subscription))
    _keep_route(transaction, subscription.company_id, subscription.id, route)
    return True


def delete(transaction: Transaction, subscription_id: int) -> bool:
    """Mark one deleted and close its lane; its rows stay for `upkeep.close_deleted`."""
    find = "SELECT company_id FROM subscriptions WHERE id = ? AND deleted_at IS NULL"
    company_id = transaction.one(find, (subscription_id,))
    if company_id is None:
        return False
    transaction.run(_DELETE, (transaction.wall, subscription_id))
    transaction.run(_CLOSE_LANE, (subscription_id,))
    _keep_route(transaction, company_id, subscription_id, None)
    return True


def by_id(connection: apsw.Connection, subscription_id: int, company_id: int | None) -> Subscription | None:
    """Read one that is not deleted, of this company where one is named."""
    row = connection.execute(_BY_ID, (subscription_id, company_id)).get
    return None if row is None else read_subscription(row)


def by_ids(connection: apsw.Connection, ids: Collection[int]) -> Mapping[int, Subscription | Unreadable]:
    """Read several, deleted or not, by id; one that is damaged hides no other."""
    try:
        found = map(read_subscription, connection.execute(_BY_IDS, (json_ids(ids),)))
        return {subscription.id: subscription for subscription in found}
    except DAMAGE:
        return {subscription_id: _try_by_id(connection, subscription_id) for subscription_id in ids}


def _try_by_id(connection: apsw.Connection, subscription_id: int) -> Subscription | Unreadable:
    try:
        row = connection.execute(_BY_IDS, (json_ids([subscription_id]),)).get
    except UnicodeDecodeError as error:  # the driver makes text of the columns
        return Unreadable(f"a column is not UTF-8: {error.reason}")
    return try_subscription(row) if row else Unreadable("the row is missing")


def page(connection: apsw.Connection, query: SubscriptionQuery) -> Page[Subscription]:
    """Read those that are not deleted, by id ascending; one that is damaged hides no other."""
    limit = -1 if query.limit is None else query.limit + 1
    bindings: tuple[Any, ...] = (query.after_id, records.encode(query.versions), limit)
    sql = _PAGE_OF_ALL
    if query.company_id is not None:
        sql, bindings = _PAGE_OF_COMPANY, (*bindings, query.company_id)
    try:
        found = [(row[0], try_subscription(row)) for row in connection.execute(sql, bindings)]
    except UnicodeDecodeError:  # the driver makes text of the columns
        rows: list[Any] = connection.execute(sql.replace(SUBSCRIPTION_COLUMNS, "id", 1), bindings).fetchall()
        found = [(row[0], _try_by_id(connection, row[0])) for row in rows]
    return subscription_page(found, query.limit)


def routes(connection: apsw.Connection, company_ids: Sequence[int]) -> Mapping[int, Routes]:
    """Read the routes of companies."""
    return read_routes(connection.execute(_ROUTES, (json_ids(company_ids),)))


def _keep_route(transaction: Transaction, company_id: int, subscription_id: int, route: str | None) -> None:
    """Raise the company's revision, and keep what matching sees of the subscription from it on."""
    revision = transaction.one(_RAISE_REVISION, (company_id,))
    transaction.run(_KEEP_ROUTE, (company_id, subscription_id, revision, route))
