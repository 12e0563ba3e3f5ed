"""What the tables should hold: a second, plain implementation of the storage verbs over dictionaries.

It follows the commits in their order and says of each what had to come of it. Written from docs/architecture.md and the
protocol's docstrings, not from the engines; slow and obvious where they are quick.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from hookline.fairness import Flight
from hookline.lifecycle import GiveUp, Retry, Succeed
from hookline.model import EventType, PayloadVersion, Recipient, Replay, Subscription
from hookline.storage.claims import Claim, Fence, NewReplay, Settlement
from hookline.storage.publications import Accepted, IdConflict, KeyConflict, Publication, Published, Stale
from simulation.handshakes import Consent
from simulation.health import DAY_MS, Circuit, Health
from simulation.pace import Pace
from simulation.replaying import LANE_SHARE, Before, Replays, Run
from simulation.signatures import Key
from simulation.wanting import wants

LOSS_WAITS_MS: Final = (0, 0, 60_000, 300_000, 1_800_000)
SUSPECT_LOSSES: Final = 3
NEVER: Final = 1 << 62
HANDSHAKE_MS_MAX: Final = 12_000
"""So long a receiver may wait to be asked: the step before, with a receiver that does not answer, comes first."""
STANDARD_DELAYS: Final = (10, 60, 300)


class Violation(AssertionError):
    """Something that must always hold did not; begins with its number in docs/architecture.md."""


def check(invariant: str, holds: object, *said: object) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(f"{invariant}: " + " ".join(str(each) for each in said))


@dataclass(slots=True)
class Lane:
    """A subscription and its queue."""

    subscription: Subscription
    slots: int
    hold_until: int = 0
    deleted_at: int | None = None
    schedules: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The retry waits of each of its revisions."""
    urls: dict[int, str] = field(default_factory=dict)
    needs_consent: dict[int, bool] = field(default_factory=dict)
    """Of each of its revisions, as all of these."""
    was_ordered: bool = True
    """Whether each of its revisions is."""
    keys_of: dict[int, tuple[Key, ...]] = field(default_factory=dict)
    """The secrets of each of its revisions, newest first."""
    pace: Pace = field(default_factory=Pace)
    health: Health = field(default_factory=Health)
    consent: Consent = field(default_factory=Consent)
    kept_waiting_since: int | None = None
    """Since when it could have been given something at each claim and was not."""

    def learn(self, subscription: Subscription, keys: tuple[Key, ...] | None = None) -> None:
        """Take a new revision; attempts claimed under an earlier one keep its rules."""
        self.keys_of[subscription.revision] = keys or self.keys
        self.subscription = subscription
        self.was_ordered &= subscription.policies.ordered
        self.set_rate()
        self.schedules[subscription.revision] = schedule_of(subscription)
        self.urls[subscription.revision] = subscription.callback_url
        self.needs_consent[subscription.revision] = subscription.policies.validation is not None

    def set_rate(self) -> None:
        """Take the least of what the subscription wants and the receiver allows."""
        rates = (self.subscription.policies.rate_per_second, self.consent.allowed)
        self.pace.set_rate(min((rate for rate in rates if rate is not None), default=None))

    @property
    def keys(self) -> tuple[Key, ...]:
        return self.keys_of[self.subscription.revision]

    @property
    def is_ordered(self) -> bool:
        return self.subscription.policies.ordered

    @property
    def is_open(self) -> bool:
        return self.subscription.active and self.deleted_at is None and not self.consent.is_missing


@dataclass(slots=True)
class Attempt:
    """One row that the log should hold."""

    number: int
    status: int | None
    error: str | None
    next_attempt_at: int | None
    dead_lettered: bool


@dataclass(slots=True)
class Delivery:
    """One row of deliveries as it should be, and what it went through."""

    id: int
    event_id: str
    subscription_id: int
    state: str
    due_at: int | None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    claimed_at: int | None = None
    reason: str | None = None
    node: int = 0
    revision: int = 0
    type_name: str = ""
    revision_of: dict[int, int] = field(default_factory=dict)
    """The subscription's revision under which each attempt was claimed."""
    log: list[Attempt] = field(default_factory=list)
    wait_until: int = 0
    """Before this no attempt may start, whatever the row says."""
    released: set[int] = field(default_factory=set)
    succeeded_at: int | None = None
    rounds: int = 1
    first_ended_at: int | None = None
    settled_at: int | None = None
    """By the wall clock."""
    is_made: bool = False
    """By a replay, of an event that was there before."""


@dataclass(slots=True)
class Event:
    id: str
    fingerprint: bytes | None
    data: bytes
    event_type: str
    occurred_at: int
    answer: Accepted
    recipients: tuple[Recipient, ...]


