"""The books after a run: what was promised, what the log says and what the receivers saw must be the same.

Accepted = succeeded + dead + cancelled + pending + held; no acknowledged event is missing; each request is in the log,
and each row of the log but the lost ones is a request; a delivery comes twice only where something broke in between;
nothing comes after a DELETE has answered.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from e2e.harness import Client, until
from e2e.receiver import Arrival

from .load import HELD, KINDS, World

PUT_OFF_LOSSES = 3
"""So many losses in a row put a delivery off by minutes, so that it may still wait when the books are made."""
PARKED_LOSSES = 6
SETTLE_SECONDS = 90.0


@dataclass
class Account:
    """What a run came to."""

    events: int = 0
    deliveries: int = 0
    succeeded: int = 0
    dead: int = 0
    cancelled: int = 0
    pending: int = 0
    held: int = 0
    requests: int = 0
    lost: int = 0
    """Attempts that a fault cut off, or that were claimed and never made."""
    repeated: int = 0
    """Requests for a delivery whose receiver may have had it already."""
    longest_seconds: float = 0.0
    """From a request that was lost to the next of its delivery; losses in a row that put it off do not count."""

    def add(self, other: "Account") -> None:
        """Sum up."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, max(mine, others) if each.name == "longest_seconds" else mine + others)


def balanced(operator: Client, world: World, settle_seconds: float = SETTLE_SECONDS) -> Account:
    """Wait until all that can end has ended, then hold the books against each other; fail where they differ."""
    failures = [failure for publisher in world.publishers for failure in publisher.failures]
    assert not failures
    until(lambda: _is_settled(operator), "all that can be delivered is delivered", settle_seconds)
    events = {event["id"]: event for event in all_events(operator)}
    account = Account(events=len(events))
    _check_events(operator, world, events, account)
    gone = {subscription.id for subscription, _ in world.deleted}
    for subscription in world.subscriptions:
        arrivals = world.receiver.at(subscription.path)
        account.requests += len(arrivals)
        if subscription.id in gone:
            continue
        expected = {event_id for event_id, event in events.items() if subscription.company in event["companyIds"]}
        if subscription.kind == HELD:
            assert not arrivals
        else:
            _check_deliveries(operator.log(subscription.id), arrivals, expected, world, account)
    for subscription, answered_at in world.deleted:
        late = [
            arrival.at - answered_at for arrival in world.receiver.at(subscription.path) if arrival.at > answered_at
        ]
        assert not late, f"{len(late)} requests came after the DELETE was answered: {late}"
    return account


def all_events(operator: Client, query: str = "") -> list[dict[str, Any]]:
    """Return every event, newest first."""
    events: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = operator.made("GET", f"/v1/events?limit=200{query}{cursor}")
        events += page["items"]
        if page["next"] is None:
            return events
        cursor = f"&cursor={page['next']}"


# --- what waits ------------------------------------------------------------------------------------------------------


def _is_settled(operator: Client) -> bool:
    """Tell whether every delivery has ended or is held, but for those that several losses in a row put off."""
    if operator.made("GET", "/v1/events?state=sending&limit=1")["items"]:
        return False
    if not all(_is_put_off(operator, event["id"]) for event in all_events(operator, "&state=pending")):
        return False
    # Between two questions a delivery may go from one state to the other; one that has ended stays as it is.
    unfinished = [event for event in all_events(operator) if event["counts"]["sending"] + event["counts"]["pending"]]
    return all(_is_put_off(operator, event["id"]) for event in unfinished)


def _is_put_off(operator: Client, event_id: str) -> bool:
    deliveries = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    return all(
        each["state"] == "pending" and _losses_in_a_row(each) >= PUT_OFF_LOSSES
        for each in deliveries
        if each["state"] in {"pending", "sending"}
    )


def _losses_in_a_row(delivery: Mapping[str, Any]) -> int:
    losses = 0
    for attempt in sorted(delivery["attempts"], key=lambda attempt: attempt["attemptNumber"], reverse=True):
        if attempt["error"] != "lost":
            break
        losses += 1
    return losses


# --- what was promised -----------------------------------------------------------------------------------------------


