"""Verbs on accounts. Deleting one revokes its tokens, so it raises the change counter."""

from typing import Final

import apsw

from hookline.model import Account
from hookline.storage.protocol import AccountCreation
from hookline.storage.rows import ACCOUNT_COLUMNS, cut, read_account
from hookline.storage.sqlite.directory import company, noted
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.views import Page

_ACCOUNT: Final = f"SELECT {ACCOUNT_COLUMNS} FROM accounts"
_CREATE: Final = f"INSERT INTO accounts ({ACCOUNT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


def create(transaction: Transaction, account: Account) -> AccountCreation:
    """Store a new one."""
    if company(transaction.connection, account.company_id) is None:
        return AccountCreation.NO_COMPANY
    if by_username(transaction.connection, account.username):
        return AccountCreation.USERNAME_TAKEN
    row = (
        account.id,
        account.company_id,
        account.username,
        account.password,
        account.secret_hash,
        account.created_at,
    )
    return AccountCreation.CREATED if transaction.run(_CREATE, row) else AccountCreation.ID_TAKEN


def delete(transaction: Transaction, company_id: int, account_id: int) -> bool:
    """Delete one of this company with its tokens."""
    if transaction.one("SELECT 1 FROM accounts WHERE id = ? AND company_id = ?", (account_id, company_id)) is None:
        return False
    transaction.run("DELETE FROM tokens WHERE account_id = ?", (account_id,))
    return noted(transaction, transaction.run("DELETE FROM accounts WHERE id = ?", (account_id,)))


def revoke_passes(transaction: Transaction, account_id: int) -> bool:
    """Remove all tokens that it signed in for."""
    return noted(transaction, transaction.run("DELETE FROM tokens WHERE account_id = ?", (account_id,)))


def page(connection: apsw.Connection, company_id: int, after_id: int, limit: int) -> Page[Account]:
    """Read those of a company."""
    sql = f"{_ACCOUNT} WHERE company_id = ? AND id > ? ORDER BY id LIMIT ?"
    return cut([read_account(row) for row in connection.execute(sql, (company_id, after_id, limit + 1))], limit)


def by_id(connection: apsw.Connection, account_id: int) -> Account | None:
    """Read one."""
    row = connection.execute(f"{_ACCOUNT} WHERE id = ?", (account_id,)).get
    return None if row is None else read_account(row)


def by_username(connection: apsw.Connection, username: str) -> Account | None:
    """Read the one that has this name."""
    row = connection.execute(f"{_ACCOUNT} WHERE username = ?", (username,)).get
    return None if row is None else read_account(row)
