"""Verbs on subscriptions. Each change raises the company's revision and keeps what matching saw of it by revision.

Locks are taken in one order everywhere: company, installation, subscription, lane.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from hookline import fairness
from hookline.circuit import HEALTHY
from hookline.model import Subscription
from hookline.storage import records
from hookline.storage.claims import Unreadable
from hookline.storage.postgres import buckets, lanes
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.lanes import LockedLane
from hookline.storage.protocol import Creation
from hookline.storage.publications import Routes
from hookline.storage.rows import (
    SUBSCRIPTION_COLUMNS,
    changed_values,
    read_routes,
    read_subscription,
    subscription_page,
    subscription_values,
    try_subscription,
)
from hookline.storage.views import Page, SubscriptionQuery

_BY_IDS: Final = (
    f"SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions WHERE bucket = any($1::smallint[]) AND id = any($2::integer[])"
)
# An id alone does not tell its bucket: these look everywhere, which only reads may do.
_BY_ID: Final = f"""
SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions
WHERE id = $1::bigint AND deleted_at IS NULL AND ($2::bigint IS NULL OR company_id = $2)"""
_OWNER: Final = "SELECT company_id FROM subscriptions WHERE id = $1::bigint AND deleted_at IS NULL"
_EXISTS: Final = "SELECT EXISTS (SELECT FROM subscriptions WHERE id = $1)"
_PAGE: Final = f"""
SELECT {SUBSCRIPTION_COLUMNS} FROM subscriptions
WHERE id > $1::bigint AND deleted_at IS NULL AND payload_version = any($2::text[])
  AND ($4::bigint IS NULL OR (company_id = $4 AND bucket = $5::smallint))
ORDER BY id LIMIT $3"""

_ROUTES: Final = """
SELECT c.id, c.revision, (
  SELECT r.route FROM subscription_revisions AS r
  WHERE r.bucket = any($1::smallint[]) AND r.bucket = s.bucket AND r.company_id = s.company_id
    AND r.subscription_id = s.id
  ORDER BY r.revision DESC LIMIT 1)
FROM companies AS c LEFT JOIN subscriptions AS s
  ON s.bucket = any($1::smallint[]) AND s.company_id = c.id AND s.deleted_at IS NULL
WHERE c.id = any($2::bigint[]) AND c.deleted_at IS NULL
ORDER BY c.id, s.id"""

_LOCK_COMPANY: Final = "SELECT id FROM companies WHERE id = $1::bigint AND deleted_at IS NULL FOR NO KEY UPDATE"
_LOCK_INSTALLATION: Final = "SELECT FROM installation FOR NO KEY UPDATE"
_COUNT: Final = """
SELECT count(*) FROM subscriptions WHERE bucket = $2::smallint AND company_id = $1 AND deleted_at IS NULL"""

_INSERT: Final = f"""
INSERT INTO subscriptions ({SUBSCRIPTION_COLUMNS}, bucket)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"""
_INSERT_LANE: Final = """
INSERT INTO lanes (subscription_id, company_id, host, is_open, slots, slots_max, is_ordered, rate_per_second, bucket,
  validation_url, validate_at)
VALUES ($1, $2, $3, $4::boolean AND $10::text IS NULL, $5, $6, $7, $8, $9, $10,
  CASE WHEN $4 AND $10 IS NOT NULL THEN $11::bigint END)"""
_REPLACE: Final = """
UPDATE subscriptions SET callback_url = $1, event_types = $2, policies = $3, secrets = $4, auth_type = $5,
  auth_sealed = $6, headers_sealed = $7, trust_sealed = $8, active = $9, inactive_reason = $10, inactive_at = $11,
  updated_at = $12, revision = revision + 1
WHERE bucket = $13::smallint AND id = $14::bigint AND company_id = $15::bigint AND revision = $16::bigint - 1
  AND deleted_at IS NULL
