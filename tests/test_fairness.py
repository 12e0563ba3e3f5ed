"""One slow receiver delays no other, and one noisy company starves nobody."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.fairness import (
    COMPANY_SHARE_MAX,
    RESERVED_SHARE,
    Flight,
    Lane,
    _Room,
    crowded_hosts,
    full_hosts,
    share,
    slots_after,
)

PLENTY = 10_000


def _lane(subscription: int, company: int = 1, host: str = "a:443", slots: int = 100, in_flight: int = 0) -> Lane:
    return Lane(subscription_id=subscription, company_id=company, host=host, slots=slots, in_flight=in_flight)


def _flight(*flying: tuple[Lane, int], capacity: int = 1_000, host_capacity: int = 200, **total: int) -> Flight:
    """Count what flies on this node: so many attempts of each lane."""
    subscriptions, companies, hosts, pairs = Counter[int](), Counter[int](), Counter[str](), Counter[tuple[int, str]]()
    for lane, count in flying:
        subscriptions[lane.subscription_id] += count
        companies[lane.company_id] += count
        hosts[lane.host] += count
        pairs[lane.company_id, lane.host] += count
    return Flight(
        capacity=capacity,
        host_capacity=host_capacity,
        total=total.get("total", companies.total()),
        by_subscription=subscriptions,
        by_company=companies,
        by_host=hosts,
        by_company_at_host=pairs,
    )


# --- a lane ----------------------------------------------------------------------------------------------------------


def test_nothing_is_granted_where_nothing_is_due() -> None:
    assert share([], _flight(), PLENTY) == {}


@pytest.mark.parametrize(("slots", "in_flight", "granted"), [(2, 0, 2), (2, 1, 1), (2, 2, 0), (1, 5, 0), (100, 0, 100)])
def test_a_lane_gets_its_free_slots(slots: int, in_flight: int, granted: int) -> None:
    assert share([_lane(1, slots=slots, in_flight=in_flight)], _flight(), PLENTY).get(1, 0) == granted


def test_attempts_on_other_nodes_use_a_lane_s_slots_too() -> None:
    assert share([_lane(1, slots=10, in_flight=9)], _flight(total=0), PLENTY) == {1: 1}


@pytest.mark.parametrize("rows_max", [0, 1, 5, 7])
def test_no_more_rows_are_granted_than_asked_for(rows_max: int) -> None:
    granted = share([_lane(each, slots=2) for each in range(1, 4)], _flight(), rows_max)
    assert sum(granted.values()) == min(rows_max, 6)


# --- turns -----------------------------------------------------------------------------------------------------------


def test_lanes_of_a_company_take_turns() -> None:
    assert share([_lane(each) for each in range(1, 4)], _flight(), 7) == {1: 3, 2: 2, 3: 2}


def test_a_company_with_many_lanes_gets_no_more_turns_than_one_with_a_single_lane() -> None:
    noisy = [_lane(each, company=1) for each in range(1, 51)]
    granted = share([*noisy, _lane(99, company=2)], _flight(), 20)
    assert granted[99] == 10
    assert sum(granted.values()) == 20


def test_turns_that_one_company_cannot_use_go_to_the_others() -> None:
    lanes = [_lane(1, company=1, slots=2), _lane(2, company=2), _lane(3, company=3)]
    assert share(lanes, _flight(), 20) == {1: 2, 2: 9, 3: 9}


def test_who_has_the_least_in_flight_goes_first() -> None:
    rich, middle, poor = (_lane(each, company=each) for each in (1, 2, 3))
    flight = _flight((rich, 50), (middle, 5))
    assert share([rich, middle, poor], flight, 1) == {3: 1}
    assert share([rich, middle, poor], flight, 2) == {3: 1, 2: 1}


def test_among_equals_the_order_of_the_claim_counts() -> None:
    assert share([_lane(7, company=3), _lane(5, company=1)], _flight(), 1) == {7: 1}


# --- the node --------------------------------------------------------------------------------------------------------


def test_a_node_is_never_filled_over_its_capacity() -> None:
    lanes = [_lane(each, company=each, host=f"{each}:443") for each in range(1, 31)]
    granted = share(lanes, _flight(capacity=20), PLENTY)
    assert sum(granted.values()) == 20


@pytest.mark.parametrize(("total", "granted"), [(88, 2), (89, 1), (90, 0), (95, 0), (100, 0), (101, 0)])
def test_the_last_tenth_is_not_for_who_has_something_in_flight(total: int, granted: int) -> None:
    busy = _lane(1, in_flight=1)
    assert share([busy], _flight((busy, 1), capacity=100, total=total), PLENTY).get(1, 0) == granted


@pytest.mark.parametrize(("total", "granted"), [(89, 1), (90, 1), (99, 1), (100, 0), (101, 0)])
def test_the_last_tenth_starts_the_first_attempt_of_a_quiet_lane(total: int, granted: int) -> None:
    assert share([_lane(1)], _flight(capacity=100, total=total), PLENTY).get(1, 0) == granted


def test_a_lane_busy_on_another_node_is_not_quiet() -> None:
    assert share([_lane(1, in_flight=1)], _flight(capacity=100, total=95), PLENTY) == {}


def test_a_lane_busy_here_is_not_quiet_though_its_settlement_is_on_disk() -> None:
    lane = _lane(1, in_flight=0)
    assert share([lane], _flight((lane, 1), capacity=100, total=95), PLENTY) == {}


def test_a_node_of_one_slot_still_sends() -> None:
    assert sum(share([_lane(1, company=1), _lane(2, company=2)], _flight(capacity=1), PLENTY).values()) == 1


# --- companies -------------------------------------------------------------------------------------------------------


def test_alone_a_company_may_have_all_but_the_reserve() -> None:
    lanes = [_lane(each, host=f"{each}:443") for each in range(1, 6)]
    assert sum(share(lanes, _flight(capacity=100), PLENTY).values()) == 90


def test_alone_a_company_of_many_quiet_subscriptions_leaves_the_reserve_to_who_comes_next() -> None:
    quiet = [_lane(each, host=f"{each}:443") for each in range(1, 201)]
    granted = share(quiet, _flight(capacity=100), PLENTY)
    assert sum(granted.values()) == 90
    flying = [(lane, granted.get(lane.subscription_id, 0)) for lane in quiet]
    newcomers = [_lane(1000 + each, company=2) for each in range(5)]
    assert share([*quiet, *newcomers], _flight(*flying, capacity=100), PLENTY) == {1000 + each: 1 for each in range(5)}


def test_a_company_holds_a_fifth_while_others_wait() -> None:
    lanes = [_lane(1, company=1), _lane(2, company=2)]
    assert share(lanes, _flight(capacity=100), PLENTY) == {1: 20, 2: 20}


def test_what_is_in_flight_counts_to_the_fifth() -> None:
    noisy, other = _lane(1, company=1), _lane(2, company=2)
    assert share([noisy, other], _flight((noisy, 15), capacity=100), PLENTY) == {1: 5, 2: 20}
    assert share([noisy, other], _flight((noisy, 60), capacity=100), 5) == {2: 5}


def test_who_has_no_free_slot_does_not_wait_for_the_node() -> None:
    full = _lane(2, company=2, slots=3, in_flight=3)
    assert share([_lane(1, company=1, slots=50), full], _flight(capacity=100), PLENTY) == {1: 50}


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_a_host_is_filled_up_to_the_reserve() -> None:
    lanes = [_lane(1, slots=60), _lane(2, slots=60)]
    assert share(lanes, _flight(host_capacity=100), PLENTY) == {1: 45, 2: 45}


@pytest.mark.parametrize(
    ("at_host", "granted"), [(178, {1: 1, 2: 1}), (179, {2: 1}), (180, {2: 1}), (199, {2: 1}), (200, {})]
)
def test_the_last_tenth_of_a_host_starts_the_first_attempt_of_a_quiet_lane(
    at_host: int, granted: dict[int, int]
) -> None:
    hanging, quiet = _lane(1, slots=1_000), _lane(2, slots=1)
    assert share([quiet, hanging], _flight((hanging, at_host)), 2) == granted


def test_at_a_host_that_many_share_those_that_hang_leave_room_for_the_others() -> None:
    companies = range(1, 21)
    hanging = [_lane(100 + each, each % 20 + 1, slots=2) for each in range(100)]
    granted = share(hanging, _flight(), PLENTY)
    assert sum(granted.values()) == 180
    healthy = [_lane(each, each, slots=2) for each in companies]
    then = _flight(*((lane, granted[lane.subscription_id]) for lane in hanging))
    assert share(healthy, then, PLENTY) == dict.fromkeys(companies, 1)


def test_companies_take_turns_inside_a_host() -> None:
    lanes = [_lane(1), _lane(2), _lane(3), _lane(9, company=2)]
    granted = share(lanes, _flight(host_capacity=40), PLENTY)
    assert granted == {1: 6, 2: 6, 3: 6, 9: 18}


def test_a_full_host_starts_one_attempt_of_a_company_with_none_there() -> None:
    hanging, other = _lane(1, company=1), _lane(2, company=2)
    flight = _flight((hanging, 200))
    assert share([hanging, other], flight, PLENTY) == {2: 1}
    assert share([hanging, other], _flight((hanging, 200), (other, 1)), PLENTY) == {}


def test_a_full_host_starts_one_attempt_for_a_company_and_not_one_for_each_of_its_lanes() -> None:
    hanging, others = _lane(1, company=1), [_lane(each, company=2) for each in (2, 3, 4)]
    assert share([hanging, *others], _flight((hanging, 200)), PLENTY) == {2: 1}


def test_every_company_may_start_one_at_a_full_host() -> None:
    hanging, others = _lane(1, company=1), [_lane(each, company=each) for each in range(2, 8)]
    assert share([hanging, *others], _flight((hanging, 200)), PLENTY) == dict.fromkeys(range(2, 8), 1)


def test_a_full_host_holds_up_no_other_host() -> None:
    hanging, elsewhere = _lane(1, host="a:443"), _lane(2, host="b:443", slots=5)
    assert share([hanging, elsewhere], _flight((hanging, 200)), PLENTY) == {2: 5}


def test_the_exception_at_a_host_breaks_no_cap_of_the_node() -> None:
    hanging, other = _lane(1, company=1), _lane(2, company=2)
    assert share([hanging, other], _flight((hanging, 10), capacity=10, host_capacity=5), PLENTY) == {}


def test_full_hosts_are_named() -> None:
    flight = _flight((_lane(1, host="a:1"), 200), (_lane(2, host="b:1"), 199), (_lane(3, host="c:1"), 201))
    assert sorted(full_hosts(flight)) == ["a:1", "c:1"]


def test_crowded_hosts_are_named() -> None:
    flight = _flight((_lane(1, host="a:1"), 180), (_lane(2, host="b:1"), 179), (_lane(3, host="c:1"), 201))
    assert sorted(crowded_hosts(flight)) == ["a:1", "c:1"]


# --- everything at once ----------------------------------------------------------------------------------------------


@st.composite
def _situations(draw: st.DrawFn) -> tuple[list[Lane], Flight, int]:
    lanes = [
        _lane(
            each,
            company=draw(st.integers(1, 4)),
            host=draw(st.sampled_from(["a:443", "b:443", "c:443"])),
            slots=draw(st.integers(1, 12)),
            in_flight=draw(st.integers(0, 12)),
        )
        for each in range(1, draw(st.integers(0, 12)) + 1)
    ]
    flying = [(lane, draw(st.integers(0, lane.in_flight))) for lane in lanes]
    flight = _flight(*flying, capacity=draw(st.integers(1, 60)), host_capacity=draw(st.integers(1, 20)))
    return lanes, flight, draw(st.integers(0, 60))


def _added(lanes: Sequence[Lane], granted: Mapping[int, int], key: str) -> Counter[Any]:
    counted = Counter[Any]()
    for lane in lanes:
        counted[getattr(lane, key)] += granted.get(lane.subscription_id, 0)
    return counted


@given(_situations())
def test_no_cap_is_ever_broken(situation: tuple[list[Lane], Flight, int]) -> None:
    lanes, flight, rows_max = situation
    granted = share(lanes, flight, rows_max)
    by_id = {lane.subscription_id: lane for lane in lanes}
    total = sum(granted.values())
    assert total <= min(rows_max, max(0, flight.capacity - flight.total))
    assert all(count >= 1 for count in granted.values())
    assert all(by_id[each].in_flight + count <= by_id[each].slots for each, count in granted.items())
    reserve = int(flight.capacity * RESERVED_SHARE)
    quiet = sum(1 for each in granted if by_id[each].in_flight == 0)
    assert total <= max(0, flight.capacity - reserve - flight.total) + quiet
    if len({lane.company_id for lane in lanes if lane.in_flight < lane.slots}) > 1:
        company_max = max(1, int(flight.capacity * COMPANY_SHARE_MAX))
        for company, count in _added(lanes, granted, "company_id").items():
            assert not count or flight.by_company.get(company, 0) + count <= company_max
    for host, count in _added(lanes, granted, "host").items():
        newcomers = {
            by_id[each].company_id
            for each in granted
            if by_id[each].host == host and not flight.by_company_at_host.get((by_id[each].company_id, host), 0)
        }
        assert count <= max(0, flight.host_capacity - flight.by_host.get(host, 0)) + len(newcomers)
        quiet_there = sum(1 for each in granted if by_id[each].host == host and by_id[each].in_flight == 0)
        unreserved = flight.host_capacity - int(flight.host_capacity * RESERVED_SHARE)
        assert count <= max(0, unreserved - flight.by_host.get(host, 0)) + quiet_there + len(newcomers)


@given(_situations())
def test_nothing_more_could_have_been_granted(situation: tuple[list[Lane], Flight, int]) -> None:
    lanes, flight, rows_max = situation
    granted = share(lanes, flight, rows_max)
    left = rows_max - sum(granted.values())
    then = _flight(
        *(
            (lane, flight.by_subscription.get(lane.subscription_id, 0) + granted.get(lane.subscription_id, 0))
            for lane in lanes
        ),
        capacity=flight.capacity,
        host_capacity=flight.host_capacity,
    )
    companies_waiting = len({lane.company_id for lane in lanes if lane.in_flight < lane.slots})
    for lane in lanes:
        in_flight = lane.in_flight + granted.get(lane.subscription_id, 0)
        if left and in_flight < lane.slots:
            again = _lane(lane.subscription_id, lane.company_id, lane.host, lane.slots, in_flight)
            assert not _Room(then, companies_waiting).take(again)


@given(_situations())
def test_companies_that_nothing_holds_back_get_the_same_but_for_one(situation: tuple[list[Lane], Flight, int]) -> None:
    lanes, _, rows_max = situation
    wide = [_lane(lane.subscription_id, lane.company_id, lane.host, slots=1_000) for lane in lanes]
    counts = _added(
        wide, share(wide, _flight(capacity=100_000, host_capacity=100_000), rows_max), "company_id"
    ).values()
    assert not counts or max(counts) - min(counts) <= 1


# --- slots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "slots_max", "in_flight", "came", "expected"),
    [
        (2, 10, 2, (1, 0), 3),
        (2, 10, 2, (2, 0), 4),
        (2, 10, 3, (1, 0), 3),
        (2, 10, 1, (1, 0), 2),
        (2, 10, 0, (0, 0), 2),
        (2, 10, 2, (0, 0), 2),
        (9, 10, 9, (5, 0), 10),
        (10, 10, 10, (1, 0), 10),
        (10, 4, 10, (1, 0), 4),
        (10, 4, 1, (0, 0), 4),
        (10, 10, 1, (0, 1), 5),
        (5, 10, 1, (0, 1), 2),
        (10, 10, 1, (0, 2), 2),
        (10, 10, 10, (0, 3), 1),
        (10, 10, 10, (0, 10_000), 1),
        (1, 10, 1, (0, 1), 1),
        (1, 10, 1, (1, 0), 2),
        (2, 1, 2, (1, 0), 1),
        (8, 10, 8, (2, 1), 5),
    ],
)
def test_slots_grow_by_one_an_answer_when_all_are_taken_and_halve_by_a_timeout(
    slots: int, slots_max: int, in_flight: int, came: tuple[int, int], expected: int
) -> None:
    answers, timeouts = came
    assert slots_after(slots, slots_max, in_flight, answers, timeouts) == expected


COUNTS = st.integers(0, 1_000)


@given(st.integers(1, 100), st.integers(1, 100), COUNTS, COUNTS, COUNTS)
def test_slots_stay_between_one_and_their_maximum(
    slots: int, slots_max: int, in_flight: int, answers: int, timeouts: int
) -> None:
    assert 1 <= slots_after(slots, slots_max, in_flight, answers, timeouts) <= slots_max


@given(st.integers(2, 100), st.integers(0, 5))
def test_a_receiver_that_always_answers_reaches_its_maximum(slots_max: int, idle: int) -> None:
    slots = 2
    for _ in range(slots_max):
        slots = slots_after(slots, slots_max, slots + idle, 1, 0)
    assert slots == slots_max
