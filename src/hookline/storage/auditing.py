"""Which answers of a verb mean that it changed something, and how a row of the audit reads. Pure; for both engines."""

from collections.abc import Sequence
from typing import Any, Final

from hookline import lifecycle
from hookline.model import Action, Change, Replay
from hookline.storage.claims import Redelivery
from hookline.storage.protocol import AccountCreation, CompanyDeletion, Creation
from hookline.storage.views import AuditEntry

COLUMNS: Final = "id, at, actor, action, target, company_id"
KEPT_MS: Final = 400 * 86_400_000
"""A year and a month: who looks back once a year finds all of it."""


def took_effect(answer: object) -> bool:
    """Tell whether a verb that answered this has changed anything; a refusal leaves no row."""
    if isinstance(answer, Replay):
        return True
    if isinstance(answer, Redelivery):
        return answer.state in lifecycle.REOPENABLE and not answer.is_erased
    return answer in {True, Creation.CREATED, AccountCreation.CREATED, CompanyDeletion.DELETED}


def target_of(change: Change, answer: object) -> str:
    """Return the id of what was changed: as it was asked for, or as the verb answered it."""
    return str(answer.id if isinstance(answer, Replay) else change.target)


def read_entry(row: Sequence[Any]) -> AuditEntry:
    """Read `COLUMNS`."""
    return AuditEntry(id=row[0], at=row[1], actor=row[2], action=Action(row[3]), target=row[4], company_id=row[5])
