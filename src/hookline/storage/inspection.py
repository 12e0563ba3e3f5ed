"""What a database shows to somebody who looks for trouble, without changing it and beside those who use it."""

from msgspec import Struct

from hookline.model import Subscription
from hookline.storage.claims import Backlog

SUBSCRIPTIONS_MAX = 1_000
"""So many are looked at: a key that is missing is missing for many."""


class Guarantee(Struct, frozen=True, kw_only=True):
    """One thing that durability rests on."""

    name: str
    found: str
    wanted: str

    @property
    def is_kept(self) -> bool:
        """Whether it is as it has to be; `wanted` lists alternatives with `or`."""
        return self.found in self.wanted.split(" or ")


class Inspection(Struct, frozen=True, kw_only=True):
    """The findings. Where the schema is not this program's, what depends on it is left out."""

    server: str
    """Engine and version."""
    schema: int
    """0: an empty database."""
    schema_wanted: int
    guarantees: tuple[Guarantee, ...]
    damage: tuple[str, ...] = ()
    wall_ms: int | None = None
    """The database's own clock, where it has one."""
    newest_at: int | None = None
    """When the newest event was accepted."""
    free_bytes: int | None = None
    """On its disk, where that is this machine's."""
    backlog: Backlog | None = None
    subscriptions: tuple[Subscription, ...] = ()
    unreadable: tuple[int, ...] = ()
    """Ids of subscriptions whose rows are damaged."""