@dataclass(slots=True)
class Company:
    revision: int = 1
    subscription_ids: list[int] = field(default_factory=list)


def seen_name(event_type: EventType, version: PayloadVersion) -> str | None:
    return {"V1": event_type.v1_name, "V2": event_type.v2_name}.get(version.value, event_type.name)


class Model:
    """All of it."""

    def __init__(self, types: Sequence[EventType], circuit: Circuit) -> None:
        self.circuit = circuit
        self.types = {event_type.name: event_type for event_type in types}
        self.catalogue_revision = 1
        self.companies: dict[int, Company] = {}
        self.lanes: dict[int, Lane] = {}
        self.events: dict[str, Event] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.by_event: dict[tuple[str, int], Delivery] = {}
        self.keys: dict[str, tuple[bytes, tuple[Accepted, ...]]] = {}
        self.now = 0
        """Of the schedule, at the commit that is followed."""
        self.wall = 0
        self.replays = Replays()
        self._last_id = 0
        """Of the delivery that was accepted last."""
        self.marks: set[str] = set()
        self.disturbed_at = 0
        """When a fault last was; nothing may be blamed on it five seconds later."""

    # publishing

    def publish(
        self, publication: Publication, result: object, new_ids: Sequence[tuple[int, str, int]], wall: int, now: int
    ) -> None:
        """`new_ids` are rows of deliveries that came with this commit: id, event id, subscription."""
        expected = self._judged(publication)
        if expected is not None:
            check("I1", result == expected, "publish answered", result, "expected", expected)
            match expected:
                case Published():
                    self.marks.add("repeat answered")
                case KeyConflict():
                    self.marks.add("key conflict")
                case IdConflict():
                    self.marks.add("id conflict")
                case _:
                    self.marks.add("stale matching")
            return
        check("I1", isinstance(result, Published), "publish answered", result, "for something new")
        assert isinstance(result, Published)
        check("I1", len(result.events) == len(publication.events), "a batch was answered in part")
        for new, accepted in zip(publication.events, result.events, strict=True):
            known = self.events.get(new.id)
            if known is not None:
                check("I1", accepted == known.answer, "a repeated id got another answer", accepted, known.answer)
                self.marks.add("repeat within a new batch")
                continue
            event_type = self.types[new.event_type]
            matched = self._matching(event_type, new.recipients, new.data)
            asked = {each.subscription_id: each.type_name for each in new.deliveries}
            check("I1", asked == matched, "event", new.id, "was matched", asked, "expected", matched)
            check(
                "I1",
                accepted.deliveries == len(matched),
                "answered",
                accepted.deliveries,
                "deliveries of",
                len(matched),
            )
            occurred_at = wall if new.occurred_at is None else new.occurred_at
            self.events[new.id] = Event(
                new.id, new.fingerprint, new.data, new.event_type, occurred_at, accepted, new.recipients
            )
            rows = {subscription_id: id_ for id_, event_id, subscription_id in new_ids if event_id == new.id}
            check("I8", not rows or min(rows.values()) > self._last_id, "ids do not rise with acceptance", rows)
            self._last_id = max(rows.values(), default=self._last_id)
            check(
                "I1",
                rows.keys() == matched.keys(),
                "event",
                new.id,
                "has rows for",
                sorted(rows),
                "expected",
                sorted(matched),
            )
            for subscription_id, id_ in rows.items():
                delivery = Delivery(id_, new.id, subscription_id, "pending", now, type_name=matched[subscription_id])
                self.deliveries[id_] = self.by_event[new.id, subscription_id] = delivery
                if not self.lanes[subscription_id].is_open:
                    self.marks.add("published to a held lane")
        if publication.key:
            self.keys[publication.key.key] = (publication.key.fingerprint, result.events)

    def _judged(self, publication: Publication) -> object | None:
        """Say what a publish must be answered where it stores nothing."""
        if publication.key and publication.key.key in self.keys:
            fingerprint, answer = self.keys[publication.key.key]
            return Published(events=answer) if fingerprint == publication.key.fingerprint else KeyConflict()
        for index, new in enumerate(publication.events):
            known = self.events.get(new.id) if new.fingerprint else None
            if known and known.fingerprint != new.fingerprint:
                return IdConflict(index=index)
        unknown = [new for new in publication.events if new.id not in self.events]
        stale = {
            recipient.company_id
            for new in unknown
            for recipient in new.recipients
            if self.companies[recipient.company_id].revision != recipient.company_revision
        }
        is_stale = bool(unknown) and publication.catalogue_revision != self.catalogue_revision
        if is_stale or stale:
            return Stale(catalogue=is_stale, company_ids=tuple(sorted(stale)))
        if not unknown and not publication.key:
            self.marks.add("repeat answered")
        return None

    def _matching(self, event_type: EventType, recipients: Sequence[Recipient], data: bytes) -> dict[int, str]:
        found = {}
        for recipient in recipients:
            for id_ in self.companies[recipient.company_id].subscription_ids:
                lane = self.lanes[id_]
                name = seen_name(event_type, lane.subscription.payload_version)
                wanted = lane.subscription.event_types
                if lane.deleted_at is not None or name is None or (wanted is not None and name not in wanted):
                    continue
                if wants(lane.subscription.policies, data, recipient.entries):
                    found[id_] = name
                else:
                    self.marks.add("filtered out")
        return found

    # subscriptions

    def create(self, subscription: Subscription, keys: tuple[Key, ...]) -> None:
        lane = Lane(subscription, min(2, subscription.policies.max_in_flight))
        lane.consent.want(wanted_url(subscription), self.now, is_active=subscription.active)
        lane.learn(subscription, keys)
        self.lanes[subscription.id] = lane
        company = self.companies[subscription.company_id]
        company.subscription_ids.append(subscription.id)
        company.revision += 1

    def replace(self, subscription: Subscription, replaced: object, keys: tuple[Key, ...], *, lift_hold: bool) -> None:
        lane = self.lanes[subscription.id]
        expected = lane.deleted_at is None and lane.subscription.revision == subscription.revision - 1
        check("I11", replaced is expected, "a change of subscription", subscription.id, "answered", replaced)
        if not expected:
            self.marks.add("change over a change")
            return
        if lane.consent.want(wanted_url(subscription), self.now, is_active=subscription.active):
            self.marks.add("grant taken back")
        if keys != lane.keys:
            self.marks.add("rotated")
        lane.learn(subscription, keys)
        lane.slots = min(lane.slots, subscription.policies.max_in_flight)
        if lift_hold:
            if lane.hold_until:
                self.marks.add("hold lifted")
            lane.hold_until = 0
            if lane.health.probe_at is not None:
                self.marks.add("circuit lifted")
            lane.health.forget()
        self.companies[subscription.company_id].revision += 1

    def delete(self, subscription_id: int, deleted: object, wall: int) -> None:
        lane = self.lanes[subscription_id]
        check("I6", deleted is (lane.deleted_at is None), "deleting", subscription_id, "answered", deleted)
        if deleted:
            lane.deleted_at = wall
            lane.consent.ask_at = None
            self.companies[lane.subscription.company_id].revision += 1

    def take_validations(self, taken: Collection[int], wait_ms: int, limit: int) -> None:
        """See that every receiver is asked that is due, and no other."""
        due = [id_ for id_, lane in self.lanes.items() if (lane.consent.ask_at or NEVER) <= self.now]
        check("I12", sorted(taken) == sorted(due) or len(taken) == limit, "asks", taken, "and due are", due)
        for id_ in taken:
            consent = self.lanes[id_].consent
            waited = self.now - max(consent.ask_at or 0, self.disturbed_at)
            check("I12", waited <= HANDSHAKE_MS_MAX, "receiver of", id_, "was asked", waited, "ms late")
            consent.ask(self.now, wait_ms)

    def grant_validation(self, subscription_id: int, url: str, allowed: float | None, answer: object) -> None:
        lane = self.lanes[subscription_id]
        granted = lane.consent.grant(url, allowed)
        check("I6", answer is granted, "a grant of", url, "was answered", answer)
        lane.set_rate()
        self.marks.add("granted" if granted else "grant came late")

    def close_deleted(self, count: int, limit: int) -> None:
        rows = [
            each
            for each in self.deliveries.values()
            if each.state == "pending" and self.lanes[each.subscription_id].deleted_at is not None
        ]
        check(
            "I1",
            count == min(limit, len(rows)),
            "closed",
            count,
            "deliveries of deleted subscriptions, expected",
            len(rows),
        )
        for delivery in rows:
            self._end(delivery, "cancelled", "deleted")
            self.marks.add("cancelled by a delete")

    # the engine

    def claim(
        self,
        claim: Claim,
        *,
        flight: Flight,
        known: Mapping[int, int],
        lease_ms: int,
        rows_max: int,
        node: int,
        now: int,
        wall: int,
    ) -> list[tuple[int, int]]:
        """Take what the claim took; return delivery and number of the attempts that it found lost."""
        lost = self._lose(claim, now, wall)
        order = self._due(now)
        in_flight: dict[int, int] = {}
        for delivery in self.deliveries.values():
            if delivery.state == "sending":
                in_flight[delivery.subscription_id] = in_flight.get(delivery.subscription_id, 0) + 1
        due_at = {id_: self.deliveries[id_].due_at or 0 for ids in order.values() for id_ in ids}
        taken: dict[int, list[int]] = {}
        for each in claim.deliveries:
            delivery = self.deliveries[each.id]
            lane = self.lanes[each.subscription_id]
            check("I4", delivery.state == "pending", "claimed", each.id, "which is", delivery.state)
            check(
                "I15",
                delivery.due_at is not None and delivery.due_at <= now,
                "claimed",
                each.id,
                (delivery.due_at or 0) - now,
                "ms early",
            )
            check("I6", lane.is_open, "claimed", each.id, "of a closed lane")
            check(
                "I8", lane.hold_until <= now, "claimed", each.id, lane.hold_until - now, "ms before the end of a hold"
            )
            check(
                "I11",
                each.attempt == delivery.attempt + 1,
                "claim raised attempt",
                delivery.attempt,
                "to",
                each.attempt,
            )
            check(
                "I3", each.failures == delivery.failures, "claim says", each.failures, "failures of", delivery.failures
            )
            self._check_content(each)
            revision = lane.subscription.revision
            check(
                "I7",
                each.subscription_revision == revision,
                "claimed under revision",
                each.subscription_revision,
                "of",
                revision,
            )
            if known.get(each.subscription_id) != revision:
                check(
                    "I7",
                    claim.subscriptions.get(each.subscription_id) == lane.subscription,
                    "an outdated subscription was given",
                )
            delivery.state, delivery.attempt, delivery.claimed_at = "sending", each.attempt, now
            delivery.due_at, delivery.node, delivery.revision = now + lease_ms, node, revision
            delivery.revision_of[each.attempt] = revision
            taken.setdefault(each.subscription_id, []).append(each.id)
        suspects = {id_ for ids in order.values() for id_ in ids if self.deliveries[id_].losses >= SUSPECT_LOSSES}
        for subscription_id, ids in taken.items():
            lane = self.lanes[subscription_id]
            check(
                "I14",
                in_flight.get(subscription_id, 0) + len(ids) <= lane.slots,
                "lane",
                subscription_id,
                "has",
                lane.slots,
                "slots;",
                in_flight.get(subscription_id, 0),
                "+",
                len(ids),
            )
            if lane.is_ordered:
                self._check_first(lane, ids, in_flight.get(subscription_id, 0))
            else:
                self._check_order(ids, order[subscription_id], suspects)
            self._check_circuit(lane, [due_at[id_] for id_ in ids], now)
            lane.pace.start(len(ids), now)
            check("I14", lane.pace.excess is None, "lane", subscription_id, "started", lane.pace.excess)
        many = flight.suspects + sum(
            self.deliveries[id_].losses >= SUSPECT_LOSSES for ids in taken.values() for id_ in ids
        )
        check("I4", many <= max(1, flight.suspects), "a node sends", many, "that may be what brings it down")
        check("I14", len(claim.deliveries) <= rows_max, "a claim of too many rows")
        self._check_caps(claim, flight)
        self._check_waiting(taken, in_flight, flight, now)
        return lost

    def _lose(self, claim: Claim, now: int, wall: int) -> list[tuple[int, int]]:
        lost = [
            each
            for each in self.deliveries.values()
            if each.state == "sending" and each.due_at is not None and each.due_at <= now
        ]
        check("I12", claim.lost == len(lost), "a claim found", claim.lost, "lost attempts, expected", len(lost))
        found = [(each.id, each.attempt) for each in lost]
        parked = 0
        for delivery in lost:
            lane = self.lanes[delivery.subscription_id]
            wait = LOSS_WAITS_MS[delivery.losses] if delivery.losses < 5 else None
            delivery.losses += 1
            self.replays.ended(delivery.id)
            if lane.deleted_at is not None:
                self._log(delivery, None, "lost", None, dead=False)
                self._end(delivery, "cancelled", "deleted")
                self.marks.add("lost and deleted")
            elif wait is None:
                parked += 1
                self._log(delivery, None, "lost", None, dead=True)
                self._end(delivery, "dead", "crashed")
                self.marks.add("parked")
            else:
                self._log(delivery, None, "lost", wall + max(wait, lane.hold_until - now), dead=False)
                delivery.state, delivery.due_at, delivery.claimed_at = "pending", now + wait, None
                delivery.wait_until = now + wait
                self.marks.add("lease lost")
                if delivery.losses > 2:
                    self.marks.add("loss spaced out")
        check("I4", claim.parked == parked, "a claim parked", claim.parked, "expected", parked)
        return found

    def _due(self, now: int) -> dict[int, list[int]]:
        """Return what is due by lane, oldest first."""
        rows: dict[int, list[tuple[int, int]]] = {}
        for each in self.deliveries.values():
            if each.state == "pending" and each.due_at is not None and each.due_at <= now:
                rows.setdefault(each.subscription_id, []).append((each.due_at, each.id))
        return {lane: [id_ for _, id_ in sorted(its)] for lane, its in rows.items()}

    def _check_order(self, ids: Sequence[int], order: Sequence[int], suspects: Collection[int]) -> None:
        """See that a lane gave its oldest; suspects may be passed over."""
        free = [id_ for id_ in ids if id_ not in suspects]
        oldest = [id_ for id_ in order if id_ not in suspects][: len(free)]
        check("I12", sorted(free) == sorted(oldest), "a lane gave", ids, "and not its oldest", order)

    def _check_circuit(self, lane: Lane, due_at: Sequence[int], now: int) -> None:
        """See that an open circuit lets one through when it is time for it, and else only what waited a day."""
        probe_at, which = lane.health.probe_at, lane.subscription.id
        if probe_at is None:
            return
        if probe_at <= now:
            check("I14", len(due_at) == 1, "lane", which, "tries", len(due_at), "deliveries while its circuit is open")
            lane.health.probe_at = now + self.circuit.probe_ms
            self.marks.add("probe")
            return
        early = [at for at in due_at if at > now - DAY_MS]
        check("I14", not early, "lane", which, "tries", len(early), "deliveries", probe_at - now, "ms before its probe")
        self.marks.add("waited a day")

    def _check_first(self, lane: Lane, ids: Sequence[int], in_flight: int) -> None:
        """See that an ordered lane gave its lowest open delivery, and that alone."""
        check("I8", in_flight + len(ids) == 1, "ordered lane", lane.subscription.id, "sends", ids, "beside", in_flight)
        lower = self._lower_open(lane.subscription.id, ids[0])
        check("I8", not lower, "ordered lane", lane.subscription.id, "gave", ids, "before", lower)
        self.marks.add("sent in order")

    def _lower_open(self, subscription_id: int, id_: int) -> list[int]:
        return [
            each.id
            for each in self.deliveries.values()
            if each.subscription_id == subscription_id and each.id < id_ and each.due_at is not None
        ]

    def _check_content(self, each: Any) -> None:
        event = self.events[each.event_id]
        said = (each.data, each.occurred_at, each.event_type, each.accepted_at)
        check(
            "I7",
            said == (event.data, event.occurred_at, event.event_type, event.answer.accepted_at),
            "claimed",
            each.id,
            "with other content",
        )

    def _check_caps(self, claim: Claim, flight: Flight) -> None:
        total = flight.total
        companies, hosts = dict(flight.by_company), dict(flight.by_host)
        pairs = dict(flight.by_company_at_host)
        for each in claim.deliveries:
            total += 1
            pair = (each.company_id, each.host)
            pairs[pair] = pairs.get(pair, 0) + 1
            companies[each.company_id] = companies.get(each.company_id, 0) + 1
            hosts[each.host] = hosts.get(each.host, 0) + 1
        for host, count in hosts.items():
            spare = sum(1 for pair in pairs if pair[1] == host and not flight.by_company_at_host.get(pair))
            most = max(flight.host_capacity, flight.by_host.get(host, 0)) + spare
            check("I14", count <= most, "host", host, "has", count, "of", most)
        check("I14", total <= max(flight.capacity, flight.total), "node has", total, "of", flight.capacity)
        if claim.deliveries and total >= flight.capacity:
            self.marks.add("node full")

    def _check_waiting(
        self, taken: Mapping[int, list[int]], in_flight: Mapping[int, int], flight: Flight, now: int
    ) -> None:
        """See that no lane waits for long that could be served: what is due moves within five seconds."""
        due = self._due(now)
        for subscription_id, lane in self.lanes.items():
            innocent = [id_ for id_ in due.get(subscription_id, ()) if self.deliveries[id_].losses < SUSPECT_LOSSES]
            if lane.is_ordered and innocent:
                innocent = [] if self._lower_open(subscription_id, min(innocent)) else innocent
            if innocent and lane.is_open and not lane.pace.is_free(now):
                self.marks.add("paced")
            could = (
                bool(innocent)
                and lane.is_open
                and lane.hold_until <= now
                and lane.pace.is_free(now)
                and (lane.health.probe_at or 0) <= now
                and in_flight.get(subscription_id, 0) < (1 if lane.is_ordered else lane.slots)
                and subscription_id not in taken
                and flight.total < flight.capacity * 0.5
                and flight.by_company.get(lane.subscription.company_id, 0) < max(1, int(flight.capacity * 0.2))
            )
            if not could:
                lane.kept_waiting_since = None
            elif lane.kept_waiting_since is None:
                lane.kept_waiting_since = now
            else:
                waited = now - max(lane.kept_waiting_since, self.disturbed_at)
                check(
                    "I12",
                    waited <= 5_000,
                    "lane",
                    subscription_id,
                    "has waited",
                    waited,
                    "ms with free slots and due rows",
                )

    def settle(self, settlements: Sequence[Settlement], answers: Sequence[bool], now: int, wall: int) -> None:
        """Apply the ends of attempts; each is applied exactly where its fence is current."""
        check("I11", len(answers) == len(settlements), "settle answered", len(answers), "of", len(settlements))
        holds: dict[int, int] = {}
        current: list[Settlement] = []
        before = self._sending_by_lane()
        for settlement, answer in zip(settlements, answers, strict=True):
            delivery = self.deliveries[settlement.fence.delivery_id]
            is_current = delivery.state == "sending" and delivery.attempt == settlement.fence.attempt
            check(
                "I11",
                answer is is_current,
                "settling attempt",
                settlement.fence.attempt,
                "of",
                delivery.id,
                "answered",
                answer,
                "; it is",
                delivery.state,
                delivery.attempt,
            )
            if not is_current:
                self.marks.add("settle refused")
                continue
            delivery.state = "settling"
            current.append(settlement)
            if settlement.hold_ms is not None:
                lane_id = settlement.fence.subscription_id
                holds[lane_id] = max(holds.get(lane_id, 0), now + settlement.hold_ms)
        for settlement in current:
            lane = self.lanes[settlement.fence.subscription_id]
            self._settle_one(
                settlement, max(lane.hold_until, holds.get(settlement.fence.subscription_id, 0)), now, wall
            )
        self._adjust(current, holds, before, wall)

    def _sending_by_lane(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for each in self.deliveries.values():
            if each.state == "sending":
                counts[each.subscription_id] = counts.get(each.subscription_id, 0) + 1
        return counts

    def _settle_one(self, settlement: Settlement, hold_until: int, now: int, wall: int) -> None:
        delivery = self.deliveries[settlement.fence.delivery_id]
        lane, record, verdict = self.lanes[delivery.subscription_id], settlement.record, settlement.verdict
        schedule = lane.schedules[delivery.revision]
        is_success = record.http_status is not None and 200 <= record.http_status < 300
        check("I5", isinstance(verdict, Succeed) is is_success, "status", record.http_status, "was judged", verdict)
        if is_success:
            self._log(delivery, record.http_status, None, None, dead=False)
            self._end(delivery, "succeeded", None)
            delivery.losses, delivery.succeeded_at = 0, now
            self.marks.add("succeeded after failures" if delivery.failures else "succeeded")
            if lane.deleted_at is not None:
                self.marks.add("succeeded after a delete")
            return
        failures = delivery.failures
        delivery.failures, delivery.losses = failures + 1, 0
        self.replays.ended(delivery.id)
        if failures < len(schedule):
            check("I3", isinstance(verdict, Retry), "a retry is left, but the verdict was", verdict)
            assert isinstance(verdict, Retry)
            least = schedule[failures] * 1000
            check(
                "I8",
                least <= verdict.wait_ms <= least * 1.2,
                "retry",
                failures + 1,
                "waits",
                verdict.wait_ms,
                "ms of",
                least,
            )
        else:
            check("I3", isinstance(verdict, GiveUp), "no retry is left, but the verdict was", verdict)
            assert isinstance(verdict, GiveUp)
            check(
                "I6", verdict.gone is (record.http_status == 410), "status", record.http_status, "was judged", verdict
            )
        if lane.deleted_at is not None:
            self._log(delivery, record.http_status, record.error, None, dead=False)
            self._end(delivery, "cancelled", "deleted")
            self.marks.add("failed after a delete")
        elif isinstance(verdict, Retry):
            self._log(
                delivery, record.http_status, record.error, wall + max(verdict.wait_ms, hold_until - now), dead=False
            )
            delivery.state, delivery.due_at, delivery.claimed_at = "pending", now + verdict.wait_ms, None
            delivery.wait_until = now + verdict.wait_ms
            self.marks.add("retry")
        else:
            self._log(delivery, record.http_status, record.error, None, dead=True)
            self._end(delivery, "dead", "exhausted")
            self.marks.add("dead")

    def _adjust(
        self, current: Sequence[Settlement], holds: Mapping[int, int], before: Mapping[int, int], wall: int
    ) -> None:
        for subscription_id in {settlement.fence.subscription_id for settlement in current}:
            its = [each for each in current if each.fence.subscription_id == subscription_id]
            lane = self.lanes[subscription_id]
            most = lane.subscription.policies.max_in_flight
            slots = min(lane.slots, most)
            if before.get(subscription_id, 0) >= lane.slots:
                slots = min(most, lane.slots + sum(each.record.http_status is not None for each in its))
            for each in its:
                if each.record.error == "timeout":
                    slots = max(1, slots // 2)
            if slots != lane.slots:
                self.marks.add("slots grown" if slots > lane.slots else "slots halved")
            lane.slots = slots
            if subscription_id in holds:
                lane.hold_until = max(lane.hold_until, holds[subscription_id])
                self.marks.add("Retry-After hold")
            gone = [each for each in its if isinstance(each.verdict, GiveUp) and each.verdict.gone]
            if any(each.subscription_revision == lane.subscription.revision for each in gone) and lane.is_open:
                lane.learn(_inactive(lane.subscription, "gone", wall))
                lane.consent.ask_at = None
                self.marks.add("deactivated by 410")
            elif gone:
                self.marks.add("410 of an earlier revision")
            if lane.deleted_at is None:
                self._follow_health(lane, [isinstance(each.verdict, Succeed) for each in its], wall)

    def _follow_health(self, lane: Lane, successes: Sequence[bool], wall: int) -> None:
        for is_success in successes:
            change = lane.health.end(self.circuit, self.now, is_success=is_success)
            if change:
                self.marks.add(change)
            if change == "deactivated":
                if lane.subscription.active:
                    lane.learn(_inactive(lane.subscription, "failing", wall))
                    lane.consent.ask_at = None
                return

    def release(self, fences: Sequence[Fence], now: int) -> None:
        for fence in fences:
            delivery = self.deliveries[fence.delivery_id]
            if delivery.state == "sending" and delivery.attempt == fence.attempt:
                delivery.state, delivery.due_at, delivery.claimed_at = "pending", now, None
                delivery.released.add(fence.attempt)
                self.marks.add("released unsent")
            else:
                self.marks.add("release refused")

    def redeliver(self, subscription_id: int, delivery_id: int, found: object) -> None:
        delivery, lane = self.deliveries[delivery_id], self.lanes[subscription_id]
        check("I4", (found is None) is (lane.deleted_at is not None), "redelivery answered", found)
        if found is None or delivery.state not in {"succeeded", "dead"}:
            self.marks.add("redelivery refused")
            return
        self._open(delivery)
        self.marks.add("redelivered")

    def _open(self, delivery: Delivery) -> None:
        delivery.state, delivery.due_at, delivery.failures, delivery.losses = "pending", self.now, 0, 0
        delivery.reason = delivery.succeeded_at = delivery.settled_at = None
        delivery.rounds += 1

    # replays

    def create_replay(self, asked: NewReplay, replay: Replay) -> None:
        revisions = {id_: lane.subscription.revision for id_, lane in self.lanes.items() if lane.deleted_at is None}
        self.replays.runs[replay.id] = Run(
            asked, replay.created_at, replay.total, revisions, catalogue_revision=self.catalogue_revision
        )

    def follow_replay(self, replay_id: int, subscription_id: int, delivery_id: int, event_id: str, place: int) -> None:
        """Take a delivery that a step has opened; see that it may be."""
        if (replay_id, delivery_id) in self.replays.known or replay_id not in self.replays.runs:
            return
        self.replays.known.add((replay_id, delivery_id))
        run, lane, event = self.replays.runs[replay_id], self.lanes[subscription_id], self.events[event_id]
        said = ("replay", replay_id, "opened", delivery_id)
        company_id = lane.subscription.company_id
        check("I4", run.is_wanted(subscription_id, company_id, event.answer.accepted_at), *said, "of another time")
        check("I6", lane.is_open, *said, "of a closed lane")
        last, now = run.last_opened.get(subscription_id, (0, 0)), (place, delivery_id)
        check("I8", last < now, *said, "after a later one", last)
        run.last_opened[subscription_id] = now
        delivery = self.deliveries.get(delivery_id)
        if delivery is None:
            self._make(run, lane, event, delivery_id)
            self.replays.open[delivery_id] = (replay_id, None)
            return
        wanted = {"succeeded", "dead"} if run.asked.status is None else {run.asked.status.value}
        check("I4", delivery.state in wanted, *said, "which is", delivery.state)
        check("I4", (delivery.settled_at or 0) <= run.created_at, *said, "which ended after it was asked for")
        check("I4", delivery_id not in self.replays.open, *said, "which another has open")
        before = Before(
            delivery.state,
            delivery.failures,
            delivery.losses,
            delivery.reason,
            delivery.settled_at,
            delivery.succeeded_at,
        )
        self.replays.open[delivery_id] = (replay_id, before)
        self._open(delivery)
        self.marks.add("replayed")

    def _make(self, run: Run, lane: Lane, event: Event, delivery_id: int) -> None:
        id_ = lane.subscription.id
        check("I4", run.asked.status is None, "a replay made a delivery of", event.id)
        check("I1", (event.id, id_) not in self.by_event, "a replay made a second delivery of", event.id, "for", id_)
        matched = self._matching(self.types[event.event_type], event.recipients, event.data)
        check("I1", id_ in matched, "a replay made a delivery of", event.id, "which", id_, "does not get")
        delivery = Delivery(
            delivery_id, event.id, id_, "pending", self.now, type_name=matched.get(id_, ""), is_made=True
        )
        self.deliveries[delivery_id] = self.by_event[event.id, id_] = delivery
        self._last_id = max(self._last_id, delivery_id)
        self.marks.add("made by a replay")

    def check_room(self, subscription_id: int, count: int) -> None:
        """See that replays leave most of a lane to others."""
        room = max(1, self.lanes[subscription_id].slots // LANE_SHARE)
        check("I13", count <= room, "replays hold", count, "open in lane", subscription_id, "and may hold", room)

    def cancel_replay(self, replay_id: int) -> None:
        """Put back what was opened and never claimed, or not sent."""
        for delivery_id, (its_id, before) in list(self.replays.open.items()):
            delivery = self.deliveries[delivery_id]
            if its_id != replay_id:
                continue
            if delivery.state != "pending":
                self.replays.ended(delivery_id)
                continue
            del self.replays.open[delivery_id]
            if before is None:
                del self.deliveries[delivery_id], self.by_event[delivery.event_id, delivery.subscription_id]
                self.marks.add("unmade")
                continue
            delivery.state, delivery.due_at, delivery.reason = before.state, None, before.reason
            delivery.failures, delivery.losses = before.failures, before.losses
            delivery.settled_at, delivery.succeeded_at = before.settled_at, before.succeeded_at
            delivery.rounds -= 1
            self.replays.put_back.add(delivery_id)
            self.marks.add("put back")

    def check_replayed(self, replay_id: int) -> None:
        """See that a replay that is done has passed over nothing that it was asked for."""
        run = self.replays.runs[replay_id]
        for delivery in self.deliveries.values():
            lane, event = self.lanes[delivery.subscription_id], self.events[delivery.event_id]
            is_wanted = run.is_wanted(
                delivery.subscription_id, lane.subscription.company_id, event.answer.accepted_at
            ) and delivery.state in ({"succeeded", "dead"} if run.asked.status is None else {run.asked.status.value})
            was_taken = (replay_id, delivery.id) in self.replays.known or delivery.id in self.replays.put_back
            if is_wanted and not was_taken and lane.deleted_at is None:
                is_old = (delivery.settled_at or 0) < run.created_at
                check("I1", not is_old, "a replay that is done left out", delivery.id)
        if run.asked.status is not None or run.catalogue_revision != self.catalogue_revision:
            return
        for event in self.events.values():
            if event.answer.accepted_at > run.created_at:
                continue
            for id_ in self._matching(self.types[event.event_type], event.recipients, event.data):
                lane = self.lanes[id_]
                if run.revisions.get(id_) == lane.subscription.revision and run.is_wanted(
                    id_, lane.subscription.company_id, event.answer.accepted_at
                ):
                    check("I1", (event.id, id_) in self.by_event, "a replay did not make", event.id, "for", id_)

    def end_leases(self, now: int) -> None:
        """Begin a process on a file that no other works on."""
        for delivery in self.deliveries.values():
            if delivery.state == "sending":
                delivery.due_at = now

    def _end(self, delivery: Delivery, state: str, reason: str | None) -> None:
        delivery.state, delivery.due_at, delivery.claimed_at, delivery.reason = state, None, None, reason
        delivery.first_ended_at = delivery.first_ended_at or self.now
        delivery.settled_at = self.wall
        self.replays.ended(delivery.id)

    def _log(self, delivery: Delivery, status: int | None, error: object, next_at: int | None, *, dead: bool) -> None:
        said = None if error is None else str(error)
        delivery.log.append(Attempt(delivery.attempt, status, said, next_at, dead))


def wanted_url(subscription: Subscription) -> str | None:
    return subscription.callback_url if subscription.policies.validation else None


def _inactive(subscription: Subscription, reason: str, wall: int) -> Subscription:
    return replace(
        subscription,
        active=False,
        inactive_reason=reason,
        inactive_at=wall,
        updated_at=wall,
        revision=subscription.revision + 1,
    )


def schedule_of(subscription: Subscription) -> tuple[int, ...]:
    said = subscription.policies.retry_delays_seconds
    if isinstance(said, str):
        return {"standard": (10, 60, 300), "capped": (10, 60, 300, 300), "hourly": (3600, 3600)}[said]
    return STANDARD_DELAYS if said is None else said
