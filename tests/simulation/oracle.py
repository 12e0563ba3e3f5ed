"""What must hold, judged from outside: commits in their order, starts and ends of attempts, answers that clients got.

The model says what the tables should hold; here the promises are held against what was seen. Nothing in the product
knows of this.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import apsw
import msgspec

from hookline.clock import rfc3339
from hookline.egress.sender import Call
from hookline.errors import Unavailable
from hookline.model import Answered, ErrorClass, EventType, Outcome, PayloadVersion, Subscription
from hookline.storage.claims import Settlement
from hookline.storage.protocol import Creation
from hookline.storage.publications import Accepted, Published
from hookline.storage.sqlite.committing import Broken
from simulation.ageing import check_age
from simulation.database import Note
from simulation.handshakes import Grants
from simulation.health import Circuit, Health
from simulation.model import Company, Delivery, Lane, Model, Violation, check
from simulation.order import NEVER, Course, Order
from simulation.replaying import said_of
from simulation.signatures import Key, Rotation, rotated, signed_as
from simulation.virtual import EPOCH_MS

START_WINDOW_MS: Final = 3_000
TIMEOUT_MS_MAX: Final = 3_000
QUIET_MS: Final = 3_000
UPKEEP: Final = frozenset({"repair_lanes", "close_deleted", "forget_keys"})
SOURCE: Final = "https://hooks.example.com"

_REPLAYED: Final = (
    "SELECT p.replay_id, p.subscription_id, p.delivery_id, e.id, e.key FROM replayed AS p"
    " JOIN deliveries AS d ON d.id = p.delivery_id JOIN events AS e ON e.key = d.event_key ORDER BY e.key"
)
_REPLAYS: Final = "SELECT id, state, total, done FROM replays"
_UNDONE: Final = (
    "SELECT count(*) FROM replays AS r JOIN lanes AS l ON l.subscription_id = r.subscription_id"
    " WHERE r.state = 'running' AND l.is_open"
)
_ROWS: Final = (
    "SELECT id, subscription_id, state, attempt, failures, losses, due_at, claimed_at, reason"
    " FROM deliveries ORDER BY id"
)
_LANES: Final = (
    "SELECT subscription_id, is_open, slots, coalesce(hold_until, 0), next_due, coalesce(next_start_us, 0),"
    " is_granted, validate_at, rate_per_second, failed_in_a_row, failing_since, probe_at FROM lanes ORDER BY 1"
)
_STANDING: Final = "SELECT slots, failed_in_a_row, failing_since, probe_at FROM lanes WHERE subscription_id = ?"
_LOG: Final = (
    "SELECT delivery_id, number, http_status, error, next_attempt_at, dead_lettered FROM attempts"
    " ORDER BY delivery_id, number"
)


@dataclass(slots=True, eq=False)
class Started:
    """One attempt that a node started."""

    delivery: Delivery
    number: int
    node: int
    at: float
    outcome: Outcome | None = None
    ended_at: float = 0.0
    end_wall_ms: int = 0


class Oracle:
    """Watches one run."""

    def __init__(
        self,
        types: list[EventType],
        circuit: Circuit,
        reading: apsw.Connection,
        schedule_ms: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self.model = Model(types, circuit)
        self.marks: Counter[str] = Counter()
        self.tell: Callable[[str], object] | None = None
        self.violations: list[str] = []
        self._reading = reading
        self._now, self._wall = schedule_ms, wall_ms
        self._claims: dict[tuple[int, int], tuple[int, int]] = {}
        """When an attempt was claimed, and for which node."""
        self._starts: dict[tuple[int, int], Started] = {}
        self._under_way: dict[int, set[Started]] = {}
        self.node_wall: dict[int, Callable[[], int]] = {}
        self.troubled_at: dict[int, int] = {}
        """When each node was last stopped or killed; -1: when the database last failed or was slow."""
        self.killed: set[int] = set()
        self.is_stopped: Callable[[int], bool] = lambda _node: False
        self._unheard: set[tuple[int, int]] = set()
        """Attempts whose claim was committed and not answered."""
        self.lease_ms = 0
        self.troubles = 0
        """Spells of a slow or failing database that last."""
        self.is_over = False
        """From then on only time passes."""
        self.closed: dict[int, int] = {}
        """Subscriptions whose delete or deactivation has been answered, and when."""
        self.acknowledged: dict[str, Accepted] = {}
        self.order = Order()
        self.is_willing: Callable[[int], bool] = lambda _subscription: True
        """Whether a receiver grants when it is asked, once faults have stopped."""
        self.grants = Grants(self.violations.append)
        self._foreseen: dict[bytes, Key | Rotation] = {}
        """What somebody is about to do about secrets, by the sealed one that shows that it was done."""
        self._groups = 0
        self._settled: dict[int, list[int]] = {}
        """What each lane had of slots before each settle of this group."""

    def say(self, *said: object) -> None:
        """Write a line of the story, where somebody wants to read it."""
        if self.tell:
            self.tell(f"{(self._now() - EPOCH_MS) / 1000:10.3f}  " + " ".join(str(each) for each in said))

    def foresee(self, subscription: Subscription, act: Key | Rotation) -> None:
        """Note that a subscription is about to be stored with a new secret."""
        self._foreseen[subscription.secrets[0].sealed] = act

    # commits

    def committed(self, note: Note | None, ending: Any, is_confirmed: bool) -> None:  # noqa: FBT001
        """Follow one request of a group, or its end; see `database.Observe`."""
        if self.is_over:
            return
        try:
            if note is None:
                self.marks["group of several"] += ending > 1
                self._adopt()
                self._groups += 1
                if self._groups % 24 == 0:
                    self.compare()
                return
            if self.tell and note.verb not in UPKEEP:
                lost = "" if is_confirmed else "(answer lost)"
                self.say(f"node {note.node}:", note.verb, *_told(note, ending), lost)
            if isinstance(ending, Broken):
                self.marks["commit refused"] += 1
                self.trouble()
                check("I2", isinstance(ending.error, Unavailable), note.verb, "failed:", repr(ending.error))
                return
            if not is_confirmed:
                self.marks["commit unknown"] += 1
                self.trouble()
                self.marks[f"{note.verb} unknown"] += 1
            self._apply(note, ending.value, is_confirmed=is_confirmed)
        except (Violation, LookupError, TypeError) as violation:
            self.violations.append(str(violation) if isinstance(violation, Violation) else f"model: {violation!r}")
            self.say("VIOLATION", violation)

    def trouble(self, node: int = -1) -> None:
        """Note a fault: what is claimed by now may get lost by it, and what is due may be late."""
        self.troubled_at[node] = self.model.disturbed_at = self._now()

    def _apply(self, note: Note, value: Any, *, is_confirmed: bool) -> None:  # noqa: C901, PLR0912 - one case for each verb
        if self.troubles:
            self.trouble()
        model, now, wall, args, named = self.model, self._now(), self._wall(), note.args, note.named
        model.now, model.wall = now, wall
        match note.verb:
            case "publish":
                publication = args[0]
                model.publish(publication, value, self._new_rows(value), wall, now)
            case "claim_due":
                lost = model.claim(
                    value,
                    flight=named["flight"],
                    known=named["known"],
                    lease_ms=named["lease_ms"],
                    rows_max=named["rows_max"],
                    node=note.node,
                    now=now,
                    wall=wall,
                )
                for attempt in lost:
                    self._explain_loss(*attempt)
                for each in value.deliveries:
                    self._claims[each.id, each.attempt] = (now, note.node)
                    if not is_confirmed:
                        self._unheard.add((each.id, each.attempt))
            case "settle":
                for settlement in args[0]:
                    self._check_settlement(settlement)
                for id_ in {settlement.fence.subscription_id for settlement in args[0]}:
                    self._settled.setdefault(id_, []).append(model.lanes[id_].slots)
                model.settle(args[0], value, now, wall)
            case "release":
                model.release(args[0], now)
            case "create_company":
                model.companies[args[0].id] = Company()
            case "create_subscription":
                check("I1", value is Creation.CREATED, "creating a subscription answered", value)
                model.create(args[0], self._keys(args[0], ()))
            case "replace_subscription":
                keys = self._keys(args[0], model.lanes[args[0].id].keys)
                model.replace(args[0], value, keys, lift_hold=named["lift_hold"])
            case "delete_subscription":
                model.delete(args[0], value, wall)
            case "redeliver":
                model.redeliver(args[0], args[1], value)
            case "take_validations":
                model.take_validations([each.id for each in value], args[0], args[1])
            case "grant_validation":
                allowed = named["allowed_per_second"]
                check("I6", self.grants.has(args[0], args[1], allowed), "nobody has granted", args, allowed)
                model.grant_validation(args[0], args[1], allowed, value)
            case "create_replay":
                if value is not None:
                    model.create_replay(args[0], value)
            case "step_replays":
                if model.replays.runs:
                    self._follow_replays()
            case "cancel_replay":
                if value:
                    model.cancel_replay(args[0])
            case "close_deleted":
                model.close_deleted(value, args[0])
            case "put_event_type":
                model.types[args[0].name] = args[0]
                model.catalogue_revision += 1
            case "end_leases":
                model.end_leases(now)
                self.marks["process begun"] += 1
            case _:
                return

    def _follow_replays(self) -> None:
        opened: Counter[int] = Counter()
        rows: list[Any] = self._reading.execute(_REPLAYED).fetchall()
        for row in rows:
            self.model.follow_replay(*row)
            opened[row[1]] += 1
        for subscription_id, count in opened.items():
            if count > 1:
                self.model.check_room(subscription_id, count)
        self._compare_replays()

    def _compare_replays(self) -> None:
        for id_, (states, total, done) in said_of(self._reading.execute(_REPLAYS).fetchall()).items():
            run = self.model.replays.runs.get(id_)
            if run is None:  # stored by this very commit, and told of next
                continue
            check("I10", run.total <= total <= max(run.total, run.done), "replay", id_, "comes to", total, run)
            check("I10", done <= total, "replay", id_, "has done", done, "of", total)
            check("I10", done <= run.done, "replay", id_, "has done", done, "of", run.done, "attempts")
            if "running" not in states:
                its_open = [key for key, (whose, _) in self.model.replays.open.items() if whose == id_]
                is_over = not its_open or states - {"done"}
                check("I10", is_over, "replay", id_, "is done, and open are", its_open)

    def _keys(self, subscription: Subscription, before: tuple[Key, ...]) -> tuple[Key, ...]:
        """Return the secrets that the subscription should have when this is stored."""
        match self._foreseen.pop(subscription.secrets[0].sealed, None):
            case Key() as first:
                return (first,)
            case Rotation() as rotation:
                return rotated(before, rotation)
            case None:
                return before

    def _adopt(self) -> None:
        """Where two nodes settle one lane in one commit, it may follow both at once or each in turn: take either."""
        settled, self._settled = self._settled, {}
        for id_, before in settled.items():
            if len(before) > 1:
                lane = self.model.lanes[id_]
                slots, *health = self._reading.execute(_STANDING, (id_,)).get
                lane.health = Health(*health)
                most = lane.subscription.policies.max_in_flight
                check("I14", 1 <= slots <= most, "lane", id_, "has", slots, "slots of", most)
                lane.slots = slots

    def _new_rows(self, result: object) -> list[tuple[int, str, int]]:
        if not isinstance(result, Published):
            return []
        ids = msgspec.json.encode([event.id for event in result.events]).decode()
        rows: list[Any] = self._reading.execute(
            "SELECT d.id, e.id, d.subscription_id FROM events AS e JOIN deliveries AS d ON d.event_key = e.key"
            " WHERE e.id IN (SELECT value FROM json_each(?))",
            (ids,),
        ).fetchall()
        return rows

    def _explain_loss(self, delivery_id: int, number: int) -> None:
        """See that nothing is lost that a living node could have handed in: it had three quiet seconds for it."""
        claimed_at, node = self._claims[delivery_id, number]
        if node in self.killed or self.is_stopped(node) or (delivery_id, number) in self._unheard:
            return
        now = self._now()
        started = self._starts.get((delivery_id, number))
        over_at = 0.0 if started is None else started.ended_at if started.outcome else started.at + TIMEOUT_MS_MAX
        troubled_at = now if self.troubles else max(self.troubled_at.get(node, 0), self.troubled_at.get(-1, 0))
        quiet_ms = min(now, claimed_at + self.lease_ms) - max(claimed_at, over_at, troubled_at)
        check("I12", quiet_ms < QUIET_MS, "attempt", number, "of", delivery_id, "was lost, with", quiet_ms, "quiet ms")

    def _check_settlement(self, settlement: Settlement) -> None:
        fence, record = settlement.fence, settlement.record
        started = self._starts.get((fence.delivery_id, fence.attempt))
        check(
            "I3",
            started and started.outcome,
            "attempt",
            fence.attempt,
            "of",
            fence.delivery_id,
            "was settled but not made",
        )
        assert started is not None
        outcome = started.outcome
        if isinstance(outcome, Answered):
            said = (record.http_status, settlement.answered, settlement.timed_out)
            check("I3", said == (outcome.status, True, False), "an answer was recorded as", record)
            least = rest_ms(outcome, started.end_wall_ms)
            check(
                "I8",
                (settlement.hold_ms or 0) == least,
                "Retry-After",
                outcome.retry_after,
                "became",
                settlement.hold_ms,
            )
        else:
            assert outcome is not None
            failure = (record.error, settlement.answered, settlement.timed_out)
            check(
                "I3",
                failure == (outcome.error, False, outcome.error is ErrorClass.TIMEOUT),
                "a failure was recorded as",
                record,
            )

    # attempts

    def started(self, node: int, call: Call) -> Started:
        headers = dict(call.headers)
        number, subscription_id = int(headers["Hookline-Attempt"]), int(call.url.target.split("/")[2])
        delivery = self.model.by_event[headers["webhook-id"], subscription_id]
        start = Started(delivery, number, node, self._now())
        try:
            self._check_start(start, self.model.lanes[subscription_id])
            self._check_content(start, call, headers)
        except Violation as violation:
            self.violations.append(str(violation))
            self.say("VIOLATION", violation)
        self.say(f"node {node}: starts attempt {number} of {delivery.id}")
        self._starts[delivery.id, number] = start
        self._under_way.setdefault(delivery.id, set()).add(start)
        return start

    def ended(self, start: Any, outcome: Outcome) -> None:
        start.outcome, start.ended_at = outcome, self._now()
        start.end_wall_ms = self.node_wall[start.node]()
        self._under_way[start.delivery.id].discard(start)
        if self.tell:
            came_to = outcome.status if isinstance(outcome, Answered) else outcome.error
            self.say(f"node {start.node}: attempt {start.number} of {start.delivery.id} came to", came_to)

    def _check_start(self, start: Started, lane: Lane) -> None:
        delivery, number, now = start.delivery, start.number, self._now()
        claimed = self._claims.get((delivery.id, number))
        check("I11", claimed is not None, "attempt", number, "of", delivery.id, "started without a claim")
        assert claimed is not None
        check("I11", claimed[1] == start.node, "attempt", number, "was claimed by node", claimed[1], "not", start.node)
        check(
            "I6",
            now - claimed[0] <= START_WINDOW_MS,
            "attempt",
            number,
            "of",
            delivery.id,
            "starts",
            now - claimed[0],
            "ms after its claim",
        )
        check("I3", (delivery.id, number) not in self._starts, "attempt", number, "of", delivery.id, "is made twice")
        check(
            "I5",
            delivery.succeeded_at is None,
            "attempt",
            number,
            "of",
            delivery.id,
            "starts after a success was recorded",
        )
        check(
            "I11",
            number not in delivery.released,
            "attempt",
            number,
            "of",
            delivery.id,
            "starts after it was handed back",
        )
        closed_at = self.closed.get(lane.subscription.id)
        check(
            "I6",
            closed_at is None,
            "attempt",
            number,
            "starts",
            now - (closed_at or 0),
            "ms after the answer that closed",
            lane.subscription.id,
        )
        lost = {each.number for each in delivery.log if each.error == "lost"}
        for other in self._under_way.get(delivery.id, ()):
            check("I8", other.number in lost, "attempts", other.number, "and", number, "of", delivery.id, "overlap")
        revision = self._revision_of(start)
        if lane.needs_consent[revision]:
            is_covered = self.grants.covers(lane.subscription.id, lane.urls[revision])
            check("I6", is_covered, "attempt", number, "goes to", lane.urls[revision], "which nobody has granted")
        failed = [each for each in delivery.log if each.error != "lost"]
        if failed and delivery.failures:
            last = self._starts[delivery.id, failed[-1].number]
            least = lane.schedules[self._revision_of(last)][delivery.failures - 1] * 1000
            check(
                "I8",
                now >= last.ended_at + least,
                "attempt",
                number,
                "follows",
                now - last.ended_at,
                "ms after a failure, not",
                least,
            )

    def _revision_of(self, start: Started) -> int:
        return start.delivery.revision_of[start.number]

    def _check_content(self, start: Started, call: Call, headers: dict[str, str]) -> None:
        delivery = start.delivery
        lane, event = self.model.lanes[delivery.subscription_id], self.model.events[delivery.event_id]
        version = lane.subscription.payload_version
        expected = body_of(version, delivery.type_name, event.id, event.occurred_at, event.data)
        check("I7", call.body == expected, "body", call.body, "expected", expected)
        url = lane.urls[self._revision_of(start)]
        check(
            "I7", f"{call.url.scheme}://{call.url.authority}{call.url.target}" == url, "sent to", call.url, "not", url
        )
        wall = self.node_wall[start.node]()
        keys = lane.keys_of[self._revision_of(start)]
        hub, standard = signed_as(keys, wall, event.id, call.body)
        check("I7", headers["X-Hub-Signature-256"] == hub, "wrong hub signature")
        check("I15", int(headers["webhook-timestamp"]) == wall // 1000, headers["webhook-timestamp"])
        check("I7", headers["webhook-signature"] == standard, "wrong standard signatures")
        if " " in standard:
            self.marks["several signatures"] += 1
        if len(keys) > 1 and " " not in standard:
            self.marks["overlap ended"] += 1

    # tables against model

    def compare(self) -> None:
        """Hold every row against the model."""
        model = self.model
        if self._reading.execute("SELECT count(*) FROM events").get != len(model.events):
            raise Violation("I2: other events are stored than were answered")
        rows = self._reading.execute(_ROWS).fetchall()
        expected = [
            (
                each.id,
                each.subscription_id,
                each.state,
                each.attempt,
                each.failures,
                each.losses,
                each.due_at,
                each.claimed_at,
                each.reason,
            )
            for _, each in sorted(model.deliveries.items())
        ]
        for found, wanted in zip(rows, expected, strict=False):
            check("I4", found == wanted, "row", found, "expected", wanted)
        check("I1", len(rows) == len(expected), len(rows), "deliveries stored, expected", len(expected))
        self._compare_lanes()
        log = self._reading.execute(_LOG).fetchall()
        wanted_log = [
            (each.id, row.number, row.status, row.error, row.next_attempt_at, int(row.dead_lettered))
            for _, each in sorted(model.deliveries.items())
            for row in each.log
        ]
        for line, wanted_line in zip(log, wanted_log, strict=False):
            check("I3", line == wanted_line, "log", line, "expected", wanted_line)
        check("I3", len(log) == len(wanted_log), len(log), "lines of log, expected", len(wanted_log))

    def _compare_lanes(self) -> None:
        sending: Counter[int] = Counter()
        due: dict[int, int] = {}
        for each in self.model.deliveries.values():
            if each.state == "sending":
                sending[each.subscription_id] += 1
            elif each.state == "pending" and each.due_at is not None:
                is_behind = self.model.lanes[each.subscription_id].is_ordered and each.subscription_id in due
                if not is_behind:
                    due[each.subscription_id] = min(due.get(each.subscription_id, each.due_at), each.due_at)
        for id_, is_open, slots, hold_until, next_due, next_start_us, *rest in self._reading.execute(_LANES):
            lane = self.model.lanes[id_]
            (is_granted, ask_at, rate), health = rest[:3], rest[3:]
            consent = (lane.consent.is_granted, lane.consent.ask_at, lane.pace.per_second)
            check("I6", (bool(is_granted), ask_at, rate) == consent, "lane", id_, "has", rest, "expected", consent)
            check("I14", Health(*health) == lane.health, "lane", id_, "has", health, "expected", lane.health)
            starts_by = lane.pace.latest_start()
            check(
                "I12",
                not lane.pace.starts or next_start_us <= starts_by * 1_000,
                "lane",
                id_,
                "starts nothing before",
                next_start_us,
                "expected",
                starts_by,
            )
            check("I6", bool(is_open) is lane.is_open, "lane", id_, "is open:", is_open)
            check("I14", slots == lane.slots, "lane", id_, "has", slots, "slots, expected", lane.slots)
            check(
                "I8",
                hold_until == lane.hold_until,
                "lane",
                id_,
                "is held for",
                hold_until - self._now(),
                "expected",
                lane.hold_until - self._now(),
            )
            if lane.is_open and id_ in due and sending[id_] < (1 if lane.is_ordered else slots):
                latest = max(lane.health.due(due[id_]), hold_until, -(-next_start_us // 1_000))
                check(
                    "I12",
                    next_due is not None and next_due <= latest,
                    "lane",
                    id_,
                    "is looked at",
                    next_due,
                    "and due",
                    latest,
                )

    def check_begin(self) -> None:
        """See that a process that begins alone on its file waits for no lease of the one before."""
        late = [
            each.id
            for each in self.model.deliveries.values()
            if each.state == "sending" and (each.due_at or 0) > self._now()
        ]
        if late:
            self.violations.append(f"I12: a process begins and leaves {late} to their leases")

    def check_waits(self, subscription_ids: Collection[int], most_ms: int) -> None:
        """See that none of these waited longer for its first attempts, whatever others did."""
        for (id_, number), start in self._starts.items():
            if number == 1 and start.delivery.subscription_id in subscription_ids:
                waited = int(start.at) - self.model.events[start.delivery.event_id].answer.accepted_at
                if waited > most_ms:
                    self.violations.append(f"I13: delivery {id_} waited {waited} ms for others")
                self.marks["prompt in a crowd"] += 1

    def check_age(self) -> None:
        """Judge what retention has left."""
        try:
            self.marks.update(check_age(self.model, self._reading, self._wall()))
        except Violation as violation:
            self.violations.append(str(violation))

    def check_end(self) -> None:
        """Judge what is left when faults have stopped and time has run on."""
        try:
            self.compare()
            model = self.model
            for event_id, answer in self.acknowledged.items():
                check("I1", event_id in model.events, "acknowledged", event_id, "is not stored")
                check(
                    "I1",
                    model.events[event_id].answer == answer,
                    "acknowledged",
                    answer,
                    "stored",
                    model.events[event_id].answer,
                )
            for delivery in model.deliveries.values():
                lane = model.lanes[delivery.subscription_id]
                if delivery.due_at is not None:
                    check(
                        "I12",
                        not lane.is_open,
                        "delivery",
                        delivery.id,
                        delivery.state,
                        "did not end; due in",
                        delivery.due_at - self._now(),
                    )
                    is_unasked = lane.consent.is_missing and lane.subscription.active and lane.deleted_at is None
                    if is_unasked and self.is_willing(delivery.subscription_id):
                        check("I12", None, "delivery", delivery.id, "waits, and its receiver would have it")
                    self.marks["waits for a grant" if lane.consent.is_missing else "held at the end"] += 1
                self._check_log(delivery, lane)
            self._check_replays()
            for lane in model.lanes.values():
                if lane.was_ordered:
                    self._check_sequence(lane)
        except Violation as violation:
            self.violations.append(str(violation))
        self.marks.update(self.model.marks)

    @property
    def has_replays_to_do(self) -> bool:
        """Tell whether a replay runs in an open lane, and waits for nothing that it has opened."""
        if not self.model.replays.runs or self.model.replays.open:
            return False
        return bool(self._reading.execute(_UNDONE).get)

    def _check_replays(self) -> None:
        self._compare_replays()
        if self.model.replays.runs:
            check("I12", not self._reading.execute(_UNDONE).get, "a replay has come to no end")
        for id_, (states, _, done) in said_of(self._reading.execute(_REPLAYS).fetchall()).items():
            run = self.model.replays.runs[id_]
            if states == {"done"}:
                self.marks["replay done"] += 1
                check("I10", done == run.done, "replay", id_, "says that it has done", done, "of", run.done)
                if not self.marks["wall clock set"]:
                    self.model.check_replayed(id_)

    def _check_sequence(self, lane: Lane) -> None:
        """See that nobody was sent an event before the end of one that was accepted before it was posted."""
        started_at: dict[int, float] = {}
        for (id_, _), start in self._starts.items():
            started_at[id_] = min(start.at, started_at.get(id_, NEVER))
        courses = [
            Course(each.event_id, started_at.get(each.id, NEVER), each.first_ended_at or NEVER)
            for each in self.model.deliveries.values()
            if each.subscription_id == lane.subscription.id and not each.is_made
        ]
        for first, second in self.order.overtaken(courses):
            check("I8", None, "ordered", lane.subscription.id, "was sent", second, "before the end of", first)

    def _check_log(self, delivery: Delivery, lane: Lane) -> None:
        """See that the log tells what receivers saw, no more and no less."""
        starts = {number: start for (id_, number), start in self._starts.items() if id_ == delivery.id}
        told = {row.number: row for row in delivery.log}
        lost = sum(row.error == "lost" for row in delivery.log)
        most = (1 + max(map(len, lane.schedules.values()))) * delivery.rounds + lost
        check("I3", len(told) <= most, "delivery", delivery.id, "has", len(told), "attempts")
        check("I3", len(starts) <= most, "delivery", delivery.id, "was sent", len(starts), "times")
        if delivery.due_at is None:
            check(
                "I3",
                starts.keys() <= told.keys(),
                "not in the log of",
                delivery.id,
                "are attempts",
                starts.keys() - told.keys(),
            )
        for number, row in told.items():
            if row.error == "lost":
                continue
            outcome = starts[number].outcome
            seen = (outcome.status, None) if isinstance(outcome, Answered) else (None, outcome and outcome.error)
            check("I3", row.status == seen[0], "attempt", number, "is logged as", row, "but came to", outcome)


def _told(note: Note, ending: Any) -> list[object]:
    """Return what is worth reading of a verb and its answer."""
    if isinstance(ending, Broken):
        return ["failed:", ending.error]
    match note.verb:
        case "claim_due":
            claim = ending.value
            taken = [(each.id, each.attempt) for each in claim.deliveries]
            return [taken, f"lost {claim.lost}, next due in {claim.next_due_ms}"]
        case "settle":
            return [[(each.fence.delivery_id, each.fence.attempt, each.verdict) for each in note.args[0]], ending.value]
        case "publish":
            return [ending.value]
        case _:
            return [*note.args, *note.named.values(), ending.value]


def rest_ms(outcome: Answered, wall_ms: int) -> int:
    """Read a Retry-After for itself: seconds, or one of the dates that our receivers write."""
    said = outcome.retry_after
    if outcome.status not in {429, 503} or not said:
        return 0
    if said.isdigit():
        return min(int(said) * 1000, 86_400_000)
    if not said.endswith("GMT"):
        return 0
    return max(0, int(parsedate_to_datetime(said).timestamp() * 1000) - wall_ms)


def body_of(version: PayloadVersion, type_name: str, event_id: str, occurred_at: int, data: bytes) -> bytes:
    """Write a body as the contract's section 5.1 shows it."""
    time, name = rfc3339(occurred_at), type_name
    text = data.decode()
    match version:
        case PayloadVersion.V1:
            return f'{{"eventType":"{name}",{text[1:-1]},"timestamp":"{time}"}}'.encode()
        case PayloadVersion.V2:
            return (
                f'{{"specversion":"1.0","id":"{event_id}","source":"{SOURCE}","type":"{name}","time":"{time}",'
                f'"datacontenttype":"application/json","data":{text}}}'
            ).encode()
        case PayloadVersion.STANDARD:
            return f'{{"type":"{name}","timestamp":"{time}","data":{text}}}'.encode()
        case PayloadVersion.RAW:
            return data
