"""Who may start how many attempts now. Pure: storage engines ask it inside a claim, under the lanes' locks.

One slow receiver must not delay another, and one noisy company must not starve the rest. A lane is the queue of one
subscription; its `slots` bound it over all nodes, the other caps belong to a node and are read off its `Flight`.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from hookline import circuit, rate

SLOTS_AT_FIRST: Final = 2
"""A new subscription proves with two attempts that it answers, before it may hold more of a shared host."""

COMPANY_SHARE_MAX: Final = 0.2
"""Of a node, while others wait."""

RESERVED_SHARE: Final = 0.1
"""Of a node, and of a host on it: kept for subscriptions with nothing in flight, so that the first event of a quiet one
never queues. At a host that many share those that hang would fill all, and each company has some of them.

That of the node is not for those of a company that has its share: alone on the node it would fill this too, and who
comes next would wait.
"""


class Flight(Struct, frozen=True, kw_only=True):
    """What one node has in flight and may have."""

    capacity: int
    """Slots of the node."""
    host_capacity: int
    """Slots of one destination host on this node."""
    total: int
    by_subscription: Mapping[int, int]
    by_company: Mapping[int, int]
    by_host: Mapping[str, int]
    by_company_at_host: Mapping[tuple[int, str], int]
    suspects: int = 0
    """Deliveries that may be what brings the process down (`lifecycle.is_suspect`): one at a time on a node."""
    unserved: Collection[int] = ()
    """Subscriptions that this node has found it cannot serve: they get nothing here, and another node may."""


class Restraint(Struct, frozen=True, array_like=True):
    """What else holds a lane back, of the few that anything does."""

    is_ordered: int | bool
    """One after the other, by age."""
    rate_per_second: float | None
    next_start_us: int | None
    """Of `rate`: nothing may start earlier."""
    probe_at: int | None
    """Of an open circuit: when one delivery may be tried."""


class Lane(Struct, frozen=True, kw_only=True):
    """The queue of one subscription, as a claim sees it."""

    subscription_id: int
    company_id: int
    host: str
    """Lower-case host and port: what the host cap counts."""
    slots: int
    in_flight: int
    """Over all nodes."""
    restraint: Restraint | None = None
    due_by: int | None = None
    """Only what fell due so early may be taken; None: all that is due."""


def restrained(lane: Lane, now: int) -> Lane:
    """Return the lane with the slots that its restraint leaves it at `now`."""
    restraint = lane.restraint
    if restraint is None:
        return lane
    room, due_by = lane.slots, None
    if restraint.is_ordered:
        room = 1 - lane.in_flight
    if restraint.rate_per_second is not None:
        room = min(room, rate.room(restraint.rate_per_second, restraint.next_start_us, now * 1000))
    if restraint.probe_at is not None and restraint.probe_at <= now:
        room = min(room, 1)
    elif restraint.probe_at is not None:
        due_by = now - circuit.WAITED_MS_MAX
    return structs.replace(lane, slots=min(lane.slots, lane.in_flight + max(0, room)), due_by=due_by)


def restraint_after(restraint: Restraint, started: int, now: int) -> Restraint:
    """Return the restraint of a lane of which `started` attempts start at `now`."""
    per_second, next_start_us, probe_at = restraint.rate_per_second, restraint.next_start_us, restraint.probe_at
    if per_second is not None:
        next_start_us = rate.next_start_us(per_second, next_start_us, now * 1000, started)
    if probe_at is not None and probe_at <= now:
        probe_at = now + circuit.PROBE_MS
    return Restraint(restraint.is_ordered, per_second, next_start_us, probe_at)


def share(lanes: Sequence[Lane], flight: Flight, rows_max: int) -> dict[int, int]:
    """Grant slots to due lanes, subscription id to number of attempts: each company one a turn, to its lanes in turn.

    Grants at most `rows_max` in all. A lane never gets more than its free slots; no cap of `flight` is exceeded, but a
    company with nothing in flight at a host may always start one there. A company with many lanes gets no more turns
    than one with a single lane.
    """
    queues = _queues(lanes, flight)
    room = _Room(flight, companies_waiting=len(queues))
    granted: dict[int, int] = {}
    left = rows_max
    while queues and left > 0:
        queue = queues.popleft()
        lane = _take_one(queue, granted, room)
        if lane is not None:
            granted[lane.subscription_id] = granted.get(lane.subscription_id, 0) + 1
            left -= 1
            queues.append(queue)
    return granted


def is_any_short(lanes: Iterable[Lane], flight: Flight, granted: Mapping[int, int]) -> bool:
    """Tell whether a cap kept any lane from slots that it has free: what another left unused could go to it."""
    return any(
        lane.in_flight + granted.get(lane.subscription_id, 0) < lane.slots
        and lane.subscription_id not in flight.unserved
        for lane in lanes
    )


def slots_after(slots: int, slots_max: int, in_flight: int, answers: int, timeouts: int) -> int:
    """Return a lane's slots after `answers` and `timeouts` came back while `in_flight` attempts were out.

    An answer of any status that comes while all slots are taken adds one, up to `slots_max`; a timeout halves them,
    down to one.
    """
    grown = min(slots_max, slots + answers) if in_flight >= slots else min(slots, slots_max)
    for _ in range(min(timeouts, grown.bit_length())):
        grown = max(1, grown // 2)
    return grown


def full_hosts(flight: Flight) -> tuple[str, ...]:
    """Name the hosts that this node has filled: a claim need not look at lanes that could get nothing there."""
    return tuple(host for host, count in flight.by_host.items() if count >= flight.host_capacity)


def crowded_hosts(flight: Flight) -> tuple[str, ...]:
    """Name the hosts where this node has only the reserve left: lanes with something in flight could get nothing there.

    They stay due, and a claim that looked at enough of them would never come to the others.
    """
    busy_max = _unreserved(flight.host_capacity)
    return tuple(host for host, count in flight.by_host.items() if count >= busy_max)


def _queues(lanes: Iterable[Lane], flight: Flight) -> deque[deque[Lane]]:
    """Return the lanes with free slots, a queue for each company: first who has the least in flight on this node."""
    by_company: dict[int, deque[Lane]] = {}
    for lane in lanes:
        if lane.in_flight < lane.slots and lane.subscription_id not in flight.unserved:
            by_company.setdefault(lane.company_id, deque()).append(lane)
    return deque(by_company[company] for company in sorted(by_company, key=lambda one: flight.by_company.get(one, 0)))


def _take_one(queue: deque[Lane], granted: Mapping[int, int], room: "_Room") -> Lane | None:
    """Take a slot for the first lane that may have one more and put it last; None where none may.

    The lanes before it are dropped: caps only fill while grants are made.
    """
    while queue:
        lane = queue.popleft()
        if lane.in_flight + granted.get(lane.subscription_id, 0) < lane.slots and room.take(lane):
            queue.append(lane)
            return lane
    return None


def _unreserved(capacity: int) -> int:
    return capacity - int(capacity * RESERVED_SHARE)


class _Room:
    """The node's caps while grants are being made."""

    def __init__(self, flight: Flight, companies_waiting: int) -> None:
        self._flight = flight
        self._share_max = max(1, int(flight.capacity * COMPANY_SHARE_MAX))
        self._company_max = self._share_max if companies_waiting > 1 else flight.capacity
        self._busy_max = _unreserved(flight.capacity)
        self._host_busy_max = _unreserved(flight.host_capacity)
        self._total = flight.total
        self._subscriptions: dict[int, int] = {}
        self._companies: dict[int, int] = {}
        self._hosts: dict[str, int] = {}
        self._pairs: dict[tuple[int, str], int] = {}

    def take(self, lane: Lane) -> bool:
        """Take one slot for the lane if every cap allows it."""
        flight, pair = self._flight, (lane.company_id, lane.host)
        here = flight.by_subscription.get(lane.subscription_id, 0) + self._subscriptions.get(lane.subscription_id, 0)
        of_company = flight.by_company.get(lane.company_id, 0) + self._companies.get(lane.company_id, 0)
        at_host = flight.by_host.get(lane.host, 0) + self._hosts.get(lane.host, 0)
        of_company_at_host = flight.by_company_at_host.get(pair, 0) + self._pairs.get(pair, 0)
        is_quiet = max(here, lane.in_flight) == 0
        if self._total >= (flight.capacity if is_quiet and of_company < self._share_max else self._busy_max):
            return False
        if of_company >= self._company_max:
            return False
        if at_host >= (flight.host_capacity if is_quiet else self._host_busy_max) and of_company_at_host > 0:
            return False
        self._total += 1
        self._subscriptions[lane.subscription_id] = self._subscriptions.get(lane.subscription_id, 0) + 1
        self._companies[lane.company_id] = self._companies.get(lane.company_id, 0) + 1
        self._hosts[lane.host] = self._hosts.get(lane.host, 0) + 1
        self._pairs[pair] = self._pairs.get(pair, 0) + 1
        return True
