"""Verbs on companies, tokens and the catalogue; each change of them raises the change counter."""

from typing import Any, Final

from hookline.model import BUILT_IN_COMPANY_ID, Company, EventType, Token, TypeKind
from hookline.storage.postgres import buckets, subscriptions
from hookline.storage.postgres.connection import is_storable
from hookline.storage.postgres.database import Transaction
from hookline.storage.protocol import CompanyDeletion, Creation
from hookline.storage.publications import Catalogue
from hookline.storage.rows import TOKEN_COLUMNS, cut, read_company, read_token, token_row
from hookline.storage.views import Page

_COMPANY: Final = "SELECT id, name, created_at, retention_days FROM companies WHERE deleted_at IS NULL"
_TOKEN: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens"

_INSERT_COMPANY: Final = """
INSERT INTO companies (id, name, created_at, retention_days, bucket) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING id"""
_REPLACE_COMPANY: Final = """
UPDATE companies SET name = $2, retention_days = $3
WHERE id = $1::bigint AND name = $4 AND retention_days IS NOT DISTINCT FROM $5 AND id <> $6 AND deleted_at IS NULL
RETURNING id"""
_DELETE_COMPANY: Final = "UPDATE companies SET deleted_at = $2 WHERE id = $1"

# Shared: tokens and accounts of one company may be made side by side, but not while it is being deleted.
_SHARE_COMPANY: Final = "SELECT id FROM companies WHERE id = $1::bigint AND deleted_at IS NULL FOR SHARE"
_LOCK_ACCOUNTS: Final = "SELECT FROM accounts WHERE company_id = $1 ORDER BY id FOR UPDATE"
_SHARE_ACCOUNT: Final = "SELECT id FROM accounts WHERE id = $1 FOR KEY SHARE"
_CREATE: Final = f"""
INSERT INTO tokens ({TOKEN_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING RETURNING id"""
_REVOKE: Final = """
DELETE FROM tokens
WHERE id = $2::bigint AND company_id IS NOT DISTINCT FROM $1::bigint AND NOT is_pass RETURNING id"""
_REVOKE_PASS: Final = "DELETE FROM tokens WHERE id = $1::bigint AND is_pass RETURNING id"  # noqa: S105 - SQL
_TOKENS: Final = f"{_TOKEN} WHERE company_id = $1::bigint AND NOT is_pass AND id > $2::bigint ORDER BY id LIMIT $3"
_TOKENS_OF_NONE: Final = f"{_TOKEN} WHERE company_id IS NULL AND NOT is_pass AND id > $1::bigint ORDER BY id LIMIT $2"

_STORED: Final = """
SELECT coalesce(sum(octet_length(e.data)), 0)::bigint
FROM recipients AS r JOIN events AS e ON e.key = r.event_key AND e.bucket = r.event_bucket
WHERE r.bucket = $2::smallint AND r.company_id = $1 AND e.bucket = any($3::smallint[])"""
"""The length of what lies outside its row stands in it: the data itself is not read."""

_CATALOGUE: Final = """
SELECT i.catalogue_revision, t.name, t.v1_name, t.v2_name, t.kind, t.description, t.schema
FROM installation AS i LEFT JOIN event_types AS t ON true ORDER BY t.name"""
_LOCK_INSTALLATION: Final = "SELECT FROM installation FOR NO KEY UPDATE"
_NAME_TAKEN: Final = """
SELECT EXISTS (SELECT FROM event_types WHERE name <> $1 AND (v1_name = $2 OR v2_name = $3))"""
_PUT_TYPE: Final = """
INSERT INTO event_types (name, v1_name, v2_name, kind, description, schema) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE SET v1_name = $2, v2_name = $3, kind = $4, description = $5, schema = $6"""
_DELETE_TYPE: Final = "DELETE FROM event_types WHERE name = $1 RETURNING name"
_RAISE_CATALOGUE: Final = """
UPDATE installation SET catalogue_revision = catalogue_revision + 1, change_counter = change_counter + 1
RETURNING catalogue_revision"""
_KEEP_TYPE: Final = """
INSERT INTO event_type_revisions (name, revision, v1_name, v2_name, kind) VALUES ($1, $2, $3, $4, $5)"""

