"""A copy of a database file that is one moment of it, also while somebody writes to it."""

import contextlib
import os
from collections.abc import Callable
from typing import Final

import apsw

from hookline.errors import StartRefused
from hookline.storage.sqlite.connection import connect_reader, make_private

PAGES_A_STEP: Final = 4_096
"""16 MiB: between two steps there is time to tell how far it is, and to be interrupted."""
DAMAGE_SHOWN: Final = 5

Progress = Callable[[int, int], None]
"""Is told pages done and pages in all."""


def backup(database: str, target: str, progress: Progress) -> int:
    """Copy the database to a new file, beside a server or without one, and check the copy; return its size in bytes.

    Writers are not held up; their log grows until the copy is done. `target` has its name only once it is whole, good
    and on the disk. Raises `StartRefused`.
    """
    if os.path.exists(target):  # noqa: PTH110 - paths as text, as everywhere in this package
        raise StartRefused(f"{target} exists. Name a new file: a backup never overwrites another.")
    source = connect_reader(database)
    try:
        if not source.table_exists("main", "schema_version"):
            raise StartRefused(f"{database} holds no Hookline: there is nothing to back up.")
        copy(source, target, progress, is_checked=True)
    except (apsw.Error, OSError) as error:
        raise StartRefused(
            f"The backup to {target} failed: {error}. Is there room on its disk, and may it be written?"
        ) from error
    finally:
        source.close()
    return os.path.getsize(target)  # noqa: PTH202


def copy(
    source: apsw.Connection, target: str, progress: Progress = lambda _done, _all: None, *, is_checked: bool = False
) -> None:
    """Copy page by page under a temporary name first: a copy that has its name is whole.

    A read transaction holds the moment that is copied; without it, each write of others would start the copy again.
    """
    unfinished = f"{target}.unfinished"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)  # noqa: PTH108
    make_private(unfinished)
    made = apsw.Connection(unfinished)
    try:
        source.execute("BEGIN")
        try:
            _ = source.execute("SELECT count(*) FROM sqlite_schema").get
            with made.backup("main", source, "main") as pages:
                while not pages.done:
                    pages.step(PAGES_A_STEP)
                    progress(pages.page_count - pages.remaining, pages.page_count)
        finally:
            source.execute("ROLLBACK")
        if is_checked:
            _check(made, unfinished)
    finally:
        made.close()
    os.replace(unfinished, target)  # noqa: PTH105
    sync_directory(os.path.dirname(os.path.abspath(target)))  # noqa: PTH100, PTH120


def sync_directory(directory: str) -> None:
    """Put the names in a directory on the disk: a copy that was synced can still lose its name."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damage(connection: apsw.Connection) -> list[str]:
    """Look at every page; return what is wrong, at most a few lines."""
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({DAMAGE_SHOWN})")]
    except apsw.CorruptError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def _check(connection: apsw.Connection, path: str) -> None:
    if found := damage(connection):
        raise StartRefused(
            f"The copy is damaged, and so is the database: {'; '.join(found)}. {path} is kept for whoever repairs it. "
            "Restore the last good backup."
        )
