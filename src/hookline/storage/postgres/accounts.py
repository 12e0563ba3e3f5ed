"""Verbs on accounts. Deleting one revokes its tokens, so it raises the change counter."""

from typing import Any, Final

from hookline.model import Account
from hookline.storage.postgres.connection import is_storable
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.directory import noted, share_company
from hookline.storage.protocol import AccountCreation
from hookline.storage.rows import ACCOUNT_COLUMNS, cut, read_account
from hookline.storage.views import Page

_ACCOUNT: Final = f"SELECT {ACCOUNT_COLUMNS} FROM accounts"
_CREATE: Final = f"""
INSERT INTO accounts ({ACCOUNT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id"""
_LOCK: Final = "SELECT id FROM accounts WHERE id = $1::bigint AND company_id = $2::bigint FOR UPDATE"
_REVOKE: Final = "DELETE FROM tokens WHERE account_id = $1"
_REVOKE_PASSES: Final = (
    "WITH gone AS (DELETE FROM tokens WHERE account_id = $1::bigint RETURNING id) SELECT min(id) FROM gone"
)
_DELETE: Final = "DELETE FROM accounts WHERE id = $1 RETURNING id"
_PAGE: Final = f"{_ACCOUNT} WHERE company_id = $1::bigint AND id > $2::bigint ORDER BY id LIMIT $3"


async def create(transaction: Transaction, account: Account) -> AccountCreation:
    """Store a new one."""
    if not await share_company(transaction, account.company_id):
        return AccountCreation.NO_COMPANY
    created = await transaction.connection.fetchval(
        _CREATE,
        account.id,
        account.company_id,
        account.username,
        account.password,
        account.secret_hash,
        account.created_at,
    )
    if created is not None:
        return AccountCreation.CREATED
    is_name = await by_username(transaction.connection, account.username)
    return AccountCreation.USERNAME_TAKEN if is_name else AccountCreation.ID_TAKEN


async def delete(transaction: Transaction, company_id: int, account_id: int) -> bool:
    """Delete one of this company with its tokens; its lock keeps new ones from being made meanwhile."""
    connection = transaction.connection
    if await connection.fetchval(_LOCK, account_id, company_id) is None:
        return False
    await connection.execute(_REVOKE, account_id)
    return await noted(transaction, await connection.fetchval(_DELETE, account_id))


async def revoke_passes(transaction: Transaction, account_id: int) -> bool:
    """Remove all tokens that it signed in for."""
    return await noted(transaction, await transaction.connection.fetchval(_REVOKE_PASSES, account_id))


async def page(connection: Any, company_id: int, after_id: int, limit: int) -> Page[Account]:
    """Read those of a company."""
    return cut([read_account(row) for row in await connection.fetch(_PAGE, company_id, after_id, limit + 1)], limit)


async def by_id(connection: Any, account_id: int) -> Account | None:
    """Read one."""
    row = await connection.fetchrow(f"{_ACCOUNT} WHERE id = $1::bigint", account_id)
    return None if row is None else read_account(row)


async def by_username(connection: Any, username: str) -> Account | None:
    """Read the one that has this name."""
    if not is_storable(username):
        return None
    row = await connection.fetchrow(f"{_ACCOUNT} WHERE username = $1", username)
    return None if row is None else read_account(row)
