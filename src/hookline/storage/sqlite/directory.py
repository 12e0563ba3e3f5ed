"""Verbs on companies, tokens and the catalogue; each change of them raises the change counter."""

from typing import Final

import apsw

from hookline.model import BUILT_IN_COMPANY_ID, Company, EventType, Token, TypeKind
from hookline.storage.protocol import CompanyDeletion, Creation
from hookline.storage.publications import Catalogue
from hookline.storage.rows import TOKEN_COLUMNS, cut, read_company, read_token, token_row
from hookline.storage.sqlite import subscriptions
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.views import Page

_COMPANY: Final = "SELECT id, name, created_at, retention_days FROM companies"
_REPLACE_COMPANY: Final = """
UPDATE companies SET name = ?, retention_days = ?
WHERE id = ? AND name = ? AND retention_days IS ? AND id <> ? AND deleted_at IS NULL"""
_TOKEN: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens"
_CREATE: Final = f"INSERT INTO tokens ({TOKEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_TYPE: Final = "SELECT name, v1_name, v2_name, kind, description, schema FROM event_types"

_PUT_TYPE: Final = """
INSERT INTO event_types (name, v1_name, v2_name, kind, description, schema) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (name) DO UPDATE SET v1_name = ?2, v2_name = ?3, kind = ?4, description = ?5, schema = ?6"""

_STORED: Final = """
SELECT coalesce(sum(length(e.data)), 0)
FROM recipients AS r CROSS JOIN events AS e ON e.key = r.event_key WHERE r.company_id = ?"""
"""A blob's length stands at its beginning: the data itself is not read."""

_KEEP_TYPE: Final = """
INSERT INTO event_type_revisions (name, revision, v1_name, v2_name, kind)
SELECT ?, catalogue_revision, ?, ?, ? FROM installation"""

# --- companies -------------------------------------------------------------------------------------------------------


def create_company(transaction: Transaction, company: Company) -> Creation:
    """Store a new company; the id of a deleted one stays taken."""
    sql = "INSERT INTO companies (id, name, created_at, retention_days) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    created = transaction.run(sql, (company.id, company.name, company.created_at, company.retention_days))
    return _created(transaction, created)


def replace_company(transaction: Transaction, before: Company, after: Company) -> bool:
    """Store a changed name or retention."""
    seen = (before.id, before.name, before.retention_days, BUILT_IN_COMPANY_ID)
    return noted(transaction, transaction.run(_REPLACE_COMPANY, (after.name, after.retention_days, *seen)))


def delete_company(transaction: Transaction, company_id: int, *, cascade: bool) -> CompanyDeletion:
    """Mark a company deleted, remove its accounts, tokens and links and, with `cascade`, delete its subscriptions."""
    if company_id == BUILT_IN_COMPANY_ID or company(transaction.connection, company_id) is None:
        return CompanyDeletion.NOT_FOUND
    find = "SELECT id FROM subscriptions WHERE company_id = ? AND deleted_at IS NULL"
    its_subscriptions = [row[0] for row in transaction.connection.execute(find, (company_id,))]
    if its_subscriptions and not cascade:
        return CompanyDeletion.HAS_SUBSCRIPTIONS
    for subscription_id in its_subscriptions:
        subscriptions.delete(transaction, subscription_id)
    transaction.run("DELETE FROM tokens WHERE company_id = ?", (company_id,))
    transaction.run("DELETE FROM accounts WHERE company_id = ?", (company_id,))
    transaction.run("DELETE FROM links WHERE company_id = ?", (company_id,))
    transaction.run("UPDATE companies SET deleted_at = ? WHERE id = ?", (transaction.wall, company_id))
    noted(transaction, 1)
    return CompanyDeletion.DELETED


def company(connection: apsw.Connection, company_id: int) -> Company | None:
    """Read one, the built-in one included."""
    row = connection.execute(f"{_COMPANY} WHERE id = ? AND deleted_at IS NULL", (company_id,)).get
    return None if row is None else read_company(row)


def stored_bytes(connection: apsw.Connection, company_id: int) -> int:
    """Measure the data of all events that are for a company."""
    data_bytes: int = connection.execute(_STORED, (company_id,)).get
    return data_bytes


def companies(connection: apsw.Connection, after_id: int, limit: int) -> Page[Company]:
    """Read a page of companies, the built-in one left out."""
    sql = f"{_COMPANY} WHERE id > ? AND id <> ? AND deleted_at IS NULL ORDER BY id LIMIT ?"
    rows = connection.execute(sql, (after_id, BUILT_IN_COMPANY_ID, limit + 1))
    return cut([read_company(row) for row in rows], limit)


