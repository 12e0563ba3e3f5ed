"""Find the migrations of an engine and decide which of them a database still needs.

Forward only: `migrations/<engine>/NNNN_name.sql`, numbered from 1 without gaps. How one is applied is the engine's own
(`sqlite.schema`, `postgres.schema`); a database newer than this program is never touched.
"""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Final, NamedTuple

from hookline.errors import StartRefused

_FILE_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """One step of the schema: its SQL brings a database from `version - 1` to `version`."""

    version: int
    name: str
    sql: str


def migrations(engine: str) -> tuple[Migration, ...]:
    """Read the migrations of `sqlite` or `postgres`, in order."""
    folder = resources.files("hookline.storage") / "migrations" / engine
    found = sorted(
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    )
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise AssertionError(f"migrations of {engine} are not numbered 1, 2, 3 …: {[m.name for m in found]}")
    return tuple(found)


def still_needed(known: Sequence[Migration], version: int) -> tuple[Migration, ...]:
    """Return what a database of `version` still needs (0: an empty one); refuse one that is newer than this program."""
    if version > len(known):
        raise StartRefused(
            f"The database has schema {version}, this program knows schemas up to {len(known)}: "
            "it was used by a newer Hookline. Start that version, or restore a copy made before the upgrade."
        )
    return tuple(known[version:])


def refuse_outdated(needed: Sequence[Migration]) -> None:
    """Raise `StartRefused` where a database must be migrated first."""
    if needed:
        names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in needed)
        raise StartRefused(
            f"The database needs {len(needed)} migration(s) ({names}): run `hookline migrate`, "
            "or start with HOOKLINE_MIGRATE=apply."
        )
