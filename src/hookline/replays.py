"""What a replay takes: which deliveries it opens again, which missing ones it makes, how much of a lane it fills. Pure.

A replay walks the events of a time, oldest first. It holds few deliveries open at once, so that what is published
meanwhile finds the lane nearly as free as without it, and the next ones follow as those have had their first attempt.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hookline import matching
from hookline.filtering import Document
from hookline.lifecycle import DEAD, SUCCEEDED
from hookline.matching import Demands
from hookline.model import DeliveryState, Entry, EventType, Route, TypeKind

LANE_SHARE: Final = 5
"""A replay fills a fifth of its lane's slots, and at least one."""
EVENTS_LOOKED_AT: Final = 1_000
"""Of one subscription in one step, where few of them are taken: about 3 ms of a database."""
PARTS_MAX: Final = 16
"""Subscriptions that one step serves."""
FIRST: Final = (0, 0)
"""The place before every replay: where the steps begin."""
RUNNING_MAX: Final = 10
"""Replays of one subscription at a time: whoever asks for more has most likely a loop that repeats."""


class Missing(Struct, frozen=True, kw_only=True):
    """The events that a subscription would get now: what it lacks of them, a replay of everything makes."""

    names: Mapping[str, str]
    """By event type, the name that the subscription sees."""
    demands: Demands | None
    """What is to be asked of each event beyond its type."""

    def takes(self, entries: Sequence[Entry], data: bytes) -> bool:
        """Tell whether an event of a type in `names` is one of them."""
        return self.demands is None or matching.unmet(self.demands, entries, Document(data)) is None


NOTHING_MISSING: Final = Missing(names={}, demands=None)


def missing(route: Route, types: Iterable[EventType], type_names: Sequence[str] | None) -> Missing:
    """Return what a replay makes for the route. Never pings: they were for the one subscription that was pinged."""
    names = {
        event_type.name: name
        for event_type in types
        if event_type.kind is not TypeKind.PING
        for _, name in matching.match(event_type, (route,))
        if type_names is None or name in type_names
    }
    return Missing(names=names, demands=matching.demands_of(route))


def states(status: DeliveryState | None) -> tuple[DeliveryState, ...]:
    """Return the states of deliveries that are opened again."""
    return (SUCCEEDED, DEAD) if status is None else (status,)


def room(slots: int, open_now: int) -> int:
    """Return how many more deliveries replays may open in a lane of so many slots."""
    return max(0, max(1, slots // LANE_SHARE) - open_now)
