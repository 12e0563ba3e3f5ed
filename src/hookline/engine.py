"""The one loop that delivers: settle what ended, claim what is due, send it.

A turn gives the database the attempts that have ended and asks it for the next ones, so both share a commit; what is
claimed is dialled at once. Everything that must survive is in the database: a wake-up may be lost, a poll may not, and
a crash needs no rescuer, because a lease passes by itself. Never decides what an outcome means (`lifecycle`), who may
send how much (`fairness`) or which address may be called (`egress`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from random import Random
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from hookline import lifecycle, replays
from hookline.clock import Clock
from hookline.dispatch import Target, Targets, Unserved, fence_of
from hookline.egress.sender import Call
from hookline.errors import Unavailable
from hookline.fairness import Flight
from hookline.model import Outcome
from hookline.rendering import NotJson
from hookline.storage.claims import Claim, Claimed, Fence, Settlement
from hookline.storage.protocol import Storage
from hookline.telemetry import Telemetry

log = logging.getLogger("hookline.engine")

Key = TypeVar("Key")
Chore = Callable[[], Awaitable[object]]
"""Something small that a node does once a second beside delivering; what it does not finish it goes on with."""

POLL_SECONDS: Final = 1.0
"""The longest that a due delivery waits where every hint was lost."""
ROWS_MAX: Final = 500
"""Of one claim: at 40 µs a row it holds the writer for 20 ms."""
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one claim: what its bodies may take of memory."""
UPKEEP_SECONDS: Final = 1.0
UPKEEP_ROWS_MAX: Final = 500
"""Of one step of upkeep: short enough that no publish waits for it."""
REPLAY_STEP_SECONDS: Final = 0.02
"""Between steps of replays that move: at one delivery a step 50 a second and lane, and never more of a database."""
REPLAY_WAIT_SECONDS: Final = 0.05
"""Between steps while what they have opened is still being sent."""
REPLAY_POLL_SECONDS: Final = 1.0
"""Between looks for a new replay."""
BACKOFF_SECONDS: Final = 0.2
"""Between turns while the database does not confirm."""
UNSERVED_SECONDS: Final = 60.0
"""Before a subscription that this node cannot serve is looked at again: its deliveries wait, and lose nothing by it."""


class Sends(Protocol):
    """What the engine needs of `egress`: one request, one outcome, no exception for a receiver's fault."""

    async def send(self, call: Call) -> Outcome:
        """Make one attempt."""
        ...


class Limits(Struct, frozen=True, kw_only=True):
    """What one node may do."""

    max_in_flight: int
    host_max_in_flight: int
    lease_ms: int


