"""Play one schedule on the real code and say what the oracle found."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, structs

from hookline import circuit, engine, publishing
from hookline.drafting import EventRequest, RecipientRequest
from hookline.engine import Limits
from hookline.errors import Conflict, HooklineError, NotFound, Unavailable
from hookline.model import Company, EventType, PayloadVersion
from hookline.retention import Retention
from hookline.rotation import SECRETS_MAX, RotationRequest
from hookline.storage.claims import NewReplay
from hookline.storage.publications import Catalogue, IdempotencyKey, Published
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.views import AttemptQuery, AttemptRow, Waiting
from hookline.subscribing import SubscriptionRequest, created
from hookline.telemetry import Telemetry
from simulation.ageing import RETENTION_DAYS
from simulation.crowd import crowd
from simulation.database import Database, GroupingWriter, Weather
from simulation.network import Receivers
from simulation.node import RULES, Node, Unreachable
from simulation.oracle import SOURCE, Oracle
from simulation.schedule import Schedule, Step, draw
from simulation.signatures import Key
from simulation.virtual import VirtualClock, VirtualLoop, virtual_loop
from simulation.wanting import DATA

LEASE_MS: Final = 8_000
UPKEEP_SECONDS: Final = 3.0
CALM_SECONDS_MAX: Final = 3_000_000.0
"""Virtual time after the faults: a day's rest that a receiver may ask for, and more."""
CROWDS_EACH: Final = 1_000
CROWD_AT: Final = 7
"""One seed of so many is a crowd: such a run takes as long as thirty others."""
STRAGGLERS_SECONDS: Final = 6.0
TRIES_MAX: Final = 4

_TYPES: Final = {
    name: (v1, f"org.tsanet.connect.{v2}")
    for name, v1, v2 in (
        ("note.created", "note.created", "collaboration-request.note.created"),
        ("collaboration-request.created", "collaboration-request.created", "collaboration-request.created"),
        ("collaboration-request.closed", None, "collaboration-request.closed"),
    )
}


class Result(Struct, frozen=True):
    """What came of one schedule."""

    seed: int
    violation: str | None
    marks: Counter[str]