# --- companies -------------------------------------------------------------------------------------------------------


async def create_company(transaction: Transaction, company: Company) -> Creation:
    """Store a new company; the id of a deleted one stays taken."""
    created = await transaction.connection.fetchval(
        _INSERT_COMPANY,
        company.id,
        company.name,
        company.created_at,
        company.retention_days,
        buckets.of_company(company.id),
    )
    return await _created(transaction, created)


async def replace_company(transaction: Transaction, before: Company, after: Company) -> bool:
    """Store a changed name or retention."""
    replaced = await transaction.connection.fetchval(
        _REPLACE_COMPANY,
        before.id,
        after.name,
        after.retention_days,
        before.name,
        before.retention_days,
        BUILT_IN_COMPANY_ID,
    )
    return await noted(transaction, replaced)


async def delete_company(transaction: Transaction, company_id: int, *, cascade: bool) -> CompanyDeletion:
    """Mark a company deleted, remove its accounts, tokens and links and, with `cascade`, delete its subscriptions."""
    if company_id == BUILT_IN_COMPANY_ID or not await subscriptions.lock_company(transaction, company_id):
        return CompanyDeletion.NOT_FOUND
    if not await subscriptions.delete_of_company(transaction, company_id, cascade=cascade):
        return CompanyDeletion.HAS_SUBSCRIPTIONS
    await transaction.connection.execute(_LOCK_ACCOUNTS, company_id)  # else a token may be made between the two
    await transaction.connection.execute("DELETE FROM tokens WHERE company_id = $1", company_id)
    await transaction.connection.execute("DELETE FROM accounts WHERE company_id = $1", company_id)
    await transaction.connection.execute("DELETE FROM links WHERE company_id = $1", company_id)
    await transaction.connection.execute(_DELETE_COMPANY, company_id, transaction.wall)
    await noted(transaction, company_id)
    return CompanyDeletion.DELETED


async def company(connection: Any, company_id: int) -> Company | None:
    """Read one, the built-in one included."""
    row = await connection.fetchrow(f"{_COMPANY} AND id = $1::bigint", company_id)
    return None if row is None else read_company(row)


async def stored_bytes(connection: Any, company_id: int) -> int:
    """Measure the data of all events that are for a company."""
    data_bytes: int = await connection.fetchval(_STORED, company_id, buckets.of_company(company_id), buckets.EVERY)
    return data_bytes


async def companies(connection: Any, after_id: int, limit: int) -> Page[Company]:
    """Read a page of companies, the built-in one left out."""
    sql = f"{_COMPANY} AND id > $1::bigint AND id <> $2 ORDER BY id LIMIT $3"
    rows = await connection.fetch(sql, after_id, BUILT_IN_COMPANY_ID, limit + 1)
    return cut([read_company(row) for row in rows], limit)


# --- tokens ----------------------------------------------------------------------------------------------------------


async def create_token(transaction: Transaction, token: Token) -> Creation:
    """Store a new token's hash."""
    connection, company_id = transaction.connection, token.company_id
    if token.account_id is not None:
        if await connection.fetchval(_SHARE_ACCOUNT, token.account_id) is None:
            return Creation.NO_COMPANY
    elif company_id is not None and not await share_company(transaction, company_id):
        return Creation.NO_COMPANY
    created = await insert_token(transaction, token)
    if created is not None and token.is_pass:
        return Creation.CREATED
    return await _created(transaction, created)


async def insert_token(transaction: Transaction, token: Token) -> object:
    """Store a token whose owner is known to be there, uncounted; None: its id is taken."""
    return await transaction.connection.fetchval(_CREATE, *token_row(token))


