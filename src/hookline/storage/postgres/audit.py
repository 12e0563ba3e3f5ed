"""Who changed what: written in the transaction of the change, so that neither is without the other."""

from typing import Any, Final, TypeVar

from hookline.model import Change
from hookline.storage.auditing import COLUMNS, read_entry, target_of, took_effect
from hookline.storage.postgres import buckets
from hookline.storage.postgres.database import Transaction, Verb
from hookline.storage.views import AuditEntry

Result = TypeVar("Result")

_NOTE: Final = f"INSERT INTO audit ({COLUMNS}, bucket) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_PAGE: Final = f"""
SELECT {COLUMNS} FROM audit
WHERE bucket = any($1::smallint[]) AND id < coalesce($2, 9223372036854775807) ORDER BY id DESC LIMIT $3"""


def noted(verb: Verb[Result], change: Change | None) -> Verb[Result]:
    """Let a verb leave word of whose deed it was, where it changes anything."""
    if change is None:
        return verb

    async def run(transaction: Transaction) -> Result:
        answer = await verb(transaction)
        if took_effect(answer):
            await _note(transaction, change, target_of(change, answer))
        return answer

    return run


async def page(connection: Any, before_id: int | None, limit: int) -> tuple[AuditEntry, ...]:
    """Read changes, newest first."""
    return tuple(map(read_entry, await connection.fetch(_PAGE, buckets.EVERY, before_id, limit)))


async def _note(transaction: Transaction, change: Change, target: str) -> None:
    (entry_id,) = await transaction.draw(1)
    company_id = change.company_id
    bucket = buckets.of_text(target) if company_id is None else buckets.of_company(company_id)
    await transaction.connection.execute(
        _NOTE, entry_id, transaction.wall, change.actor, change.action, target, company_id, bucket
    )