class _Errors(logging.Handler):
    """The engine logs an error where it meets something it did not expect: a bug, whatever became of it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.getMessage()}: {error!r}")


class Stage:
    """What outlives a run: the database, and what is dear to make."""

    def __init__(self) -> None:
        self.database = Database()
        self.telemetry = Telemetry(clock=VirtualClock(virtual_loop()))
        self.errors = _Errors()
        # Rarer than in life: a wrong hint shows before it is mended, and a run costs less.
        self._rhythm = {name: vars(engine)[name] for name in ("UPKEEP_SECONDS", "REPLAY_POLL_SECONDS")}
        vars(engine).update(dict.fromkeys(self._rhythm, UPKEEP_SECONDS))
        self._circuit = {name: vars(circuit)[name] for name in ("FAILURES_TO_OPEN", "SPAN_MS_TO_OPEN", "PROBE_MS")}
        self._logger = logging.getLogger("hookline")
        self._logger.addHandler(self.errors)
        self._before = (self._logger.level, self._logger.propagate)
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False

    def play(self, seed: int, tell: Callable[[str], object] | None = None) -> Result:
        """Play the schedule of a seed, telling its steps, commits and attempts."""
        schedule = crowd(seed) if seed % CROWDS_EACH == CROWD_AT else draw(seed)
        if tell:
            tell(str(structs.replace(schedule, steps=())))
        drawn = schedule.circuit
        numbers = (drawn.failures_to_open, drawn.span_ms, drawn.probe_ms)
        vars(circuit).update(zip(self._circuit, numbers, strict=True))
        self.errors.found.clear()
        self.database.empty()
        loop = virtual_loop(Random(schedule.seed))
        play = _Play(self, schedule, loop)
        oracle = play.oracle
        oracle.tell = tell
        try:
            loop.run_until_complete(play.whole())
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
            oracle.violations.append(f"run: {error!r}")
        finally:
            play.is_over = True
            play.writer.is_dead = True
            found = [*oracle.violations, *(f"error: {text}" for text in self.errors.found), *loop.failures]
            with suppress(RuntimeError):
                loop.end()
            play.let_go()
        return Result(schedule.seed, "\n".join(found) or None, oracle.marks)

    def close(self) -> None:
        vars(engine).update(self._rhythm)
        vars(circuit).update(self._circuit)
        self._logger.removeHandler(self.errors)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]
        self.database.close()


class _Play:
    """One run."""

    def __init__(self, stage: Stage, schedule: Schedule, loop: VirtualLoop) -> None:
        self._stage, self._schedule, self._loop = stage, schedule, loop
        self._random = Random(schedule.seed * 7 + 1)
        self._clock = VirtualClock(loop)
        self._weather = Weather(self._random)
        types = [EventType(name=name, v1_name=v1, v2_name=v2) for name, (v1, v2) in _TYPES.items()]
        self._catalogue = Catalogue(revision=1, types={each.name: each for each in types})
        self.oracle = Oracle(
            types, schedule.circuit, stage.database.connection, self._clock.schedule_ms, self._clock.wall_ms
        )
        self.oracle.lease_ms = LEASE_MS
        self.oracle.is_stopped = loop.is_stopped
        self.oracle.is_willing = self._is_willing
        self._receivers = Receivers(self._random)
        self._receivers.kill = lambda number: self._crash(self._place_of(number), self._random.choice((0.1, 1.0)))
        self._numbers = iter(range(1, 1_000_000))
        self._company_ids = [1000 + index for index in range(schedule.companies)]
        self._subscription_ids: list[int] = []
        self._keys_began_at: dict[str, float] = {}
        self._unsure: set[int] = set()
        """Subscriptions that a request without an answer may still switch on."""
        self._limits = Limits(
            max_in_flight=schedule.capacity, host_max_in_flight=schedule.host_capacity, lease_ms=LEASE_MS
        )
        self._storage, self.writer = self._new_storage()
        self._nodes: list[Node] = []
        self._repairs: set[asyncio.Task[None]] = set()
        self.is_over = False

    def _new_storage(self) -> tuple[SqliteStorage, GroupingWriter]:
        drawn = self._schedule.circuit
        rules = circuit.Rules(is_on=drawn.is_on, deactivate_after_ms=drawn.deactivate_after_ms)
        return self._stage.database.storage(self._clock, self._weather, self.oracle.committed, rules)

    def let_go(self) -> None:
        """Release the lock on the file, as the end of a process does."""
        self._storage._lock.release()

    # the whole

    async def whole(self) -> None:
        schedule = self._schedule
        if schedule.nodes > 1:
            await self._storage.open()
        self._nodes = [await self._begun(place) for place in range(schedule.nodes)]
        await self._set_up()
        tasks = [asyncio.create_task(self._done(step)) for step in schedule.steps]
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        await self._calm_down()
        self.oracle.check_end()
        await self._read_everything()
        if schedule.patience_ms is not None:
            prompt = [
                5000 + number for number, character in self._receivers.characters.items() if character == "prompt"
            ]
            self.oracle.check_waits(prompt, schedule.patience_ms)
        self.oracle.is_over = True
        for days in self._schedule.days_later:
            await self._grow_old(days)

    async def _set_up(self) -> None:
        node = self._nodes[0]
        for company_id in self._company_ids:
            company = Company(id=company_id, name="c", created_at=self._clock.wall_ms())
            await node.ask(node.storage.create_company(company))
        for said in self._schedule.subscriptions:
            await self._create(Step(0, "create", said))

    async def _done(self, step: Step) -> None:
        await asyncio.sleep(max(0.0, step.at - self._loop.time()))
        act = {
            "publish": self._publish,
            "create": self._create,
            "delete": self._delete,
            "pause": self._pause,
            "resume": self._resume,
            "patch": self._patch,
            "look": self._look,
            "redeliver": self._redeliver,
            "rotate": self._rotate,
            "replay": self._replay,
            "type": self._put_type,
            "crash": self._crash_step,
            "stall": self._stall,
            "deafen": self._deafen,
            "bad weather": self._bad_weather,
            "slow": self._slow,
            "strangers": self._strangers,
            "restart": self._restart,
            "jump": self._jump,
        }[step.act]
        self.oracle.say(step.act, step.said)
        with suppress(Unreachable, Unavailable, NotFound):
            await act(step)

    async def _calm_down(self) -> None:
        """Stop all faults, and let time run on until nothing more can happen."""
        weather, receivers = self._weather, self._receivers
        weather.is_bad, weather.slow_seconds, weather.strangers = False, 0.0, 0.0
        receivers.is_calm = True
        ends_at = self._loop.time() + CALM_SECONDS_MAX
        # What was asked before may still come about: a stopped node's requests, an answer that is late.
        await asyncio.sleep(STRAGGLERS_SECONDS if self.oracle.troubled_at else 0.1)
        patience = 1_000
        while patience > 0 and self._loop.time() < ends_at:
            while self._repairs:
                await asyncio.wait(set(self._repairs))
            waits_ms = 0 if self.oracle.has_replays_to_do else self._next_due_ms()
            if waits_ms is None:
                return
            patience -= 1
            if waits_ms > 1_500:
                await self._skip((waits_ms - 500) / 1000)
            else:
                await asyncio.sleep(0.25)

    async def _grow_old(self, days: int) -> None:
        """Let days pass, forget what has had its time, and see what is left."""
        await self._skip(days * 86_400.0)
        node = self._nodes[0]
        retention = Retention(node.storage, node.clock, RETENTION_DAYS)
        while retention.is_busy:
            await node.ask(retention.step(), 60.0)
        self.oracle.check_age()

    def _next_due_ms(self) -> int | None:
        """Return how long nothing can happen; None where nothing ever will."""
        model, now = self.oracle.model, self._clock.schedule_ms()
        found = []
        waiting = set[int]()
        for delivery in model.deliveries.values():
            lane = model.lanes[delivery.subscription_id]
            if lane.is_ordered and delivery.due_at is not None and lane.deleted_at is None:
                if delivery.subscription_id in waiting:
                    continue
                waiting.add(delivery.subscription_id)
            if delivery.state == "sending":
                return 0
            if delivery.state == "pending" and lane.deleted_at is not None:
                return 0
            is_willing = self._is_willing(delivery.subscription_id)
            if delivery.state == "pending" and lane.consent.ask_at is not None and is_willing:
                found.append(max(lane.consent.ask_at - now, 0))
            if delivery.state == "pending" and lane.is_open and delivery.due_at is not None:
                due_at = lane.health.due(delivery.due_at)
                found.append(max(due_at, lane.hold_until, int(lane.pace.latest_start())) - now)
        return max(0, min(found)) if found else None

    def _is_willing(self, subscription_id: int) -> bool:
        return self._receivers.manners[subscription_id - 5000] != "never"

    async def _skip(self, seconds: float) -> None:
        """Let an idle span pass at no cost: a machine that is suspended."""
        for node in self._nodes:
            self._loop.stop_node(node.number)
        await asyncio.sleep(seconds)
        for node in self._nodes:
            if not node.is_down:
                self._loop.resume_node(node.number)
        self._trouble()

    # nodes

    async def _begun(self, place: int) -> Node:
        """Begin a process, again where the database does not confirm."""
        node = self._new_node(place)
        if self._schedule.nodes == 1:
            while True:
                try:
                    await node.ask(self._storage.open(), 60.0)
                except Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
            self.oracle.check_begin()
        node.begin()
        return node

    def _new_node(self, place: int) -> Node:
        number = next(self._numbers)
        clock = VirtualClock(self._loop, self._schedule.skews_ms[place])
        self.oracle.node_wall[number] = clock.wall_ms
        return Node(
            number,
            loop=self._loop,
            clock=clock,
            storage=self._storage,
            random=self._random,
            telemetry=self._stage.telemetry,
            limits=self._limits,
            receivers=self._receivers,
            start=self.oracle.started,
            end=self.oracle.ended,
            grants=self.oracle.grants,
        )

    def _place_of(self, number: int) -> int:
        return next((place for place, node in enumerate(self._nodes) if node.number == number), -1)

    def _trouble(self, node: int = -1) -> None:
        self.oracle.trouble(node)

    def _crash(self, place: int, down_seconds: float) -> None:
        """Kill a node and bring it up again later."""
        if place < 0 or self._nodes[place].is_down:
            return
        node = self._nodes[place]
        self._trouble(node.number)
        node.kill()
        self.oracle.killed.add(node.number)
        self.oracle.marks["crash"] += 1
        if self._schedule.nodes == 1:
            self.writer.is_dead = True
        repair = asyncio.get_running_loop().create_task(self._raise_again(place, down_seconds), context=_OUTSIDE)
        self._repairs.add(repair)
        repair.add_done_callback(self._repairs.discard, context=_OUTSIDE)

    async def _raise_again(self, place: int, down_seconds: float) -> None:
        await asyncio.sleep(down_seconds)
        if self._schedule.nodes == 1:
            self.let_go()
            self._storage, self.writer = self._new_storage()
        self._nodes[place] = await self._begun(place)
        self._trouble(self._nodes[place].number)

    async def _crash_step(self, step: Step) -> None:
        self._crash(step.said["node"], step.said["down"])

    async def _stall(self, step: Step) -> None:
        """Stop a node as SIGSTOP does, perhaps past its leases, then let it go on."""
        node = self._nodes[step.said["node"]]
        if node.is_down:
            return
        self._trouble(node.number)
        self._loop.stop_node(node.number)
        await asyncio.sleep(step.said["seconds"])
        self._trouble(node.number)
        self.oracle.marks["stall past the lease" if step.said["seconds"] * 1000 > LEASE_MS else "stall"] += 1
        if not node.is_down:
            self._loop.resume_node(node.number)

    async def _deafen(self, step: Step) -> None:
        """Stop a node between a claim and its answer until another may have taken the same, then let it hear of it."""
        weather, loop = self._weather, self._loop
        stopped: asyncio.Future[None] = loop.create_future()

        def stop(number: int) -> None:
            loop.stop_node(number)
            self._trouble(number)
            stopped.set_result(None)

        weather.stop, weather.deafened = stop, self._nodes[step.said["node"]].number
        await asyncio.wait({stopped}, timeout=3.0)
        if not stopped.done():
            weather.deafened = None
            return
        await asyncio.sleep(LEASE_MS / 1000 + step.said["past_lease"])
        node = self._nodes[step.said["node"]]
        self._trouble(node.number)
        self.oracle.marks["deaf to a claim"] += 1
        if not node.is_down:
            loop.resume_node(node.number)

    async def _restart(self, step: Step) -> None:
        """End a node in order and begin it again: nothing may be lost by that."""
        place = step.said["node"]
        node = self._nodes[place]
        if node.is_down or node.running is None:
            return
        node.engine.stop()
        done, _ = await asyncio.wait({node.running}, timeout=20)
        if not done or node.is_down:
            return
        node.running.result()
        node.is_down = True
        if self._schedule.nodes == 1:
            sending = [each.id for each in self.oracle.model.deliveries.values() if each.state == "sending"]
            if sending and not self.oracle.troubled_at:
                self.oracle.violations.append(f"I12: {sending} are in flight after an end in order")
            self.writer.is_dead = True
            self.let_go()
            self._storage, self.writer = self._new_storage()
        self._nodes[place] = await self._begun(place)
        self.oracle.marks["restart in order"] += 1

    async def _bad_weather(self, step: Step) -> None:
        self.oracle.troubles += 1
        self._weather.is_bad = True
        await asyncio.sleep(step.said["seconds"])
        self._weather.is_bad = False
        self._trouble()
        self.oracle.troubles -= 1

    async def _slow(self, step: Step) -> None:
        self.oracle.troubles += 1
        self._weather.slow_seconds = step.said["slow"]
        await asyncio.sleep(step.said["seconds"])
        self._weather.slow_seconds = 0.0
        await asyncio.sleep(step.said["slow"])
        self._trouble()
        self.oracle.troubles -= 1

    async def _strangers(self, step: Step) -> None:
        self._weather.strangers = 0.5
        await asyncio.sleep(step.said["seconds"])
        self._weather.strangers = 0.0
        self.oracle.marks["strangers in groups"] += 1

    async def _jump(self, step: Step) -> None:
        """Set the machine's wall clock; nothing may become early by that."""
        self._clock.skew_ms += step.said["ms"]
        self.oracle.marks["wall clock set"] += 1

    # people

    def _node(self, step: Step) -> Node:
        place: int = step.said["node"]
        return self._nodes[place % len(self._nodes)]

    async def _publish(self, step: Step) -> None:
        """Publish as a careful client does: with a key, again until an answer comes."""
        said = step.said
        requests = [self._request(each) for each in said["events"]]
        body = msgspec.json.encode([said["events"]])
        key = None if said["key"] is None else publishing.key_of(f"k{said['key']}", "/v1/events", body)
        self.oracle.order.posted(self._loop.time(), [each.id for each in requests if each.id])
        if said["has_twin"]:
            twin = asyncio.create_task(self._publish_until(step, requests, key, answers=1))
            await self._publish_until(step, requests, key, answers=1 + said["again"])
            await twin
        else:
            await self._publish_until(step, requests, key, answers=1 + said["again"])

    async def _publish_until(
        self, step: Step, requests: list[EventRequest], key: IdempotencyKey | None, *, answers: int
    ) -> None:
        began_at = self._loop.time()
        if key:
            began_at = self._keys_began_at.setdefault(key.key, began_at)
        for _ in range(TRIES_MAX):
            node = self._node(step)
            coroutine: Coroutine[Any, Any, Any] = (
                node.publisher.publish(requests[0], key)
                if len(requests) == 1
                else node.publisher.publish_batch(requests, key)
            )
            try:
                answer = await node.ask(coroutine)
            except (Unreachable, Unavailable) as error:
                if isinstance(error, Unavailable) and not self.oracle.troubled_at:
                    self.oracle.violations.append(f"I1: publish was refused without a fault: {error}")
                self.oracle.marks["publish without an answer"] += 1
                await asyncio.sleep(self._random.random())
                continue
            except HooklineError:
                return
            if self._random.random() < self._schedule.hints_share:
                node.engine.wake()
            if isinstance(answer, Published):
                self.oracle.order.answered(self._loop.time(), began_at, [event.id for event in answer.events])
                for event in answer.events:
                    self.oracle.acknowledged[event.id] = event
            answers -= 1
            if not answers:
                return

    def _request(self, said: dict[str, Any]) -> EventRequest:
        company_ids = [self._company_ids[index] for index in said["companies"]]
        entries = said["entries"]
        return EventRequest(
            event_type=said["type"],
            data=Raw(DATA[said["data"]]),
            company_ids=None if entries else company_ids,
            recipients=[
                RecipientRequest(company_id=id_, case_direction=direction, partner_company_id=partner)
                for id_ in company_ids
                for direction, partner in entries
            ]
            if entries
            else None,
            id=None if said["id"] is None else f"e{said['id']}",
            occurred_at=datetime(2026, 11, 1, tzinfo=UTC) if said["is_dated"] else None,
        )

    async def _create(self, step: Step) -> None:
        said, node = step.said, self._nodes[0]
        id_ = 5000 + len(self._subscription_ids)
        receiver = id_ - 5000
        request = SubscriptionRequest(
            callback_url=f"https://{said['host']}.example.com/{receiver}/{id_}",
            event_types=said["types"],
            payload_version=said["version"],
            retry_delays_seconds=None if said["delays"] is None else list(said["delays"]),
            timeout_seconds=said["timeout"],
            max_in_flight=said["max_in_flight"],
            active=said["active"],
            **policies_of(said["policies"]),
        )
        subscription, secret = created(
            request,
            subscription_id=id_,
            company_id=self._company_ids[said["company"]],
            shapes=tuple(PayloadVersion),
            catalogue=self._catalogue,
            rules=RULES,
            random_bytes=self._random.randbytes,
            now=node.clock.wall_ms(),
        )
        self._receivers.manners[receiver] = said["manner"]
        self._receivers.characters[receiver] = said["character"]
        self._receivers.kills_left[receiver] = said["kills"] if said["character"] == "deadly" else 0
        self._subscription_ids.append(id_)
        self.oracle.foresee(subscription, Key(secret))
        await node.ask(node.storage.create_subscription(subscription, 100))

    def _chosen(self, step: Step) -> int:
        ids = list(self.oracle.model.lanes)
        index: int = step.said["subscription"]
        return ids[index % len(ids)]

    async def _delete(self, step: Step) -> None:
        id_, node = self._chosen(step), self._node(step)
        await node.ask(node.delete(id_))
        self.oracle.closed[id_] = self._clock.schedule_ms()
        self.oracle.marks["delete answered"] += 1

    async def _pause(self, step: Step) -> None:
        id_, node = self._chosen(step), self._node(step)
        after = await node.ask(node.change(id_, SubscriptionRequest(active=False), self._catalogue))
        lane = self.oracle.model.lanes[id_]
        if id_ not in self._unsure and lane.subscription.revision == after.revision:
            self.oracle.closed[id_] = self._clock.schedule_ms()
        self.oracle.marks["deactivation answered"] += 1

    async def _resume(self, step: Step) -> None:
        id_, node = self._chosen(step), self._node(step)
        lane = self.oracle.model.lanes.get(id_)
        if lane is None or lane.deleted_at is None:
            self.oracle.closed.pop(id_, None)
        self._unsure.add(id_)
        await node.ask(node.change(id_, SubscriptionRequest(active=True), self._catalogue))
        self._unsure.discard(id_)

    async def _redeliver(self, step: Step) -> None:
        deliveries = [each for each in self.oracle.model.deliveries.values() if each.log]
        if deliveries:
            chosen, node = self._random.choice(deliveries), self._node(step)
            await node.ask(node.storage.redeliver(chosen.subscription_id, chosen.id))

    async def _replay(self, step: Step) -> None:
        """Ask for a replay, of one subscription or of all, and perhaps cancel it soon."""
        said, node, wall = step.said, self._node(step), self._clock.wall_ms()
        asked = NewReplay(subscription_id=None, company_id=None, from_at=0, to_at=0, status=said["status"])
        asked = structs.replace(asked, from_at=wall - said["since_ms"], to_at=wall + said["until_ms"])
        if not said["is_whole"] or said["status"] is None:
            id_ = self._chosen(step)
            company_id = self.oracle.model.lanes[id_].subscription.company_id
            asked = structs.replace(asked, subscription_id=id_, company_id=company_id, source=SOURCE)
        replay = await node.ask(node.storage.create_replay(asked))
        if replay is None:
            return
        node.engine.wake()
        if said["cancel_after"] is None:
            return
        await asyncio.sleep(said["cancel_after"])
        await node.ask(node.storage.cancel_replay(replay.id))
        self.oracle.marks["replay cancelled"] += 1

    async def _patch(self, step: Step) -> None:
        id_, node = self._chosen(step), self._node(step)
        said = dict(step.said["patch"])
        if "url" in said:
            said = {"callback_url": f"https://c.example.com/{id_ - 5000}/{id_}/{said['url']}"}
        await node.ask(node.change(id_, SubscriptionRequest(**policies_of(said)), self._catalogue))

    async def _rotate(self, step: Step) -> None:
        id_, node, said = self._chosen(step), self._node(step), step.said
        request = RotationRequest(overlap_seconds=said["overlap"], hub_signature=said["hub"])
        for _ in range(said["rotations"]):
            try:
                await node.ask(node.rotate(id_, request, self.oracle.foresee))
            except Conflict:
                if len(self.oracle.model.lanes[id_].keys) < SECRETS_MAX:
                    self.oracle.violations.append(f"I7: a rotation of {id_} was refused as one too many")
                self.oracle.marks["too many secrets"] += 1
                return
            await asyncio.sleep(self._random.random())

    async def _put_type(self, step: Step) -> None:
        node = self._nodes[0]
        event_type = EventType(name=step.said["name"], v1_name=None, v2_name=None)
        await node.ask(node.storage.put_event_type(event_type))

    async def _look(self, step: Step) -> None:
        """Read a page of a log while it grows: its total counts the rows of that moment."""
        id_, node = self._chosen(step), self._node(step)
        await self._check_page(node, id_, size=3)

    async def _check_page(self, node: Node, id_: int, size: int) -> None:
        rows: list[AttemptRow] = []
        page, total = 0, None
        while True:
            query = AttemptQuery(subscription_id=id_, page=page, size=size)
            found = await node.ask(node.storage.page_of_attempts(query))
            if size >= 200 or total is None:
                expected = max(0, min(size, found.total - page * size))
                if len(found.rows) != expected:
                    self.oracle.violations.append(f"I10: a page has {len(found.rows)} rows of a total of {found.total}")
            rows += found.rows
            total = found.total
            if size >= 200 or not found.rows:
                break
            page += 1
        if size >= 200:
            logged = sum(len(each.log) for each in self.oracle.model.deliveries.values() if each.subscription_id == id_)
            if total != logged or [row.id for row in rows] != sorted((row.id for row in rows), reverse=True):
                self.oracle.violations.append(f"I10: a total of {total} where {logged} rows are")

    async def _read_everything(self) -> None:
        """Hold what readers are shown against the model."""
        node = self._nodes[self._random.randrange(len(self._nodes))]
        model = self.oracle.model
        for id_ in self._subscription_ids:
            if id_ in model.lanes:
                await self._check_page(node, id_, size=200)
        for event_id in list(model.events)[:1]:
            detail = await node.ask(
                node.storage.event(event_id, company_id=None, after_id=0, limit=200, attempts_max=50)
            )
            assert detail is not None
            for view in detail.deliveries:
                delivery, lane = model.deliveries[view.id], model.lanes[view.subscription_id]
                expected = delivery.state
                if delivery.due_at is not None and lane.deleted_at is None and lane.subscription.active:
                    if view.reason != Waiting.VALIDATION:
                        self.oracle.violations.append(f"I1: delivery {view.id} waits for {view.reason}")
                elif delivery.due_at is not None:
                    expected = "cancelled" if lane.deleted_at is not None else "held"
                if view.state != expected or len(view.attempts) != len(delivery.log):
                    self.oracle.violations.append(f"I1: delivery {view.id} is shown as {view.state}, is {expected}")


def policies_of(said: dict[str, Any]) -> dict[str, Any]:
    """Return drawn policies as a request names them."""
    return said | {"filter": Raw(said["filter"].encode())} if "filter" in said else said


_OUTSIDE: Final = copy_context()