RETURNING id"""
_IS_KEPT: Final = "(is_granted AND validation_url IS NOT DISTINCT FROM $8)"
"""Whether the receiver has granted the callback URL before."""
_REPLACE_LANE: Final = f"""
UPDATE lanes SET host = $3, is_open = $4::boolean AND ($8::text IS NULL OR {_IS_KEPT}), slots_max = $5,
  slots = least(slots, $5), is_ordered = $6,
  rate_per_second = least($7::double precision, CASE WHEN {_IS_KEPT} THEN allowed_per_second END),
  next_start_us = CASE WHEN $7 IS NOT NULL OR ({_IS_KEPT} AND allowed_per_second IS NOT NULL) THEN next_start_us END,
  validation_url = $8, is_granted = {_IS_KEPT},
  allowed_per_second = CASE WHEN {_IS_KEPT} THEN allowed_per_second END, validate_tries = 0,
  validate_at = CASE WHEN $4 AND $8 IS NOT NULL AND NOT {_IS_KEPT} THEN $9::bigint END
WHERE bucket = $2::smallint AND subscription_id = $1
RETURNING {lanes.COLUMNS}"""

_DELETE: Final = """
UPDATE subscriptions SET deleted_at = $3
WHERE bucket = $1::smallint AND id = any($2::integer[]) AND deleted_at IS NULL
RETURNING id"""
_OF_COMPANY: Final = """
SELECT id FROM subscriptions
WHERE bucket = $2::smallint AND company_id = $1 AND deleted_at IS NULL
ORDER BY id FOR NO KEY UPDATE"""
_CLOSE_LANES: Final = """
UPDATE lanes SET is_open = false, validate_at = NULL
WHERE bucket = $1::smallint AND subscription_id = any($2::integer[])"""
_RAISE_REVISION: Final = "UPDATE companies SET revision = revision + 1 WHERE id = $1 RETURNING revision"
_KEEP_ROUTES: Final = """
INSERT INTO subscription_revisions (company_id, revision, bucket, subscription_id, route)
SELECT $1, $2, $3, * FROM unnest($4::integer[], $5::text[])"""


async def create(transaction: Transaction, subscription: Subscription, per_company_max: int) -> Creation:
    """Store a new one with its lane."""
    connection, company_id = transaction.connection, subscription.company_id
    bucket = buckets.of_company(company_id)
    if not await lock_company(transaction, company_id):
        return Creation.NO_COMPANY
    # No index can say that an id is given once in all buckets; whoever makes a subscription waits here.
    await connection.execute(_LOCK_INSTALLATION)
    if await connection.fetchval(_EXISTS, subscription.id):
        return Creation.ID_TAKEN
    if await connection.fetchval(_COUNT, company_id, bucket) >= per_company_max:
        return Creation.QUOTA_REACHED
    await connection.execute(_INSERT, *subscription_values(subscription), bucket)
    policies = subscription.policies
    await connection.execute(
        _INSERT_LANE,
        subscription.id,
        company_id,
        records.host_of(subscription.callback_url),
        subscription.active,
        min(fairness.SLOTS_AT_FIRST, policies.max_in_flight),
        policies.max_in_flight,
        policies.ordered,
        policies.rate_per_second,
        bucket,
        records.validation_url(subscription),
        transaction.now,
    )
    await _keep_routes(transaction, company_id, {subscription.id: records.encode(records.route_of(subscription))})
    return Creation.CREATED


async def replace(transaction: Transaction, subscription: Subscription, *, lift_hold: bool) -> bool:
    """Store a changed one over its predecessor; False where that is not what is stored."""
    connection, company_id = transaction.connection, subscription.company_id
    bucket = buckets.of_company(company_id)
    await lock_company(transaction, company_id)
    replaced = await connection.fetchval(
        _REPLACE, *changed_values(subscription), bucket, subscription.id, company_id, subscription.revision
    )
    if replaced is None:
        return False
    policies = subscription.policies
    row = await connection.fetchrow(
        _REPLACE_LANE,
        subscription.id,
        bucket,
        records.host_of(subscription.callback_url),
        subscription.active,
        policies.max_in_flight,
        policies.ordered,
        policies.rate_per_second,
        records.validation_url(subscription),
        transaction.now,
    )
    lane = LockedLane(*row)
    if lift_hold:
        lane = lane.with_health(HEALTHY).changed(hold_until=None)
    await lanes.write(transaction, [lane])
    await _keep_routes(transaction, company_id, {subscription.id: records.encode(records.route_of(subscription))})
    return True


async def delete(transaction: Transaction, subscription_id: int) -> bool:
    """Mark one deleted and close its lane; its rows stay for `upkeep.close_deleted`."""
    company_id = await transaction.connection.fetchval(_OWNER, subscription_id)
    if company_id is None:
        return False
    await lock_company(transaction, company_id)
    return await _delete(transaction, company_id, [subscription_id])


async def delete_of_company(transaction: Transaction, company_id: int, *, cascade: bool) -> bool:
    """Delete all of a company whose lock is held; False, without `cascade`, where it has any."""
    rows = await transaction.connection.fetch(_OF_COMPANY, company_id, buckets.of_company(company_id))
    if rows and not cascade:
        return False
    if rows:
        await _delete(transaction, company_id, [row[0] for row in rows])
    return True


async def lock_company(transaction: Transaction, company_id: int) -> bool:
    """Let nobody else change the company or its subscriptions while this transaction lasts; False: there is none."""
    return await transaction.connection.fetchval(_LOCK_COMPANY, company_id) is not None


async def by_id(connection: Any, subscription_id: int, company_id: int | None) -> Subscription | None:
    """Read one that is not deleted, of this company where one is named."""
    row = await connection.fetchrow(_BY_ID, subscription_id, company_id)
    return None if row is None else read_subscription(row)


async def by_ids(transaction: Transaction, ids: Collection[int]) -> Mapping[int, Subscription | Unreadable]:
    """Read several, deleted or not, by id; one that is damaged hides no other."""
    rows = await transaction.connection.fetch(_BY_IDS, transaction.buckets, list(ids))
    return {row[0]: try_subscription(row) for row in rows}


async def page(connection: Any, query: SubscriptionQuery) -> Page[Subscription]:
    """Read those that are not deleted, by id ascending; one that is damaged hides no other."""
    company_id = query.company_id
    rows = await connection.fetch(
        _PAGE,
        query.after_id,
        list(query.versions),
        None if query.limit is None else query.limit + 1,
        company_id,
        None if company_id is None else buckets.of_company(company_id),
    )
    return subscription_page([(row[0], try_subscription(row)) for row in rows], query.limit)


async def routes(connection: Any, company_ids: Sequence[int]) -> Mapping[int, Routes]:
    """Read the routes of companies."""
    its_buckets = [buckets.of_company(company_id) for company_id in company_ids]
    return read_routes(await connection.fetch(_ROUTES, its_buckets, list(company_ids)))


async def _delete(transaction: Transaction, company_id: int, ids: Sequence[int]) -> bool:
    """Delete those of a company whose lock is held; False where a rival did."""
    connection, bucket = transaction.connection, buckets.of_company(company_id)
    deleted = [row[0] for row in await connection.fetch(_DELETE, bucket, ids, transaction.wall)]
    if not deleted:
        return False
    await lanes.lock(transaction, deleted)
    await connection.execute(_CLOSE_LANES, bucket, deleted)
    await _keep_routes(transaction, company_id, dict.fromkeys(deleted))
    return True


async def _keep_routes(transaction: Transaction, company_id: int, found: Mapping[int, str | None]) -> None:
    """Raise the company's revision, and keep what matching sees of the subscriptions from it on."""
    connection = transaction.connection
    revision = await connection.fetchval(_RAISE_REVISION, company_id)
    await connection.execute(
        _KEEP_ROUTES, company_id, revision, buckets.of_company(company_id), list(found), list(found.values())
    )
