"""Verbs on links that sign somebody in once."""

from typing import Final

from hookline.model import Link, Token
from hookline.storage.protocol import Redemption
from hookline.storage.rows import LINK_COLUMNS, link_row, opened_by, read_link
from hookline.storage.sqlite.directory import company, insert_token
from hookline.storage.sqlite.transaction import Transaction

_CREATE: Final = f"INSERT INTO links ({LINK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_LINK: Final = f"SELECT {LINK_COLUMNS} FROM links WHERE hash = ? AND expires_at > ?"
_USE_UP: Final = "DELETE FROM links WHERE hash = ?"


def create(transaction: Transaction, link: Link) -> bool:
    """Store a new one."""
    if link.company_id is not None and company(transaction.connection, link.company_id) is None:
        return False
    transaction.run(_CREATE, link_row(link))
    return True


def redeem(transaction: Transaction, link_hash: bytes, token_id: int, token_hash: bytes) -> Token | Redemption:
    """Exchange one for a pass."""
    row = transaction.one(_LINK, (link_hash, transaction.wall))
    if row is None:
        return Redemption.SPENT
    token = opened_by(read_link(row), token_id, token_hash, transaction.wall)
    if not insert_token(transaction, token):
        return Redemption.ID_TAKEN
    transaction.run(_USE_UP, (link_hash,))
    return token