async def share_company(transaction: Transaction, company_id: int) -> bool:
    """Keep the company from being deleted while this transaction lasts; False: there is none."""
    return await transaction.connection.fetchval(_SHARE_COMPANY, company_id) is not None


async def revoke_token(transaction: Transaction, company_id: int | None, token_id: int) -> bool:
    """Remove a token of this company, or of none."""
    return await noted(transaction, await transaction.connection.fetchval(_REVOKE, company_id, token_id))


async def revoke_pass(transaction: Transaction, token_id: int) -> bool:
    """Remove a pass."""
    return await noted(transaction, await transaction.connection.fetchval(_REVOKE_PASS, token_id))


async def tokens(connection: Any, company_id: int | None, after_id: int, limit: int) -> Page[Token]:
    """Read a page of the tokens of one company, or of none."""
    if company_id is None:
        rows = await connection.fetch(_TOKENS_OF_NONE, after_id, limit + 1)
    else:
        rows = await connection.fetch(_TOKENS, company_id, after_id, limit + 1)
    return cut([read_token(row) for row in rows], limit)


async def token_by_hash(connection: Any, token_hash: bytes) -> Token | None:
    """Read the token that a bearer shows."""
    row = await connection.fetchrow(f"{_TOKEN} WHERE hash = $1", token_hash)
    return None if row is None else read_token(row)


async def change_counter(connection: Any) -> int:
    """Read the change counter."""
    counter: int = await connection.fetchval("SELECT change_counter FROM installation")
    return counter


# --- the catalogue ---------------------------------------------------------------------------------------------------


async def catalogue(connection: Any) -> Catalogue:
    """Read all event types with their revision."""
    rows = await connection.fetch(_CATALOGUE)
    types = [
        EventType(name=name, v1_name=v1, v2_name=v2, kind=TypeKind(kind), description=description, schema=schema)
        for _, name, v1, v2, kind, description, schema in rows
        if name is not None
    ]
    return Catalogue(revision=rows[0][0], types={event_type.name: event_type for event_type in types})


async def put_event_type(transaction: Transaction, event_type: EventType) -> bool:
    """Store or replace a type, unless another has one of its names in a version."""
    connection = transaction.connection
    name, v1_name, v2_name = event_type.name, event_type.v1_name, event_type.v2_name
    await connection.execute(_LOCK_INSTALLATION)
    if await connection.fetchval(_NAME_TAKEN, name, v1_name, v2_name):
        return False
    await connection.execute(
        _PUT_TYPE, name, v1_name, v2_name, event_type.kind, event_type.description, event_type.schema
    )
    await _keep_type(transaction, name, v1_name, v2_name, event_type.kind)
    return True


async def delete_event_type(transaction: Transaction, name: str) -> bool:
    """Delete a type; that it is gone is kept by revision, too."""
    await transaction.connection.execute(_LOCK_INSTALLATION)
    if not is_storable(name) or await transaction.connection.fetchval(_DELETE_TYPE, name) is None:
        return False
    await _keep_type(transaction, name, None, None, None)
    return True


async def noted(transaction: Transaction, changed: object) -> bool:
    """Raise the change counter where something changed."""
    if changed is not None:
        await transaction.connection.execute("UPDATE installation SET change_counter = change_counter + 1")
    return changed is not None


async def _created(transaction: Transaction, created: object) -> Creation:
    return Creation.CREATED if await noted(transaction, created) else Creation.ID_TAKEN


async def _keep_type(
    transaction: Transaction, name: str, v1_name: str | None, v2_name: str | None, kind: TypeKind | None
) -> None:
    """Raise the catalogue's revision, and keep what it says of the type from then on."""
    revision = await transaction.connection.fetchval(_RAISE_CATALOGUE)
    await transaction.connection.execute(_KEEP_TYPE, name, revision, v1_name, v2_name, kind)
