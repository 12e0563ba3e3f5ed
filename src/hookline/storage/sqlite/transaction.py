"""What a writing verb is given: an open transaction with its clock readings and counters."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import apsw
from msgspec import Struct

from hookline.clock import Clock, calendars
from hookline.storage.rows import first_id_of_day

ROWS_MAX: Final = 256
"""Rows of one bulk statement: keeps every text under the 16 KiB up to which apsw caches it."""


class Counters:
    """What the writer counts in memory: the last ids given out, and claims.

    Ids rise strictly, whatever is rolled back and wherever the clock is set.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        last: tuple[int, int, int] = connection.execute(
            "SELECT coalesce((SELECT max(key) FROM events), 0), coalesce((SELECT max(id) FROM deliveries), 0),"
            " coalesce((SELECT max(id) FROM attempts), 0)"
        ).get
        self._events, self._deliveries, self._attempts = last
        self._claims = 0

    def reach(self, day_of: int) -> None:
        """Let every id from now on carry at least the day of this instant."""
        floor = first_id_of_day(day_of) - 1
        self._events = max(self._events, floor)
        self._deliveries = max(self._deliveries, floor)
        self._attempts = max(self._attempts, floor)

    def next_event(self) -> int:
        """Give out an event's key."""
        self._events += 1
        return self._events

    def next_delivery(self) -> int:
        """Give out a delivery's id."""
        self._deliveries += 1
        return self._deliveries

    def next_attempt(self) -> int:
        """Give out an attempt's id."""
        self._attempts += 1
        return self._attempts

    def next_claim(self) -> int:
        """Number a claim."""
        self._claims += 1
        return self._claims


class Transaction(Struct, frozen=True):
    """One BEGIN IMMEDIATE … COMMIT. Verbs neither begin nor end it."""

    connection: apsw.Connection
    counters: Counters
    now: int
    """The schedule clock as the transaction began: what due times and leases count from."""
    wall: int
    """The wall clock of the same moment: what readers are shown."""

    @classmethod
    def begin(cls, connection: apsw.Connection, counters: Counters, clock: Clock) -> "Transaction":
        """Begin one, taking the write lock at once."""
        connection.execute("BEGIN IMMEDIATE")
        now, wall = calendars(clock)
        counters.reach(wall)
        return cls(connection, counters, now, wall)

    def one(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """Run a statement and return its first row: the value itself where it has one column, None without a row."""
        return self.connection.execute(sql, bindings).get

    def run(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it changed."""
        self.connection.execute(sql, bindings)
        return self.connection.changes()


class Bulk:
    """One statement over many rows, as few and large as they can be.

    Each statement gives up the interpreter's lock, and beside a busy thread it waits up to a switch interval to get
    it back (measured: 3 ms a statement at the default interval of 5 ms, 0.2 ms at 0.5 ms). So rows travel as one
    multi-row VALUES, `{rows}` in `sql`. Texts exist for powers of two and are prepared once; what is missing to the
    next power is padded with NULLs, which `WHERE column1 IS NOT NULL` in `sql` leaves out.
    """

    def __init__(self, sql: str, columns: int) -> None:
        row = f"({','.join('?' * columns)})"
        self._texts = {1 << power: sql.replace("{rows}", ",".join([row] * (1 << power))) for power in range(9)}
        self._padding = (None,) * columns

    def run(self, transaction: Transaction, rows: Sequence[tuple[Any, ...]], shared: tuple[Any, ...] = ()) -> None:
        """Run it over `rows`; `shared` binds the parameters ?1, ?2 … that stand before `{rows}`."""
        for part in _parts(rows):
            size = 1 << (len(part) - 1).bit_length()
            bindings = [*shared, *chain.from_iterable(part), *self._padding * (size - len(part))]
            transaction.connection.execute(self._texts[size], bindings)


def json_ids(ids: Iterable[int]) -> str:
    """Write integers as a JSON array, to be read by `json_each`: one text for any number of them."""
    return f"[{','.join(map(str, ids))}]"


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    for start in range(0, len(rows), ROWS_MAX):
        yield rows[start : start + ROWS_MAX]
