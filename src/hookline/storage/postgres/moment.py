"""What time it is, and which ids come next: asked of the database, whose clock is everybody's.

Tests pass a clock of their own instead.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from hookline.clock import Clock
from hookline.storage.rows import first_id_of_day

_CLOCK: Final = "SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint"
_IDS: Final = "SELECT nextval('ids') FROM generate_series(1, $1)"
CLOCK_AND_IDS: Final = f"({_CLOCK}), ARRAY({_IDS})"
"""The first columns of a statement that reads, and with that draws $1 ids."""
_READ: Final = f"SELECT {CLOCK_AND_IDS}, set_config('synchronous_commit', 'off', true)"
"""A transaction of its own that need not wait for the disk: whoever uses the ids commits after it, and that commit
makes both durable. Run inside another transaction it would cost that one its durability."""

_READ_WITHIN: Final = f"SELECT {CLOCK_AND_IDS}"


class Moment(Struct, frozen=True):
    """One reading of the clock, and ids to give out."""

    now: int
    """What due times and leases count from."""
    wall: int
    """What readers are shown: the same, but for a test that sets them apart."""
    ids: Sequence[int] = ()
    """Rising, above all that were given out before."""


async def read(connection: Any, clock: Clock | None, ids: int = 0) -> Moment:
    """Read the clock and draw so many ids, outside of any transaction and never inside one."""
    if clock is not None and not ids:
        return Moment(clock.schedule_ms(), clock.wall_ms())
    now, numbers, _ = await connection.fetchrow(_READ, ids)
    return of(now, numbers, clock)


def of(now: int, numbers: Sequence[int], clock: Clock | None) -> Moment:
    """Make a moment of what `CLOCK_AND_IDS` read."""
    wall = now
    if clock is not None:
        now, wall = clock.schedule_ms(), clock.wall_ms()
    return Moment(now, wall, ids_of_day(wall, numbers))


async def read_within(connection: Any, clock: Clock | None, ids: int = 0) -> Moment:
    """Read the clock and draw so many ids in the transaction that is open."""
    if clock is not None and not ids:
        return Moment(clock.schedule_ms(), clock.wall_ms())
    now, numbers = await connection.fetchrow(_READ_WITHIN, ids)
    return of(now, numbers, clock)


async def draw(connection: Any, wall: int, count: int) -> Sequence[int]:
    """Draw ids of the day of this instant, in whatever transaction is open."""
    return ids_of_day(wall, [row[0] for row in await connection.fetch(_IDS, count)])


def ids_of_day(wall: int, numbers: Sequence[int]) -> Sequence[int]:
    """Make ids of the sequence's numbers."""
    first = first_id_of_day(wall)
    return [first + number for number in numbers]