class Engine:
    """Deliver until stopped. One per process; any number of processes on one database."""

    def __init__(
        self,
        *,
        storage: Storage,
        sender: Sends,
        targets: Targets,
        clock: Clock,
        random: Random,
        limits: Limits,
        telemetry: Telemetry,
        chores: Sequence[Chore] = (),
        slow_chores: Sequence[Chore] = (),
    ) -> None:
        """`chores` share a second and must be short; each of `slow_chores` has its own."""
        self._storage = storage
        self._sender = sender
        self._targets = targets
        self._clock = clock
        self._random = random
        self._limits = limits
        self._telemetry = telemetry
        self._chores = ((*self._own_chores(), *chores), *((chore,) for chore in slow_chores))
        self._in_flight = _InFlight()
        self._ended: list[Settlement] = []
        self._unsent: list[Fence] = []
        self._unreadable: list[Fence] = []
        self._unserved: dict[int, float] = {}
        """Subscriptions that this node cannot serve, and when to look again."""
        self._is_behind = False
        """Whether the database left the last settlements unconfirmed."""
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._claimed_at: float | None = None
        self.attempts = 0
        """Made by this process."""

    @property
    def in_flight(self) -> int:
        """How many attempts are under way here."""
        return self._in_flight.total

    @property
    def max_in_flight(self) -> int:
        """How many may be."""
        return self._limits.max_in_flight

    @property
    def since_claim_ms(self) -> int | None:
        """How long ago the database last answered a claim; None: it has not yet."""
        if self._claimed_at is None:
            return None
        return int((self._clock.monotonic_seconds() - self._claimed_at) * 1000)

    def wake(self) -> None:
        """Hint that something may be due now. Losing it costs at most a poll."""
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when every attempt in flight has ended and is settled."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `stop`; cancelling it abandons what is in flight to its leases."""
        async with asyncio.TaskGroup() as tasks:
            upkeep = [tasks.create_task(self._keep_up(chores)) for chores in self._chores]
            replaying = tasks.create_task(self._replay())
            while not self._is_done():
                self._wake.clear()
                rest_seconds = await self._turn(tasks)
                await self._rest(rest_seconds)
            for each in upkeep:
                each.cancel()
            replaying.cancel()

    def _is_done(self) -> bool:
        return self._is_stopping and not (self._in_flight.total or self._ended or self._unsent or self._unreadable)

    async def _turn(self, tasks: asyncio.TaskGroup) -> float:
        """Settle and claim once; return how many seconds may pass before the next turn, unless something happens."""
        asked_at = self._clock.monotonic_seconds()
        was_behind = self._is_behind
        is_confirmed, claim = await asyncio.gather(self._settle(), self._claim())
        if claim is None:
            if is_confirmed:
                return 0.0 if was_behind else POLL_SECONDS
            return BACKOFF_SECONDS
        self._claimed_at = asked_at
        self._targets.learn(claim.subscriptions)
        self._count_losses(claim)
        for fence, damage in claim.unreadable:
            self._give_up(fence, damage.problem)
        start_by = asked_at + lifecycle.START_WINDOW_MS / 1000
        for delivery in claim.deliveries:
            self._start(tasks, delivery, start_by)
        if not is_confirmed:
            return BACKOFF_SECONDS
        if claim.more:
            return 0.0
        return POLL_SECONDS if claim.next_due_ms is None else min(POLL_SECONDS, claim.next_due_ms / 1000)

    async def _rest(self, seconds: float) -> None:
        if seconds <= 0 or self._wake.is_set():
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    # claiming

    async def _claim(self) -> Claim | None:
        """Claim what is due and has room; None where nothing may start or the database did not answer.

        While ends of attempts wait to be confirmed nothing is claimed: they would pile up, and their leases pass.
        """
        if self._is_stopping or self._is_behind or self._in_flight.total >= self._limits.max_in_flight:
            return None
        try:
            return await self._storage.claim_due(
                flight=self._in_flight.seen_with(self._limits, self._unserved_now()),
                rows_max=ROWS_MAX,
                body_bytes_max=BODY_BYTES_MAX,
                lease_ms=self._limits.lease_ms,
                known=self._targets.known,
            )
        except Unavailable as error:
            log.warning("nothing claimed: %s", error)
        except Exception:
            log.exception("a claim failed; deliveries wait for the next")
        return None

    def _count_losses(self, claim: Claim) -> None:
        if claim.lost:
            log.warning("%d attempts were lost with the process that made them; %d parked", claim.lost, claim.parked)
            self._telemetry.lost(claim.lost, claim.parked)

    # one attempt

    def _start(self, tasks: asyncio.TaskGroup, delivery: Claimed, start_by: float) -> None:
        try:
            target = self._targets.of(delivery)
        except Unserved as error:
            self._put_off(delivery, error)
            return
        self._in_flight.add(delivery)
        tasks.create_task(self._deliver(delivery, target, start_by))

    async def _deliver(self, delivery: Claimed, target: Target, start_by: float) -> None:
        try:
            await self._attempt(delivery, target, start_by)
        except Exception:
            # Ours, not the receiver's: say so and leave the delivery to its lease, which logs the attempt as lost.
            log.exception("delivery %d: attempt %d could not be made", delivery.id, delivery.attempt)
        finally:
            self._in_flight.remove(delivery)
            self._wake.set()

    async def _attempt(self, delivery: Claimed, target: Target, start_by: float) -> None:
        try:
            call = target.call(delivery, self._clock.wall_ms())
        except NotJson as error:
            self._give_up(fence_of(delivery), str(error))
            return
        if self._clock.monotonic_seconds() > start_by:
            log.warning(
                "delivery %d goes back unsent: its claim took over %d ms", delivery.id, lifecycle.START_WINDOW_MS
            )
            self._unsent.append(fence_of(delivery))
            return
        outcome = await self._sender.send(call) if isinstance(call, Call) else call
        fraction, wall_ms = self._random.random(), self._clock.wall_ms()
        self._ended.append(target.settlement(delivery, call, outcome, fraction=fraction, wall_ms=wall_ms))
        self._telemetry.attempt(delivery, outcome)
        self.attempts += 1

    # what no attempt can be made of

    def _give_up(self, fence: Fence, problem: str) -> None:
        """Have a delivery parked that is damaged itself: no retry mends that, and nobody else can read it either."""
        log.error(
            "delivery %d of subscription %d cannot be read and is parked as dead, reason unreadable: %s."
            " Check the database file or its disk; restore the row from a backup and redeliver, or publish it again",
            fence.delivery_id,
            fence.subscription_id,
            problem,
        )
        self._unreadable.append(fence)
        self._telemetry.unreadable(1)
        self._wake.set()

    def _put_off(self, delivery: Claimed, error: Unserved) -> None:
        """Hand a delivery back whose subscription this node cannot serve, and claim no other of it for a while.

        It does not die: a key that is missing here may be at hand on another node, or come back with a restart, and a
        subscription can be mended. Whatever the cause, all that it has to deliver is whole.
        """
        if delivery.subscription_id not in self._unserved:
            log.error(
                "subscription %d cannot be served by this node, its deliveries wait: %s."
                " If a key is missing, add it to HOOKLINE_SECRET_KEY and restart; if the row is damaged, restore it."
                " Looking again in %d s",
                delivery.subscription_id,
                error,
                UNSERVED_SECONDS,
            )
        self._unserved[delivery.subscription_id] = self._clock.monotonic_seconds() + UNSERVED_SECONDS
        self._unsent.append(fence_of(delivery))
        self._wake.set()

    def _unserved_now(self) -> frozenset[int]:
        if self._unserved:
            now = self._clock.monotonic_seconds()
            self._unserved = {key: until for key, until in self._unserved.items() if until > now}
        return frozenset(self._unserved)

    # settling

    async def _settle(self) -> bool:
        """Hand over what has ended; tell whether that is durable.

        What the database did not confirm stays for the next turn: repeating a settlement changes nothing. What ended
        goes before what was not sent, so that no claim comes between and finds a lease that passed while we held both.
        """
        try:
            await self._settle_ended()
            await self._hand_in(self._unsent, self._storage.release)
            await self._hand_in(self._unreadable, self._storage.park)
        except Unavailable as error:
            log.warning("%d settlements kept for another try: %s", len(self._ended), error)
            self._is_behind = True
        else:
            self._is_behind = False
        return not self._is_behind

    async def _settle_ended(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            self._count_fenced(await self._storage.settle(ended))
        except Unavailable:
            self._ended[:0] = ended
            raise
        except Exception:
            log.exception("a batch of %d settlements was refused; trying one by one", len(ended))
            await self._settle_one_by_one(ended)

    async def _settle_one_by_one(self, ended: Sequence[Settlement]) -> None:
        for index, settlement in enumerate(ended):
            try:
                self._count_fenced(await self._storage.settle([settlement]))
            except Unavailable:
                self._ended[:0] = ended[index:]
                raise
            except Exception:
                log.exception("delivery %d could not be settled: left to its lease", settlement.fence.delivery_id)

    async def _hand_in(self, fences: list[Fence], verb: Callable[[Sequence[Fence]], Awaitable[None]]) -> None:
        """Give up claims of which no attempt was made; what the database did not confirm stays in `fences`."""
        if not fences:
            return
        handed = fences.copy()
        fences.clear()
        try:
            await verb(handed)
        except Unavailable:
            fences[:0] = handed
            raise
        except Exception:
            log.exception("%d deliveries that were not sent are left to their leases", len(handed))

    def _count_fenced(self, settled: Sequence[bool]) -> None:
        fenced = len(settled) - sum(settled)
        if fenced:
            self._telemetry.fenced(fenced)

    # upkeep

    def _own_chores(self) -> Sequence[Chore]:
        return (
            self._storage.repair_lanes,
            lambda: self._storage.close_deleted(UPKEEP_ROWS_MAX),
            lambda: self._storage.forget_keys(UPKEEP_ROWS_MAX),
            self._storage.prepare_days,
            self._measure_backlog,
        )

    async def _keep_up(self, chores: Sequence[Chore]) -> None:
        """Do every chore once a second. One that fails keeps none of the others from being done."""
        while True:
            for chore in chores:
                try:
                    await chore()
                except Unavailable as error:
                    log.warning("upkeep put off: %s", error)
                except Exception:
                    log.exception("upkeep failed; it is tried again in %d s", UPKEEP_SECONDS)
            await asyncio.sleep(UPKEEP_SECONDS)

    async def _measure_backlog(self) -> None:
        self._telemetry.backlog(
            await self._storage.backlog(), in_flight=self._in_flight.total, unserved=len(self._unserved)
        )

    # replays

    async def _replay(self) -> None:
        """Let replays go on: quickly while receivers answer, and hardly at all while none runs."""
        place = replays.FIRST
        while not self._is_stopping:
            pause_seconds = REPLAY_POLL_SECONDS
            try:
                step = await self._storage.step_replays(place)
            except Unavailable as error:
                log.warning("replays put off: %s", error)
            except Exception:
                log.exception("a step of the replays failed; they go on in %g s", REPLAY_POLL_SECONDS)
            else:
                place = step.place
                if step.has_moved:
                    self.wake()
                if step.is_running:
                    pause_seconds = REPLAY_STEP_SECONDS if step.has_moved else REPLAY_WAIT_SECONDS
            await asyncio.sleep(pause_seconds)


class _InFlight:
    """What this node has in flight, counted by all that a cap speaks of."""

    def __init__(self) -> None:
        self.total = 0
        self.suspects = 0
        self._by_subscription: dict[int, int] = {}
        self._by_company: dict[int, int] = {}
        self._by_host: dict[str, int] = {}
        self._by_company_at_host: dict[tuple[int, str], int] = {}

    def add(self, delivery: Claimed) -> None:
        self.total += 1
        self.suspects += lifecycle.is_suspect(delivery.losses)
        _raise(self._by_subscription, delivery.subscription_id)
        _raise(self._by_company, delivery.company_id)
        _raise(self._by_host, delivery.host)
        _raise(self._by_company_at_host, (delivery.company_id, delivery.host))

    def remove(self, delivery: Claimed) -> None:
        self.total -= 1
        self.suspects -= lifecycle.is_suspect(delivery.losses)
        _lower(self._by_subscription, delivery.subscription_id)
        _lower(self._by_company, delivery.company_id)
        _lower(self._by_host, delivery.host)
        _lower(self._by_company_at_host, (delivery.company_id, delivery.host))

    def seen_with(self, limits: Limits, unserved: Collection[int]) -> Flight:
        """Return a picture that another thread may read."""
        return Flight(
            capacity=limits.max_in_flight,
            host_capacity=limits.host_max_in_flight,
            total=self.total,
            by_subscription=self._by_subscription.copy(),
            by_company=self._by_company.copy(),
            by_host=self._by_host.copy(),
            by_company_at_host=self._by_company_at_host.copy(),
            suspects=self.suspects,
            unserved=unserved,
        )


def _raise(counts: dict[Key, int], key: Key) -> None:
    counts[key] = counts.get(key, 0) + 1


def _lower(counts: dict[Key, int], key: Key) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