# --- tokens ----------------------------------------------------------------------------------------------------------


def create_token(transaction: Transaction, token: Token) -> Creation:
    """Store a new token's hash."""
    if not _has_owner(transaction, token):
        return Creation.NO_COMPANY
    created = insert_token(transaction, token)
    if created and token.is_pass:
        return Creation.CREATED
    return _created(transaction, created)


def insert_token(transaction: Transaction, token: Token) -> int:
    """Store a token whose owner is known to be there, uncounted; return 0 where its id is taken."""
    return transaction.run(_CREATE, token_row(token))


def _has_owner(transaction: Transaction, token: Token) -> bool:
    if token.account_id is not None:
        return transaction.one("SELECT 1 FROM accounts WHERE id = ?", (token.account_id,)) is not None
    return token.company_id is None or company(transaction.connection, token.company_id) is not None


def revoke_token(transaction: Transaction, company_id: int | None, token_id: int) -> bool:
    """Remove a token of this company, or of none."""
    sql = "DELETE FROM tokens WHERE id = ? AND company_id IS ? AND is_pass = 0"
    return noted(transaction, transaction.run(sql, (token_id, company_id)))


def revoke_pass(transaction: Transaction, token_id: int) -> bool:
    """Remove a pass."""
    return noted(transaction, transaction.run("DELETE FROM tokens WHERE id = ? AND is_pass = 1", (token_id,)))


def tokens(connection: apsw.Connection, company_id: int | None, after_id: int, limit: int) -> Page[Token]:
    """Read a page of the tokens of one company, or of none."""
    sql = f"{_TOKEN} WHERE company_id IS ? AND is_pass = 0 AND id > ? ORDER BY id LIMIT ?"
    return cut([read_token(row) for row in connection.execute(sql, (company_id, after_id, limit + 1))], limit)


def token_by_hash(connection: apsw.Connection, token_hash: bytes) -> Token | None:
    """Read the token that a bearer shows."""
    row = connection.execute(f"{_TOKEN} WHERE hash = ?", (token_hash,)).get
    return None if row is None else read_token(row)


def change_counter(connection: apsw.Connection) -> int:
    """Read the change counter."""
    counter: int = connection.execute("SELECT change_counter FROM installation").get
    return counter


# --- the catalogue ---------------------------------------------------------------------------------------------------


def catalogue(connection: apsw.Connection) -> Catalogue:
    """Read all event types with their revision."""
    revision: int = connection.execute("SELECT catalogue_revision FROM installation").get
    types = [
        EventType(name=name, v1_name=v1, v2_name=v2, kind=TypeKind(kind), description=description, schema=schema)
        for name, v1, v2, kind, description, schema in connection.execute(f"{_TYPE} ORDER BY name")
    ]
    return Catalogue(revision=revision, types={event_type.name: event_type for event_type in types})


def put_event_type(transaction: Transaction, event_type: EventType) -> bool:
    """Store or replace a type, unless another has one of its names in a version."""
    name, v1_name, v2_name = event_type.name, event_type.v1_name, event_type.v2_name
    taken = "SELECT 1 FROM event_types WHERE name <> ?1 AND (v1_name = ?2 OR v2_name = ?3) LIMIT 1"
    if transaction.one(taken, (name, v1_name, v2_name)):
        return False
    row = (name, v1_name, v2_name, event_type.kind, event_type.description, event_type.schema)
    transaction.run(_PUT_TYPE, row)
    _raise_catalogue(transaction)
    transaction.run(_KEEP_TYPE, (name, v1_name, v2_name, event_type.kind))
    return True


def delete_event_type(transaction: Transaction, name: str) -> bool:
    """Delete a type; that it is gone is kept by revision, too."""
    if not transaction.run("DELETE FROM event_types WHERE name = ?", (name,)):
        return False
    _raise_catalogue(transaction)
    transaction.run(_KEEP_TYPE, (name, None, None, None))
    return True


def noted(transaction: Transaction, changes: int) -> bool:
    """Raise the change counter where something changed."""
    if changes:
        transaction.run("UPDATE installation SET change_counter = change_counter + 1")
    return bool(changes)


def _created(transaction: Transaction, changes: int) -> Creation:
    return Creation.CREATED if noted(transaction, changes) else Creation.ID_TAKEN


def _raise_catalogue(transaction: Transaction) -> None:
    transaction.run(
        "UPDATE installation SET catalogue_revision = catalogue_revision + 1, change_counter = change_counter + 1"
    )
