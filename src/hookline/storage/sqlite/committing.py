"""Run a group of verbs in one transaction: one fsync for all of them, and no shared fate.

Where one of them fails on its own data, the group is rolled back and run again in halves, down to a transaction for the
bad one alone; where the disk fails, none is confirmed. A verb is confirmed after its COMMIT returned, never before.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Generic, TypeVar

import apsw
from msgspec import Struct

from hookline.clock import Clock
from hookline.errors import Unavailable
from hookline.storage.sqlite.transaction import Counters, Transaction

Argument = TypeVar("Argument")
Result = TypeVar("Result")

Verb = Callable[[Transaction, Sequence[Argument]], Sequence[Result]]
"""A verb over one or more requests for it, in order; it answers each."""

DISK_ERRORS: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.PermissionsError,
    apsw.InterruptError,
    apsw.ConnectionClosedError,
)
"""Of the database or below it, not of a row: running a verb again alone would not help."""


class Request(Struct, Generic[Argument, Result], frozen=True, eq=False):
    """One call of a verb. Neighbours in a group that call the same verb are run together."""

    verb: Verb[Argument, Result]
    argument: Argument


class Done(Struct, frozen=True):
    """The verb's answer, durable."""

    value: Any


class Broken(Struct, frozen=True):
    """Nothing of the verb is stored, or, where the disk failed under a COMMIT, nobody knows."""

    error: Exception


Ending = Done | Broken


class Committer:
    """Owns the writing connection, the clock and the counters; used by one thread at a time."""

    def __init__(
        self, connection: apsw.Connection, clock: Clock, note_commit: Callable[[int], None] | None = None
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._note_commit = note_commit
        self._counters = Counters(connection)

    def commit(self, requests: Sequence[Request[Any, Any]]) -> Sequence[Ending]:
        """Run the requests in order and end with one answer for each. Never raises."""
        try:
            return self._together(requests)
        except DISK_ERRORS as error:
            self._roll_back()
            return [Broken(unavailable(error))] * len(requests)
        except Exception as error:  # noqa: BLE001 - somebody's data; found out below whose
            self._roll_back()
            if len(requests) == 1:
                return [Broken(error)]
        half = len(requests) // 2
        return [*self.commit(requests[:half]), *self.commit(requests[half:])]

    def close(self) -> None:
        """Close the connection; the last one to close folds the log into the database file."""
        self._connection.close()

    def _together(self, requests: Sequence[Request[Any, Any]]) -> Sequence[Ending]:
        transaction = Transaction.begin(self._connection, self._counters, self._clock)
        endings = [Done(value) for value in _answers(transaction, requests)]
        self._connection.execute("COMMIT")
        if self._note_commit:
            self._note_commit(len(requests))
        return endings

    def _roll_back(self) -> None:
        """End a transaction that SQLite has not ended by itself, as it does on some errors."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            # The next BEGIN fails in its turn and is answered with Unavailable.
            return


def _answers(transaction: Transaction, requests: Sequence[Request[Any, Any]]) -> Iterator[Any]:
    for verb, neighbours in groupby(requests, key=lambda request: request.verb):
        yield from verb(transaction, [request.argument for request in neighbours])


def unavailable(error: Exception) -> Unavailable:
    """Translate a `DISK_ERRORS` of the driver; names no file."""
    translated = Unavailable(f"The database did not confirm ({type(error).__name__}). Repeat in a moment.")
    translated.__cause__ = error
    return translated
