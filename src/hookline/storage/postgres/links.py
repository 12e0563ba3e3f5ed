"""Verbs on links that sign somebody in once."""

from typing import Final

from hookline.model import Link, Token
from hookline.storage.postgres.database import Transaction
from hookline.storage.postgres.directory import insert_token, share_company
from hookline.storage.protocol import Redemption
from hookline.storage.rows import LINK_COLUMNS, link_row, opened_by, read_link

_CREATE: Final = f"INSERT INTO links ({LINK_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_COMPANY: Final = "SELECT company_id FROM links WHERE hash = $1"
_LOCK: Final = f"SELECT {LINK_COLUMNS} FROM links WHERE hash = $1 AND expires_at > $2 FOR UPDATE"
_USE_UP: Final = "DELETE FROM links WHERE hash = $1"


async def create(transaction: Transaction, link: Link) -> bool:
    """Store a new one."""
    if link.company_id is not None and not await share_company(transaction, link.company_id):
        return False
    await transaction.connection.execute(_CREATE, *link_row(link))
    return True


async def redeem(transaction: Transaction, link_hash: bytes, token_id: int, token_hash: bytes) -> Token | Redemption:
    """Exchange one for a pass; who comes second waits for its lock, and finds it gone."""
    connection = transaction.connection
    company_id = await connection.fetchval(_COMPANY, link_hash)
    if company_id is not None and not await share_company(
        transaction, company_id
    ):  # before the link, as a deletion does
        return Redemption.SPENT
    row = await connection.fetchrow(_LOCK, link_hash, transaction.wall)
    if row is None:
        return Redemption.SPENT
    token = opened_by(read_link(row), token_id, token_hash, transaction.wall)
    if await insert_token(transaction, token) is None:
        return Redemption.ID_TAKEN
    await connection.execute(_USE_UP, link_hash)
    return token
