"""Open the database file: one process at a time, one connection that writes, others that only read.

What durability rests on is set here and verified, never assumed.
"""

import contextlib
import fcntl
import os
from typing import Final

import apsw

from hookline.errors import StartRefused

STATEMENTS_CACHED: Final = 512
"""Every text we run, bulk texts in each power of two included, with room to spare."""

BUSY_TIMEOUT_MS: Final = 5_000
"""Only a backup tool or a curious shell can make us wait: no second Hookline gets past the lock."""

PAGES_BETWEEN_CHECKPOINTS: Final = 4_000
"""16 MiB of log: rarer checkpoints rewrite fewer pages twice, and a crash still recovers in well under a second."""

LOG_BYTES_KEPT: Final = 64 * 1024 * 1024
"""A log that a long read let grow is cut back to this."""

PAGE_CACHE_KIB: Final = 32 * 1024


class FileLock:
    """The exclusive right to a database, as a `flock` on `<database>.lock`; it ends with the process, however it ends.

    Never a lock on the database file itself: that would shut out our own readers.
    """

    def __init__(self, database: str) -> None:
        self._path = f"{database}.lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock; raise `StartRefused` where another process has it, or where the file cannot be made."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartRefused(
                f"Cannot create {self._path}: {error.strerror}. "
                "The directory of the database must exist and be writable; HOOKLINE_DATABASE_URL names it."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StartRefused(
                f"The database is in use by another Hookline (process {holder} holds {self._path}). "
                "Stop that process first, or give commands --url and --token to talk to it; "
                "several nodes on one database need PostgreSQL."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of it. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def connect_writer(path: str, vfs: str | None = None) -> apsw.Connection:
    """Open the connection that writes, creating the file where it is missing. Only one thread at a time may use it."""
    if vfs is None:
        make_private(path)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = _connect(path, flags, vfs)
    try:
        # Counts only before the first table exists, and without it a full disk never shrinks again.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        journal = connection.execute("PRAGMA journal_mode = WAL").get
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
        # Journals of single statements and sorted sets: as files they cost an eighth of all CPU time. Nothing that
        # must outlive the process is ever in them.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA foreign_keys = ON")
        durability = connection.execute("PRAGMA synchronous").get
    except apsw.Error as error:
        connection.close()
        raise _refused(path, error) from error
    if (journal, durability) != ("wal", 2):
        connection.close()
        raise StartRefused(
            f"{path}: SQLite answers journal_mode {journal} and synchronous {durability}, expected wal and 2 (FULL). "
            "The file system must support shared memory: use a local disk, not a network share."
        )
    return connection


def make_private(path: str) -> None:
    """Make the file, where it is missing, so that only its owner may read it: it holds every company's events.

    The files that SQLite puts beside it take their permissions from it. Never touches one that exists: to close it
    would end the locks of this process's connections.
    """
    with contextlib.suppress(OSError):  # it exists, or SQLite says in a moment why it cannot be made
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def connect_reader(path: str, vfs: str | None = None) -> apsw.Connection:
    """Open a connection that can only read. It sees every commit made before its transaction began."""
    return _connect(path, apsw.SQLITE_OPEN_READONLY, vfs)


def _connect(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    try:
        connection = apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    except apsw.Error as error:
        raise _refused(path, error) from error
    return connection


def _refused(path: str, error: apsw.Error) -> StartRefused:
    return StartRefused(
        f"Cannot open the database {path}: {error}. "
        "It must be a SQLite file of Hookline, or a new name in a directory that is writable."
    )
