"""Who changed what: written in the transaction of the change, so that neither is without the other."""

from collections.abc import Callable
from typing import Final, TypeVar

import apsw

from hookline.model import Change
from hookline.storage.auditing import COLUMNS, read_entry, target_of, took_effect
from hookline.storage.sqlite.transaction import Transaction
from hookline.storage.views import AuditEntry

Result = TypeVar("Result")

_NOTE: Final = "INSERT INTO audit (at, actor, action, target, company_id) VALUES (?, ?, ?, ?, ?)"
_PAGE: Final = f"SELECT {COLUMNS} FROM audit WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2"


def noted(act: Callable[[Transaction], Result], change: Change | None) -> Callable[[Transaction], Result]:
    """Let an act leave word of whose it was, where it changes anything."""
    if change is None:
        return act

    def run(transaction: Transaction) -> Result:
        answer = act(transaction)
        if took_effect(answer):
            target = target_of(change, answer)
            transaction.run(_NOTE, (transaction.wall, change.actor, change.action, target, change.company_id))
        return answer

    return run


def page(connection: apsw.Connection, before_id: int | None, limit: int) -> tuple[AuditEntry, ...]:
    """Read changes, newest first."""
    return tuple(map(read_entry, connection.execute(_PAGE, (before_id, limit))))