def _check_events(operator: Client, world: World, events: Mapping[str, Mapping[str, Any]], account: Account) -> None:
    acknowledged, abandoned = world.acknowledged, world.abandoned
    missing = acknowledged.keys() - events.keys()
    assert not missing, f"{len(missing)} acknowledged events are gone: {sorted(missing)[:5]}"
    assert events.keys() <= acknowledged.keys() | abandoned, "an event that nobody published"
    passing = Counter(subscription.company for subscription, _ in world.deleted)
    for event_id, event in events.items():
        counts = event["counts"]
        total = sum(counts.values())
        (company,) = event["companyIds"]
        assert len(KINDS) <= total <= len(KINDS) + passing[company], f"{event_id} exists in part: {counts}"
        if event_id in acknowledged:
            assert (company, total) == acknowledged[event_id], f"{event_id}: answered otherwise than stored"
        assert counts["held"] == 1, f"{event_id}: {counts}"
        assert counts["cancelled"] <= passing[company], f"{event_id}: {counts}"
        assert not counts["sending"]
        if counts["dead"]:
            _check_dead(operator, event_id)
        account.deliveries += total
        for state in ("succeeded", "dead", "cancelled", "pending", "held"):
            setattr(account, state, getattr(account, state) + counts[state])
    states = account.succeeded + account.dead + account.cancelled + account.pending + account.held
    assert states == account.deliveries, f"the books do not balance: {account}"


def _check_dead(operator: Client, event_id: str) -> None:
    """Nothing dies of crashes, but what was lost six times in a row."""
    for delivery in operator.made("GET", f"/v1/events/{event_id}")["deliveries"]:
        if delivery["state"] == "dead":
            assert _losses_in_a_row(delivery) >= PARKED_LOSSES, f"{event_id} died of {delivery['reason']}: {delivery}"


# --- what was seen ---------------------------------------------------------------------------------------------------


def _check_deliveries(
    rows: Sequence[Mapping[str, Any]],
    arrivals: Sequence[Arrival],
    expected: set[str],
    world: World,
    account: Account,
) -> None:
    """Hold one subscription's log against what its receiver saw."""
    logged: defaultdict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        assert row["attemptNumber"] not in logged[row["eventId"]], f"two rows for one attempt: {row}"
        logged[row["eventId"]][row["attemptNumber"]] = row
    seen: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        seen[arrival.event_id].append(arrival)

    assert logged.keys() == expected, "the log does not speak of just the events that were stored"
    assert seen.keys() <= expected, "a request for an event that is not there"
    for event_id, attempts in logged.items():
        assert len({arrival.body for arrival in seen[event_id]}) <= 1
        by_attempt = Counter(arrival.attempt for arrival in seen[event_id])
        assert not by_attempt or max(by_attempt.values()) == 1, f"{event_id}: one attempt, two requests: {by_attempt}"
        assert by_attempt.keys() <= attempts.keys(), f"{event_id}: a request that the log does not know"
        assert sum(row["success"] for row in attempts.values()) <= 1
        for number, row in attempts.items():
            _check_row(row, by_attempt[number], world, account)
        _check_repeats(seen[event_id], attempts, world, account)


def _check_row(row: Mapping[str, Any], requests: int, world: World, account: Account) -> None:
    if row["error"] == "lost":
        account.lost += 1
    elif row["error"] in {None, "status"}:
        assert requests == 1, f"an answer to a request that nobody saw: {row}"
    else:
        assert row["error"] in world.errors, f"an error that nothing caused: {row}"


def _check_repeats(
    arrivals: Sequence[Arrival],
    attempts: Mapping[int, Mapping[str, Any]],
    world: World,
    account: Account,
) -> None:
    """A request that is followed by another was refused by the receiver, or something broke between the two."""
    for arrival, later in pairwise(sorted(arrivals, key=lambda arrival: arrival.at)):
        row = attempts[arrival.attempt]
        if row["error"] == "status":
            assert row["httpStatus"] == 503
            continue
        assert not row["success"], f"a second request after a recorded success: {row}"
        account.repeated += 1
        if later.attempt - arrival.attempt < PUT_OFF_LOSSES:
            account.longest_seconds = max(account.longest_seconds, later.at - arrival.at)
        is_excused = any(begun <= later.at and arrival.at <= over for begun, over in world.faults)
        assert is_excused, f"a second request, and nothing was broken: {row}"
